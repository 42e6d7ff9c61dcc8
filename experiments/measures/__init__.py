"""What is measured of one trained model; `experiments.metrics` gathers it."""
