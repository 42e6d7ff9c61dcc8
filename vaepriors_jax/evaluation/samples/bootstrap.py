"""Intervals and standard errors of a metric of two sets of samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import ndtri, stdtrit

from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.samples.feature_sets import check_pair, row_chooser


class Interval(NamedTuple):
    """An estimate with an interval; each number has the shape of what the metric returns.

    Attributes:
        estimate: the metric of all samples, and its standard error from the choice of samples.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    estimate: Estimate
    low: Any
    high: Any


def bootstrap(
    metric: Callable[[np.ndarray, np.ndarray], Any],
    key: jax.Array,
    real: Any,
    generated: Any,
    *,
    num_resamples: int = 100,
    confidence: float = 0.95,
) -> Interval:
    r"""Estimates how far a metric depends on the choice of real and of generated samples.

    A resample is a random half of each set, drawn without replacement. The variance of its metric given the data is
    that of the metric of a whole sample ($\sigma^2/m\,(1 - m/N) = \sigma^2/N$ at m = N/2), so nothing is rescaled.
    Drawn with replacement, samples would repeat, and repeated samples are their own nearest neighbours: the coverage of
    two sets of 300 samples of one distribution fell from 0.97 to 0.82.

    The metric of half as many samples can have another bias. The interval corrects for it: its ends are the metric of
    all samples plus c times (a quantile of the resamples - their mean). The factor c is the ratio of the quantiles of
    Student's t, for half the smaller set, and of the normal distribution. Of 1,000 intervals for a standard deviation
    at 95 %, 94 % contained it, with N = 50 and with N = 100. The interval is too wide for the FID and KID of two sets
    of one distribution, whose error falls faster than $1/\sqrt{N}$ (1.7 times in a simulation with N = 300), and for
    shares near 1 (1.2 to 1.4 times).

    Args:
        metric: `metric(real, generated)` returns a number, or several, such as `precision_recall`.
        key: a random key.
        real: features [N, F].
        generated: features [M, F].
        num_resamples: number of resamples.
        confidence: probability that the interval contains the expectation of the metric.

    Returns:
        An `Interval`.

    Raises:
        ValueError: fewer than 2 resamples, a confidence outside (0, 1), or the metric raises it for a half.
        TypeError: `key` is not a random key.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples import bootstrap, precision_recall
        >>> real, same = jax.random.normal(jax.random.key(0), (2, 200, 2))
        >>> interval = bootstrap(precision_recall, jax.random.key(1), real, same, num_resamples=20)
        >>> interval.estimate.mean.shape, bool((interval.low < interval.high).all())
        ((2,), True)

    References:
        Politis & Romano (1994), Large sample confidence regions based on subsamples under minimal assumptions;
        Shao & Wu (1989), A general theory for jackknife variance estimation.
    """
    key = check_key(key)
    check_positive_integer(num_resamples=num_resamples)
    if num_resamples < 2 or not 0 < confidence < 1:
        raise ValueError(
            f"Expected `num_resamples` >= 2 and `confidence` between 0 and 1; got {num_resamples} and {confidence!r}."
        )
    real, generated = check_pair(real, generated, 4)
    value = np.asarray(metric(real, generated), np.float64)
    chooser = row_chooser(key)
    resampled = []
    for _ in range(num_resamples):
        halves = [array[chooser.choice(len(array), len(array) // 2, replace=False)] for array in (real, generated)]
        resampled.append(np.asarray(metric(*halves), np.float64))
    # These quantiles are exceeded by a new resample with the right probability, however few resamples there are.
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(resampled, tails, axis=0, method="weibull") - np.mean(resampled, 0)
    # The spread is estimated from the samples as well, hence Student's t.
    widening = stdtrit(min(len(real), len(generated)) // 2 - 1, tails[1]) / ndtri(tails[1])
    # At odd N the spread of the halves is slightly larger than that of a whole sample.
    error = np.std(resampled, axis=0, ddof=1)
    return Interval(Estimate(value, error), value + widening * low, value + widening * high)
