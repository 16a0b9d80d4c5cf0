"Engines: how a composition is run on an optimizer's parameters. They differ in speed, never in the result."
