"""Dynamic MNIST, mixture of 500 Gaussians, one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_mixture
Published: none found.
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "mnist", "mixture")
run_as_program(__name__, CONFIG)
