"""Dynamic MNIST, N(0, I), one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_standard
Published: 84.45 ± 0.12 (Norouzi et al. 2020), 84.97 (Bauer & Mnih 2019), 84.50 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments import compare_priors
from experiments.configs import paper
from experiments.options import command_line

CONFIG = paper(__file__, "mnist", "standard")

if __name__ == "__main__":
    command_line.run(compare_priors.main, CONFIG)
