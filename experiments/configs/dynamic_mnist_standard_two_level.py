"""Dynamic MNIST, N(0, I), two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_standard_two_level
Published: 82.42 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "mnist", "standard", levels=2)
run_as_program(__name__, CONFIG)
