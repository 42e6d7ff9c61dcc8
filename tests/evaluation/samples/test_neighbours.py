"""Distances to nearest neighbours: exact, in constant memory, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from tests.support.feature_sets import draw
from vaepriors_jax.evaluation.samples import density_coverage, nearest_distances, neighbours, precision_recall


def test_nearest_distances_are_exact_and_those_of_copies_are_zero():
    points, reference = draw(0, 60, 784, loc=3.0), draw(1, 90, 784, loc=3.0)
    np.testing.assert_allclose(nearest_distances(points, reference), cdist(points, reference).min(1), rtol=1e-5)
    assert (nearest_distances(reference[::2], reference) == 0).all()
    assert (nearest_distances(reference[::2] + 0.01, reference) > 0).all()


def test_memory_grows_neither_with_the_points_nor_with_the_reference():
    def temporary_bytes(num_points, num_reference):
        points, reference = (jax.ShapeDtypeStruct((n, 84), jnp.float32) for n in (num_points, num_reference))
        rows = neighbours._CHUNK_ENTRIES // num_reference
        return neighbours._nearest.lower(points, reference, 6, rows).compile().memory_analysis().temp_size_in_bytes

    small = temporary_bytes(20_000, 10_000)
    assert temporary_bytes(60_000, 10_000) < 1.2 * small + 40_000 * 84 * 4
    assert temporary_bytes(20_000, 60_000) < 1.2 * small + 2 * 50_000 * 84 * 4


def test_compiled_once_for_many_calls():
    for seed in range(3):
        precision_recall(draw(seed, 41, 3), draw(seed + 10, 41, 3))
        if seed == 0:
            sizes = neighbours._nearest._cache_size(), neighbours._count_balls._cache_size()
    assert (neighbours._nearest._cache_size(), neighbours._count_balls._cache_size()) == sizes


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-3, 1e-4])
def test_near_neighbours_far_from_the_origin_against_a_tree(spread):
    """Two clusters at +-50: distances within a cluster are far below the norm, where a product cancels."""
    rng = np.random.default_rng(0)
    centres = np.where(rng.random((400, 1)) < 0.5, -50.0, 50.0)
    points = (centres + spread * rng.normal(size=(400, 3))).astype(np.float32)
    reference = (centres[::-1] + spread * rng.normal(size=(400, 3))).astype(np.float32)
    (x, y) = (a.astype(np.float64) for a in (reference, points))
    # Float32 numbers near 50 lie 4e-6 apart, which is the error of taking the mean off.
    error = 3 * 4e-6
    np.testing.assert_allclose(nearest_distances(points, reference), cKDTree(x).query(y)[0], rtol=1e-5, atol=error)
    found = np.sqrt(neighbours.radii_of(jnp.asarray(points), 5))
    np.testing.assert_allclose(found, cKDTree(y).query(y, 6)[0][:, -1], rtol=1e-5)
    radii = cKDTree(x).query(x, 6)[0][:, -1]
    near = cdist(x, y)
    density, coverage = density_coverage(reference, points, k=5)
    assert density == pytest.approx((near < radii[:, None]).sum(0).mean() / 5, abs=0.02 if spread < 1e-3 else 2e-3)
    assert coverage == pytest.approx((near.min(1) < radii).mean(), abs=0.02 if spread < 1e-3 else 5e-3)
