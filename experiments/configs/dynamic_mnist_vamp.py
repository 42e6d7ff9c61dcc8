"""Dynamic MNIST, VampPrior with 500 pseudo-inputs, one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_vamp
Published: 82.43 ± 0.06 (Norouzi et al. 2020), 82.38 (Tomczak & Welling 2018, unchecked).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "mnist", "vamp")
run_as_program(__name__, CONFIG)
