"""The memorisation score tells copies of training examples from new samples."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tests.support.feature_sets import draw, two_sets
from vaepriors_jax.evaluation.samples import memorization


def test_memorization_tells_copies_from_fresh_samples():
    train, test, fresh = draw(0, 2000, 4), draw(1, 1000, 4), draw(2, 4000, 4)
    fair = memorization(train, test, fresh, quantile=0.1)
    held_out, sampled = cdist(test, train).min(1), cdist(fresh, train).min(1)
    assert fair.test_distance == pytest.approx(held_out.mean(), rel=1e-5)
    assert fair.generated_distance == pytest.approx(sampled.mean(), rel=1e-5)
    assert fair.threshold == pytest.approx(np.quantile(held_out, 0.1), rel=1e-5)
    assert fair.close_share == pytest.approx(np.mean(sampled <= np.quantile(held_out, 0.1)), abs=1e-3)
    # 0.1 within 5 standard errors, of the quantile and of the share.
    assert abs(fair.close_share - 0.1) < 5 * np.sqrt(0.09 * (1 / 1000 + 1 / 4000))
    assert fair.ratio == pytest.approx(1, abs=0.05)
    half = memorization(train, test, np.concatenate([train[:500], fresh[:500]]))
    assert half.ratio == pytest.approx(0.5, abs=0.05)
    assert 0.5 <= half.close_share < 0.54


def test_bad_input_of_memorization_is_refused():
    train, test = two_sets()
    with pytest.raises(ValueError, match="quantile"):
        memorization(train, test, test, quantile=1)
    with pytest.raises(ValueError, match="copies"):
        memorization(train, train[:5], test)
    with pytest.raises(ValueError, match="zero variance in 3 of 3"):
        memorization(np.ones((5, 3)), test, test)
    with pytest.raises(ValueError, match="got 2 and 3"):
        memorization(train, test, test[:, :2])
    with pytest.raises(ValueError, match="`generated`"):
        memorization(train, test, test[:0])
