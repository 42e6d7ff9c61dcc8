"""Static MNIST, mixture of 500 Gaussians, one level of latents; test NLL in nats.

Command: python -m experiments.configs.static_mnist_mixture
Published: none found.
Measured: 86.49 ± 0.23 (one seed, error over test images, S = 5000, 94 minutes, on 1 core of an AMD EPYC; jax 0.10.2,
flax 0.12.8, distrax 0.1.9, Python 3.11.7).
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "binarized_mnist", "mixture")

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
