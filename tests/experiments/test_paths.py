"""Paths of high density: their ends are those of the line, and their mean log-density is higher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from experiments.measures.paths import dense_path, straight_line


def mixture_of_a_bend(params, z):
    """Three components at the corners of an L: the line between its ends leads through a hole."""
    return vp.DiagonalMixture(jnp.full(3, -jnp.log(3.0)), params, jnp.full((3, 2), 0.7)).log_prob(z)


def standard(params, z):
    del params
    return vp.normal_diag(jnp.zeros(2), jnp.ones(2)).log_prob(z)


CORNERS = jnp.array([[-3.0, 3.0], [-3.0, -3.0], [3.0, -3.0]])


@pytest.mark.parametrize(("log_prob", "least"), [(mixture_of_a_bend, 2.0), (standard, 0.5)])
def test_a_path_keeps_its_ends_and_has_a_higher_density_than_the_line(log_prob, least):
    first, last = (
        (CORNERS[0], CORNERS[2] - 0.5) if log_prob is mixture_of_a_bend else jnp.array([[3.0, 0.0], [0.0, 3.0]])
    )
    line, path = straight_line(first, last, 9), dense_path(log_prob, CORNERS, first, last, 9)
    np.testing.assert_array_equal(path[jnp.array([0, -1])], line[jnp.array([0, -1])])
    assert jnp.mean(log_prob(CORNERS, path)) > jnp.mean(log_prob(CORNERS, line)) + least
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert steps.max() < 1.2 * steps.min()  # no jump over a hole


def test_where_nothing_is_gained_the_path_is_the_line():
    """Also with equal ends."""
    for last in (jnp.array([3.0, 0.0]), jnp.array([-3.0, 0.0])):
        first = jnp.array([-3.0, 0.0])
        path = dense_path(lambda params, z: jnp.zeros(len(z)), None, first, last, 5)
        np.testing.assert_allclose(path, straight_line(first, last, 5), atol=1e-6)
        assert np.isfinite(jax.device_get(path)).all()
