"""Whether samples are copies of training examples."""

from typing import Any, NamedTuple

import numpy as np

from vaepriors_jax.evaluation.samples.feature_sets import check_features
from vaepriors_jax.evaluation.samples.neighbours import nearest_distances


class Memorization(NamedTuple):
    """Distances to the nearest training example, of generated samples against those of test images.

    Attributes:
        generated_distance: mean distance from a generated sample to its nearest training example.
        test_distance: the same, from a test image.
        ratio: the first divided by the second; far below 1 says that samples are copies.
        threshold: the quantile of the test images' distances below which a sample counts as close.
        close_share: share of generated samples that are no further than that; a fair sample has the quantile's level.
    """

    generated_distance: float
    test_distance: float
    ratio: float
    threshold: float
    close_share: float


def memorization(train: Any, test: Any, generated: Any, *, quantile: float = 0.01) -> Memorization:
    """Whether samples are copies: how near they are to training examples, beside how near test images are.

    Features may be pixels as well. Distances to a larger training set are smaller: compare models of the same one.

    Args:
        train: features [N, F] of what the model was trained on.
        test: features [T, F] of images that it has not seen.
        generated: features [M, F].
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
        Meehan, Chaudhuri & Dasgupta (2020), A non-parametric test to detect data-copying in generative models, for the
        comparison; the statistics here are plainer than theirs.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"Expected `quantile` between 0 and 1; got {quantile!r}.")
    train = check_features("train", train, 2, varying=True)
    test, generated = check_features("test", test), check_features("generated", generated)
    held_out, sampled = nearest_distances(test, train), nearest_distances(generated, train)
    if not held_out.any():
        raise ValueError("Expected test images apart from the training set; got only copies of training examples.")
    threshold = np.quantile(held_out, quantile)
    return Memorization(
        generated_distance=float(sampled.mean()),
        test_distance=float(held_out.mean()),
        ratio=float(sampled.mean() / held_out.mean()),
        threshold=float(threshold),
        close_share=float(np.mean(sampled <= threshold)),
    )
