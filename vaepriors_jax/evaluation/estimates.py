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
