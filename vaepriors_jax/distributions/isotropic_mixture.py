"""A mixture of Gaussians that share one scale: its density is fast for tens of thousands of components."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.distributions.diagonal_mixture import MAX_AT_ONCE, DiagonalMixture
from vaepriors_jax.distributions.numerics import LOG_2PI, as_event, log_sum_exp
from vaepriors_jax.loops import map_chunks

# Components of each point whose terms are computed by differences.
LEADING = 16
# Terms of points times components in memory at a time.
TERMS_AT_ONCE = 2**23


class IsotropicMixture(DiagonalMixture):
    r"""$p(z) = \sum_k w_k\, \mathcal{N}(z; \mu_k, \sigma^2 I)$.

    With more than 4096 components, squared distances come from one matrix product. They cancel where distances are
    small beside the spread of the means, so that the largest 16 terms of each point are computed again by differences.
    Memory is bounded: points are taken in chunks.
    """

    def __init__(self, log_weights: jax.Array, loc: jax.Array, shared_scale: jax.Array):
        """Takes log-weights [K], means [K, dim] and one standard deviation, a scalar."""
        super().__init__(log_weights, loc, jnp.broadcast_to(shared_scale, loc.shape))
        self.shared_scale = shared_scale

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        if self.num_components <= MAX_AT_ONCE:
            return super().log_prob(value)
        value = as_event(value, self.event_shape, self.log_weights.dtype)
        points = value.reshape(-1, value.shape[-1])
        chunk = max(1, TERMS_AT_ONCE // self.num_components)
        return map_chunks(self._many_components(), points, chunk).reshape(value.shape[:-1])

    def _many_components(self) -> Callable[[jax.Array], jax.Array]:
        """The log-density of one point z [dim]."""
        loc, dim = self.parameters[0], self.event_shape[0]
        centre = jax.lax.stop_gradient(jnp.mean(loc, axis=0))  # products of small numbers cancel less
        loc = loc - centre
        squares = jnp.sum(loc**2, axis=-1)
        precision = self.shared_scale**-2

        @jax.checkpoint
        def log_prob(value: jax.Array) -> jax.Array:
            value = value - centre
            product = jnp.dot(loc, value, precision=Precision.HIGHEST)
            joint = self.log_weights + precision * (product - 0.5 * (squares + jnp.sum(value**2)))
            _, leading = jax.lax.top_k(jax.lax.stop_gradient(joint), LEADING)
            distances = jnp.sum((value - loc[leading]) ** 2, axis=-1)
            joint = joint.at[leading].set(self.log_weights[leading] - 0.5 * precision * distances)
            return log_sum_exp(joint) - dim * (jnp.log(self.shared_scale) + 0.5 * LOG_2PI)

        return log_prob

    def with_log_weights(self, log_weights: jax.Array) -> "IsotropicMixture":
        """The same components with other log-weights [K]."""
        return IsotropicMixture(log_weights, self.parameters[0], self.shared_scale)
