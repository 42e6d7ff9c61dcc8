"""Mixtures of Gaussians with full covariances."""

import distrax
import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.numerics import LOG_2PI, as_event


def _component(slice_: tuple[jax.Array, jax.Array]) -> distrax.Distribution:
    return distrax.MultivariateNormalTri(*slice_)  # not a closure: see `DiagonalMixture`


class FullMixture(Mixture):
    r"""$p(z) = \sum_k w_k\, \mathcal{N}(z; \mu_k, L_k L_k^\top)$."""

    def __init__(self, log_weights: jax.Array, loc: jax.Array, scale_tril: jax.Array):
        """Takes log-weights [K], means [K, dim] and lower Cholesky factors [K, dim, dim]."""
        super().__init__(log_weights, (loc, scale_tril), _component)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.parameters[0].shape[1:]

    def component_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each component at z [..., dim]: [..., K]."""
        value = as_event(value, self.event_shape, self.log_weights.dtype)

        def evaluate(loc: jax.Array, scale_tril: jax.Array) -> jax.Array:
            # Solves L u = z - mu for all points at once: [dim, ...] on the right.
            centred = jnp.moveaxis(value - loc, -1, 0)
            flat = jax.scipy.linalg.solve_triangular(scale_tril, centred.reshape(loc.shape[-1], -1), lower=True)
            square = jnp.sum(flat**2, axis=0).reshape(centred.shape[1:])
            return -0.5 * (square + loc.shape[-1] * LOG_2PI) - jnp.sum(jnp.log(jnp.diagonal(scale_tril)))

        return jax.vmap(evaluate, out_axes=-1)(*self.parameters)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        loc, scale_tril = self.parameters
        key_component, key_value = jax.random.split(key)
        chosen = self._choose(key_component, n)
        noise = jax.random.normal(key_value, (n, loc.shape[-1]), loc.dtype)
        return loc[chosen] + jnp.einsum("nij,nj->ni", scale_tril[chosen], noise, precision=Precision.HIGHEST)

    def with_log_weights(self, log_weights: jax.Array) -> "FullMixture":
        """The same components with other log-weights [K]."""
        return FullMixture(log_weights, *self.parameters)

    def component_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each component, [K, dim] both."""
        loc, scale_tril = self.parameters
        return loc, jnp.sum(scale_tril**2, axis=-1)
