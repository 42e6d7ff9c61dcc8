"""A distribution times a positive function, with an estimated normaliser; its samples are approximate."""

from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.langevin import langevin
from vaepriors_jax.distributions.numerics import as_event
from vaepriors_jax.distributions.proposals import choose_proposal


class Reweighted(distrax.Distribution):
    r"""$p(z) = \pi(z) r(z) / Z$ with $Z = E_\pi[r(z)]$; see `reweighted`.

    Attributes:
        base: $\pi(z)$, which makes the proposals.
        normalizer: the estimate of Z, a scalar.
        normalizer_error: its standard error, a scalar.
        num_proposals: K.
        num_langevin_steps: steps of Langevin dynamics for each sample.
        step_size: of Langevin dynamics.
    """

    def __init__(
        self,
        base: distrax.Distribution,
        log_weight: Callable[[jax.Array], jax.Array],
        normalizer: jax.Array,
        normalizer_error: jax.Array,
        *,
        num_proposals: int,
        num_langevin_steps: int = 0,
        step_size: float = 0.1,
    ):
        """Takes the base, log r(z) as a function of z [..., dim], the estimate of Z with its error, and the sampler."""
        self.base = base
        self._log_weight = log_weight
        self.normalizer = normalizer
        self.normalizer_error = normalizer_error
        self.num_proposals = num_proposals
        self.num_langevin_steps = num_langevin_steps
        self.step_size = step_size

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return tuple(self.base.event_shape)

    def log_weight(self, value: jax.Array) -> jax.Array:
        """log r(z) in nats at z [..., dim]: [...]."""
        return self._log_weight(as_event(value, self.event_shape, self.normalizer.dtype))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        value = as_event(value, self.event_shape, self.normalizer.dtype)
        return self.base.log_prob(value) + self._log_weight(value) - jnp.log(self.normalizer)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        """Chooses each sample among K proposals by r, and moves it by Langevin dynamics, if there are steps of it."""
        key_choice, key_move = jax.random.split(key)
        z = choose_proposal(key_choice, self.base, self._log_weight, self.num_proposals, n)
        if not self.num_langevin_steps:
            return z
        moved = langevin(key_move, self.log_prob, z, num_steps=self.num_langevin_steps, step_size=self.step_size)
        return jax.lax.stop_gradient(moved)
