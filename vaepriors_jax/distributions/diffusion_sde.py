"""The SDE of a variance-preserving diffusion model: a bound on its density."""

import math
from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import LOG_2PI, as_event, on_support

# The angle phi = pi t / 2 at t = 0.99, where the SDE ends: noise of standard deviation cos(phi) = 0.016 is left.
LAST_ANGLE = 0.99 * math.pi / 2


class DiffusionSDE(distrax.Distribution):
    r"""$z = \mu + \sigma u$, where u is the end of the SDE of a diffusion model; see `diffusion`.

    With the angle $\varphi = \pi t / 2$, and $w(u, \varphi) = \frac2\pi v(t, u)$ for the velocity v of its
    probability-flow ODE, the SDE is

    $$du = (2 w - u \cot\varphi)\, d\varphi + \sqrt{2 \cot\varphi}\, dB, \qquad u \sim \mathcal{N}(0, I)
    \text{ at } \varphi = 0.$$

    It ends at $\varphi_1 = 0.99 \pi / 2$. There u becomes a sample of $\mathcal{N}(u \sin\varphi_1 + w \cos\varphi_1,
    \cos^2\varphi_1 I)$, which removes the noise that is left. For w = 0 all of this is N(0, I).

    `log_prob` is not the log-density $\log p_{SDE}(z)$, which nobody can compute, but an estimate of a lower bound on
    it, from random times and noise. The mean over keys is

    $$\log \mathcal{N}(u; 0, I) - \sum_i \log \sigma_i + E\left[\tfrac12 g(\varphi_1)
    + \int_0^{\varphi_1} g(\varphi) \tan\varphi\, d\varphi\right], \qquad g = 2 w^* \cdot w - \|w\|^2$$

    with g at $u \sin\varphi + \epsilon \cos\varphi$, and $w^* = u \cos\varphi - \epsilon \sin\varphi$. The estimate
    takes K times, each with its own noise.
    """

    def __init__(
        self,
        velocity: Callable[[jax.Array, jax.Array], jax.Array],
        loc: jax.Array,
        scale: jax.Array,
        *,
        key: jax.Array | None = None,
        num_times: int = 1,
        num_steps: int = 500,
    ):
        """Takes v as a function of t [] and u [dim]; a key and K for the bound; the number of steps for samples."""
        self._velocity, self._key, self._num_times, self._num_steps = velocity, key, num_times, num_steps
        self.loc, self.scale = loc, scale

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return tuple(self.loc.shape)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """An estimate of a lower bound on the log-density in nats at z [..., dim]: [...], each with its own noise."""
        if self._key is None:
            raise TypeError("Expected a key for the times and the noise of the bound; got none.")
        value = as_event(value, self.event_shape, self.loc.dtype)
        keys = jax.random.split(self._key, value.shape[:-1])
        rows = jax.vmap(self._bound)(keys.reshape(-1), value.reshape(-1, *self.event_shape))
        return rows.reshape(value.shape[:-1])

    def _bound(self, key: jax.Array, z: jax.Array) -> jax.Array:
        is_finite = jnp.isfinite(z).all()
        u = (jnp.where(is_finite, z, self.loc) - self.loc) / self.scale
        key_times, key_noise = jax.random.split(key)
        angles, total = _random_angles(key_times, self._num_times, u.dtype)
        noise = jax.random.normal(key_noise, (self._num_times, *u.shape), u.dtype)
        gains = jax.vmap(lambda angle, noise: self._gain(angle, u, noise))(angles, noise)
        of_normal = jnp.sum(-0.5 * u**2 - 0.5 * LOG_2PI - jnp.log(self.scale))
        return on_support(is_finite, of_normal + total * jnp.mean(gains), jnp.sum(jnp.abs(z)))

    def _gain(self, angle: jax.Array, u: jax.Array, noise: jax.Array) -> jax.Array:
        """g at one angle."""
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        w = self._scaled_velocity(angle, sine * u + cosine * noise)
        return jnp.sum((2 * (cosine * u - sine * noise) - w) * w)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        """Samples of the SDE, by equal steps of the angle in which w is constant: exact for w = 0."""
        key_start, key_steps, key_end = jax.random.split(key, 3)
        angles = jnp.linspace(0, LAST_ANGLE, self._num_steps + 1, dtype=self.loc.dtype)
        drift = jax.vmap(self._scaled_velocity, in_axes=(None, 0))

        def noise(key: jax.Array) -> jax.Array:
            return jax.random.normal(key, (n, *self.event_shape), self.loc.dtype)

        def step(u: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            now, then, key = inputs
            added = jnp.sqrt(jnp.sin(then + now) * jnp.sin(then - now))
            moved = jnp.sin(now) * u + 2 * (jnp.cos(now) - jnp.cos(then)) * drift(now, u) + added * noise(key)
            return moved / jnp.sin(then), None

        keys = jax.random.split(key_steps, self._num_steps)
        u, _ = jax.lax.scan(step, noise(key_start), (angles[:-1], angles[1:], keys))
        sine, cosine = math.sin(LAST_ANGLE), math.cos(LAST_ANGLE)
        return self.loc + self.scale * (sine * u + cosine * (drift(angles[-1], u) + noise(key_end)))

    def _scaled_velocity(self, angle: jax.Array, u: jax.Array) -> jax.Array:
        """w [dim] at an angle [] and u [dim]."""
        return 2 / math.pi * self._velocity(2 / math.pi * angle, u)


def check_density(distribution: distrax.Distribution) -> None:
    """Raises ValueError for an estimate of a bound on a log-density, where its exponential is needed."""
    if isinstance(distribution, DiffusionSDE):
        raise ValueError(
            "Expected the density of the prior, for importance weights or a sum over labels; got an estimate of a "
            "bound on its logarithm, the exponential of which is too large on average. Leave `index` out of the "
            "context of `diffusion`: that gives the density of the ODE."
        )


def _random_angles(key: jax.Array, count: int, dtype: jnp.dtype) -> tuple[jax.Array, float]:
    r"""Angles [count], one in each of as many equal parts of the weight of g; and the whole weight.

    The weight is 1/2 at the last angle and $\tan\varphi\, d\varphi$ before it, which is even in $-\log\cos\varphi$.
    """
    longest = -math.log(math.cos(LAST_ANGLE))
    total = longest + 0.5
    parts = (jnp.arange(count, dtype=dtype) + jax.random.uniform(key, (count,), dtype)) / count
    log_cosine = -jnp.minimum(total * parts, longest)
    return jnp.arctan2(jnp.sqrt(-jnp.expm1(2 * log_cosine)), jnp.exp(log_cosine)), total
