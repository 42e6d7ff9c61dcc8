"""A VAE of 6 binary pixels whose networks have BatchNorm and Dropout, in Linen, NNX and Equinox.

Beside each network of the library stands a function of a whole batch, written as the framework's users train.
"""

from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import vaepriors_jax as vp

DIM, PIXELS, WIDTH = 2, 6, 8
MOMENTUM = 0.9


def gaussian(raw):
    return vp.normal_diag(raw[..., :DIM], jnp.exp(raw[..., DIM:]))


class LinenNet(nn.Module):
    num_out: int
    rate: float
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(WIDTH, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(not train, axis_name=self.axis_name, momentum=MOMENTUM)(x))
        return nn.Dense(self.num_out)(nn.Dropout(self.rate, deterministic=not train)(x))


class NNXNet(nnx.Module):
    def __init__(self, num_in, num_out, rate, rngs, axis_name: Any = "batch"):
        self.first = nnx.Linear(num_in, WIDTH, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(WIDTH, axis_name=axis_name, momentum=MOMENTUM, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.last = nnx.Linear(WIDTH, num_out, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


class EquinoxNet(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, num_in, num_out, rate, key):
        keys = jax.random.split(key)
        self.first = eqx.nn.Linear(num_in, WIDTH, use_bias=False, key=keys[0])
        self.norm = eqx.nn.BatchNorm(WIDTH, axis_name="batch", momentum=MOMENTUM, mode="batch")
        self.dropout = eqx.nn.Dropout(rate)
        self.last = eqx.nn.Linear(WIDTH, num_out, key=keys[1])

    def __call__(self, x, state, *, key=None):
        x, state = self.norm(self.first(x), state)
        return self.last(self.dropout(jax.nn.relu(x), key=key)), state


class Net(NamedTuple):
    """A network of the library, its variables, and the framework's own function of a batch."""

    network: Any
    variables: vp.Variables
    of_batch: Any


def linen(num_in, num_out, rate, key, to_distribution):
    network = vp.linen_network(LinenNet(num_out, rate), to_distribution)
    module = LinenNet(num_out, rate, axis_name=None)

    def of_batch(variables, x):
        collections = {"params": variables.params, **variables.state}
        y, state = module.apply(collections, x, train=True, mutable=["batch_stats"])
        return y, dict(state)

    return Net(network, network.init(key, jnp.zeros(num_in)), of_batch)


def nnx_(num_in, num_out, rate, key, to_distribution):
    network, variables = vp.nnx_network(NNXNet(num_in, num_out, rate, nnx.Rngs(key)), to_distribution)

    def of_batch(variables, x):
        module = NNXNet(num_in, num_out, rate, nnx.Rngs(0), axis_name=None)
        nnx.update(module, variables.params, variables.state)
        return module(x), nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    return Net(network, variables, of_batch)


def equinox(num_in, num_out, rate, key, to_distribution):
    module, state = eqx.nn.make_with_state(EquinoxNet)(num_in, num_out, rate, key)
    network, variables = vp.equinox_network(module, state, to_distribution)

    def of_batch(variables, x):
        module, state = network.to_module(variables)
        module = eqx.nn.inference_mode(module, value=False)
        y, state = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
        return y, {"arrays": {}, "state": dict(zip(variables.state["state"], jax.tree.leaves(state), strict=True))}

    return Net(network, variables, of_batch)


FRAMEWORKS = {"linen": linen, "nnx": nnx_, "equinox": equinox}

# For what the adapters hardly differ in.
linen_and_others_nightly = pytest.mark.parametrize(
    "framework", ["linen", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("nnx", "equinox"))]
)


def trainable_vae(framework, *, prior=None, rate=0.0, seed=0):
    """The VAE, its parameters, and the functions of a batch."""
    prior = prior or vp.standard_normal(DIM)
    keys = jax.random.split(jax.random.key(seed), 3)
    make = FRAMEWORKS[framework]
    encoder = make(PIXELS, 2 * DIM, rate, keys[0], gaussian)
    decoder = make(DIM, PIXELS, rate, keys[1], vp.bernoulli)
    vae = vp.VAE(encoder.network, decoder.network, prior)
    params = vp.VAEParams(encoder.variables, decoder.variables, prior.init(keys[2]))
    return vae, params, (encoder.of_batch, decoder.of_batch)
