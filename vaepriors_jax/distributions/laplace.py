"""Independent Laplace variables over one vector."""

import distrax
import jax

from vaepriors_jax.distributions.numerics import as_event, full_precision


class LaplaceDiag(distrax.Independent):
    """Independent Laplace variables over one vector; see `laplace`."""

    def __init__(self, loc: jax.Array, scale: jax.Array):
        """Takes locations and scales, [dim] both."""
        super().__init__(distrax.Laplace(full_precision(loc), full_precision(scale)), reinterpreted_batch_ndims=1)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        return super().log_prob(as_event(value, self.event_shape, self.distribution.loc.dtype))
