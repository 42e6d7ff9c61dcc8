"""Stationary Gaussian chains over one vector."""

import math
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from vaepriors_jax.distributions.numerics import LOG_2PI, as_event


class AutoregressiveNormal(distrax.Distribution):
    r"""Independent chains, $z_1 \sim \mathcal{N}(0, 1)$ and $z_t \sim \mathcal{N}(\alpha z_{t-1}, 1 - \alpha^2)$.

    A vector z [num_steps * num_channels] holds all channels of the first step, then those of the second.

    Attributes:
        num_steps: number of steps T.
        num_channels: number of chains C.
        correlation: $\alpha$ between neighbouring steps, between -1 and 1.
    """

    def __init__(self, num_steps: int, num_channels: int, correlation: float):
        """Takes what the attributes say."""
        self.num_steps = num_steps
        self.num_channels = num_channels
        self.correlation = correlation

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(num_steps * num_channels,)."""
        return (self.num_steps * self.num_channels,)

    @property
    def innovation_scale(self) -> float:
        """The scale of a step given the last one."""
        return math.sqrt((1 - self.correlation) * (1 + self.correlation))

    @property
    def committed_rate(self) -> float:
        r"""The least KL from a diagonal Gaussian: $\frac C2 ((T - 2) \ln(1 + \alpha^2) - \ln(1 - \alpha^2))$ nats."""
        if self.num_steps == 1:
            return 0.0
        log_scale_of_ends = math.log1p(-self.correlation) + math.log1p(self.correlation)
        return self.num_channels / 2 * ((self.num_steps - 2) * math.log1p(self.correlation**2) - log_scale_of_ends)

    def innovations(self, value: jax.Array) -> jax.Array:
        """The noise of each step, of unit variance: [..., num_steps, num_channels] of z [..., dim]."""
        steps = value.reshape(*value.shape[:-1], self.num_steps, self.num_channels)
        moved = (steps[..., 1:, :] - self.correlation * steps[..., :-1, :]) / self.innovation_scale
        return jnp.concatenate([steps[..., :1, :], moved], axis=-2)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        value = as_event(value, self.event_shape, jnp.result_type(float))
        return -0.5 * jnp.sum(jnp.square(self.innovations(value)), axis=(-2, -1)) - self._log_constant()

    def _log_constant(self) -> float:
        log_scales = (self.num_steps - 1) * self.num_channels * math.log(self.innovation_scale)
        return 0.5 * self.event_shape[0] * LOG_2PI + log_scales

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        noise = jax.random.normal(key, (n, self.num_steps, self.num_channels))
        # What a step keeps of the noise of each step before it, [num_steps, num_steps].
        lags = np.subtract.outer(np.arange(self.num_steps), np.arange(self.num_steps))
        kept = np.where(lags >= 0, np.power(float(self.correlation), np.maximum(lags, 0)), 0.0)
        kept[:, 1:] *= self.innovation_scale
        steps = jnp.einsum("ts,nsc->ntc", jnp.asarray(kept, noise.dtype), noise, precision=Precision.HIGHEST)
        return steps.reshape(n, *self.event_shape)

    def mean(self) -> jax.Array:
        """Mean [dim]: 0."""
        return jnp.zeros(self.event_shape)

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim]: 1."""
        return jnp.ones(self.event_shape)


def kl_of_diagonal_gaussian_to_chain(loc: jax.Array, scale: jax.Array, p: Any) -> jax.Array:
    r"""KL in nats of a diagonal Gaussian, loc and scale [..., dim], to an `AutoregressiveNormal`.

    $\frac12 \left(\sum_i \Lambda_{ii} \sigma_i^2 + |n(\mu)|^2 - D\right) - \sum_i \log \sigma_i + \frac12 \log
    |\Sigma_p|$, with $n(\mu)$ the innovations of the mean. The precision $\Lambda$ has $1 / (1 - \alpha^2)$ on its
    diagonal at the first and the last step, and $(1 + \alpha^2) / (1 - \alpha^2)$ between.
    """
    noise_variance = p.innovation_scale**2
    inner = (1 + p.correlation**2) / noise_variance
    precision = np.full((p.num_steps, p.num_channels), inner)
    precision[[0, -1]] = 1.0 if p.num_steps == 1 else 1 / noise_variance
    squares = jnp.sum(jnp.square(p.innovations(loc)), axis=(-2, -1))
    log_determinant = (p.num_steps - 1) * p.num_channels * math.log(noise_variance)
    of_dimensions = 0.5 * (jnp.asarray(precision.reshape(-1), scale.dtype) * jnp.square(scale) - 1) - jnp.log(scale)
    return jnp.sum(of_dimensions, axis=-1) + 0.5 * squares + 0.5 * log_determinant
