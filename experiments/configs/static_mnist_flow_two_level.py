"""Static MNIST, RealNVP prior of 4 affine couplings, two levels of latents (HVAE); test NLL in nats.

Command: python -m experiments.configs.static_mnist_flow_two_level
Published: none found.
Measured: not yet.
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "binarized_mnist", "flow", levels=2)
run_as_program(__name__, CONFIG)
