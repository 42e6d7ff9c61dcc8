"""A Dirichlet prior on the simplex."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_at_least_two, check_boolean, check_positive
from vaepriors_jax.distributions.dirichlet import Dirichlet
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import as_params, rows_of_shape


@factory
def dirichlet_prior(dim: int, *, concentration: float = 1.0, learned: bool = False) -> Prior:
    r"""Dirichlet prior on the simplex of K entries, $p(z) \propto \prod_{i = 1}^K z_i^{\alpha_i - 1}$.

    It is over z >= 0 with the sum 1, and the density is with respect to Lebesgue measure on the first K - 1 entries.
    Concentrations $\alpha$ below 1 favour sparse z, 1 is uniform. The encoder returns a distribution on the simplex:
    `vp.dirichlet`, from which the KL has a closed form, or `vp.logistic_normal`.

    Args:
        dim: number K of entries of z, at least 2.
        concentration: $\alpha$ of all entries, or its start.
        learned: whether each entry has a concentration that is learned.

    Returns:
        A prior with the parameter `log_concentration` [dim] if it is learned. It then starts from data at the moments
        of the encodings.

    Raises:
        ValueError: an argument out of range.
        TypeError: `learned` is not a boolean.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> p = vp.dirichlet_prior(3).apply({})
        >>> print(f"{p.prob(jnp.array([0.2, 0.3, 0.5])):.1f}")  # 1 / (area 1 / 2 of the triangle)
        2.0

    References:
        Joo, Lee, Park & Moon (2020), Dirichlet variational autoencoder; Blei, Ng & Jordan (2003), Latent Dirichlet
        allocation.
    """
    check_at_least_two(dim=dim)
    check_positive(concentration=concentration)
    check_boolean(learned=learned)
    start = {"log_concentration": np.full(dim, np.log(concentration))}

    def init(key: jax.Array) -> Any:
        del key
        return as_params(start) if learned else {}

    def apply(params: Any, **context: Any) -> Dirichlet:
        del context
        return Dirichlet(jnp.exp((params if learned else as_params(start))["log_concentration"]))

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del key, data
        z = rows_of_shape("z", z, (dim,)).astype(np.float64)
        # The variance of an entry is m (1 - m) / (1 + total).
        mean, variance = z.mean(0), z.var(0).sum() + 1e-6
        total = np.clip((mean * (1 - mean)).sum() / variance - 1, 1e-2, 1e4)
        return as_params({"log_concentration": np.log(total * np.maximum(mean, 1e-6))})

    return Prior(init, apply, {}, init_from_data if learned else None)
