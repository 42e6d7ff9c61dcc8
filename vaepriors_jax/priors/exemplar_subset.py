"""Random subsets of exemplars, drawn anew for each training step of an `exemplar` prior."""

from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_key
from vaepriors_jax.priors.weighting import key_of

# Entries of the prior's state: places [M] of the exemplars of the next step, and what the ones after it are drawn from.
SUBSET, KEY = "exemplar_subset", "exemplar_key"


def draw_subset(key: jax.Array, labels: jax.Array | None, count: int, size: int) -> jax.Array:
    """Draws the places [size] of some of `count` exemplars, without replacement.

    With labels [count] each class keeps the same number of exemplars in every draw: its share, and at least two.
    """
    shuffled = jax.random.permutation(key, count)
    if labels is None:
        return shuffled[:size]
    by_class = shuffled[jnp.argsort(labels[shuffled], stable=True)]
    labels = labels[by_class]
    first, after = (jnp.searchsorted(labels, labels, side=side) for side in ("left", "right"))
    rank, size_of_class = (jnp.asarray(n, jnp.float32) for n in (jnp.arange(count) - first, after - first))
    turn = jnp.where(rank < 2, rank - 2, (rank + 0.5) / size_of_class)
    return by_class[jnp.argsort(turn, stable=True)[:size]]


def init_subset(key: Any, labels: jax.Array | None, count: int, size: int) -> dict[str, jax.Array]:
    """The entries of the state before training."""
    key = jax.random.fold_in(jax.random.key(0) if key is None else check_key(key), 1)
    words = jax.random.bits(key, (2,), jnp.uint32)
    return next_subset({KEY: words}, labels, count, size)


def next_subset(state: Any, labels: jax.Array | None, count: int, size: int) -> dict[str, jax.Array]:
    """The entries of the state after a training step."""
    key_subset, key_next = jax.random.split(key_of(state[KEY]))
    subset = draw_subset(key_subset, labels, count, min(size, count))
    return {SUBSET: subset, KEY: jax.random.key_data(key_next)}


def log_weights_in_subset(log_weights: jax.Array, subset: jax.Array) -> jax.Array:
    """Log-weights [M] of the exemplars of a subset, whose sum estimates that over all, without bias.

    Exemplars of weight 0, which are left out or of another class, count neither here nor there.
    """
    counts = ~jnp.isneginf(log_weights)
    # A class has the same share of every subset, and so does what no label divides.
    kept, all_of_them = (jnp.sum(counts, dtype=log_weights.dtype) for counts in (counts[subset], counts))
    return log_weights[subset] - jnp.log(kept / all_of_them)
