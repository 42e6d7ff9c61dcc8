"""Any fixed distribution as a prior."""

from typing import Any

import distrax
import jax

from vaepriors_jax.base import Prior
from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.factories import factory


@factory
def from_distribution(distribution: Any) -> Prior:
    """A fixed distrax distribution over one vector as a prior; no parameters.

    Args:
        distribution: a distrax (or TFP) distribution with batch_shape () and event_shape (dim,). A diagonal Gaussian
            keeps its closed-form KL.

    Raises:
        TypeError: not a distribution.
        ValueError: not over one vector.

    Example:
        >>> import distrax, jax.numpy as jnp, vaepriors_jax as vp
        >>> laplace = distrax.Independent(distrax.Laplace(jnp.zeros(2), jnp.ones(2)), 1)
        >>> print(vp.from_distribution(laplace).apply({}).log_prob(jnp.zeros(2)))
        -1.3862944
    """
    fixed = as_latent_distribution(distribution, "prior")

    def init(key: jax.Array) -> Any:
        del key
        return {}

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        del params, context
        return fixed

    return Prior(init, apply, {})
