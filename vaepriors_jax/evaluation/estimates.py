"""A number with its standard error, and how it is computed from a sample of values."""

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_some_weight
from vaepriors_jax.objectives import weighted_mean

Value = TypeVar("Value")


class Estimate(NamedTuple, Generic[Value]):
    """An estimate and its standard error: arrays, or numbers where it is made in numpy.

    Attributes:
        mean: the estimate, such as a mean over examples.
        standard_error: its standard error; NaN where it is unknown.
    """

    mean: Value
    standard_error: Value


def estimate(values: jax.Array, weight: jax.Array | None = None) -> Estimate[jax.Array]:
    r"""Mean and standard error over the first axis of values [N, ...]; the error of a single value is NaN.

    With weights [N] the mean is $m = \sum_n w_n f_n / \sum_n w_n$, and its squared error
    $\frac{M}{M - 1} \sum_n w_n^2 (f_n - m)^2 / (\sum_n w_n)^2$ for M examples of positive weight: a weight of 2 counts
    an example twice, which is not the same as two independent examples.
    """
    if weight is not None:
        check_some_weight(weight)
        mean = weighted_mean(values, weight)
        spread = weighted_mean(weight * (values - mean) ** 2, weight)
        count = jnp.sum(weight > 0)
        factor = count / jnp.where(count > 1, count - 1, jnp.nan)
        return Estimate(mean, jnp.sqrt(factor * spread / jnp.sum(weight)))
    return _unweighted(jnp.asarray(values))


@jax.jit
def _unweighted(values: jax.Array) -> Estimate[jax.Array]:
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
