"""A number with its standard error, and how it is computed from a sample of values."""

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

Value = TypeVar("Value")


class Estimate(NamedTuple, Generic[Value]):
    """An estimate and its standard error: arrays, or numbers where it is made in numpy.

    Attributes:
        mean: the estimate, such as a mean over examples.
        standard_error: its standard error; NaN where it is unknown.
    """

    mean: Value
    standard_error: Value


def estimate(values: jax.Array) -> Estimate[jax.Array]:
    """Mean and standard error over the first axis of values [N, ...]; the error of a single value is NaN."""
    num_values = values.shape[0]
    mean = jnp.mean(values, axis=0)
    if num_values == 1:
        return Estimate(mean, jnp.full_like(mean, jnp.nan))
    return Estimate(mean, jnp.std(values, axis=0, ddof=1) / jnp.sqrt(num_values))


def share(values: jax.Array) -> Estimate[jax.Array]:
    r"""Mean of values between 0 and 1 [N], with a standard error that is above 0 even for a mean of 0 or 1.

    The error is $\sqrt{\tilde p (1 - \tilde p) / (N + 4)}$ with $\tilde p = (k + 2) / (N + 4)$ and k the sum of the
    values.

    References:
        Agresti & Coull (1998), Approximate is better than "exact" for interval estimation of binomial proportions.
    """
    num_values = values.shape[0]
    mean = jnp.mean(values)
    shrunk = (num_values * mean + 2) / (num_values + 4)
    return Estimate(mean, jnp.sqrt(shrunk * (1 - shrunk) / (num_values + 4)))
