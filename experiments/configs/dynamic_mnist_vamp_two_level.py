"""Dynamic MNIST, VampPrior with 500 pseudo-inputs, two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_vamp_two_level
Published: 81.24 (Tomczak & Welling 2018).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "mnist", "vamp", levels=2)
run_as_program(__name__, CONFIG)
