"Equations, comparisons, pictures and paths, read off the code. It imports all; nothing imports it."
