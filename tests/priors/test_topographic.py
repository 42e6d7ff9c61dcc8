"""Topographic priors: their grid, and their start from data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from vaepriors_jax.priors.grid_map import grid_points, principal_plane

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
# On a plane in four dimensions, apart from a little noise.
AXES = np.array([[3.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.8, 0.0]])
Z = 1.5 + RNG.normal(size=(2000, 2)) @ AXES + 0.05 * RNG.normal(size=(2000, 4))


def test_a_grid_runs_from_minus_one_to_one():
    np.testing.assert_allclose(grid_points((2, 3))[:4], [[-1, -1], [-1, 0], [-1, 1], [1, -1]])
    np.testing.assert_allclose(grid_points((1, 2)), [[0, -1], [0, 1]])
    assert grid_points((3, 4, 5)).shape == (60, 3)


def test_the_principal_plane_is_that_of_the_data():
    mean, plane, left = principal_plane(Z, 2)
    np.testing.assert_allclose(mean, 1.5, atol=0.2)
    np.testing.assert_allclose(plane, 2 * AXES, atol=0.2)
    np.testing.assert_allclose(left.sum(), 2 * 0.05**2, rtol=0.1)
    # More directions than dimensions, and fewer examples than dimensions.
    assert np.isfinite(principal_plane(Z[:, :1], 2)[1]).all()
    assert np.isfinite(principal_plane(Z[:2], 3)[1]).all()


def test_a_map_that_starts_from_data_has_more_density_there_than_one_normal():
    prior = vp.topographic_map(4, (8, 8), hidden=(4,))
    params = vp.init_from_data(prior, KEY, z=Z)
    start = np.mean(jax.jit(lambda z: prior.apply(params).log_prob(z))(Z.astype(np.float32)))
    normal = np.mean(vp.normal_diag(jnp.asarray(Z.mean(0)), jnp.asarray(Z.std(0))).log_prob(Z))
    assert start > normal


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 255.0), None])
def test_pseudo_inputs_on_a_grid_start_at_the_principal_plane_of_the_data(bounds):
    unit = 255.0 if bounds == (0.0, 255.0) else 1.0
    x = unit * (0.5 + 0.05 * (RNG.normal(size=(500, 1)) * np.ones((1, 6)))).reshape(500, 2, 3)
    prior = vp.topographic_vamp((3, 1), (2, 3), hidden=(4,), bounds=bounds)
    inputs = np.asarray(vp.pseudo_inputs(prior, vp.init_from_data(prior, KEY, x=x))) / unit
    np.testing.assert_allclose(inputs[:, 0, 0], [0.4, 0.5, 0.6], atol=0.02)
    np.testing.assert_allclose(inputs - inputs[:, :1, :1], 0, atol=1e-4)


def test_pseudo_inputs_on_a_grid_stay_within_the_bounds_and_are_found_through_other_priors():
    prior = vp.transformed(vp.topographic_vamp((3, 2), (4,), hidden=(4,)), vp.affine_coupling(2, hidden=(4,)))
    params = jax.tree.map(lambda leaf: 10 * leaf + 1, prior.init(KEY))
    inputs = vp.pseudo_inputs(prior, params)
    assert inputs.shape == (6, 4)
    assert ((inputs >= 0) & (inputs <= 1)).all()
    with pytest.raises(ValueError, match=r"Expected `x` within the bounds \(0, 1\)"):
        vp.init_from_data(prior, KEY, x=np.full((5, 4), 3.0))
