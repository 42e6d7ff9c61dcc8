"""Static MNIST, mixture of 500 Gaussians, two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.static_mnist_mixture_two_level
Published: 85.07 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "binarized_mnist", "mixture", levels=2)
run_as_program(__name__, CONFIG)
