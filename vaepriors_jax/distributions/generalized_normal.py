"""Independent variables with generalised normal densities."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from vaepriors_jax.distributions.numerics import as_event, full_precision

LOG_2 = float(np.log(2.0))


def _power(distance: jax.Array, exponent: jax.Array) -> jax.Array:
    """d^b for d >= 0; at d = 0 both derivatives are 0, where those of `jnp.power` may be NaN."""
    is_zero = distance == 0
    return jnp.where(is_zero, 0, jnp.where(is_zero, 1, distance) ** exponent)


class GeneralizedNormal(distrax.Distribution):
    """Independent generalised normal variables over one vector; see `generalized_normal`."""

    def __init__(self, exponent: jax.Array, loc: jax.Array, scale: jax.Array):
        """Takes exponents, locations and scales, [dim] each."""
        self.exponent, self.loc, self.scale = (full_precision(array) for array in (exponent, loc, scale))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.loc.shape

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        return jnp.sum(self.log_prob_of_dimensions(as_event(value, self.event_shape, self.loc.dtype)), axis=-1)

    def log_prob_of_dimensions(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each dimension at z [..., dim]: [..., dim]."""
        distance = jnp.abs(value - self.loc) / self.scale
        log_peak = -LOG_2 - jnp.log(self.scale) - gammaln(1 + 1 / self.exponent)
        return log_peak - _power(distance, self.exponent)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_sign, key_gamma = jax.random.split(key)
        shape = (n, *self.event_shape)
        sign = jax.random.rademacher(key_sign, shape, self.loc.dtype)
        # The exponent-th power of the distance is a gamma variable.
        log_gamma = jax.random.loggamma(key_gamma, 1 / self.exponent, shape)
        return self.loc + self.scale * sign * jnp.exp(log_gamma / self.exponent)

    def mean(self) -> jax.Array:
        """Mean [dim]."""
        return self.loc

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim]."""
        return self.scale**2 * jnp.exp(gammaln(3 / self.exponent) - gammaln(1 / self.exponent))
