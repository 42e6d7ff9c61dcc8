"""The choice of one proposal by weights."""

from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.loops import scan

_DRAWN_AT_ONCE = 2**14  # proposals in memory at a time


def choose_proposal(
    key: jax.Array,
    base: distrax.Distribution,
    log_weight: Callable[[jax.Array], jax.Array],
    num_proposals: int,
    n: int,
) -> jax.Array:
    r"""Draws K proposals z of a base for each sample, and chooses one with probability $f(z_k) / \sum_j f(z_j)$.

    The largest of log f(z_k) + g_k with independent Gumbel noise g_k is such a choice, so that the proposals can come
    in blocks, and memory does not grow with K.

    Args:
        key: a random key.
        base: the distribution of the proposals.
        log_weight: log f(z) [...] as a function of z [..., dim].
        num_proposals: K.
        n: the number of samples.

    Returns:
        Samples [n, dim], without a gradient: a choice is no smooth function of the parameters.
    """
    num_blocks = -(-num_proposals // max(1, _DRAWN_AT_ONCE // max(n, 1)))
    block = -(-num_proposals // num_blocks)

    def propose(key: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        key_proposal, key_noise = jax.random.split(key)
        z = base.sample(seed=key_proposal, sample_shape=(block, n))
        log_f = log_weight(z)
        scores = log_f + jax.random.gumbel(key_noise, (block, n), log_f.dtype)
        # The last block may be larger than what is left.
        is_proposal = index * block + jnp.arange(block) < num_proposals
        scores = jnp.where(is_proposal[:, None], scores, -jnp.inf)
        best = jnp.argmax(scores, axis=0)
        return z[best, jnp.arange(n)], scores[best, jnp.arange(n)]

    def step(best: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        (z, score), (proposal, new) = best, propose(*inputs)
        return (jnp.where((new > score)[:, None], proposal, z), jnp.maximum(new, score)), None

    keys, places = jax.random.split(key, num_blocks), jnp.arange(num_blocks)
    (z, _), _ = scan(step, propose(keys[0], places[0]), (keys[1:], places[1:]), num_blocks - 1)
    return jax.lax.stop_gradient(z)
