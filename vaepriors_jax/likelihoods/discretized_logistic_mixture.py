"""A mixture of discretised logistics for each pixel."""

import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.normal import check_scale
from vaepriors_jax.distributions.numerics import full_precision, on_support
from vaepriors_jax.likelihoods.coupled_logistic_mixture import CoupledLogisticMixture
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
        level, is_level, given = self.nearest_level(value, self.loc.dtype)
        components = bin_log_prob(level[..., None], self.loc, self.scale, self.num_levels)
        return on_support(is_level, jax.nn.logsumexp(self.log_weights + components, axis=-1), given)

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
    logits: jax.Array,
    loc: jax.Array,
    scale: jax.Array,
    num_levels: int = 256,
    *,
    coefficients: jax.Array | None = None,
) -> DiscretizedLogisticMixture | CoupledLogisticMixture:
    r"""For each pixel a mixture of M discretised logistics, $p(x_i) = \sum_m w_{im}\, p_{im}(x_i)$.

    The weights are the softmax of the logits, and each component is a `discretized_logistic` with its tails. Sampling
    draws a component of each pixel first.

    With `coefficients` it is that of PixelCNN++ for colours: a pixel is one vector of C channels with one mixture, and
    the location of a channel is linear in the channels before it,
    $p(x_i) = \sum_m w_{im} \prod_c p_{icm}(x_{ic} \mid \mu_{icm} + \sum_{b < c} a_{icbm} (x_{ib} - \tfrac12))$.
    It sums to 1 over all $L^C$ values of a pixel.

    Args:
        logits: unnormalised log-weights [..., M].
        loc: locations [..., M], or [..., C, M] with coefficients, in units of the data.
        scale: scales [..., M] or [..., C, M], positive; see `discretized_logistic`.
        num_levels: L; level k of the data is k / (L - 1) in floating numbers, or the integer k.
        coefficients: $a$ [..., C (C - 1) / 2, M], in the order green on red, blue on red, blue on green. In the paper
            they are the tanh of network outputs, and values run from -1 to 1: therefore the 1/2 above.

    Returns:
        A distrax distribution whose event has the shape of `loc` without its last axis; log-probabilities in nats. With
        coefficients its `mean` is approximate in all channels but the first, where values are cut off at 0 or 1.

    Raises:
        ValueError: fewer than two levels, a `scale` that is not > 0 (where its values are known), or coefficients
            beside parameters of other shapes.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.discretized_logistic_mixture(jnp.zeros(2), jnp.array([0.0, 1.0]), 0.1, num_levels=3)
        >>> print([f"{likelihood.prob(x):.3f}" for x in jnp.array([0.0, 0.5, 1.0])])
        ['0.462', '0.075', '0.462']
        >>> colours = vp.discretized_logistic_mixture(  # 10 components in an image of 4x4 pixels
        ...     jnp.zeros((4, 4, 10)), jnp.full((4, 4, 3, 10), 0.5), 0.1, coefficients=jnp.zeros((4, 4, 3, 10)))
        >>> colours.event_shape
        (4, 4, 3)

    References:
        Salimans et al. (2017), PixelCNN++, section 2.1 and 2.2; here without autoregression over pixels.
    """
    check_scale(scale)
    num_levels = check_num_levels(num_levels)
    if coefficients is not None:
        return CoupledLogisticMixture(logits, loc, scale, coefficients, num_levels)
    return DiscretizedLogisticMixture(logits, loc, scale, num_levels)
