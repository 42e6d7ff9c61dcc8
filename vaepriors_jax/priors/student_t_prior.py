"""Student's t-distribution as a prior."""

import numpy as np
from scipy.special import stdtrit

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.distributions.multivariate_t import MultivariateT
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.location_scale import fit_quantiles, location_scale_prior

DEGREES_OF_FREEDOM = np.geomspace(0.5, 200, 200)


@factory
def student_t_prior(dim: int, *, df: float = 5.0, independent: bool = False, learned: tuple[str, ...] = ()) -> Prior:
    r"""Student-t prior: a multivariate t-distribution, or independent t-distributions.

    $p(z) = \frac{\Gamma((\nu + D) / 2)}{\Gamma(\nu / 2) (\pi \nu)^{D / 2} \prod_i \sigma_i}
    \left(1 + \frac1\nu \sum_i \frac{(z_i - \mu_i)^2}{\sigma_i^2}\right)^{-(\nu + D) / 2}$ in D dimensions, or with
    `independent` the product of such densities with D = 1, each with its own $\nu_i$. One radius for all dimensions
    keeps the density round; independent dimensions put their tails along the axes.

    Args:
        dim: dimension D of z.
        df: degrees of freedom $\nu > 0$, or their start; the density approaches a Gaussian where they grow.
        independent: whether the dimensions are independent.
        learned: which of "loc" ($\mu$), "scale" ($\sigma$) and "df" ($\nu$) are learned; the others stay at 0, 1 and
            `df`.

    Returns:
        A prior with the parameters `loc` and `log_scale` [dim] and `log_df` [], [dim] for independent dimensions, where
        they are learned. It starts from data at the median and at quantiles of the distances to it.

    Raises:
        ValueError: an argument out of range, or another name in `learned`.
        TypeError: `independent` is not a boolean.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.student_t_prior(2, df=1.0, learned=("df",))
        >>> params = prior.init(jax.random.key(0))
        >>> print(f"{prior.apply(params).prob(jnp.zeros(2)):.5f}")  # 1 / (2 pi)
        0.15915

    References:
        Kim, Kwon, Cho & Lee (2024), t3-Variational autoencoder: learning heavy-tailed data with Student's t and power
        divergence (the multivariate prior; there also another posterior and objective); Mathieu, Rainforth, Siddharth &
        Teh (2019), Disentangling disentanglement in variational autoencoders (independent dimensions).
    """
    check_positive_integer(dim=dim)
    check_positive(df=df)
    start = {"loc": np.zeros(dim), "log_scale": np.zeros(dim), "log_df": np.full((dim,) * independent, np.log(df))}

    def fit(z: np.ndarray) -> dict[str, np.ndarray]:
        found = fit_quantiles(z, stdtrit, DEGREES_OF_FREEDOM if "df" in learned else np.array([df]))
        if not independent:  # one number for all dimensions, and scales that go with it
            found = fit_quantiles(z, stdtrit, np.median(found["shape"])[None])
        return found | {"log_df": np.log(found["shape"] if independent else found["shape"][0])}

    return location_scale_prior(start, learned, MultivariateT, fit)
