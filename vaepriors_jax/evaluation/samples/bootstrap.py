"""How certain a metric of two sets of samples is, from the choice of samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import ndtri, stdtrit

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.evaluation.samples.feature_sets import check_pair, row_chooser


class Interval(NamedTuple):
    """A value and how certain it is; each field has the shape of what the metric gives back.

    Attributes:
        value: the metric of all samples.
        low: lower end of the interval.
        high: upper end of the interval.
        standard_error: standard error from the choice of samples.
    """

    value: Any
    low: Any
    high: Any
    standard_error: Any


def bootstrap(
    key: jax.Array,
    metric: Callable[[np.ndarray, np.ndarray], Any],
    real: Any,
    generated: Any,
    *,
    num_resamples: int = 100,
    confidence: float = 0.95,
) -> Interval:
    r"""Interval and standard error of a metric, from the choice of real and of generated samples.

    A resample is a random half of each set, without replacement. Its variance given the data is that of the metric of
    a whole sample ($\sigma^2/m\,(1 - m/N) = \sigma^2/N$ at m = N/2), so nothing is rescaled. Drawn with replacement,
    samples would repeat, and repeated samples are their own neighbours: coverage of two alike sets of 300 fell from
    0.97 to 0.82. The metric of half as many samples can be biased otherwise; the interval is centred for that, at
    `value` + (quantile of the resamples - their mean), widened by Student's t at half the smaller set. Intervals of
    95 % of a standard deviation held it in 94 % of 1,000 simulations with N = 50 and with N = 100. The interval errs on
    the wide side for FID and KID of sets that are alike,
    whose error falls faster than $1/\sqrt{N}$ (1.7 times in a simulation with N = 300), and for shares near 1 (1.2 to
    1.4 times).

    Args:
        key: a random key.
        metric: `metric(real, generated)` gives a number, or several, such as `precision_recall`.
        real: features [N, F].
        generated: features [M, F].
        num_resamples: number of resamples.
        confidence: probability that the interval holds the metric's expectation.

    Returns:
        An `Interval`: value, low, high and standard error.

    Raises:
        ValueError: fewer than 2 resamples, a confidence outside (0, 1), or halves on which the metric itself raises.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples import bootstrap, precision_recall
        >>> real, same = jax.random.normal(jax.random.key(0), (2, 200, 2))
        >>> interval = bootstrap(jax.random.key(1), precision_recall, real, same, num_resamples=20)
        >>> interval.value.shape, bool((interval.low < interval.high).all())
        ((2,), True)

    References:
        Politis & Romano (1994), Large sample confidence regions based on subsamples under minimal assumptions;
        Shao & Wu (1989), A general theory for jackknife variance estimation.
    """
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
    # The plotting position of a quantile that a new resample exceeds with the right probability, however few they are.
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(resampled, tails, axis=0, method="weibull") - np.mean(resampled, 0)
    # The spread is estimated from the samples too, as in Student's t.
    widening = stdtrit(min(len(real), len(generated)) // 2 - 1, tails[1]) / ndtri(tails[1])
    # The spread of half-samples: at odd N a little more than that of the whole, which errs on the safe side.
    return Interval(value, value + widening * low, value + widening * high, np.std(resampled, axis=0, ddof=1))
