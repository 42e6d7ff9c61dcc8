"""A distribution that accepts or rejects what another one proposes, a limited number of times."""

from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import as_event
from vaepriors_jax.loops import scan


class Resampled(distrax.Distribution):
    r"""$p(z) = \pi(z) \left((1 - \alpha) a(z) / Z + \alpha\right)$ with $\alpha = (1 - Z)^{T - 1}$; see `resampled`.

    Attributes:
        base: $\pi(z)$, which makes the proposals.
        normalizer: the estimate of $Z = E_\pi[a(z)]$, a scalar.
        normalizer_error: its standard error, a scalar.
        num_proposals: T.
    """

    def __init__(
        self,
        base: distrax.Distribution,
        log_acceptance: Callable[[jax.Array], jax.Array],
        normalizer: jax.Array,
        normalizer_error: jax.Array,
        num_proposals: int,
    ):
        """Takes the base, log a(z) as a function of z [..., dim], the estimate of Z with its error, and T."""
        self.base = base
        self._log_acceptance = log_acceptance
        self.normalizer = normalizer
        self.normalizer_error = normalizer_error
        self.num_proposals = num_proposals

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return tuple(self.base.event_shape)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        value = as_event(value, self.event_shape, self.normalizer.dtype)
        log_ratio = log_density_ratio(self._log_acceptance(value), self.normalizer, self.num_proposals)
        return self.base.log_prob(value) + log_ratio

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        """All T proposals of each sample are drawn; it is the first one that is accepted, or else the last."""

        def propose(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            key_proposal, key_accept = jax.random.split(key)
            z = self.base.sample(seed=key_proposal, sample_shape=n)
            log_acceptance = self._log_acceptance(z)
            return z, jnp.log(jax.random.uniform(key_accept, (n,), log_acceptance.dtype)) < log_acceptance

        def step(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
            (z, is_accepted), (proposal, accepts) = carry, propose(key)
            return (jnp.where(is_accepted[:, None], z, proposal), is_accepted | accepts), None

        keys = jax.random.split(key, self.num_proposals)
        (z, _), _ = scan(step, propose(keys[0]), keys[1:], self.num_proposals - 1)
        # A sample is no smooth function of the parameters: the gradient through the base alone would be wrong.
        return jax.lax.stop_gradient(z)


def log_density_ratio(log_acceptance: jax.Array, normalizer: jax.Array, num_proposals: int) -> jax.Array:
    r"""$\log \left((1 - \alpha) a / Z + \alpha\right)$ with $\alpha = (1 - Z)^{T - 1}$, of log a [...]: [...]."""
    if num_proposals == 1:
        return jnp.zeros_like(log_acceptance)
    # Where a is 0 or 1 everywhere in this precision, Z is a little off its bounds, and all terms stay finite.
    limits = jnp.finfo(normalizer.dtype)
    normalizer = jnp.where(normalizer > limits.tiny, normalizer, limits.tiny)
    normalizer = jnp.where(normalizer < 1 - limits.eps, normalizer, 1 - limits.eps)
    log_rejected = (num_proposals - 1) * jnp.log1p(-normalizer)
    log_factor = jnp.log(-jnp.expm1(log_rejected)) - jnp.log(normalizer)
    return jnp.logaddexp(log_acceptance + log_factor, log_rejected)
