"""Every score of a set of generated images, beside the scores to read it against."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vaepriors_jax.checks import check_finite, check_positive_integer
from vaepriors_jax.evaluation.samples import (
    bootstrap,
    check_features,
    density_coverage,
    frechet_distance,
    kernel_distance,
    precision_recall,
    squared_mmd,
)

SCORES = ("fid", "kid", "precision", "recall", "density", "coverage")

# Test sets below this get intervals for every score; from here on the choice of test images matters little.
SMALL = 2000


def sample_quality(
    key: jax.Array,
    features: Callable[[Any], Any],
    *,
    train: Any,
    test: Any,
    generated: Any,
    reconstructions: Any = None,
    precision_k: int = 3,
    coverage_k: int = 5,
    num_resamples: int = 100,
) -> dict[str, dict[str, float]]:
    """FID, KID, precision, recall, density and coverage of generated images, and of what to compare them with.

    Every row is scored against the test images. "floor" is the training images, as many as were generated where there
    are so many: no model is expected below it. "reconstructions" bounds what a better prior can gain. "noise" is
    uniform pixels. Give all images in the same form: grey against binarised measures the binarisation.

    Args:
        key: a random key.
        features: `features(images)` maps images [N, ...] to features [N, F]: a `FeatureNetwork`'s, or any function.
        train: training images [N, ...].
        test: test images [T, ...].
        generated: generated images [M, ...].
        reconstructions: reconstructed test images [R, ...], if there are any.
        precision_k: neighbour of precision and recall.
        coverage_k: neighbour of density and coverage.
        num_resamples: resamples of `bootstrap`, where there are fewer than 2,000 test images.

    Returns:
        {"generated", "reconstructions", "floor", "noise"}: {"fid", "kid", "kid_standard_error", "precision", "recall",
        "density", "coverage"}; with fewer than 2,000 test images also "..._standard_error", "..._low" and "..._high"
        (95 %) of each.

    Raises:
        ValueError: images of unequal shapes or not finite; fewer of them than features + 1, or than twice that with
            fewer than 2,000 test images; features that are constant on the test images.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.quality import sample_quality
        >>> train, test, generated = jax.random.uniform(jax.random.key(0), (3, 100, 2, 2))
        >>> scores = sample_quality(jax.random.key(1), lambda x: x.reshape(len(x), -1), train=train, test=test,
        ...     generated=generated / 2, num_resamples=10)
        >>> scores["floor"]["fid"] < scores["generated"]["fid"]
        True
    """
    check_positive_integer(precision_k=precision_k, coverage_k=coverage_k, num_resamples=num_resamples)
    key_train, key_noise, key_score = jax.random.split(key, 3)
    given = {"test": test, "train": train, "generated": generated, "reconstructions": reconstructions}
    given = {name: np.asarray(images) for name, images in given.items() if images is not None}
    test, train, generated = given["test"], given["train"], given["generated"]
    for name, images in given.items():
        if images.ndim < 2 or images.shape[1:] != test.shape[1:]:
            raise ValueError(
                f"Expected images [N, ...] of one shape; got {test.shape} in `test`, {images.shape} in `{name}`."
            )
        check_finite(name, images)
    floor = train[np.asarray(jax.random.permutation(key_train, len(train)))[: len(generated)]]
    noise = np.asarray(jax.random.uniform(key_noise, generated.shape))
    rows = {"generated": generated, "reconstructions": given.get("reconstructions"), "floor": floor, "noise": noise}
    small = len(test) < SMALL
    real = check_features("features(test)", features(test), varying=True)
    least = max(real.shape[1], precision_k, coverage_k) + 1
    least = 2 * least if small else least  # a resample is half a set
    real = check_features("features(test)", real, least)
    score = _score_small if small else _score
    scores = {}
    for name, images in rows.items():
        if images is not None:
            sampled = check_features(f"features of the row '{name}'", features(images), least)
            scores[name] = score(key_score, real, sampled, precision_k, coverage_k, num_resamples)
    return scores


def _score(
    key: jax.Array, real: np.ndarray, generated: np.ndarray, precision_k: int, coverage_k: int, num_resamples: int
) -> dict[str, float]:
    del num_resamples
    kid = kernel_distance(key, real, generated, subset_size=min(1000, len(generated)))
    return {
        "fid": frechet_distance(real, generated),
        "kid": kid.mean,
        "kid_standard_error": kid.standard_error,
        **precision_recall(real, generated, k=precision_k)._asdict(),
        **density_coverage(real, generated, k=coverage_k)._asdict(),
    }


def _score_small(
    key: jax.Array, real: np.ndarray, generated: np.ndarray, precision_k: int, coverage_k: int, num_resamples: int
) -> dict[str, float]:
    def metric(real: np.ndarray, generated: np.ndarray) -> tuple[float, ...]:
        return (
            frechet_distance(real, generated),
            squared_mmd(real, generated),
            *precision_recall(real, generated, k=precision_k),
            *density_coverage(real, generated, k=coverage_k),
        )

    interval = bootstrap(key, metric, real, generated, num_resamples=num_resamples)
    scores = {}
    for name, value, low, high, error in zip(SCORES, *interval, strict=True):
        scores |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
        scores[f"{name}_standard_error"] = float(error)
    return scores
