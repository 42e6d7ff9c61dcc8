"""Precision and recall of generated samples."""

from typing import Any, NamedTuple

import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.evaluation.samples.feature_sets import check_pair
from vaepriors_jax.evaluation.samples.neighbours import centred, count_balls, radii_of


class PrecisionRecall(NamedTuple):
    """Overlap of two sets of samples.

    Attributes:
        precision: share of generated samples inside the estimated support of the real ones.
        recall: share of real samples inside the estimated support of the generated ones.
    """

    precision: float
    recall: float


def precision_recall(real: Any, generated: Any, *, k: int = 3) -> PrecisionRecall:
    r"""Improved precision and recall: the share of each set that lies in the union of balls around the other.

    The radius of a ball is the distance from its centre to the k-th neighbour in the same set, not counting the centre
    itself. Balls are closed: $|x - c| \le \mathrm{NND}_k(c)$.

    Args:
        real: features [N, F].
        generated: features [M, F].
        k: which neighbour gives the radius.

    Returns:
        A `PrecisionRecall`.

    Raises:
        ValueError: fewer than k + 1 samples, not finite, constant features in `real`, or unequal F.

    Example:
        >>> import numpy as np
        >>> from vaepriors_jax.evaluation.samples import precision_recall
        >>> real = np.arange(20.0).reshape(10, 2)
        >>> precision_recall(real, real[:5])
        PrecisionRecall(precision=1.0, recall=0.8)

    References:
        Kynkäänniemi et al. (2019), Improved precision and recall metric for assessing generative models, eq. 1 and 2.
    """
    check_positive_integer(k=k)
    x, y = centred(*check_pair(real, generated, k + 1))
    precise = np.asarray(count_balls(y, x, radii_of(x, k), closed=True) > 0)
    recalled = np.asarray(count_balls(x, y, radii_of(y, k), closed=True) > 0)
    return PrecisionRecall(float(precise.mean()), float(recalled.mean()))
