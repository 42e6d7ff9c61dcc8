"""Dynamic MNIST, VampPrior with 500 pseudo-inputs, one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_vamp
Published: 82.43 ± 0.06 (Norouzi et al. 2020), 82.38 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "mnist", "vamp")

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
