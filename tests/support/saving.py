"""A small model to save, and processes that save until they are killed."""

import itertools

import jax
import numpy as np

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae

UNREADABLE = "Expected a model saved by `save_model`"
PRIOR = vp.mixture(2, 3)
SIZE = 2**19  # 2 MB, so that a part of the time of a save is spent writing


def model(value):
    """Parameters that all have one value."""
    shapes = {"loc": (3, 2), "log_scale": (3, 2), "logits": (3,)}
    prior = {name: np.full(shape, value, np.float32) for name, shape in shapes.items()}
    return vp.VAEParams(np.full(SIZE, value, np.float32), {}, prior)


def small_model():
    vae, params = bernoulli_vae()
    return vae.prior, params


def other_model():
    prior, params = small_model()
    return prior, jax.tree.map(lambda leaf: leaf + 1, params)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def save_for_ever(folder, saving):
    """Saves models of the values 1, 2, ... in turn; `saving` is set when the first one is on the disk."""
    for value in itertools.count(1):
        vp.save_model(folder, PRIOR, model(value))
        saving.set()
