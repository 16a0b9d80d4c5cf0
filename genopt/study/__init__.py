"What the code says of itself: equations, comparisons, pictures, paths. It imports everything; nothing imports it."
