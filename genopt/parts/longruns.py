"""Modifiers for long runs: against spikes of the gradient, for what changes slowly, for what signs
leave out, and averages of the weights that forget their beginning."""
