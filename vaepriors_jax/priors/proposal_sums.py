"""Sums of a positive function over proposals of a base prior, in a prior's state."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.loops import scan
from vaepriors_jax.priors.weighting import DRAWN_AT_ONCE, NUM_DRAWS, Weighting, key_of

NUM_GROUPS = 16  # of sums, from whose differences the error is computed
# Sums that a training step renews in the state, so that 272 of them belong to the last 68 steps. At a learning rate of
# 1e-3 the validation ELBO of 5,000 images of MNIST was then too high by 0.11 nats, and by 0.24 with one sum a step.
NUM_RENEWED = 4


class ProposalSums(NamedTuple):
    r"""Draws of $W = \sum_{k < K} f(z_k)$ for K - 1 samples of a base prior $\pi$ and a function $f > 0$.

    The state of a prior holds the logs of M draws in groups [groups, M / groups], the weights of the groups, directions
    that say how these may err, and a key for the draws of the next step. All methods take the parameters of that prior,
    with an entry `base`.

    Attributes:
        weighting: the base prior and the function.
        num_proposals: K.
        num_sums: how many draws of W the gradient of a training step takes.
    """

    weighting: Weighting
    num_proposals: int
    num_sums: int

    def values(self, params: Any, context: Mapping[str, Any], log_sums: Any, words: Any) -> jax.Array:
        """The log-sums of the state; where a gradient is taken, new ones in their place, for the present parameters."""
        base = self.weighting.shared_base(params, context)
        new = self._draw(params, base, key_of(words), self.num_sums)
        log_sums = jnp.asarray(log_sums, new.dtype)
        return _new_with_gradient(log_sums, jnp.resize(new, log_sums.shape))

    def _draw(self, params: Any, base: distrax.Distribution, key: jax.Array, count: int) -> jax.Array:
        r"""Logs of new draws of W [count].

        Their gradient goes through f. In the base's parameters it is that of $E[W]$, by the score function
        $\sum_k (f(z_k) - \bar f) \nabla \log \pi(z_k)$, which is exact for the density to first order in 1 / K.
        """
        size = self.num_proposals - 1
        z = jax.lax.stop_gradient(base.sample(seed=key, sample_shape=(count, size)))
        log_values, log_density = self.weighting.log_function(params, z), base.log_prob(z)
        above_mean = jax.lax.stop_gradient(jax.nn.softmax(log_values, axis=-1)) - 1 / size
        score = (log_density - jax.lax.stop_gradient(log_density)).astype(log_values.dtype)  # 0, with a gradient
        return jax.nn.logsumexp(log_values, axis=-1) + jnp.sum(above_mean * score, axis=-1)

    def init_state(self, *, params: Any, key: Any = None, num_draws: int = NUM_DRAWS, **data: Any) -> Any:
        """The state of the prior, with that of its base: sums of at least `num_draws` draws in all."""
        check_positive_integer(num_draws=num_draws)
        key = jax.random.key(0) if key is None else check_key(key)
        state, base = self.weighting.start(params, data)
        size = self.num_proposals - 1
        of_group = -(-num_draws // (size * NUM_GROUPS))
        num_blocks = -(-of_group * NUM_GROUPS // max(1, DRAWN_AT_ONCE // size))
        at_once = -(-of_group * NUM_GROUPS // num_blocks)
        key_draws, key_next = jax.random.split(key)

        def step(carry: None, key: jax.Array) -> tuple[None, jax.Array]:
            return carry, self._draw(params, base, key, at_once)

        _, drawn = scan(step, None, jax.random.split(key_draws, num_blocks), num_blocks)
        log_sums = drawn.reshape(-1)[: of_group * NUM_GROUPS].reshape(NUM_GROUPS, of_group)
        directions = np.sqrt(NUM_GROUPS / (NUM_GROUPS - 1)) * (np.eye(NUM_GROUPS) - 1 / NUM_GROUPS)
        own = {
            "log_sums": log_sums,
            "normalizer": jnp.ones(NUM_GROUPS, log_sums.dtype),
            "normalizer_error": jnp.asarray(directions, log_sums.dtype),
            "normalizer_key": jax.random.bits(key_next, (2,), jnp.uint32),
        }
        return self.weighting.joined(state, own)

    def update_state(self, state: Any, *, params: Any, **batch: Any) -> Any:
        """The entries that a training step renews: the oldest sums, the key, and those of the base."""
        renewed, base = self.weighting.renewed(state, params, batch)
        key = key_of(state["normalizer_key"])
        old = state["log_sums"]
        new = self._draw(params, base, key, max(self.num_sums, NUM_RENEWED)).astype(old.dtype)
        moved = jnp.concatenate([new, old.reshape(-1)])[: old.size].reshape(old.shape)
        return {**renewed, "log_sums": moved, "normalizer_key": jax.random.key_data(jax.random.split(key)[0])}


@jax.custom_jvp
def _new_with_gradient(value: jax.Array, new: jax.Array) -> jax.Array:
    """A value; where a gradient is taken, a new one with its gradient in its place."""
    del new
    return value


@_new_with_gradient.defjvp
def _new_with_gradient_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return primals[1], tangents[1]
