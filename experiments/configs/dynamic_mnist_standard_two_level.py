"""Dynamic MNIST, N(0, I), two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_standard_two_level
Published: 82.42 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "mnist", "standard", levels=2)

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
