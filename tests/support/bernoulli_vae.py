"""A small VAE of binary pixels with data, and an optimiser that fails, for tests of training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp


def bernoulli_vae(prior=None):
    """A linear VAE of 6 binary pixels with 2 latents."""
    prior = prior or vp.mixture(2, 3)
    vae = vp.VAE(
        encode=lambda p, x: vp.normal_diag(p["weight"] @ x, jnp.exp(p["log_scale"])),
        decode=lambda p, z: vp.bernoulli(p["weight"] @ z + p["bias"]),
        prior=prior,
    )
    keys = jax.random.split(jax.random.key(7), 3)
    params = vp.VAEParams(
        {"weight": 0.3 * jax.random.normal(keys[0], (2, 6)), "log_scale": jnp.zeros(2)},
        {"weight": 0.3 * jax.random.normal(keys[1], (6, 2)), "bias": jnp.zeros(6)},
        prior.init(keys[2]),
    )
    return vae, params


def binary_data(num=200, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, num)
    x = rng.random((num, 6)) < np.where(group[:, None], [0.9] * 3 + [0.1] * 3, [0.1] * 3 + [0.9] * 3)
    return {"x": x.astype(np.float32)}


def stacked(params, num):
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * num), params)


def exploding(at_step):
    """An optimiser whose update is infinite at one step, where `explode` is 1."""

    def make(explode):
        def update(updates, count, params=None):
            del params
            bad = jnp.where((count == at_step) & (explode > 0), jnp.inf, 0.0)
            return jax.tree.map(lambda u: -1e-3 * u + bad, updates), count + 1

        return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)

    return make
