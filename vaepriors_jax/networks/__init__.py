"""Networks with state and noise, such as BatchNorm and Dropout, as encoders and decoders.

A network without them is a function `encode(params, x)`, and needs nothing from here. Otherwise `linen_network`,
`nnx_network` or `equinox_network` makes a network of a module, and the network's `Variables` stand in `VAEParams` where
its parameters would stand. Then `fit` and `make_train_step` train it: BatchNorm normalises by the batch, on any number
of devices, and Dropout draws a mask for each example. Everything else evaluates it, with running statistics and without
noise; so do pseudo-inputs of a VampPrior, also in training.

The batch of a decoder is that of all samples of z: of B examples with S samples each, B S.
"""

from vaepriors_jax.networks.equinox import equinox_network
from vaepriors_jax.networks.linen import linen_network
from vaepriors_jax.networks.nnx import nnx_network
from vaepriors_jax.networks.variables import TrainableNetwork, Variables

__all__ = ["TrainableNetwork", "Variables", "equinox_network", "linen_network", "nnx_network"]
