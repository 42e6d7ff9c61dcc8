"""A logistic-normal prior on the simplex."""

from typing import Any

import jax
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_at_least_two
from vaepriors_jax.distributions.logistic_normal import LogisticNormal
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import rows_of_shape
from vaepriors_jax.priors.location_scale import location_scale_prior


@factory
def logistic_normal_prior(dim: int, *, learned: tuple[str, ...] = ()) -> Prior:
    r"""Logistic-normal prior on the simplex of K entries, $z = \mathrm{softmax}(u_1, \dots, u_{K - 1}, 0)$.

    $u \sim \mathcal{N}(\mu, \mathrm{diag}(\sigma^2))$. It is over z >= 0 with the sum 1, and the density is with
    respect to Lebesgue measure on the first K - 1 entries. The encoder returns a distribution on the simplex, such as
    `vp.logistic_normal`, from which the KL has a closed form.

    Args:
        dim: number K of entries of z, at least 2.
        learned: which of "loc" ($\mu$) and "scale" ($\sigma$) are learned; the others stay at 0 and 1.

    Returns:
        A prior with the parameters `loc` and `log_scale` [dim - 1], where they are learned. It starts from data at mean
        and standard deviation of the log-ratios $\log z_i / z_K$.

    Raises:
        ValueError: `dim` is not an integer of at least 2, or `learned` holds another name.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> p = vp.logistic_normal_prior(2).apply({})
        >>> print(f"{p.prob(jnp.array([0.5, 0.5])):.4f}")  # 4 / sqrt(2 pi)
        1.5958

    References:
        Aitchison & Shen (1980), Logistic-normal distributions: some properties and uses, section 2; Srivastava & Sutton
        (2017), Autoencoding variational inference for topic models, section 3 (there with K log-ratios to none).
    """
    check_at_least_two(dim=dim)
    start = {"loc": np.zeros(dim - 1), "log_scale": np.zeros(dim - 1)}

    def fit(log_ratios: np.ndarray) -> dict[str, np.ndarray]:
        loc = log_ratios.mean(0) if "loc" in learned else np.zeros(dim - 1)
        return {"loc": loc, "log_scale": 0.5 * np.log(np.mean((log_ratios - loc) ** 2, axis=0) + 1e-6)}

    prior = location_scale_prior(start, learned, LogisticNormal, fit)
    start_from_log_ratios = prior.init_from_data
    if start_from_log_ratios is None:
        return prior

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del data
        logs = np.log(np.maximum(rows_of_shape("z", z, (dim,)).astype(np.float64), 1e-30))
        return start_from_log_ratios(key, z=logs[:, :-1] - logs[:, -1:])

    return prior._replace(init_from_data=init_from_data)
