"How genopt speaks with others: their names, their state."
