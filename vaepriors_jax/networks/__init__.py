"""Networks with state and noise, such as BatchNorm and Dropout, as encoders and decoders.

A network without them is a function `encode(params, x)`, and needs nothing from here. Otherwise `linen_network`,
`nnx_network` or `equinox_network` makes a network of a module, and the network's `Variables` stand in `VAEParams` where
its parameters would stand. Then `fit` and `make_train_step` train it: BatchNorm normalises by the batch, on any number
of devices, and Dropout draws a mask for each example. Everything else evaluates it, with running statistics and without
noise; so do pseudo-inputs of a VampPrior, also in training.

A network takes one example. Layers that take the first axis for a batch, such as Flax's GroupNorm, need an axis for it:
`norm(x[None])[0]`. Running statistics move in training also where the optimiser leaves the parameters as they are; to
hold a network still, close over its variables, `lambda params, x: network(variables, x)`, with {} as its parameters.

The batch of a decoder is that of all samples of z: of B examples with S samples each, B S.

Running statistics of momentum m follow the batches of about the last 1 / (1 - m) steps, 100 at the usual 0.99. In the
first epochs they lag behind the parameters, so that the validation ELBO is too low and rises. The `patience` of `fit`
counts from the best epoch, and such a rise does not use it up. Where an epoch has few steps, a momentum of 0.9 lets
validation follow sooner.
"""

from vaepriors_jax.networks.equinox import equinox_network
from vaepriors_jax.networks.linen import linen_network
from vaepriors_jax.networks.nnx import nnx_network
from vaepriors_jax.networks.variables import TrainableNetwork, Variables

__all__ = ["TrainableNetwork", "Variables", "equinox_network", "linen_network", "nnx_network"]
