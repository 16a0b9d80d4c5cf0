"The atlas: a static site about optimizers, printed from the code that runs."
