"""Static MNIST, RealNVP prior of 4 affine couplings, one level of latents; test NLL in nats.

Command: python -m experiments.configs.static_mnist_flow
Published: none found with these networks; 79.99 with residual ones (Xu et al. 2019).
Measured: not yet.
"""

from experiments import command_line, compare_priors
from experiments.configs import paper

CONFIG = paper(__file__, "binarized_mnist", "flow")

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
