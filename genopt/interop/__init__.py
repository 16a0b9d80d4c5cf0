"Other libraries: their names, their state, and what they ask of an optimizer."
