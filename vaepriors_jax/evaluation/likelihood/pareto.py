"""The Pareto k diagnostic: the shape of the tail of importance weights."""

import math

import jax
import jax.numpy as jnp

# With fewer, the tail has at most five weights. The first quartile of five values is the smallest of them, and the fit
# needs a quartile above it.
MIN_WEIGHTS = 30


def tail_length(num_samples: int) -> int:
    r"""Number of weights in the tail, the largest $\min(S / 5, 3 \sqrt S)$ of S weights; 0 where S is too small."""
    return math.floor(min(num_samples / 5, 3 * math.sqrt(num_samples))) if num_samples >= MIN_WEIGHTS else 0


def pareto_shape(excesses: jax.Array) -> jax.Array:
    r"""Shape k of the generalised Pareto distribution, $p(x) = \frac1\sigma (1 + k x / \sigma)^{-1/k - 1}$.

    b = -k / sigma is averaged over a grid, weighted by its profile likelihood. A weak prior, with the weight of ten
    values, pulls k towards 0.5.

    Args:
        excesses: values minus the threshold [M], at least 0, in descending order.

    Returns:
        k, a scalar; minus infinity if no value exceeds the threshold.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> uniform = (jnp.arange(1000) + 0.5) / 1000
        >>> print(f"{pareto_shape(uniform ** -0.7 / 0.7 - 1 / 0.7):.1f}")
        0.7

    References:
        Zhang & Stephens (2009), A new and efficient estimation method for the generalized Pareto distribution; the
        prior on k: Vehtari et al. (2024), Pareto smoothed importance sampling, appendix G.
    """
    num_values = excesses.shape[0]
    num_grid = 30 + math.isqrt(num_values)
    is_flat = excesses[0] <= 0
    largest = jnp.where(is_flat, 1.0, excesses[0])
    # Ties at the threshold would make the quartile 0.
    quartile = jnp.maximum(excesses[-int(num_values / 4 + 0.5)], jnp.finfo(excesses.dtype).eps * largest)
    points = jnp.arange(1, num_grid + 1, dtype=excesses.dtype) - 0.5
    grid = 1 / largest + (1 - jnp.sqrt(num_grid / points)) / (3 * quartile)
    shapes = jnp.mean(jnp.log1p(-grid[:, None] * excesses), axis=1)
    log_likelihood = num_values * (jnp.log(-grid / shapes) - shapes - 1)
    b = jnp.sum(grid * jax.nn.softmax(jnp.nan_to_num(log_likelihood, nan=-jnp.inf)))  # NaN where b = 0
    k = jnp.mean(jnp.log1p(-b * excesses))
    return jnp.where(is_flat, -jnp.inf, (num_values * k + 10 * 0.5) / (num_values + 10))


def pareto_k(largest: jax.Array) -> jax.Array:
    r"""Pareto k of importance weights, from the largest of them.

    Below 0.5 the variance of the weights is finite, as far as the sample shows; above 1 not even their mean is.
    Importance sampling is reliable up to about 0.7.

    Args:
        largest: log-weights in descending order [M + 1]: the M of the tail (see `tail_length`), then the largest one
            that is not in it.

    Returns:
        k, a scalar. NaN if the tail is empty; minus infinity if all its weights are equal.

    Example:
        >>> import jax.numpy as jnp
        >>> print(pareto_k(jnp.zeros(1)))
        nan

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, section 2.
    """
    if largest.shape[0] < 2:
        return jnp.full((), jnp.nan, largest.dtype)
    weights = jnp.exp(largest - largest[0])
    return pareto_shape(weights[:-1] - weights[-1])
