"""A Laplace prior."""

import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.distributions.laplace import LaplaceDiag
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.location_scale import location_scale_prior


@factory
def laplace(dim: int, *, learned: tuple[str, ...] = ()) -> Prior:
    r"""Laplace prior of independent dimensions, $p(z) = \prod_i \frac{1}{2 b_i} e^{-|z_i - \mu_i| / b_i}$.

    Its tails are heavier than a Gaussian's, and its peak at $\mu$ favours codes with few large entries. The KL from a
    diagonal Gaussian posterior, and from a Laplace one, has a closed form.

    Args:
        dim: dimension of z.
        learned: which of "loc" ($\mu$) and "scale" ($b$) are learned; the others stay at 0 and 1.

    Returns:
        A prior with the parameters `loc` and `log_scale` [dim], where they are learned. It starts from data at the
        maximum of the likelihood.

    Raises:
        ValueError: `dim` is not an integer of at least 1, or `learned` holds another name.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.laplace(2).apply({}).log_prob(jnp.zeros(2)))
        -1.3862944

    References:
        Barello, Charles & Pillow (2018), Sparse-coding variational auto-encoders.
    """
    check_positive_integer(dim=dim)
    start = {"loc": np.zeros(dim), "log_scale": np.zeros(dim)}

    def fit(z: np.ndarray) -> dict[str, np.ndarray]:
        loc = np.median(z, axis=0) if "loc" in learned else np.zeros(dim)
        return {"loc": loc, "log_scale": np.log(np.mean(np.abs(z - loc), axis=0) + 1e-6)}

    return location_scale_prior(start, learned, LaplaceDiag, fit)
