"""A number with its standard error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: jax.Array
    standard_error: jax.Array


def estimate(values: jax.Array) -> Estimate:
    """Mean and standard error over the first axis [N, ...]; the error of one value is NaN."""
    num_values = values.shape[0]
    mean = jnp.mean(values, axis=0)
    if num_values == 1:
        return Estimate(mean, jnp.full_like(mean, jnp.nan))
    return Estimate(mean, jnp.std(values, axis=0, ddof=1) / jnp.sqrt(num_values))


def share(values: jax.Array) -> Estimate:
    r"""Mean of values between 0 and 1 [N], with a standard error that is not 0 at a share of 0 or 1.

    The error is that of $\tilde p = (k + 2) / (N + 4)$, $\sqrt{\tilde p (1 - \tilde p) / (N + 4)}$, k the sum.

    References:
        Agresti & Coull (1998), Approximate is better than "exact" for interval estimation of binomial proportions.
    """
    num_values = values.shape[0]
    mean = jnp.mean(values)
    shrunk = (num_values * mean + 2) / (num_values + 4)
    return Estimate(mean, jnp.sqrt(shrunk * (1 - shrunk) / (num_values + 4)))
