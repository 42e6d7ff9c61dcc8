"""A wrapped normal prior on hyperbolic space."""

import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.distributions.wrapped_normal import WrappedNormal
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.location_scale import location_scale_prior


@factory
def wrapped_normal_prior(dim: int, *, learned: tuple[str, ...] = ()) -> Prior:
    r"""Wrapped normal prior on hyperbolic space, for latents with a tree-like structure.

    $\log p(z) = \log \mathcal{N}(v; 0, \mathrm{diag}(\sigma^2)) - (D - 1) \log \frac{\sinh |v|}{|v|} - \log \sqrt{1 +
    |z|^2}$, where z are the space-like coordinates of a point of the hyperboloid, and v is its logarithm at the centre
    $\mu$, moved to the origin; see `vp.wrapped_normal`. The density is with respect to Lebesgue measure, and z may be
    any vector. The posterior that belongs to it is `vp.wrapped_normal`. The KL is a Monte Carlo estimate.

    Args:
        dim: dimension D of z.
        learned: which of "loc" ($\mu$) and "scale" ($\sigma$) are learned; the others stay at 0, the origin, and 1.

    Returns:
        A prior with the parameters `loc` and `log_scale` [dim], where they are learned. It starts from data at the
        centroid of the encodings and at the spread of their logarithms there.

    Raises:
        ValueError: `dim` is not an integer of at least 1, or `learned` holds another name.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(f"{vp.wrapped_normal_prior(2).apply({}).prob(jnp.zeros(2)):.4f}")  # 1 / (2 pi)
        0.1592

    References:
        Nagano, Yamaguchi, Fujita & Koyama (2019), A wrapped normal distribution on hyperbolic space for gradient-based
        learning, section 5.2 (as the prior of a VAE, with $\mu$ = 0 and $\sigma$ = 1).
    """
    check_positive_integer(dim=dim)
    start = {"loc": np.zeros(dim), "log_scale": np.zeros(dim)}

    def fit(z: np.ndarray) -> dict[str, np.ndarray]:
        loc = _centroid(z) if "loc" in learned else np.zeros(dim)
        return {"loc": loc, "log_scale": 0.5 * np.log(np.mean(_logarithms(loc, z) ** 2, axis=0) + 1e-6)}

    return location_scale_prior(start, learned, WrappedNormal, fit)


def _time(z: np.ndarray) -> np.ndarray:
    return np.sqrt(1 + np.sum(z**2, axis=-1, keepdims=True))


def _centroid(z: np.ndarray) -> np.ndarray:
    """The mean of points of the hyperboloid [N, dim], scaled back onto it."""
    mean, time = z.mean(0), _time(z).mean()
    return mean / np.sqrt(time**2 - mean @ mean)


def _logarithms(loc: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Tangent vectors [N, dim] at loc that lead to z, moved in parallel to the origin."""
    at_origin = z - loc * (_time(z) - z @ loc[:, None] / (1 + _time(loc)))
    length = np.maximum(np.linalg.norm(at_origin, axis=1, keepdims=True), 1e-12)
    return at_origin * np.arcsinh(length) / length
