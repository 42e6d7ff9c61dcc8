"""Training: all seeds of a prior as one compiled program, grids of settings, cooldown, and the cost of a step."""
