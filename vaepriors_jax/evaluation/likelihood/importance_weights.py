"""Importance weights of one example as they go by in blocks: sums, the largest, and the bound's curve in S."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.evaluation.likelihood.pareto import pareto_k, tail_length

# Where the bound's curve in S is read off, up to the number of samples.
CURVE_SIZES = (1, 10, 100, 1000, 5000)


class Reading(NamedTuple):
    """What is known of an example: scalars, and the curve [sizes]; or of many, with a leading axis [N]."""

    values: jax.Array
    effective_sample_size: jax.Array
    pareto_k: jax.Array
    curve: jax.Array


def curve_sizes(num_samples: int) -> tuple[int, ...]:
    """The sizes on the curve of so many samples, which is the last."""
    return (*(size for size in CURVE_SIZES if size < num_samples), num_samples)


class Stream(NamedTuple):
    """What is kept of the log-weights that have gone by, whatever their number.

    Attributes:
        first: log-sum of the weights.
        second: log-sum of the squared weights.
        largest: the largest log-weights, as many as `pareto_k` reads, in descending order.
        groups: for each size on the curve that fits into a block, the sum over groups of so many weights of the
            log-sum of the group.
        prefixes: for each larger one, the log-sum of the first so many weights.
    """

    first: jax.Array
    second: jax.Array
    largest: jax.Array
    groups: dict[int, jax.Array]
    prefixes: dict[int, jax.Array]


def empty_stream(num_samples: int, block: int, dtype: Any) -> Stream:
    """The stream before anything has gone by; blocks will be of `block` log-weights, but for the last."""
    sizes = curve_sizes(num_samples)[:-1]
    nothing = jnp.full((), -jnp.inf, dtype)
    return Stream(
        nothing,
        nothing,
        jnp.full(tail_length(num_samples) + 1, -jnp.inf, dtype),
        {size: jnp.zeros((), dtype) for size in sizes if size <= block},
        {size: nothing for size in sizes if size > block},
    )


def extend(stream: Stream, log_weights: jax.Array, start: int | jax.Array) -> Stream:
    """Takes in a block of log-weights [B], of which `start` have gone by before."""
    num = log_weights.shape[0]

    def of_groups(size: int) -> jax.Array:
        grouped = log_weights[: num // size * size].reshape(-1, size)
        return jnp.sum(jax.nn.logsumexp(grouped, axis=1))

    def of_prefix(size: int) -> jax.Array:
        return jax.nn.logsumexp(jnp.where(start + jnp.arange(num) < size, log_weights, -jnp.inf))

    candidates = jnp.concatenate([stream.largest, log_weights])
    return Stream(
        jnp.logaddexp(stream.first, jax.nn.logsumexp(log_weights)),
        jnp.logaddexp(stream.second, jax.nn.logsumexp(2 * log_weights)),
        jax.lax.top_k(candidates, stream.largest.shape[0])[0],
        {size: total + of_groups(size) for size, total in stream.groups.items()},
        {size: jnp.logaddexp(total, of_prefix(size)) for size, total in stream.prefixes.items()},
    )


def read_off(stream: Stream, num_samples: int, block: int) -> Reading:
    """What the stream says after `num_samples` log-weights."""
    num_blocks, remainder = divmod(num_samples, block)
    sums = [total / (num_blocks * (block // size) + remainder // size) for size, total in stream.groups.items()]
    sums += [*stream.prefixes.values(), stream.first]
    curve = jnp.stack(sums) - jnp.log(jnp.asarray(curve_sizes(num_samples), stream.first.dtype))
    return Reading(curve[-1], jnp.exp(2 * stream.first - stream.second), pareto_k(stream.largest), curve)
