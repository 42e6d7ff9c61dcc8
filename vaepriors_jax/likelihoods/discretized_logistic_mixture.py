"""A mixture of discretised logistics for each pixel."""

import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.normal import check_scale
from vaepriors_jax.distributions.numerics import full_precision
from vaepriors_jax.likelihoods.discretized_logistic import bin_log_prob, bin_moments, bins, sampled_levels
from vaepriors_jax.likelihoods.pixelwise import Levels, check_num_levels


class DiscretizedLogisticMixture(Levels):
    """Independent pixels, each of a mixture on levels; see `discretized_logistic_mixture`."""

    def __init__(self, logits: jax.Array, loc: jax.Array, scale: jax.Array, num_levels: int):
        """Takes logits, locations and scales [..., C], and the number of levels."""
        self.num_levels = num_levels
        logits, loc, scale = jnp.broadcast_arrays(full_precision(logits), *bins(loc, scale, num_levels))
        self.log_weights, self.loc, self.scale = jax.nn.log_softmax(logits), loc, scale

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the logits without their last axis."""
        return self.loc.shape[:-1]

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each pixel."""
        level = self.level(value, self.loc.dtype)[..., None]
        components = bin_log_prob(level, self.loc, self.scale, self.num_levels)
        return jax.nn.logsumexp(self.log_weights + components, axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_component, key_value = jax.random.split(key)
        chosen = jax.random.categorical(key_component, self.log_weights, shape=(n, *self.event_shape))

        def of_chosen(array: jax.Array) -> jax.Array:
            return jnp.take_along_axis(array[None], chosen[..., None], axis=-1)[..., 0]

        noise = jax.random.logistic(key_value, chosen.shape, self.loc.dtype)
        return sampled_levels(of_chosen(self.loc) + of_chosen(self.scale) * noise, self.num_levels)

    def mean(self) -> jax.Array:
        """Mean of each pixel."""
        means, _ = bin_moments(self.loc, self.scale, self.num_levels)
        return jnp.sum(jnp.exp(self.log_weights) * means, axis=-1) / (self.num_levels - 1)

    def variance(self) -> jax.Array:
        """Variance of each pixel: within the components and between them."""
        means, variances = bin_moments(self.loc, self.scale, self.num_levels)
        weights = jnp.exp(self.log_weights)
        mean = jnp.sum(weights * means, axis=-1, keepdims=True)
        return jnp.sum(weights * (variances + (means - mean) ** 2), axis=-1) / (self.num_levels - 1) ** 2


def discretized_logistic_mixture(
    logits: jax.Array, loc: jax.Array, scale: jax.Array, num_levels: int = 256
) -> DiscretizedLogisticMixture:
    r"""For each pixel a mixture of C discretised logistics, $p(x_i) = \sum_c w_{ic}\, p_{ic}(x_i)$.

    The weights are the softmax of the logits, and each component is a `discretized_logistic` with its tails. Sampling
    draws a component of each pixel first.

    Args:
        logits: unnormalised log-weights [..., C].
        loc: locations [..., C], in units of the data.
        scale: scales [..., C], positive; see `discretized_logistic`.
        num_levels: L; level k of the data is k / (L - 1) in floating numbers, or the integer k.

    Returns:
        A distrax distribution whose event has the shape of `logits` without its last axis; log-probabilities in nats.

    Raises:
        ValueError: fewer than two levels, or a `scale` that is not > 0 (where its values are known).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.discretized_logistic_mixture(jnp.zeros(2), jnp.array([0.0, 1.0]), 0.1, num_levels=3)
        >>> print([f"{likelihood.prob(x):.3f}" for x in jnp.array([0.0, 0.5, 1.0])])
        ['0.462', '0.075', '0.462']

    References:
        Salimans et al. (2017), PixelCNN++, eqs. 1 and 2; here without autoregression, and with one mixture for each
        channel.
    """
    check_scale(scale)
    return DiscretizedLogisticMixture(logits, loc, scale, check_num_levels(num_levels))
