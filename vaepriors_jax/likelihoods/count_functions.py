"""Log-probabilities of Poisson and negative binomial counts that lose no digits in float32.

Differences of log-gammas cancel: at counts of 1e6 each is 1e7, where float32 is exact to 1. Loader's form has terms of
the size of the result.
"""

import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import LOG_2PI


def stirling_error(x: jax.Array) -> jax.Array:
    r"""$\delta(x) = \log \Gamma(x + 1) - (x + \tfrac12) \log x + x - \tfrac12 \log 2 \pi$ for x > 0."""
    is_small = x < 8
    small, large = jnp.where(is_small, x, 1), jnp.where(is_small, 8, x)
    direct = jax.lax.lgamma(small + 1) - (small + 0.5) * jnp.log(small) + small - 0.5 * LOG_2PI
    square = large**-2
    series = jnp.zeros_like(x)
    for coefficient in (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        series = series * square + coefficient
    return jnp.where(is_small, direct, series / large)


def deviance(x: jax.Array, mean: jax.Array, difference: jax.Array) -> jax.Array:
    r"""$x \log(x / m) + m - x$, given $x - m$ as well; where x is near m by a series."""
    ratio = difference / (x + mean)
    is_near = jnp.abs(ratio) < 0.1
    v = jnp.where(is_near, ratio, 0)
    square, series = v**2, jnp.zeros_like(v)
    for k in (15, 13, 11, 9, 7, 5, 3):
        series = series * square + 1 / k
    near = difference * v + 2 * x * v * square * series
    far = x * (jnp.log(x) - jnp.log(mean)) - difference
    return jnp.where(is_near, near, far)


def log_minus(ratio: jax.Array, u: jax.Array) -> jax.Array:
    r"""$\log r - u$ with u = r - 1, which is given as well; by a series for small u."""
    is_small = jnp.abs(u) < 0.2
    half = jnp.where(is_small, u, 0) / (2 + jnp.where(is_small, u, 0))  # log1p(u) = 2 artanh(half)
    square, series = half**2, jnp.zeros_like(u)
    for k in (15, 13, 11, 9, 7, 5, 3):
        series = series * square + 1 / k
    near = half * (2 * square * series - jnp.where(is_small, u, 0))
    return jnp.where(is_small, near, jnp.log(ratio) - u)


def digamma_rest(x: jax.Array) -> jax.Array:
    r"""$\psi(x) - \log x + 1 / (2 x)$, which is near $-1 / (12 x^2)$ for large x."""
    is_small = x < 8
    small, large = jnp.where(is_small, x, 1), jnp.where(is_small, 8, x)
    # psi(x) = psi(x + 1) - 1 / x.
    direct = jax.lax.digamma(small + 1) - jnp.log(small) - 0.5 / small
    square = large**-2
    series = jnp.zeros_like(x)
    for coefficient in (-1 / 12, 691 / 32760, -1 / 132, 1 / 240, -1 / 252, 1 / 120, -1 / 12):
        series = (series + coefficient) * square
    return jnp.where(is_small, direct, series)


@jax.custom_jvp
def poisson_log_prob(k: jax.Array, mean: jax.Array) -> jax.Array:
    r"""$k \log m - m - \log k!$ for counts k and means m > 0."""
    positive = jnp.where(k > 0, k, 1)
    log_prob = -0.5 * (LOG_2PI + jnp.log(positive)) - stirling_error(positive)
    return jnp.where(k > 0, log_prob - deviance(positive, mean, positive - mean), -mean)


@poisson_log_prob.defjvp
def _poisson_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    k, mean = primals
    return poisson_log_prob(k, mean), (k - mean) / mean * tangents[1]


@jax.custom_jvp
def negative_binomial_log_prob(k: jax.Array, mean: jax.Array, theta: jax.Array) -> jax.Array:
    r"""The log-probability of counts k with means m > 0 and inverse dispersions $\theta > 0$; see `negative_binomial`.

    The form is that of `dnbinom_mu` in R: two deviances, of $\theta$ and of k from their expectations given
    $n = k + \theta$, and Stirling errors.

    References:
        Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    positive = jnp.where(k > 0, k, 1)
    n, total = positive + theta, theta + mean
    step = (positive - mean) / total
    expected_theta, expected_k = n / total * theta, n / total * mean
    deviances = deviance(theta, expected_theta, -step * theta) + deviance(positive, expected_k, step * theta)
    errors = stirling_error(n) - stirling_error(theta) - stirling_error(positive)
    peak = errors - 0.5 * (jnp.log1p(positive / theta) + LOG_2PI + jnp.log(positive))
    return jnp.where(k > 0, peak - deviances, -theta * jnp.log1p(mean / theta))


@negative_binomial_log_prob.defjvp
def _negative_binomial_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    k, mean, theta = primals
    total, n = theta + mean, k + theta
    by_mean = (k - mean) / mean * (theta / total)
    # psi(n) - psi(theta) - log(n / theta), and log(n / (theta + m)) - (k - m) / (theta + m).
    step = 0.5 * k / theta / n + digamma_rest(n) - digamma_rest(theta)
    by_theta = step + log_minus(n / total, (k - mean) / total)
    _, mean_dot, theta_dot = tangents
    return negative_binomial_log_prob(k, mean, theta), by_mean * mean_dot + by_theta * theta_dot
