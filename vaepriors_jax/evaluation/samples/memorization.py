"""Distances of generated samples to training examples."""

from typing import Any, NamedTuple

import numpy as np

from vaepriors_jax.evaluation.samples.feature_sets import check_features
from vaepriors_jax.evaluation.samples.neighbours import nearest_distances


class Memorization(NamedTuple):
    """Distances of generated samples and of test images to their nearest training examples.

    Attributes:
        generated_distance: mean distance of a generated sample to its nearest training example.
        test_distance: the same of a test image.
        ratio: `generated_distance` divided by `test_distance`; far below 1 if samples are copies.
        threshold: the quantile of the test images' distances up to which a sample counts as close.
        close_share: share of generated samples that are close; the level of the quantile if nothing is copied.
    """

    generated_distance: float
    test_distance: float
    ratio: float
    threshold: float
    close_share: float


def memorization(train: Any, test: Any, generated: Any, *, quantile: float = 0.01) -> Memorization:
    """Compares how close generated samples and test images are to training examples.

    Features may be pixels. Distances to a larger training set are smaller, so compare models trained on the same data.

    Args:
        train: features [N, F] of the training images.
        test: features [T, F] of images that the model was not trained on.
        generated: features [M, F] of samples.
        quantile: share of the test images that count as close to a training example.

    Returns:
        A `Memorization`.

    Raises:
        ValueError: no samples, not finite, constant features in `train`, unequal F, a quantile outside (0, 1), or test
            images that are all in `train`.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples import memorization
        >>> train, test = jax.random.normal(jax.random.key(0), (2, 100, 3))
        >>> copied = memorization(train, test, train[:50])
        >>> copied.ratio, copied.close_share
        (0.0, 1.0)

    References:
        Meehan, Chaudhuri & Dasgupta (2020), A non-parametric test to detect data-copying in generative models; the
        statistics here are simpler than theirs.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"Expected `quantile` between 0 and 1; got {quantile!r}.")
    train = check_features("train", train, 2, varying=True)
    test, generated = check_features("test", test), check_features("generated", generated)
    held_out, sampled = nearest_distances(test, train), nearest_distances(generated, train)
    if not held_out.any():
        raise ValueError("Expected test images that are not in the training set; got only copies of training examples.")
    threshold = np.quantile(held_out, quantile)
    return Memorization(
        generated_distance=float(sampled.mean()),
        test_distance=float(held_out.mean()),
        ratio=float(sampled.mean() / held_out.mean()),
        threshold=float(threshold),
        close_share=float(np.mean(sampled <= threshold)),
    )
