"Watching an optimizer: what it measures of each parameter, and where that is written."
