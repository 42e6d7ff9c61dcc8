"""Student's t-distributions over one vector."""

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import LOG_2PI, as_event, full_precision


def log_gamma_step(a: jax.Array) -> jax.Array:
    r"""$\log \Gamma(a + \tfrac12) - \log \Gamma(a) - \tfrac12 \log a$, without cancellation.

    It uses Stirling's series; for a < 8 the series at a + 8 and the recurrence of $\Gamma$. (TFP's StudentT subtracts
    log-gammas: in float32 its derivative in the degrees of freedom has lost all digits at 1e4.)
    """
    is_small = a < 8
    small = jnp.where(is_small, a, 1)
    large = jnp.where(is_small, a + 8, a)
    inverse = large**-2
    series = inverse * (1 / 192 - inverse * (1 / 640 - inverse * (17 / 14336 - inverse * 31 / 18432))) - 1 / 8
    back = 0.5 * jnp.log1p(8 / small) - sum(jnp.log1p(0.5 / (small + k)) for k in range(8))
    return series / large + jnp.where(is_small, back, 0)


def scaled_log1p(square: jax.Array, df: jax.Array) -> jax.Array:
    r"""$\nu \log(1 + s / \nu)$; for small $s / \nu$ a series, since the derivative in $\nu$ would cancel."""
    is_small = square < 0.1 * df
    ratio = jnp.where(is_small, square, 0) / df
    half = ratio / (2 + ratio)  # log1p(ratio) = 2 artanh(half)
    power, series = half**2, 0.0
    for k in (13, 11, 9, 7, 5, 3, 1):
        series = series * power + 1 / k
    direct = df * jnp.log1p(jnp.where(is_small, 1, square / df))
    return jnp.where(is_small, 2 * square / (2 + ratio) * series, direct)


class MultivariateT(distrax.Distribution):
    """Student's t over one vector: one radius for all dimensions, or independent dimensions; see `student_t_prior`."""

    def __init__(self, df: jax.Array, loc: jax.Array, scale: jax.Array):
        """Takes location and scale [dim], and degrees of freedom: a scalar, or [dim] for independent dimensions."""
        self.df, self.loc, self.scale = (full_precision(array) for array in (df, loc, scale))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.loc.shape

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        log_shape = self._log_shape(as_event(value, self.event_shape, self.loc.dtype))
        return jnp.sum(log_shape, axis=-1) - jnp.sum(jnp.log(self.scale))

    def log_prob_of_dimensions(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each dimension at z [..., dim]: [..., dim], where dimensions are independent."""
        return self._log_shape(value) - jnp.log(self.scale)

    def _log_shape(self, value: jax.Array) -> jax.Array:
        """The log-density without the scales: of each dimension [..., dim], or of all [..., 1]."""
        square, size = ((value - self.loc) / self.scale) ** 2, 1
        if self.df.ndim == 0:
            square, size = jnp.sum(square, axis=-1, keepdims=True), self.loc.shape[0]
        halves = jnp.arange(size, dtype=self.df.dtype) / 2
        # log Gamma((df + size) / 2) - log Gamma(df / 2), as a sum of steps by 1/2
        steps = log_gamma_step(self.df[..., None] / 2 + halves) + 0.5 * jnp.log1p(2 * halves / self.df[..., None])
        log_peak = jnp.sum(steps, axis=-1) - size / 2 * LOG_2PI
        return log_peak - 0.5 * (scaled_log1p(square, self.df) + size * jnp.log1p(square / self.df))

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_normal, key_gamma = jax.random.split(key)
        normal = jax.random.normal(key_normal, (n, *self.event_shape), self.loc.dtype)
        half = jnp.broadcast_to(self.df / 2, self.event_shape if self.df.ndim else (1,))
        # By logarithms: for few degrees of freedom a gamma variable can be below the smallest float.
        log_gamma = jax.random.loggamma(key_gamma, half, (n, *half.shape))
        return self.loc + self.scale * normal * jnp.exp(0.5 * (jnp.log(half) - log_gamma))

    def mean(self) -> jax.Array:
        """Mean [dim]; NaN where there is none (df <= 1)."""
        return jnp.where(self.df > 1, self.loc, jnp.nan)

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim]; infinite for 1 < df <= 2, NaN for df <= 1."""
        finite = self.scale**2 * self.df / jnp.where(self.df > 2, self.df - 2, 1)
        return jnp.where(self.df > 2, finite, jnp.where(self.df > 1, jnp.inf, jnp.nan))
