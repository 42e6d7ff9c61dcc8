"""Static MNIST, N(0, I), two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.static_mnist_standard_two_level
Published: 86.05 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "binarized_mnist", "standard", levels=2)
run_as_program(__name__, CONFIG)
