"""Dynamic MNIST, RealNVP prior of 4 affine couplings, one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_flow
Published: 81.86 (Bauer & Mnih 2019, 50 latents).
Measured: not yet.
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "mnist", "flow")

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
