"""Density and coverage of generated samples."""

from typing import Any, NamedTuple

import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.evaluation.samples.feature_sets import check_pair
from vaepriors_jax.evaluation.samples.neighbours import centred, count_balls, nearest, radii_of


class DensityCoverage(NamedTuple):
    """Overlap of two sets of samples, robust to outliers.

    Attributes:
        density: mean number of real neighbourhoods that contain a generated sample, divided by k; 1 for equal
            distributions.
        coverage: share of real neighbourhoods that contain a generated sample.
    """

    density: float
    coverage: float


def density_coverage(real: Any, generated: Any, *, k: int = 5) -> DensityCoverage:
    r"""Density and coverage of generated samples in the neighbourhoods of real ones.

    $\mathrm{density} = \frac{1}{kM} \sum_j \sum_i 1[|y_j - x_i| < \mathrm{NND}_k(x_i)]$ and
    $\mathrm{coverage} = \frac1N \sum_i 1[\min_j |y_j - x_i| < \mathrm{NND}_k(x_i)]$. The inequality is strict, as in
    the authors' code, so that the density of a set compared with itself is 1.

    A real sample with at least k copies in `real` has an empty neighbourhood of radius 0. If every real sample occurs
    three times, density and coverage are 0 for k = 2, whatever is generated. Remove copies, or choose a larger k.

    Args:
        real: features [N, F].
        generated: features [M, F].
        k: the radius of a neighbourhood is the distance to the k-th neighbour within `real`, not counting the point
            itself.

    Returns:
        A `DensityCoverage`; the density can exceed 1.

    Raises:
        ValueError: fewer than k + 1 samples, not finite, constant features in `real`, or unequal F.

    Example:
        >>> import numpy as np
        >>> from vaepriors_jax.evaluation.samples import density_coverage
        >>> real = np.arange(20.0).reshape(10, 2)
        >>> density_coverage(real, real[:5] + 0.1, k=2)
        DensityCoverage(density=1.1, coverage=0.6)

    References:
        Naeem et al. (2020), Reliable fidelity and diversity metrics for generative models, eq. 3 and 4.
    """
    check_positive_integer(k=k)
    x, y = centred(*check_pair(real, generated, k + 1))
    radii = radii_of(x, k)
    counts = np.asarray(count_balls(y, x, radii, closed=False))
    covered = np.asarray(nearest(x, y, 1)[:, 0] < radii)
    return DensityCoverage(float(counts.mean() / k), float(covered.mean()))
