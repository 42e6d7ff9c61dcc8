"""Is a difference between two models larger than the noise between seeds? A paired t-test, and its power."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05


class Difference(NamedTuple):
    """First less second, over seeds: mean, standard error and p-value of the paired t-test; nan for one seed.

    Seeds are paired since one seed has the same initial networks and the same order of the data for every prior.
    """

    mean: float
    standard_error: float
    p_value: float

    @property
    def clear(self) -> bool:
        """Whether it is larger than the noise between seeds, at 5 %."""
        return self.p_value < LEVEL

    @property
    def p_text(self) -> str:
        """The p-value as it is written."""
        return "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"

    def format(self, digits: int = 2) -> str:
        """Mean ± standard error (p-value)."""
        if np.isnan(self.p_value):
            return f"{self.mean:+.{digits}f}"
        return f"{self.mean:+.{digits}f} ± {self.standard_error:.{digits}f} ({self.p_text})"

    __str__ = format


def compare(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The paired difference of two lists of scores, one for each seed, in the same order."""
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    mean = float(differences.mean())
    if len(differences) < 2:
        return Difference(mean, float("nan"), float("nan"))
    if np.allclose(differences, mean, rtol=1e-13, atol=0):  # no noise but rounding, of which the test warns
        return Difference(mean, 0.0, 0.0 if mean else 1.0)
    return Difference(mean, float(stats.sem(differences)), float(stats.ttest_rel(first, second).pvalue))


def power(num_seeds: int) -> float:
    """How often the test finds a difference as large as its own standard deviation between seeds."""
    least = stats.t.isf(LEVEL / 2, num_seeds - 1)
    shift = np.sqrt(num_seeds)
    return float(stats.nct.sf(least, num_seeds - 1, shift) + stats.nct.cdf(-least, num_seeds - 1, shift))


def strength(num_seeds: int) -> str:
    """A paragraph on how large a difference a test over so many seeds can find."""
    if num_seeds < 2:
        return "One seed: without the noise between seeds to compare with, no difference is shown."
    least = stats.t.isf(LEVEL / 2, num_seeds - 1)
    return (
        f"Paired t-tests over {num_seeds} seeds: a difference counts as larger than the noise between seeds (5 %, "
        f"two-sided) from {least:.1f} of its standard errors on. "
        + ("That is a weak test: " if power(num_seeds) < 0.5 else "")
        + f"a true difference as large as its own standard deviation between seeds is found in "
        f"{100 * power(num_seeds):.0f} % of such runs. 'Within the noise' means not shown; it does not mean equal."
    )
