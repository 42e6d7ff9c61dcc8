"""A mixture of discretised logistics for each pixel, whose channels depend on each other."""

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.distributions.numerics import full_precision, on_support
from vaepriors_jax.likelihoods.discretized_logistic import bin_log_prob, bin_moments, bins
from vaepriors_jax.likelihoods.pixelwise import Levels


class CoupledLogisticMixture(Levels):
    """Independent pixels of C channels, each of a mixture; see `discretized_logistic_mixture` with `coefficients`."""

    def __init__(self, logits: jax.Array, loc: jax.Array, scale: jax.Array, coefficients: jax.Array, num_levels: int):
        """Takes logits [..., M], locations and scales [..., C, M], coefficients [..., C (C - 1) / 2, M]."""
        self.num_levels = num_levels
        self.loc, self.scale = bins(loc, scale, num_levels)
        self.log_weights, self.coefficients = jax.nn.log_softmax(full_precision(logits)), full_precision(coefficients)
        self._check_shapes()

    def _check_shapes(self) -> None:
        shape = self.loc.shape
        if len(shape) < 2:
            raise ValueError(f"Expected `loc` [..., channels, components] beside `coefficients`; got shape {shape}.")
        num_channels = shape[-2]
        wanted = {
            "logits": (*shape[:-2], shape[-1]),
            "coefficients": (*shape[:-2], num_channels * (num_channels - 1) // 2, shape[-1]),
        }
        for (name, expected), array in zip(wanted.items(), (self.log_weights, self.coefficients), strict=True):
            if array.shape != expected:
                raise ValueError(
                    f"Expected `{name}` of shape {expected} beside locations {shape} of {num_channels} channels; got "
                    f"{array.shape}."
                )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the locations without their last axis."""
        return self.loc.shape[:-1]

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats at x [..., *event_shape]: [...]."""
        value = value if isinstance(value, (jax.Array, np.ndarray)) else jnp.asarray(value)
        return jnp.sum(self.pixel_log_prob(value), axis=tuple(range(1 - len(self.event_shape), 0)))

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each pixel, all channels together: x without its last axis."""
        level, is_level, given = self.nearest_level(value, self.loc.dtype)
        level = level[..., None]
        loc = jnp.stack([self._location(channel, level) for channel in range(level.shape[-2])], axis=-2)
        of_channels = bin_log_prob(level, loc, self.scale, self.num_levels)
        nats = jax.nn.logsumexp(self.log_weights + jnp.sum(of_channels, axis=-2), axis=-1)
        return on_support(jnp.all(is_level, axis=-1), nats, jnp.sum(given, axis=-1))

    def _location(self, channel: int, level: jax.Array) -> jax.Array:
        """Locations [..., M] of a channel, in units of levels, given the levels [..., C, M or 1] of those before it."""
        first = channel * (channel - 1) // 2  # of the coefficients of this channel
        coefficients = self.coefficients[..., first : first + channel, :]
        distances = level[..., :channel, :] - (self.num_levels - 1) / 2
        return self.loc[..., channel, :] + jnp.sum(coefficients * distances, axis=-2)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_component, key_noise = jax.random.split(key)
        shape = (n, *self.event_shape)
        chosen = jax.random.categorical(key_component, self.log_weights, shape=shape[:-1])[..., None]
        noise = jax.random.logistic(key_noise, shape, self.loc.dtype)
        level = jnp.zeros(shape, self.loc.dtype)

        def of_chosen(array: jax.Array) -> jax.Array:
            return jnp.take_along_axis(jnp.broadcast_to(array, (*shape[:-1], array.shape[-1])), chosen, axis=-1)[..., 0]

        for channel in range(shape[-1]):
            loc, scale = self._location(channel, level[..., None]), self.scale[..., channel, :]
            position = of_chosen(loc) + of_chosen(scale) * noise[..., channel]
            level = level.at[..., channel].set(jnp.clip(jnp.round(position), 0, self.num_levels - 1))
        return level / (self.num_levels - 1)

    def mean(self) -> jax.Array:
        """Mean of each channel, where each component's channels before it are taken at their means.

        For the first channel, and where no level beyond the ends has mass, that is the mean up to rounding to levels;
        elsewhere it is an approximation, since a sum over the levels of several channels takes too long.
        """
        level = jnp.zeros_like(self.loc)
        for channel in range(self.loc.shape[-2]):
            loc, scale = self._location(channel, level), self.scale[..., channel, :]
            level = level.at[..., channel, :].set(bin_moments(loc, scale, self.num_levels)[0])
        return jnp.sum(jnp.exp(self.log_weights)[..., None, :] * level, axis=-1) / (self.num_levels - 1)
