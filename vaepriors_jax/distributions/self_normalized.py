"""A distribution that chooses one of several proposals of another one by weights (SNIS)."""

import math
from collections.abc import Callable

import distrax
import jax

from vaepriors_jax.distributions.numerics import as_event
from vaepriors_jax.distributions.proposals import choose_proposal


class SelfNormalized(distrax.Distribution):
    r"""$p(z) = \pi(z)\, K f(z)\, E_W[1 / (f(z) + W)]$ with W the sum of f over K - 1 draws of $\pi$; see `snis`.

    Attributes:
        base: $\pi(z)$, which makes the proposals.
        log_sums: the logs of M draws of W in groups [groups, M / groups]; the expectation is their mean.
        group_weights: weights of the groups, all 1 [groups].
        num_proposals: K.
    """

    def __init__(
        self,
        base: distrax.Distribution,
        log_weight: Callable[[jax.Array], jax.Array],
        log_sums: jax.Array,
        group_weights: jax.Array,
        num_proposals: int,
    ):
        """Takes the base, log f(z) as a function of z [..., dim], draws of log W, the groups' weights, and K."""
        self.base = base
        self._log_weight = log_weight
        self.log_sums = log_sums
        self.group_weights = group_weights
        self.num_proposals = num_proposals

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return tuple(self.base.event_shape)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        value = as_event(value, self.event_shape, self.log_sums.dtype)
        log_ratio = log_density_ratio(self._log_weight(value), self.log_sums, self.group_weights, self.num_proposals)
        return self.base.log_prob(value) + log_ratio

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        """Each sample is one of K proposals, chosen with probabilities in proportion to f."""
        return choose_proposal(key, self.base, self._log_weight, self.num_proposals, n)


def log_density_ratio(
    log_weight: jax.Array, log_sums: jax.Array, group_weights: jax.Array, num_proposals: int
) -> jax.Array:
    r"""$\log K f\, E_W[1 / (f + W)]$ of log f [...]: [...]."""
    log_shares = jax.nn.log_sigmoid(log_weight[..., None, None] - log_sums)  # of f in f + W
    of_groups = jax.nn.logsumexp(log_shares, axis=-1)
    total = jax.nn.logsumexp(of_groups, axis=-1, b=group_weights)
    return math.log(num_proposals) - math.log(log_sums.size) + total
