"""A user's file for type checkers: marked lines must be errors, and all others must pass."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp


class Module(nn.Module):
    @nn.compact
    def __call__(self, x):
        return vp.normal_diag(nn.Dense(2)(x), jnp.ones(2))


class Networks:
    def decode(self, params, z):
        return vp.bernoulli(params @ z)


def network(params, x):
    return vp.normal_diag(params @ x, jnp.ones(2))


def annotated(params: dict[str, jax.Array], x: jax.Array) -> Any:
    return network(params["kernel"], x)


def of_parts(params, x: dict[str, jax.Array]) -> Any:
    return network(params, x["size"])


def of_label(params, x, y):
    return network(params, x + y)


def scaled(params, x, *, scale):
    return network(params, scale * x)


def one_argument(x):
    return x


def init(key):
    return {"loc": jax.random.normal(key, (2,))}


def apply(params, **context):
    return vp.normal_diag(params["loc"], jnp.ones(2))


def apply_to_label(params, *, y, **context):
    return apply(params)


prior = vp.Prior(init, apply, {})
vp.VAE(network, annotated, prior)
vp.VAE(of_label, partial(scaled, scale=2.0), vp.Prior(init, apply_to_label, {}), encoder_context=("y",))
vp.VAE(Module().apply, Networks().decode, vp.vamp(num_components=3, input_shape=(4,)))
vp.VAE(encode=lambda params, x: network(params, x), decode=jax.jit(network), prior=vp.standard_normal(2))
vp.VAE(vp.linen_network(Module()), vp.nnx_network(object(), vp.bernoulli)[0], prior)
vp.VAE(vp.linen_network(Module()), network, prior).encode(vp.Variables({}, {}), jnp.ones(2))
of_dicts = vp.VAE(of_parts, annotated, prior)
size: jax.Array = vp.generate(of_dicts, vp.VAEParams({}, {}, {}), jax.random.key(0), 3)["size"]
vp.elbo(of_dicts, vp.VAEParams({}, {}, {}), jax.random.key(0), {"size": jnp.ones(2)})
vp.VAE(one_argument, network, prior)  # error
vp.VAE(network, lambda z: z, prior)  # error
vp.Prior(init, lambda: 1, {})  # error
vp.mixture("two", 3)  # error

optimizer = optax.adam(1e-3)
state = vp.init_train_state(vp.VAEParams({}, {}, {}), optimizer)
updates, opt_state = optimizer.update(state.params, state.opt_state, state.params)
label: str = repr(prior)
same: bool = prior == vp.standard_normal(2)
flow: vp.Flow = vp.flows.affine_coupling(2)
vp.evaluation.samples.frechet_distance(jnp.ones((9, 2)), jnp.ones((9, 2)))
