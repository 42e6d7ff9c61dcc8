"""Paired differences between priors, over seeds."""

import numpy as np
import pytest
from scipy import stats

from experiments.report import paired


def test_paired_differences_are_those_of_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5))
    found, expected = paired.compare(first, second), stats.ttest_rel(first, second)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert paired.compare([1.0, 2.0], [0.0, 1.0]).clear  # always by the same
    assert not paired.compare([1.0, 2.0], [1.0, 2.0]).clear
    assert not paired.compare([1.0], [0.0]).clear
    # How often three seeds find a difference of one standard deviation, by trying.
    tried = stats.ttest_1samp(rng.normal(1, 1, (20_000, 3)), 0, axis=1).pvalue < 0.05
    assert paired.power(3) == pytest.approx(tried.mean(), abs=0.012)
    assert "4.3 of its standard errors" in paired.strength(3)
    assert "weak test" in paired.strength(3)
    assert "weak test" not in paired.strength(10)
    assert "One seed" in paired.strength(1)
