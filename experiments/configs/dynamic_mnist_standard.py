"""Dynamic MNIST, N(0, I), one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_standard
Published: 84.45 ± 0.12 (Norouzi et al. 2020), 84.97 (Bauer & Mnih 2019), 84.50 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "mnist", "standard")
run_as_program(__name__, CONFIG)
