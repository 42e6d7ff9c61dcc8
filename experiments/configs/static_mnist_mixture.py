"""Static MNIST, mixture of 500 Gaussians, one level of latents; test NLL in nats.

Command: python -m experiments.configs.static_mnist_mixture
Published: none found.
Measured: not yet.
"""

from experiments import command_line, compare_priors
from experiments.configs import paper

CONFIG = paper(__file__, "binarized_mnist", "mixture")

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
