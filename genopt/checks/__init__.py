"Checks of optimizers: against a reference, and as training loops use them."
