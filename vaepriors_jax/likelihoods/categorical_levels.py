"""A categorical distribution over grey levels."""

import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.distributions.numerics import full_precision, on_support, over_leading_axes
from vaepriors_jax.likelihoods.pixelwise import Levels, check_num_levels


class CategoricalLevels(Levels):
    """Independent pixels on levels; see `categorical_levels`."""

    def __init__(self, logits: jax.Array):
        """Takes logits [..., L]."""
        self.log_probs = jax.nn.log_softmax(full_precision(logits))
        self.num_levels = self.log_probs.shape[-1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the logits without their last axis."""
        return self.log_probs.shape[:-1]

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each pixel."""

        def pick(level: jax.Array) -> jax.Array:
            return jnp.take_along_axis(self.log_probs, level[..., None], axis=-1)[..., 0]

        level, is_level, given = self.nearest_level(value, jnp.float32)
        nats = over_leading_axes(pick, level.astype(jnp.int32), event_ndims=len(self.event_shape))
        return on_support(is_level, nats, given)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        levels = jax.random.categorical(key, self.log_probs, shape=(n, *self.event_shape))
        return levels.astype(self.log_probs.dtype) / (self.num_levels - 1)

    def mean(self) -> jax.Array:
        """Mean of each pixel."""
        return self._expectation(self._data())

    def variance(self) -> jax.Array:
        """Variance of each pixel."""
        return self._expectation((self._data() - self.mean()[..., None]) ** 2)

    def _data(self) -> jax.Array:
        return jnp.linspace(0, 1, self.num_levels, dtype=self.log_probs.dtype)

    def _expectation(self, of_levels: jax.Array) -> jax.Array:
        return jnp.einsum("...k,...k->...", jnp.exp(self.log_probs), of_levels, precision=Precision.HIGHEST)


def categorical_levels(logits: jax.Array) -> CategoricalLevels:
    r"""Independent categorical variables over L levels, $p(x_i = \tfrac{k}{L-1}) = \mathrm{softmax}(l_i)_k$.

    Args:
        logits: $l$ [..., L], of any magnitude; level k of the data is k / (L - 1) in floating numbers (8-bit images
            divided by 255), or the integer k.

    Returns:
        A distrax distribution whose event has the shape of `logits` without its last axis; log-probabilities in nats.

    Raises:
        ValueError: fewer than two levels.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.categorical_levels(jnp.zeros((2, 256))).log_prob(jnp.array([0.0, 1.0])))
        -11.090355

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu (2016), Pixel recurrent neural networks, section 2.2.
    """
    check_num_levels(jnp.shape(logits)[-1] if jnp.ndim(logits) else 1)
    return CategoricalLevels(logits)
