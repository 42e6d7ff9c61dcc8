"""Dynamic MNIST, RealNVP prior of 4 affine couplings, two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_flow_two_level
Published: none found.
Measured: not yet.
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "mnist", "flow", levels=2)

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
