"""Distances to nearest neighbours: exact, in constant memory, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist

from tests.feature_sets import draw
from vaepriors_jax.evaluation import neighbours
from vaepriors_jax.evaluation.samples import nearest_distances, precision_recall


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
