"""Dynamic MNIST, RealNVP prior of 4 affine couplings, one level of latents; test NLL in nats.

Command: python -m experiments.configs.dynamic_mnist_flow
Published: 81.86 (Bauer & Mnih 2019, 50 latents).
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "mnist", "flow")
run_as_program(__name__, CONFIG)
