"""Paths between two latents: the straight line, and one along which the prior's density is high."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

STEPS, LEARNING_RATE = 200, 0.05


def straight_line(first: jax.Array, last: jax.Array, num_points: int) -> jax.Array:
    """Points at equal distances from the first latent to the last, both among them: [num_points, dim]."""
    return first + jnp.linspace(0, 1, num_points)[:, None] * (last - first)


def evenly(path: jax.Array) -> jax.Array:
    """As many points [num_points, dim] at equal distances along a path, with the same ends."""
    lengths = jnp.linalg.norm(jnp.diff(path, axis=0), axis=1)
    places = jnp.concatenate([jnp.zeros(1), jnp.cumsum(lengths)])
    wanted = jnp.linspace(0, 1, len(path)) * places[-1]
    moved = jax.vmap(jnp.interp, in_axes=(None, None, 1), out_axes=1)(wanted, places, path)
    return moved.at[0].set(path[0]).at[-1].set(path[-1])


@partial(jax.jit, static_argnums=(0, 4))
def dense_path(
    log_prob: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    first: jax.Array,
    last: jax.Array,
    num_points: int,
) -> jax.Array:
    """A path [num_points, dim] with the same ends as the line, along which the mean log-density is higher.

    The string method: each point but the ends climbs log p(z), then all are distributed evenly along the path, so that
    none can jump over a region of low density. Of all paths on the way, the line among them, that with the highest mean
    log-density is returned, which is therefore never below that of the line.

    Args:
        log_prob: `log_prob(params, z)` of latents [T, dim].
        params: the parameters of the density.
        first: the first latent [dim].
        last: the last latent [dim].
        num_points: T, at least 3.

    References:
        E, Ren & Vanden-Eijnden (2007), Simplified and improved string method for computing the minimum energy paths in
        barrier-crossing events.
    """
    line = straight_line(first, last, num_points)
    optimizer = optax.adam(LEARNING_RATE * jnp.max(jnp.std(line, axis=0)))
    fixed = jnp.ones((num_points, 1)).at[0].set(0).at[-1].set(0)

    def mean(path: jax.Array) -> jax.Array:
        return jnp.mean(log_prob(params, path))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        path, state, best, best_value = carry
        value, gradient = jax.value_and_grad(mean)(path)
        better = value > best_value
        best, best_value = jnp.where(better, path, best), jnp.where(better, value, best_value)
        updates, state = optimizer.update(-fixed * gradient, state)
        return (evenly(path + fixed * updates), state, best, best_value), None

    start = line, optimizer.init(line), line, jnp.full((), -jnp.inf, line.dtype)
    (_, _, best, _), _ = jax.lax.scan(step, start, None, length=STEPS + 1)  # of the last step only the value counts
    return best
