"""Is one prior better than another beyond the noise of test images and of seeds? A paired test over both."""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from experiments.report.paired import LEVEL, Difference

Scores = Mapping[str, np.ndarray]  # of each prior [seeds, images]; [seeds, 1] of a score that has one value a seed


def difference(scores: Scores, first: str, second: str) -> Difference:
    r"""The score of one prior less that of another: mean, standard error and two-sided p-value.

    All priors are scored on the same images with the same seeds, so that both are paired. The variance is the sum of
    that over images, of the means over seeds, and that over seeds, of the means over images. The latter is pooled over
    all priors (the residuals of prior and seed), since two or three seeds alone estimate it badly. The degrees of
    freedom are those of Welch and Satterthwaite. Of one seed the noise between seeds is not known, and left out; of one
    seed and one value nothing is known.

    Images at which one of the two has NaN, for not estimated, are left out; if none is left all three are NaN.
    """
    shared = ~np.isnan(scores[first] - scores[second]).any(axis=0)
    if not shared.any():
        return Difference(float("nan"), float("nan"), float("nan"))
    by_image = np.mean((scores[first] - scores[second])[:, shared], axis=0)
    mean, parts = float(np.mean(by_image)), []
    if len(by_image) > 1:
        parts.append((float(np.var(by_image, ddof=1)) / len(by_image), len(by_image) - 1))
    on_shared = [values[:, shared] for values in scores.values()]
    table = np.array([np.nanmean(one, axis=1) for one in on_shared if not np.isnan(one).all(axis=1).any()])
    num_priors, num_seeds = table.shape  # means over images
    if num_seeds > 1:
        residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        freedom = (num_priors - 1) * (num_seeds - 1)
        parts.append((2 * float(np.sum(residuals**2)) / freedom / num_seeds, freedom))
    if not parts:
        return Difference(mean, float("nan"), float("nan"))
    variance = sum(part for part, _ in parts)
    if variance <= (1e-12 * mean) ** 2:  # no noise but rounding
        return Difference(mean, 0.0, 0.0 if mean else 1.0)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = variance**0.5
    return Difference(mean, error, float(2 * stats.t.sf(abs(mean) / error, freedom)))


def is_clear(tested: Difference, num_tests: int) -> bool:
    """Whether a difference is beyond the noise at 5 % over so many tests (Bonferroni); False where nothing is known."""
    return tested.p_value < LEVEL / max(1, num_tests)
