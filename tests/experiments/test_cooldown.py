"""`--cooldown-epochs`: small steps at the end of training raise the ELBO, and the better parameters are kept."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from experiments.training import cooldown
from experiments.training.grid import best_elbo
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, exploding, stacked

KEYS = jax.random.split(jax.random.key(0), 2)


def result(params, elbos, best_epoch):
    history = {"validation_elbo": np.array(elbos, float)}
    return vp.FitResult({"w": jnp.array(params)}, SimpleNamespace(), np.array(best_epoch), history, (), 1.0, 1.0)


def test_the_better_parameters_are_kept_for_each_replica():
    first = result([[1.0], [2.0], [3.0]], [[-9, -7, -8], [-9, -5, -6], [-4, np.nan, np.nan]], [2, 2, 1])
    second = result([[10.0], [20.0], [30.0]], [[-6, -6.5], [-5.5, -5.1], [np.nan, np.nan]], [1, 2, 0])
    joined = cooldown.join(first._replace(seconds_per_epoch=np.nan), second)  # of a run that was finished before
    assert joined.seconds_per_epoch == 1
    np.testing.assert_array_equal(joined.params["w"], [[10.0], [2.0], [3.0]])
    np.testing.assert_array_equal(joined.best_epoch, [4, 2, 1])
    assert joined.history["validation_elbo"].shape == (3, 5)
    np.testing.assert_array_equal(best_elbo(joined), [-6, -5, -4])


def trained(optimizer, rates, **options):
    """Two replicas that are trained at a large learning rate, and then at a tenth of it."""
    vae, params = bernoulli_vae()
    options |= {"batch_size": 20, "optimizer": optimizer, "progress": False}
    options |= {"data": binary_data(), "validation": binary_data(seed=1)}
    first = vp.fit(vae, stacked(params, 2), KEYS, num_epochs=15, hyperparameters={"learning_rate": rates}, **options)
    return first, functools.partial(cooldown.cool, first, vae, KEYS, rates, num_epochs=5, **options)


def test_small_steps_at_the_end_raise_the_elbo():
    first, cool = trained(lambda learning_rate: optax.adam(learning_rate), np.float32([0.3, 0.3]))
    joined = cool()
    assert (best_elbo(joined) > best_elbo(first) + 0.05).all()
    assert (joined.best_epoch > 15).all()
    assert joined.history["elbo"].shape == (2, 20)


def test_what_fails_then_leaves_what_was_there():
    """An optimiser that breaks down below a learning rate of 0.1."""

    def breaking(learning_rate):
        return exploding(at_step=2)(learning_rate < 0.1)

    first, cool = trained(breaking, np.float32([0.5, 0.5]))
    with pytest.warns(RuntimeWarning, match="frozen at step"):
        joined = cool()
    assert joined.failures == ()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(joined.params))
    assert (best_elbo(joined) >= best_elbo(first)).all()
