"""All scores of generated images, beside those of images to compare them with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from vaepriors_jax.checks import check_finite, check_key, check_positive_integer
from vaepriors_jax.evaluation.samples.memorization import Memorization, memorization
from vaepriors_jax.evaluation.samples.scores import ScoreOptions, Scores, score_rows


class SampleQuality(NamedTuple):
    """The scores of generated images, of reference rows, and copies of training images.

    Attributes:
        scores: the scores of each row, {"generated", "reconstructions", "floor", "noise"}, each an `Interval` by the
            names "fid", "kid", "precision", "recall", "density" and "coverage". With 2,000 test images or more, ends
            and standard errors are NaN, except for the standard error of the KID.
        memorization: how close the generated images are to training images, in the same features.
    """

    scores: dict[str, Scores]
    memorization: Memorization


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


def _check_arguments(features: Any, key: Any) -> jax.Array:
    if not callable(features):
        raise TypeError(
            f"Expected a function from images to features as the first argument; got {type(features).__name__}. The "
            "order is features, key, and images by keyword."
        )
    return check_key(key)


def reference_quality(
    features: Callable[[Any], Any],
    key: jax.Array,
    *,
    train: Any,
    test: Any,
    num_samples: int | None = None,
    precision_k: int = 3,
    coverage_k: int = 5,
    num_resamples: int = 100,
) -> dict[str, Scores]:
    """The rows "floor" and "noise" of `sample_quality`, which are the same for every model of a data set.

    Args:
        features: see `sample_quality`.
        key: a random key.
        train: training images [N, ...].
        test: test images [T, ...].
        num_samples: how many images are scored; by default as many as there are test images.
        precision_k: see `sample_quality`.
        coverage_k: see `sample_quality`.
        num_resamples: see `sample_quality`.

    Returns:
        {"floor", "noise"}, for `references=` of `sample_quality`.

    Raises:
        ValueError: see `sample_quality`.
        TypeError: see `sample_quality`.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples import reference_quality
        >>> train, test = jax.random.uniform(jax.random.key(0), (2, 100, 2, 2))
        >>> references = reference_quality(
        ...     lambda x: x.reshape(len(x), -1), jax.random.key(1), train=train, test=test, num_resamples=10)
        >>> list(references)
        ['floor', 'noise']
    """
    key = _check_arguments(features, key)
    given = _check_images({"test": test, "train": train})
    num_samples = len(given["test"]) if num_samples is None else num_samples
    check_positive_integer(num_samples=num_samples)
    key_train, key_noise, key_score = jax.random.split(key, 3)
    train = given["train"]
    rows = {
        "floor": train[np.asarray(jax.random.permutation(key_train, len(train)))[:num_samples]],
        "noise": np.asarray(jax.random.uniform(key_noise, (num_samples, *train.shape[1:]))),
    }
    options = ScoreOptions(precision_k, coverage_k, num_resamples)
    return score_rows(features, key_score, given["test"], rows, options)[2]


def sample_quality(
    features: Callable[[Any], Any],
    key: jax.Array,
    *,
    train: Any,
    test: Any,
    generated: Any,
    reconstructions: Any = None,
    references: dict[str, Scores] | None = None,
    precision_k: int = 3,
    coverage_k: int = 5,
    num_resamples: int = 100,
) -> SampleQuality:
    """FID, KID, precision, recall, density and coverage of generated images, and of images to compare them with.

    Every row is scored against the test images. "floor" is a random part of the training images, as many as were
    generated if there are so many: no model is expected to score better. "reconstructions" shows what a better prior
    can gain at most. "noise" is uniform pixels. Give all images in the same form: the scores of grey images against
    binarised ones measure the binarisation.

    Args:
        features: `features(images)` maps images [N, ...] to features [N, F]: that of a `FeatureNetwork`, or any
            function.
        key: a random key.
        train: training images [N, ...].
        test: test images [T, ...].
        generated: generated images [M, ...].
        reconstructions: reconstructed test images [R, ...], if there are any.
        references: the rows "floor" and "noise" from `reference_quality` with the same images, features and options,
            to score several models; computed here by default.
        precision_k: the `k` of `precision_recall`.
        coverage_k: the `k` of `density_coverage`.
        num_resamples: the resamples of `bootstrap`, with fewer than 2,000 test images.

    Returns:
        A `SampleQuality`.

    Raises:
        ValueError: images of unequal shapes or not finite; not more images than features, or than twice as many with
            fewer than 2,000 test images; features that are constant on the test images.
        TypeError: `features` is not a function, or `key` is not a random key.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples import sample_quality
        >>> train, test, generated = jax.random.uniform(jax.random.key(0), (3, 100, 2, 2))
        >>> quality = sample_quality(lambda x: x.reshape(len(x), -1), jax.random.key(1), train=train, test=test,
        ...     generated=generated / 2, num_resamples=10)
        >>> quality.scores["floor"]["fid"].estimate.mean < quality.scores["generated"]["fid"].estimate.mean
        True
    """
    key = _check_arguments(features, key)
    given = _check_images({"test": test, "train": train, "generated": generated, "reconstructions": reconstructions})
    rows = {name: given[name] for name in ("generated", "reconstructions") if name in given}
    options = ScoreOptions(precision_k, coverage_k, num_resamples)
    real, sampled, scores = score_rows(features, jax.random.split(key, 3)[2], given["test"], rows, options)
    copied = memorization(features(given["train"]), real, sampled["generated"])
    if references is None:
        num_samples = len(given["generated"])
        references = reference_quality(
            features, key, train=given["train"], test=given["test"], num_samples=num_samples, **options._asdict()
        )
    return SampleQuality(scores | {name: references[name] for name in ("floor", "noise")}, copied)
