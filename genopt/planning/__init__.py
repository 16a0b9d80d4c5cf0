"""A whole model: what each of its parameters is, and what an optimizer makes of that."""
