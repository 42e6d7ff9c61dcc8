"""Modules of NNX and Equinox that hold a prior, trained by loops of their users: both end where the density says."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import vaepriors_jax as vp

KEY = jax.random.key(0)
Z = jnp.array([1.0, -2.0]) + jnp.array([0.5, 2.0]) * jax.random.normal(KEY, (200, 2))


class NNXLatent(nnx.Module):
    """A prior and its parameters, as attributes of a module."""

    def __init__(self, prior: vp.Prior, rngs: nnx.Rngs):
        self.prior = prior
        self.params = nnx.data(jax.tree.map(nnx.Param, prior.init(rngs.params())))

    def __call__(self):
        return self.prior.apply(jax.tree.map(lambda p: p[...], self.params, is_leaf=lambda p: isinstance(p, nnx.Param)))


class EquinoxLatent(eqx.Module):
    """A prior and its parameters, as attributes of a module."""

    prior: vp.Prior = eqx.field(static=True)
    params: dict

    def __call__(self):
        return self.prior.apply(self.params)


def loss_of(module):
    return -jnp.mean(module().log_prob(Z))


def train_nnx():
    module = NNXLatent(vp.mixture(2, 1), nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.adam(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(module, optimizer):
        optimizer.update(module, nnx.grad(loss_of)(module))

    for _ in range(800):
        step(module, optimizer)
    return module


def train_equinox():
    prior = vp.mixture(2, 1)
    module, optimizer = EquinoxLatent(prior, prior.init(KEY)), optax.adam(0.05)
    state = optimizer.init(eqx.filter(module, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(module, state):
        updates, state = optimizer.update(eqx.filter_grad(loss_of)(module), state)
        return eqx.apply_updates(module, updates), state

    for _ in range(800):
        module, state = step(module, state)
    return module


@pytest.mark.parametrize("train", [train_nnx, train_equinox])
def test_a_module_that_holds_a_prior_trains(train):
    fitted = train()()
    np.testing.assert_allclose(fitted.mean(), Z.mean(0), atol=0.02)
    np.testing.assert_allclose(jnp.sqrt(fitted.variance()), Z.std(0), rtol=0.02)
