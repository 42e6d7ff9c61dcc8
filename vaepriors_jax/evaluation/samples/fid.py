"""The Fréchet distance between two sets of features (FID)."""

from typing import Any

import numpy as np

from vaepriors_jax.evaluation.samples.feature_sets import check_pair


def frechet_distance(real: Any, generated: Any) -> float:
    r"""Fréchet distance between Gaussians fitted to two sets of features (FID).

    $|\mu_r - \mu_g|^2 + \mathrm{tr}(\Sigma_r + \Sigma_g - 2 (\Sigma_r \Sigma_g)^{1/2})$, in float64. The last trace is
    computed from the symmetric matrix $\Sigma_r^{1/2} \Sigma_g \Sigma_r^{1/2}$, which has the same eigenvalues. The
    distance is biased upwards, in proportion to one over the number of samples: compare scores of equally many samples,
    and take many more samples than features.

    Args:
        real: features [N, F].
        generated: features [M, F].

    Returns:
        The distance, at least 0, in squared units of the features.

    Raises:
        ValueError: fewer than F + 1 samples, not finite, constant features in `real`, or unequal F.

    Example:
        >>> import numpy as np
        >>> from vaepriors_jax.evaluation.samples import frechet_distance
        >>> real = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> round(frechet_distance(real, real + 2), 6)
        8.0

    References:
        Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium, eq. 6.
    """
    real, generated = check_pair(real, generated, lambda num_features: num_features + 1)
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    covariance_real = np.atleast_2d(np.cov(real, rowvar=False))
    covariance_generated = np.atleast_2d(np.cov(generated, rowvar=False))
    values, vectors = np.linalg.eigh(covariance_real)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance_generated @ root), 0)).sum()
    shift = np.sum((real.mean(0) - generated.mean(0)) ** 2)
    return max(float(shift + np.trace(covariance_real) + np.trace(covariance_generated) - 2 * cross), 0.0)
