"""The scores of one set of generated images against the test images."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.samples.bootstrap import Interval, bootstrap
from vaepriors_jax.evaluation.samples.density_coverage import density_coverage
from vaepriors_jax.evaluation.samples.feature_sets import check_features
from vaepriors_jax.evaluation.samples.fid import frechet_distance
from vaepriors_jax.evaluation.samples.kid import kernel_distance, squared_mmd
from vaepriors_jax.evaluation.samples.precision_recall import precision_recall

SCORES = ("fid", "kid", "precision", "recall", "density", "coverage")

# With fewer test images every score gets an interval; with more the choice of test images matters little.
SMALL = 2000

Scores = dict[str, Interval]


class ScoreOptions(NamedTuple):
    """The options of `sample_quality` that change a score."""

    precision_k: int
    coverage_k: int
    num_resamples: int


def score_rows(
    features: Callable[[Any], Any],
    key: jax.Array,
    test: np.ndarray,
    rows: dict[str, np.ndarray],
    options: ScoreOptions,
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, Scores]]:
    """Features of the test images and of the images of each row, and the scores of each row."""
    check_positive_integer(**options._asdict())
    small = len(test) < SMALL
    real = check_features("features(test)", features(test), varying=True)
    least = max(real.shape[1], options.precision_k, options.coverage_k) + 1
    least = 2 * least if small else least  # a resample is half a set
    real = check_features("features(test)", real, least)
    score = _score_with_intervals if small else _score
    sampled = {
        name: check_features(f"features of the row '{name}'", features(images), least) for name, images in rows.items()
    }
    return real, sampled, {name: score(key, real, array, options) for name, array in sampled.items()}


def _score(key: jax.Array, real: np.ndarray, generated: np.ndarray, options: ScoreOptions) -> Scores:
    kid = kernel_distance(key, real, generated, subset_size=min(1000, len(generated)))
    values = {
        "fid": frechet_distance(real, generated),
        **precision_recall(real, generated, k=options.precision_k)._asdict(),
        **density_coverage(real, generated, k=options.coverage_k)._asdict(),
    }
    nan = float("nan")
    estimates = {name: Estimate(value, nan) for name, value in values.items()} | {"kid": kid}
    return {name: Interval(estimates[name], nan, nan) for name in SCORES}


def _score_with_intervals(key: jax.Array, real: np.ndarray, generated: np.ndarray, options: ScoreOptions) -> Scores:
    def metric(real: np.ndarray, generated: np.ndarray) -> tuple[float, ...]:
        return (
            frechet_distance(real, generated),
            squared_mmd(real, generated),
            *precision_recall(real, generated, k=options.precision_k),
            *density_coverage(real, generated, k=options.coverage_k),
        )

    estimate, low, high = bootstrap(metric, key, real, generated, num_resamples=options.num_resamples)
    columns = [map(float, column) for column in (*estimate, low, high)]
    return {
        name: Interval(Estimate(mean, error), low, high)
        for name, mean, error, low, high in zip(SCORES, *columns, strict=True)
    }
