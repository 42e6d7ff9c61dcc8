"""Langevin dynamics with Metropolis' correction."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.loops import scan


class Points(NamedTuple):
    """Points z [n, dim] with their log-densities [n] and the gradients of these [n, dim]."""

    z: jax.Array
    values: jax.Array
    gradients: jax.Array


def langevin(
    key: jax.Array,
    log_density: Callable[[jax.Array], jax.Array],
    z: jax.Array,
    *,
    num_steps: int,
    step_size: float,
) -> jax.Array:
    r"""Moves points by the Metropolis-adjusted Langevin algorithm (MALA), which leaves their density as it is.

    A proposal is $z + \epsilon \nabla \log p(z) + \sqrt{2 \epsilon}\, u$ with $u \sim N(0, I)$.

    Args:
        key: a random key.
        log_density: log p(z), up to a constant, of one z [dim].
        z: points [n, dim] to start from.
        num_steps: the number of steps.
        step_size: $\epsilon$.

    Returns:
        Points [n, dim].
    """

    def evaluate(z: jax.Array) -> Points:
        values, gradients = jax.vmap(jax.value_and_grad(log_density))(z)
        return Points(z, values, gradients)

    def log_transition(end: jax.Array, start: Points) -> jax.Array:
        """The log-density [n] of proposing `end` from `start`, up to a constant."""
        return -jnp.sum((end - start.z - step_size * start.gradients) ** 2, axis=-1) / (4 * step_size)

    def step(points: Points, key: jax.Array) -> tuple[Points, None]:
        key_noise, key_accept = jax.random.split(key)
        noise = jax.random.normal(key_noise, points.z.shape, points.z.dtype)
        new = evaluate(points.z + step_size * points.gradients + math.sqrt(2 * step_size) * noise)
        log_ratio = new.values - points.values + log_transition(points.z, new) - log_transition(new.z, points)
        uniform = jax.random.uniform(key_accept, log_ratio.shape, log_ratio.dtype)
        is_accepted = jnp.log(uniform) < log_ratio  # False where the ratio is NaN

        def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(is_accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return jax.tree.map(chosen, new, points), None

    points, _ = scan(step, evaluate(z), jax.random.split(key, num_steps), num_steps)
    return points.z
