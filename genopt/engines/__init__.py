"Engines: how a composition runs on parameters. They differ in speed, never in the result."
