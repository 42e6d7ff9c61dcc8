"""Running sums over the importance weights of one example, which arrive in blocks, and what is computed from them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.evaluation.likelihood.pareto import pareto_k, tail_length

# Numbers of samples S at which the bound is reported, up to the number that is drawn.
CURVE_SIZES = (1, 10, 100, 1000, 5000)


class WeightSummary(NamedTuple):
    """Results from the weights of one example, or of N examples with a leading axis [N].

    Attributes:
        values: the estimate of log p(x).
        effective_sample_size: effective number of samples.
        pareto_k: shape of the tail of the weights.
        curve: the bound at each of `curve_sizes` [sizes].
        weight: the weights of the examples, if they have any.
        normalizer_error: how far one standard error of the prior's normaliser moves `values`, if that is an estimate.
        normalizer_bias: what the estimate of the normaliser adds to `values` in expectation, to second order.
    """

    values: jax.Array
    effective_sample_size: jax.Array
    pareto_k: jax.Array
    curve: jax.Array
    weight: jax.Array | None = None
    normalizer_error: jax.Array | None = None
    normalizer_bias: jax.Array | None = None


def curve_sizes(num_samples: int) -> tuple[int, ...]:
    """The numbers of samples at which the bound is reported; the last is `num_samples`."""
    return (*(size for size in CURVE_SIZES if size < num_samples), num_samples)


class WeightStream(NamedTuple):
    """Running sums over log-weights, of a size that does not depend on their number.

    Attributes:
        first: log-sum of the weights.
        second: log-sum of the squared weights.
        largest: the largest log-weights, as many as `pareto_k` reads, in descending order.
        groups: for each size on the curve that fits into a block, the sum over groups of that many weights of the
            group's log-sum.
        prefixes: for each larger size, the log-sum of the first weights up to that size.
    """

    first: jax.Array
    second: jax.Array
    largest: jax.Array
    groups: dict[int, jax.Array]
    prefixes: dict[int, jax.Array]


def empty_stream(num_samples: int, block: int, dtype: Any) -> WeightStream:
    """The stream before the first block; each block but the last will have `block` log-weights."""
    sizes = curve_sizes(num_samples)[:-1]
    nothing = jnp.full((), -jnp.inf, dtype)
    return WeightStream(
        nothing,
        nothing,
        jnp.full(tail_length(num_samples) + 1, -jnp.inf, dtype),
        {size: jnp.zeros((), dtype) for size in sizes if size <= block},
        {size: nothing for size in sizes if size > block},
    )


def extend(stream: WeightStream, log_weights: jax.Array, start: int | jax.Array) -> WeightStream:
    """Adds a block of log-weights [B] to the stream, after the first `start` ones."""
    num = log_weights.shape[0]

    def of_groups(size: int) -> jax.Array:
        grouped = log_weights[: num // size * size].reshape(-1, size)
        return jnp.sum(jax.nn.logsumexp(grouped, axis=1))

    def of_prefix(size: int) -> jax.Array:
        return jax.nn.logsumexp(jnp.where(start + jnp.arange(num) < size, log_weights, -jnp.inf))

    candidates = jnp.concatenate([stream.largest, log_weights])
    return WeightStream(
        jnp.logaddexp(stream.first, jax.nn.logsumexp(log_weights)),
        jnp.logaddexp(stream.second, jax.nn.logsumexp(2 * log_weights)),
        jax.lax.top_k(candidates, stream.largest.shape[0])[0],
        {size: total + of_groups(size) for size, total in stream.groups.items()},
        {size: jnp.logaddexp(total, of_prefix(size)) for size, total in stream.prefixes.items()},
    )


def summarize(stream: WeightStream, num_samples: int, block: int) -> WeightSummary:
    """The results from a stream of `num_samples` log-weights that came in blocks of `block`."""
    num_blocks, remainder = divmod(num_samples, block)
    sums = [total / (num_blocks * (block // size) + remainder // size) for size, total in stream.groups.items()]
    sums += [*stream.prefixes.values(), stream.first]
    curve = jnp.stack(sums) - jnp.log(jnp.asarray(curve_sizes(num_samples), stream.first.dtype))
    return WeightSummary(curve[-1], jnp.exp(2 * stream.first - stream.second), pareto_k(stream.largest), curve)
