"""A number with its standard error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: jax.Array
    standard_error: jax.Array


def estimate(values: jax.Array) -> Estimate:
    """Mean and standard error over the first axis."""
    return Estimate(jnp.mean(values, axis=0), jnp.std(values, axis=0, ddof=1) / jnp.sqrt(values.shape[0]))
