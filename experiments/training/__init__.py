"""Training as the programs do it: all seeds of a prior as one program, grids, cooldowns, cost."""
