"""The use of mixture components, and the distance of pseudo-inputs from data."""

from collections.abc import Mapping
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer, check_some_weight
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.two_level import top_level
from vaepriors_jax.evaluation.latents.aggregated_posterior import posterior_of
from vaepriors_jax.evaluation.per_example import map_stream, open_examples
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.parallel.sharding import example_keys
from vaepriors_jax.priors.vamp import pseudo_inputs
from vaepriors_jax.training.streams import Batches, is_stream
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of


class Usage(NamedTuple):
    """The use of the components of a mixture.

    Attributes:
        weight_perplexity: exp of the entropy of the weights; K if all are equal.
        responsibility_perplexity: the same of the mean responsibilities over the data.
        mean_responsibilities: share of the data that each component explains [K].
        num_unused: number of components that explain less than 0.01 / K of the data.
    """

    weight_perplexity: jax.Array
    responsibility_perplexity: jax.Array
    mean_responsibilities: jax.Array
    num_unused: jax.Array


def _perplexity(probabilities: jax.Array) -> jax.Array:
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(probabilities, probabilities)))


def assign_components(
    vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array], chunk_size: int, places: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Responsibilities and weights of the components for each example, [N, K] both."""
    assign = partial(_assign_one, vae, params)
    return map_chunks(assign, (example_keys(key, num_rows(data), places), data), chunk_size)


def _assign_one(
    vae: VAE, params: VAEParams, inputs: tuple[jax.Array, dict[str, jax.Array]]
) -> tuple[jax.Array, jax.Array]:
    key, example = inputs
    prior = vae.latent_prior(params, **context_of(example))
    z = posterior_of(vae, params, example).sample(seed=key)
    prior, z = top_level(prior, z)
    if not isinstance(prior, Mixture):
        raise ValueError(f"Expected a prior that is a mixture; {vae.prior!r} gives {prior.name}.")
    return prior.responsibilities(z), jnp.exp(prior.log_weights)


@partial(jax.jit, static_argnums=(0, 4))
def _usage(vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array], chunk_size: int) -> Usage:
    """The usage over all data, in sums over chunks: for all examples at once [N, K] may not fit into memory."""
    num = num_rows(data)
    keys, weight = example_keys(key, num), data.get("weight", jnp.ones(num))
    assign = jax.vmap(partial(_assign_one, vae, params))

    def of_chunk(rows: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        places = jnp.minimum(rows, num - 1)
        counts = jnp.where(rows < num, weight[places], 0)[:, None]
        assigned = assign((keys[places], take_rows(data, places)))
        return jnp.sum(counts), jax.tree.map(
            lambda array: jnp.sum(jnp.where(counts > 0, counts * array, 0), axis=0), assigned
        )

    def add(totals: Any, rows: jax.Array) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, totals, of_chunk(rows)), None

    chunk_size = min(chunk_size, num)
    chunks = jnp.arange(-(-num // chunk_size) * chunk_size).reshape(-1, chunk_size)
    start = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), jax.eval_shape(of_chunk, chunks[0]))
    (count, (share, weights)), _ = jax.lax.scan(add, start, chunks)
    return _usage_of(share / count, weights / count)


def _usage_of(share: jax.Array, weights: jax.Array) -> Usage:
    """The usage from the mean responsibilities and the mean weights [K]."""
    return Usage(_perplexity(weights), _perplexity(share), share, jnp.sum(share < 0.01 / share.shape[0]))


_assign_batch = jax.jit(assign_components, static_argnums=(0, 4))


def _usage_in_stream(vae: VAE, params: VAEParams, key: jax.Array, x: Any, context: Any, chunk_size: int) -> Usage:
    def program(params: VAEParams, key: jax.Array, data: Any, places: Any) -> tuple[Any, Any]:
        return _assign_batch(vae, params, key, data, chunk_size, places), data.get("weight")

    count, totals = 0, None
    for results, weight in map_stream(program, params, key, open_examples(vae, params, key, x, context)):
        weight = np.ones(len(results[0])) if weight is None else weight.astype(np.float64)
        count += weight.sum()
        sums = [(weight[:, None] * array).sum(axis=0) for array in results]
        totals = sums if totals is None else [total + more for total, more in zip(totals, sums, strict=True)]
    assert totals is not None  # a stream has a batch
    check_some_weight(count)
    share, weights = (jnp.asarray(total / count, float) for total in totals)
    return _usage_of(share, weights)


def mixture_usage(
    vae: VAE, params: VAEParams, key: jax.Array, x: Any, *, chunk_size: int = 200, **context: Any
) -> Usage:
    """Measures how many components a mixture (or a VampPrior) uses over a data set.

    Args:
        vae: a VAE whose prior is a mixture, or has one on its top level.
        params: its parameters.
        key: a random key; one z is drawn for each example.
        x: examples [N, ...], or batches of them (see `vp.Stream`).
        chunk_size: number of examples that are evaluated together.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        A `Usage`.

    Raises:
        ValueError: the prior is not a mixture.
    """
    check_positive_integer(chunk_size=chunk_size)
    if is_stream(x):
        return _usage_in_stream(vae, params, key, x, context, chunk_size)
    return _usage(vae, params, key, check_data(vae, params, {"x": x, **context}, key), chunk_size)


def pseudo_input_distances(prior: Prior, params: Any, x: Any) -> jax.Array:
    """Distance of each pseudo-input of a `vamp` prior to the nearest of some examples.

    Args:
        prior: a `vamp` prior.
        params: its own parameters.
        x: examples [N, ...], such as the training set, or batches of them (see `vp.Stream`).

    Returns:
        Euclidean distances over all pixels [num_components].

    Raises:
        TypeError: a dict in place of an array.
        ValueError: the prior has no pseudo-inputs.
    """
    inputs = pseudo_inputs(prior, params)
    inputs = inputs.reshape(len(inputs), -1)
    if isinstance(x, Mapping):
        raise TypeError(f"Expected `x` as an array [N, ...]; got a dict of {', '.join(map(repr, x))}.")
    if is_stream(x):
        batches = Batches(x).epoch(1)
        squares = reduce(jnp.minimum, (_nearest_squares(inputs, batch["x"]) for batch in batches))
    else:
        squares = _nearest_squares(inputs, x)
    return jnp.sqrt(jnp.maximum(squares, 0))


@jax.jit
def _nearest_squares(inputs: jax.Array, x: Any) -> jax.Array:
    """The squared distance of each input [K, D] to the nearest example [N, ...], up to rounding below 0: [K]."""
    examples = jnp.asarray(x, inputs.dtype).reshape(len(x), -1)
    product = jnp.matmul(inputs, examples.T, precision=Precision.HIGHEST)
    square = jnp.sum(inputs**2, axis=1)[:, None] + jnp.sum(examples**2, axis=1) - 2 * product
    return jnp.min(square, axis=1)
