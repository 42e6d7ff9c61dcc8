"""Fashion-MNIST binarised anew at each step, VampPrior with 500 pseudo-inputs, one level of latents; test NLL in nats.

Command: python -m experiments.configs.fashion_mnist_vamp
Published: 227.35 ± 0.05 (Norouzi et al. 2020).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "fashion_mnist", "vamp", pseudo_inputs="data")
run_as_program(__name__, CONFIG)
