"""Dynamic MNIST, VampPrior with 500 pseudo-inputs, two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_vamp_two_level
Published: 81.24 (Tomczak & Welling 2018).
Measured: not yet.
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "mnist", "vamp", levels=2)

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
