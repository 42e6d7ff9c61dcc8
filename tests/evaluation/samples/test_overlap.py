"""Precision, recall, density and coverage against brute force, known cases and published values."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tests.support.feature_sets import draw
from vaepriors_jax.evaluation.samples import density_coverage, neighbours, precision_recall

KEY = jax.random.key(0)


def prdc_by_brute_force(real, generated, k):
    within_real, within_generated = cdist(real, real), cdist(generated, generated)
    np.fill_diagonal(within_real, np.inf)
    np.fill_diagonal(within_generated, np.inf)
    radii, others = np.sort(within_real, 1)[:, k - 1], np.sort(within_generated, 1)[:, k - 1]
    between = cdist(real, generated)
    precision = (between <= radii[:, None]).any(0).mean()
    recall = (between <= others[None]).any(1).mean()
    density = (between < radii[:, None]).sum(0).mean() / k
    coverage = (between.min(1) < radii).mean()
    return precision, recall, density, coverage


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("num_real", "num_generated", "entries"), [(150, 100, None), (64, 203, 1000), (50, 50, 1)])
def test_precision_recall_density_coverage_agree_with_brute_force(monkeypatch, k, num_real, num_generated, entries):
    if entries:
        monkeypatch.setattr(neighbours, "_CHUNK_ENTRIES", entries)
    real, generated = draw(0, num_real, 7, loc=5.0), draw(1, num_generated, 7, scale=1.2, loc=5.4)
    expected = prdc_by_brute_force(real.astype(np.float64), generated.astype(np.float64), k)
    got = (*precision_recall(real, generated, k=k), *density_coverage(real, generated, k=k))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_precision_recall_density_coverage_of_known_cases():
    grid = np.stack(np.meshgrid(*[np.arange(-2.0, 3.0)] * 2), -1).reshape(-1, 2)
    assert precision_recall(grid, grid) == (1.0, 1.0)
    rows = np.cumsum(np.arange(-10.0, 11.0) ** 2)[:, None]
    rows = rows - rows.mean().round()  # no ties between neighbours, and exact in float32
    assert density_coverage(rows, rows).coverage == 1.0
    assert precision_recall(grid, grid + 100) == (0.0, 0.0)
    assert density_coverage(grid, grid + 100) == (0.0, 0.0)
    # All samples at one real image: precise, dense, and they cover only the neighbourhoods that hold it.
    collapsed = np.zeros((10, 2))
    precise = precision_recall(grid, collapsed, k=4)
    assert (precise.precision, precise.recall) == (1.0, 1 / 25)
    # Strictly within the distance 1 to the 4th neighbour of an inner point there is the point itself; corners and
    # edges reach further, but none as far as the centre.
    assert density_coverage(grid, collapsed, k=4) == (1 / 4, 1 / 25)


def test_copies_among_the_real_samples():
    """Each three times: neighbourhoods of radius 0 hold nothing for k = 2; for k = 5 they reach another sample."""
    real, generated = np.repeat(draw(0, 40, 3), 3, axis=0), draw(1, 60, 3)
    assert density_coverage(real, generated, k=2) == (0.0, 0.0)
    expected = prdc_by_brute_force(real.astype(np.float64), generated.astype(np.float64), 5)[2:]
    np.testing.assert_allclose(density_coverage(real, generated, k=5), expected, rtol=1e-12)
    assert expected[1] > 0


def test_alike_samples_have_density_one_and_the_expected_coverage():
    """Exchangeability: density 1, and coverage 1 - P(the k nearest of 2N - 1 are all real), about 1 - 2^-k."""
    runs = [density_coverage(draw(i, 1000, 5), draw(100 + i, 1000, 5), k=5) for i in range(20)]
    for values, expected in zip(np.transpose(runs), (1.0, 1 - 2.0**-5), strict=True):
        assert abs(values.mean() - expected) < 5 * values.std(ddof=1) / np.sqrt(len(values))


@pytest.mark.nightly
def test_published_check_value():
    """10,000 against 10,000 of one 1000-d Gaussian, k = 5: .4772, .4705, 1.0555, .9735 in the authors' README.

    Two pairs of samples here differ by the Gaussian's norm, by chance, as did theirs; the standard deviations are of
    five seeds: 0.009, 0.013, 0.052 and 0.005.
    """
    real, generated = np.asarray(jax.random.normal(KEY, (2, 10_000, 1000)))
    precise, dense = precision_recall(real, generated, k=5), density_coverage(real, generated, k=5)
    np.testing.assert_array_less(np.abs(np.subtract(precise, (0.4772, 0.4705))), 4 * np.array([0.009, 0.013]))
    np.testing.assert_array_less(np.abs(np.subtract(dense, (1.0555, 0.9735))), 4 * np.array([0.052, 0.005]))
