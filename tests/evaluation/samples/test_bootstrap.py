"""Bootstrap intervals against known standard errors, and their coverage."""

import jax
import numpy as np
import pytest
from scipy.special import gammaln

from tests.support.feature_sets import draw
from vaepriors_jax.evaluation.samples import bootstrap, density_coverage, precision_recall

KEY = jax.random.key(0)


def test_bootstrap_error_of_a_mean_is_the_known_one():
    real, generated = draw(0, 400, 1), draw(1, 100, 1, scale=2.0)
    interval = bootstrap(lambda x, y: x.mean() - y.mean(), KEY, real, generated, num_resamples=2000)
    expected = np.sqrt(real.var(ddof=1) / 400 + generated.var(ddof=1) / 100)
    assert interval.estimate.mean == pytest.approx(real.mean() - generated.mean())
    # A standard deviation from 2,000 draws has a relative standard error of 1 / sqrt(4000).
    assert interval.estimate.standard_error == pytest.approx(expected, rel=5 / np.sqrt(4000))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * expected, rel=0.15)


@pytest.mark.slow
def test_intervals_of_a_standard_deviation_hold_it_as_often_as_they_say():
    """Within three standard errors of 95 % over 1,500 data sets; it was 92 %."""
    samples = np.random.default_rng(0).normal(size=(1500, 100, 1))
    # The mean of the standard deviation (with N) of N normal values: c_4 sqrt((N - 1) / N).
    expected = np.exp(gammaln(50) - gammaln(49.5)) * np.sqrt(2 / 99) * np.sqrt(99 / 100)
    held = 0
    for seed, sample in enumerate(samples):
        found = bootstrap(lambda x, y: x.std(), jax.random.key(seed), sample, samples[0])
        held += found.low <= expected <= found.high
    assert held / 1500 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.nightly
def test_bootstrap_intervals_hold_the_expectation():
    """Precision, recall, density and coverage: at most 5 % of intervals miss, up to 4 standard deviations of that."""

    def metric(real, generated):
        return (*precision_recall(real, generated), *density_coverage(real, generated))

    pairs = [(draw(i, 100, 4), draw(1000 + i, 100, 4, scale=0.8)) for i in range(50)]
    intervals = [bootstrap(metric, jax.random.key(i), *pair, num_resamples=50) for i, pair in enumerate(pairs)]
    values = np.array([interval.estimate.mean for interval in intervals])
    expected = values.mean(0)
    held = np.mean([(interval.low <= expected) & (expected <= interval.high) for interval in intervals], axis=0)
    assert (held > 0.95 - 4 * np.sqrt(0.05 * 0.95 / len(pairs)) - 0.02).all()
    errors = np.mean([interval.estimate.standard_error for interval in intervals], axis=0)
    ratio = errors / values.std(0, ddof=1)
    assert (ratio > 0.65).all()  # 3.5 standard errors of a standard deviation from 50 draws
    assert (ratio < 2).all()  # half as many samples overlap less: wide, where precision is near 1
