"""Every score of a set of generated images, beside the scores to read it against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from vaepriors_jax.checks import check_finite, check_positive_integer
from vaepriors_jax.evaluation.samples.bootstrap import bootstrap
from vaepriors_jax.evaluation.samples.density_coverage import density_coverage
from vaepriors_jax.evaluation.samples.feature_sets import check_features
from vaepriors_jax.evaluation.samples.fid import frechet_distance
from vaepriors_jax.evaluation.samples.kid import kernel_distance, squared_mmd
from vaepriors_jax.evaluation.samples.memorization import memorization
from vaepriors_jax.evaluation.samples.precision_recall import precision_recall

SCORES = ("fid", "kid", "precision", "recall", "density", "coverage")

# Test sets below this get intervals for every score; from here on the choice of test images matters little.
SMALL = 2000


class _Options(NamedTuple):
    precision_k: int
    coverage_k: int
    num_resamples: int


def _check_images(given: dict[str, Any]) -> dict[str, np.ndarray]:
    images = {name: np.asarray(array) for name, array in given.items() if array is not None}
    shape = images["test"].shape
    for name, array in images.items():
        if array.ndim < 2 or array.shape[1:] != shape[1:]:
            raise ValueError(
                f"Expected images [N, ...] of one shape; got {shape} in `test`, {array.shape} in `{name}`."
            )
        check_finite(name, array)
    return images


def _score_rows(
    key: jax.Array,
    features: Callable[[Any], Any],
    test: np.ndarray,
    rows: dict[str, np.ndarray],
    options: _Options,
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """Features of the test images and of each row, and the scores of each row."""
    check_positive_integer(**options._asdict())
    small = len(test) < SMALL
    real = check_features("features(test)", features(test), varying=True)
    least = max(real.shape[1], options.precision_k, options.coverage_k) + 1
    least = 2 * least if small else least  # a resample is half a set
    real = check_features("features(test)", real, least)
    score = _score_small if small else _score
    sampled = {
        name: check_features(f"features of the row '{name}'", features(images), least) for name, images in rows.items()
    }
    return real, sampled, {name: score(key, real, array, options) for name, array in sampled.items()}


def reference_quality(
    key: jax.Array,
    features: Callable[[Any], Any],
    *,
    train: Any,
    test: Any,
    num_samples: int | None = None,
    precision_k: int = 3,
    coverage_k: int = 5,
    num_resamples: int = 100,
) -> dict[str, dict[str, float]]:
    """The rows "floor" and "noise" of `sample_quality`, which are the same for every model of a data set.

    Args:
        key: a random key.
        features: see `sample_quality`.
        train: training images [N, ...].
        test: test images [T, ...].
        num_samples: how many images are scored; as many as there are test images by default.
        precision_k: see `sample_quality`.
        coverage_k: see `sample_quality`.
        num_resamples: see `sample_quality`.

    Returns:
        {"floor", "noise"}, for `references=` of `sample_quality`.

    Raises:
        ValueError: see `sample_quality`.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples.quality import reference_quality
        >>> train, test = jax.random.uniform(jax.random.key(0), (2, 100, 2, 2))
        >>> flat = lambda x: x.reshape(len(x), -1)
        >>> sorted(reference_quality(jax.random.key(1), flat, train=train, test=test, num_resamples=10))
        ['floor', 'noise']
    """
    given = _check_images({"test": test, "train": train})
    num_samples = len(given["test"]) if num_samples is None else num_samples
    check_positive_integer(num_samples=num_samples)
    key_train, key_noise, key_score = jax.random.split(key, 3)
    train = given["train"]
    rows = {
        "floor": train[np.asarray(jax.random.permutation(key_train, len(train)))[:num_samples]],
        "noise": np.asarray(jax.random.uniform(key_noise, (num_samples, *train.shape[1:]))),
    }
    return _score_rows(key_score, features, given["test"], rows, _Options(precision_k, coverage_k, num_resamples))[2]


def sample_quality(
    key: jax.Array,
    features: Callable[[Any], Any],
    *,
    train: Any,
    test: Any,
    generated: Any,
    reconstructions: Any = None,
    references: dict[str, dict[str, float]] | None = None,
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
        references: the rows "floor" and "noise" from `reference_quality`, of the same images, features and options,
            where several models are scored; made here by default.
        precision_k: neighbour of precision and recall.
        coverage_k: neighbour of density and coverage.
        num_resamples: resamples of `bootstrap`, where there are fewer than 2,000 test images.

    Returns:
        {"generated", "reconstructions", "floor", "noise"}: {"fid", "kid", "kid_standard_error", "precision", "recall",
        "density", "coverage"}; with fewer than 2,000 test images also "..._standard_error", "..._low" and "..._high"
        (95 %) of each. "generated" also has "memorization_ratio" and "memorization_close_share", the fields `ratio` and
        `close_share` of `memorization` in the same features.

    Raises:
        ValueError: images of unequal shapes or not finite; fewer of them than features + 1, or than twice that with
            fewer than 2,000 test images; features that are constant on the test images.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples.quality import sample_quality
        >>> train, test, generated = jax.random.uniform(jax.random.key(0), (3, 100, 2, 2))
        >>> scores = sample_quality(jax.random.key(1), lambda x: x.reshape(len(x), -1), train=train, test=test,
        ...     generated=generated / 2, num_resamples=10)
        >>> scores["floor"]["fid"] < scores["generated"]["fid"]
        True
    """
    given = _check_images({"test": test, "train": train, "generated": generated, "reconstructions": reconstructions})
    rows = {name: given[name] for name in ("generated", "reconstructions") if name in given}
    options = _Options(precision_k, coverage_k, num_resamples)
    real, sampled, scores = _score_rows(jax.random.split(key, 3)[2], features, given["test"], rows, options)
    copied = memorization(features(given["train"]), real, sampled["generated"])
    scores["generated"] |= {"memorization_ratio": copied.ratio, "memorization_close_share": copied.close_share}
    if references is None:
        num_samples = len(given["generated"])
        references = reference_quality(
            key, features, train=given["train"], test=given["test"], num_samples=num_samples, **options._asdict()
        )
    return scores | {name: references[name] for name in ("floor", "noise")}


def _score(key: jax.Array, real: np.ndarray, generated: np.ndarray, options: _Options) -> dict[str, float]:
    kid = kernel_distance(key, real, generated, subset_size=min(1000, len(generated)))
    return {
        "fid": frechet_distance(real, generated),
        "kid": kid.mean,
        "kid_standard_error": kid.standard_error,
        **precision_recall(real, generated, k=options.precision_k)._asdict(),
        **density_coverage(real, generated, k=options.coverage_k)._asdict(),
    }


def _score_small(key: jax.Array, real: np.ndarray, generated: np.ndarray, options: _Options) -> dict[str, float]:
    def metric(real: np.ndarray, generated: np.ndarray) -> tuple[float, ...]:
        return (
            frechet_distance(real, generated),
            squared_mmd(real, generated),
            *precision_recall(real, generated, k=options.precision_k),
            *density_coverage(real, generated, k=options.coverage_k),
        )

    interval = bootstrap(key, metric, real, generated, num_resamples=options.num_resamples)
    scores = {}
    for name, value, low, high, error in zip(SCORES, *interval, strict=True):
        scores |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
        scores[f"{name}_standard_error"] = float(error)
    return scores
