"""A generalised normal prior."""

import numpy as np
from scipy.special import gammaincinv

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.distributions.generalized_normal import GeneralizedNormal
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.location_scale import fit_quantiles, location_scale_prior

EXPONENTS = np.geomspace(0.3, 20, 200)


def _quantile(exponent: np.ndarray, probability: float) -> np.ndarray:
    """Quantile of the standard distribution, for probabilities above 1/2."""
    return gammaincinv(1 / exponent, 2 * probability - 1) ** (1 / exponent)


@factory
def generalized_normal(dim: int, *, exponent: float = 1.5, learned: tuple[str, ...] = ()) -> Prior:
    r"""Generalised normal prior of independent dimensions (exponential power distribution).

    $p(z) = \prod_i \frac{\beta_i}{2 \alpha_i \Gamma(1 / \beta_i)} e^{-(|z_i - \mu_i| / \alpha_i)^{\beta_i}}$: Laplace
    for $\beta = 1$, Gaussian with the standard deviation $\alpha / \sqrt2$ for $\beta = 2$, nearly uniform on
    $\mu \pm \alpha$ for large $\beta$. Below 1 the density has a cusp at $\mu$, where its gradient is taken as 0.

    Args:
        dim: dimension of z.
        exponent: $\beta > 0$, or its start.
        learned: which of "loc" ($\mu$), "scale" ($\alpha$) and "exponent" ($\beta$) are learned, one of each for every
            dimension; the others stay at 0, 1 and `exponent`.

    Returns:
        A prior with the parameters `loc`, `log_scale` and `log_exponent` [dim], where they are learned. It starts from
        data at the median and at quantiles of the distances to it.

    Raises:
        ValueError: an argument out of range, or another name in `learned`.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.generalized_normal(2, exponent=1.0, learned=("exponent",))
        >>> params = prior.init(jax.random.key(0))
        >>> print(prior.apply(params).log_prob(jnp.zeros(2)).round(5))
        -1.38629

    References:
        Nadarajah (2005), A generalized normal distribution, eq. 1; in VAEs: Stühmer, Turner & Nowozin (2020),
        Independent subspace analysis for unsupervised learning of disentangled representations.
    """
    check_positive_integer(dim=dim)
    check_positive(exponent=exponent)
    start = {"loc": np.zeros(dim), "log_scale": np.zeros(dim), "log_exponent": np.full(dim, np.log(exponent))}

    def fit(z: np.ndarray) -> dict[str, np.ndarray]:
        found = fit_quantiles(z, _quantile, EXPONENTS if "exponent" in learned else np.array([exponent]))
        return found | {"log_exponent": np.log(found["shape"])}

    return location_scale_prior(start, learned, GeneralizedNormal, fit)
