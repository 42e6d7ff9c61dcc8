"""FID and KID against the matrix square root, closed forms and loops."""

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from tests.support.feature_sets import draw
from vaepriors_jax.evaluation.samples import frechet_distance, kernel_distance, squared_mmd

KEY = jax.random.key(0)


@pytest.mark.parametrize("num_samples", [11, 40, 2000])
def test_frechet_distance_agrees_with_the_matrix_square_root(num_samples):
    mixing = np.random.default_rng(1).normal(size=(10, 10))
    real = draw(2, num_samples, 10).astype(np.float64) @ mixing
    generated = draw(3, num_samples, 10).astype(np.float64) * np.linspace(0.1, 3, 10) + 1
    first, second = np.cov(real.T), np.cov(generated.T)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = np.sum((real.mean(0) - generated.mean(0)) ** 2) + np.trace(first + second - 2 * root)
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(generated, real) == pytest.approx(expected, rel=1e-6)


def with_moments(seed, num_samples, mean, covariance):
    """A sample whose mean and covariance are exactly these."""
    x = np.random.default_rng(seed).normal(size=(num_samples, len(mean)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_between_gaussians_in_closed_form():
    rotation = scipy.stats.ortho_group.rvs(6, random_state=0)
    variances, others = np.array([1e-4, 0.1, 1.0, 2.0, 9.0, 30.0]), np.array([1.0, 1e-3, 1.0, 5.0, 4.0, 10.0])
    first, second = ((rotation * values) @ rotation.T for values in (variances, others))
    shift = np.arange(6.0)
    expected = np.sum(shift**2) + np.sum((np.sqrt(variances) - np.sqrt(others)) ** 2)
    # An offset of 1000 costs four digits in float32, and nothing that matters in float64.
    real, generated = with_moments(0, 500, 1000 + shift, first), with_moments(1, 300, np.full(6, 1000.0), second)
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(real, real[::-1] + 2) == pytest.approx(24, rel=1e-8)


def test_frechet_distance_of_a_collapsed_generator_and_of_one_feature():
    real = with_moments(0, 100, np.zeros(3), np.diag([1.0, 2.0, 3.0]))
    assert frechet_distance(real, np.ones((50, 3))) == pytest.approx(3 + 6)
    assert frechet_distance(real[:, :1], 3 * real[:, :1]) == pytest.approx(4)


def squared_mmd_by_loops(real, generated):
    def kernel(x, y):
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    def within(x):
        return np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])

    return within(real) + within(generated) - 2 * np.mean([kernel(a, b) for a in real for b in generated])


def test_kernel_distance_agrees_with_loops():
    real, generated = draw(0, 20, 4).astype(np.float64), draw(1, 13, 4, loc=0.5).astype(np.float64)
    expected = squared_mmd_by_loops(real, generated)
    assert squared_mmd(real, generated) == pytest.approx(expected, rel=1e-10)
    whole = kernel_distance(KEY, real[:13], generated, num_subsets=3, subset_size=13)
    assert whole.mean == pytest.approx(squared_mmd_by_loops(real[:13], generated), rel=1e-10)
    assert np.isnan(whole.standard_error)


def test_kernel_distance_uses_subsets_of_the_size_asked_for():
    """With subsets of two, every value is one of the few that two pairs can give."""
    real, generated = draw(0, 3, 2).astype(np.float64), draw(1, 3, 2).astype(np.float64)
    pairs = [[0, 1], [0, 2], [1, 2]]
    possible = [squared_mmd_by_loops(real[a], generated[b]) for a in pairs for b in pairs]
    values = [kernel_distance(jax.random.key(i), real, generated, num_subsets=1, subset_size=2).mean for i in range(60)]
    nearest = np.abs(np.subtract.outer(values, possible)).argmin(1)
    np.testing.assert_allclose(values, np.take(possible, nearest), rtol=1e-9)
    assert len(set(nearest.tolist())) == 9


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_kernel_distance_is_unbiased_and_its_error_covers_the_choice_of_examples(shift):
    runs = [
        kernel_distance(
            jax.random.key(i),
            draw(i, 400, 3),
            draw(1000 + i, 400, 3, loc=shift),
            num_subsets=20,
            subset_size=100,
        )
        for i in range(200)
    ]
    means, errors = np.array([run.mean for run in runs]), np.array([run.standard_error for run in runs])
    exact = exact_squared_mmd(shift)
    assert abs(means.mean() - exact) < 4 * means.std(ddof=1) / np.sqrt(len(means))
    if shift:
        assert 0.8 < errors.mean() / means.std(ddof=1) < 1.25
    else:  # degenerate under equality: the error is on the safe side
        assert 0.8 < errors.mean() / means.std(ddof=1) < 4


def exact_squared_mmd(shift):
    """MMD^2 of N(0, I) and N(shift, I) in 3-d, from the moments of the features of the kernel's expansion."""

    def moment(powers, loc):
        return np.prod([scipy.stats.norm(loc).moment(p) if p else 1.0 for p in powers])

    total = 0.0
    for powers in np.ndindex(4, 4, 4):
        if sum(powers) <= 3:
            counts = [*powers, 3 - sum(powers)]
            coefficient = 6 / np.prod([float(np.prod(range(1, c + 1))) for c in counts]) / 3.0 ** sum(powers)
            total += coefficient * (moment(powers, 0.0) - moment(powers, shift)) ** 2
    return total
