"Equations, comparisons, pictures and paths, read off the code; loaded only when asked for."
