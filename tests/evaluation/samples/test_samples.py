"""Scores of samples: bad input is refused, and values agree with other implementations."""

from functools import partial

import jax
import numpy as np
import pytest

from tests.support.feature_sets import two_sets
from vaepriors_jax.evaluation.samples import (
    bootstrap,
    density_coverage,
    frechet_distance,
    kernel_distance,
    precision_recall,
    squared_mmd,
)

KEY = jax.random.key(0)


PAIRED = {
    "frechet_distance": frechet_distance,
    "squared_mmd": squared_mmd,
    "kernel_distance": partial(kernel_distance, KEY, num_subsets=2, subset_size=10),
    "precision_recall": precision_recall,
    "density_coverage": density_coverage,
    "bootstrap": partial(bootstrap, frechet_distance, KEY, num_resamples=2),
}


@pytest.mark.parametrize("metric", PAIRED.values(), ids=PAIRED)
def test_bad_features_are_refused(metric):
    real, generated = two_sets()
    metric(real, generated)
    with pytest.raises(ValueError, match=r"features \[N, F\]; got shape \(20, 3, 1\).*Flatten"):
        metric(real[..., None], generated)
    with pytest.raises(ValueError, match=r"`generated` to be features"):
        metric(real, generated[:, 0])
    with pytest.raises(ValueError, match=r"at least 1 samples in `generated`.*got 0"):
        metric(real, generated[:0])
    with pytest.raises(ValueError, match=r"`real`.*got 0"):
        metric(real[:0], generated)
    with pytest.raises(ValueError, match="same features.*got 3 and 2"):
        metric(real, generated[:, :2])
    for value in (np.nan, np.inf):
        broken = generated.copy()
        broken[4, 1] = value
        with pytest.raises(ValueError, match=r"finite values in `generated`.*index \(4, 1\)"):
            metric(real, broken)
    constant = real.copy()
    constant[:, [0, 2]] = 7.0
    with pytest.raises(ValueError, match=r"zero variance in 2 of 3: 0, 2\."):
        metric(constant, generated)
    with pytest.raises(ValueError, match="at least"):
        metric(real, generated[:1])


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match=r"at least 4 samples in `real` \(3 features\); got 3"):
        frechet_distance(*two_sets(3, 20))
    with pytest.raises(ValueError, match="at least 4 samples in `generated`"):
        frechet_distance(*two_sets(20, 3))
    with pytest.raises(ValueError, match="at least 6 samples in `generated`"):
        density_coverage(*two_sets(20, 5))
    with pytest.raises(ValueError, match="at least 4 samples in `real`"):
        precision_recall(*two_sets(3, 20))
    with pytest.raises(ValueError, match="at least 1000 samples in `real`"):
        kernel_distance(KEY, *two_sets())
    with pytest.raises(ValueError, match="`subset_size` >= 2"):
        kernel_distance(KEY, *two_sets(), subset_size=1)
    with pytest.raises(ValueError, match="num_subsets"):
        kernel_distance(KEY, *two_sets(), num_subsets=0)
    with pytest.raises(ValueError, match="`k`"):
        precision_recall(*two_sets(), k=0)
    with pytest.raises(ValueError, match="num_resamples"):
        bootstrap(frechet_distance, KEY, *two_sets(), num_resamples=1)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap(frechet_distance, KEY, *two_sets(), confidence=95)


def test_values_of_torchmetrics_and_prdc():
    """torchmetrics 1.9.0 (float64; its KID takes sets of one size) and the authors' prdc 0.2, on the same arrays."""
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(500, 16)), 1.2 * rng.normal(size=(400, 16)) + 0.3
    assert frechet_distance(real, generated) == pytest.approx(2.6482739210319863, rel=1e-9)
    assert squared_mmd(real[:400], generated) == pytest.approx(0.44342967293155056, rel=1e-9)
    assert precision_recall(real, generated, k=3) == pytest.approx((0.4575, 0.924))
    assert precision_recall(real, generated, k=5) == pytest.approx((0.575, 0.962))
    assert density_coverage(real, generated, k=3) == pytest.approx((0.355, 0.49))
    assert density_coverage(real, generated, k=5) == pytest.approx((0.361, 0.664))
