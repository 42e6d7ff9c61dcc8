"""Networks with BatchNorm and Dropout in training, in each framework."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import binary_data
from tests.support.trainable_networks import DIM, FRAMEWORKS, trainable_vae

KEY = jax.random.key(0)
BATCH, RATE = 20, 0.1

every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


def own_loop(networks, params, batches, num_samples):
    """Training by SGD on whole batches, as a user of the framework writes it: the ELBO with a N(0, I) prior."""
    encode, decode = networks

    def loss(trained, states, noise, x):
        raw, encoder_state = encode(vp.Variables(trained[0], states[0]), x)
        loc, log_scale = raw[:, None, :DIM], raw[:, None, DIM:]
        z = loc + jnp.exp(log_scale) * noise
        logits, decoder_state = decode(vp.Variables(trained[1], states[1]), z.reshape(-1, DIM))
        logits = logits.reshape(*noise.shape[:2], -1)
        reconstruction = (x[:, None] * logits - jnp.logaddexp(logits, 0)).sum(-1).mean()
        kl = 0.5 * (loc**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1).mean()
        return kl - reconstruction, (encoder_state, decoder_state)

    trained, states = ([getattr(net, part) for net in params[:2]] for part in ("params", "state"))
    for step, x in enumerate(batches):
        keys = jax.random.split(jax.random.split(jax.random.fold_in(KEY, step))[1], len(x))
        noise = jax.vmap(lambda key: jax.random.normal(key, (num_samples, DIM)))(keys)
        gradient, states = jax.jit(jax.grad(loss, has_aux=True))(trained, states, noise, x)
        trained = jax.tree.map(lambda p, g: p - RATE * g, trained, gradient)
    return [vp.Variables(*pair) for pair in zip(trained, states, strict=True)]


def train(vae, params, batches, mesh=None, **objective):
    optimizer = optax.sgd(RATE)
    step = vp.make_train_step(vae, optimizer, objective=vp.Objective(**objective), mesh=mesh)
    state = vp.init_train_state(params, optimizer)
    for x in batches:
        state, _ = step(state, KEY, {"x": x})
    return state


def batches(num=10):
    return binary_data(BATCH * num)["x"].reshape(num, BATCH, -1)


def assert_close(found, expected, atol=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), found, expected)


@every_framework
@pytest.mark.parametrize("num_samples", [1, 3])
def test_parameters_and_running_statistics_are_those_of_the_frameworks_own_loop(framework, num_samples):
    vae, params, networks = trainable_vae(framework)
    found = train(vae, params, batches(), num_samples=num_samples).params
    expected = own_loop(networks, params, batches(), num_samples)
    assert_close([found.encoder, found.decoder], expected)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), found.encoder, params.encoder)
    assert max(jax.tree.leaves(moved.params)) > 0.01
    assert max(jax.tree.leaves(moved.state)) > 0.1
