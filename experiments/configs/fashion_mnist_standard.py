"""Fashion-MNIST binarised anew at each step, N(0, I), one level of latents; test NLL in nats.

Command: python -m experiments.configs.fashion_mnist_standard
Published: 228.70 ± 0.15 (Norouzi et al. 2020), 228.68 (Bauer & Mnih 2019).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "fashion_mnist", "standard")
run_as_program(__name__, CONFIG)
