"""Dynamic MNIST, mixture of 500 Gaussians, one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_mixture
Published: none found.
Measured: not yet.
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "mnist", "mixture")

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
