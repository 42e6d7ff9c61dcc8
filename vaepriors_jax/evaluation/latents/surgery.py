"""ELBO surgery: the mean KL of the ELBO, split into mutual information and the KL of q(z) to the prior."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.evaluation.estimates import Estimate, estimate
from vaepriors_jax.evaluation.latents.aggregated_posterior import mixture_of_all, mixture_of_stream, posterior_of
from vaepriors_jax.evaluation.per_example import open_examples, pick_examples, refuse_weights
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.streams import is_stream
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of, without_prior

Points = tuple[jax.Array, jax.Array, jax.Array]  # z of some examples, log q(z|x) and log q(z)


class Surgery(NamedTuple):
    """The parts of the mean KL of the ELBO, in nats.

    Attributes:
        mean_kl: mean over examples of KL(q(z|x_n) || p(z)); the sum of the other two.
        mutual_information: I(n; z) between the example's index and z. It is at most `log_num_examples`, and saturated
            where it is near that.
        marginal_kl: KL(q(z) || p(z)) for the q(z) of these N examples. Where I(n; z) is saturated, this is too large
            by what I(n; z) lacks.
        log_num_examples: log N, the maximum of `mutual_information`.
    """

    mean_kl: Estimate
    mutual_information: Estimate
    marginal_kl: Estimate
    log_num_examples: float


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _points_of_all(
    networks: VAE,
    params: VAEParams,
    key: jax.Array,
    data: dict[str, jax.Array],
    num_points: int,
    leave_one_out: bool,
    chunk_size: int,
) -> tuple[Points, dict[str, jax.Array]]:
    """The points, and the context of their examples."""
    aggregated = mixture_of_all(networks, params, data)
    rows, key_noise = _choose(key, num_rows(data), num_points)
    examples = take_rows(data, rows)
    points = _points(networks, params, key_noise, aggregated, rows, examples, leave_one_out, chunk_size)
    return points, context_of(examples)


def _choose(key: jax.Array, num_examples: int, num_points: int) -> tuple[jax.Array, jax.Array]:
    """The rows from which z is drawn, and the key with which it is."""
    key_rows, key_noise = jax.random.split(key)
    return jax.random.permutation(key_rows, num_examples)[:num_points], key_noise


def _points(
    networks: VAE,
    params: VAEParams,
    key: jax.Array,
    aggregated: Mixture,
    rows: jax.Array,
    examples: dict[str, jax.Array],
    leave_one_out: bool,
    chunk_size: int,
) -> Points:
    """One z of each of some examples, which are at `rows` among those of `aggregated`."""
    num_examples, num_points = aggregated.num_components, len(rows)
    others = jnp.log(num_examples / (num_examples - 1)) if leave_one_out else 0.0

    def draw(inputs: tuple[jax.Array, jax.Array, dict[str, jax.Array]]) -> Points:
        row, key, example = inputs
        z, log_posterior = posterior_of(networks, params, example).sample_and_log_prob(seed=key)
        q = aggregated
        if leave_one_out:
            q = aggregated.with_log_weights(aggregated.log_weights.at[row].set(-jnp.inf) + others)
        return z, log_posterior, q.log_prob(z)

    inputs = rows, jax.random.split(key, num_points), examples
    return map_chunks(draw, inputs, min(chunk_size, num_points))


@partial(jax.jit, static_argnums=(0, 6, 7))
def _points_of_stream(
    networks: VAE, params: VAEParams, key: jax.Array, encoded: Any, rows: jax.Array, examples: Any, *options: Any
) -> Points:
    return _points(networks, params, key, DiagonalMixture(*encoded), rows, examples, *options)


@partial(jax.jit, static_argnums=(0, 4))
def _log_prior(vae: VAE, params: VAEParams, z: jax.Array, context: dict[str, jax.Array], chunk_size: int) -> jax.Array:
    """Log p(z) of each point [M]."""

    def log_prior(inputs: tuple[jax.Array, dict[str, jax.Array]]) -> jax.Array:
        z, context = inputs
        return vae.latent_prior(params, **context).log_prob(z)

    return map_chunks(log_prior, (z, context), min(chunk_size, len(z)))


Drawn = tuple[Points, dict[str, jax.Array], int]  # the points, the context of their examples, and N


def _draw_of_arrays(
    networks: VAE, params: VAEParams, key: jax.Array, data: Any, num_points: int, leave_one_out: bool, chunk_size: int
) -> Drawn:
    num_examples = _check_number(num_rows(data), leave_one_out)
    options = min(num_points, num_examples), leave_one_out, chunk_size
    points, context = _points_of_all(networks, params, key, data, *options)
    return points, context, num_examples


def _draw_of_stream(
    networks: VAE, params: VAEParams, key: jax.Array, stream: PlacedStream, num_points: int, *options: Any
) -> Drawn:
    """As `_draw_of_arrays`; reads the stream twice, where its posteriors are diagonal Gaussians."""
    stream.batches.check_can_be_read_again()
    aggregated = mixture_of_stream(networks, params, stream)
    if not isinstance(aggregated, DiagonalMixture):
        return _draw_of_arrays(networks, params, key, aggregated.parameters, num_points, *options)
    num_examples = _check_number(aggregated.num_components, options[0])
    rows, key_noise = _choose(key, num_examples, min(num_points, num_examples))
    examples = pick_examples(stream.batches, np.asarray(rows))
    encoded = aggregated.log_weights, *aggregated.parameters
    points = _points_of_stream(networks, params, key_noise, encoded, rows, examples, *options)
    return points, context_of(examples), num_examples


def elbo_surgery(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_points: int = 10_000,
    leave_one_out: bool = False,
    chunk_size: int = 200,
    **context: Any,
) -> Surgery:
    r"""Splits the mean KL of the ELBO: $E_n KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || p(z))$.

    All three are Monte Carlo estimates from one z of each of `num_points` examples; q(z) is always that of all N
    examples. (The q(z) of a minibatch of M that contains the sample overestimates KL(q(z) || p(z)) by up to log(N/M).)

    **Both parts describe the N examples, not the distribution from which they were drawn.** I(n; z) cannot exceed
    log N. Once it is near log N, as in 40 dimensions for most data sets (10.73 of 10.82 nats on MNIST), the posteriors
    hardly overlap, and KL(q(z) || p(z)) is the mean KL minus log N: it measures N, not the hole. Use it only where
    I(n; z) is well below `log_num_examples`; `classifier_divergence` has no such limit.

    Args:
        vae: the VAE. If its prior reads a label, pass one with `marginalize(prior, ...)`, since q(z) has no label.
        params: its parameters.
        key: a random key.
        x: the whole data set [N, ...], or batches of it (see `vp.Stream`), which are read twice.
        num_points: examples from which z is drawn, at most N.
        leave_one_out: leave the sample's own example out of q(z). This underestimates q(z), in many dimensions by far
            more than the divergence. Needs at least 2 examples.
        chunk_size: points at a time.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        A `Surgery`, in nats.

    Raises:
        ValueError: `leave_one_out` with a single example, and as `log_marginal`.

    References:
        Hoffman & Johnson (2016), ELBO surgery, eqs. 6-8.
    """
    check_positive_integer(num_points=num_points, chunk_size=chunk_size)
    if is_stream(x):
        stream = open_examples(vae, params, key, x, context)
        refuse_weights(stream.batches.first, "elbo_surgery")
        drawn = _draw_of_stream(*without_prior(vae, params), key, stream, num_points, leave_one_out, chunk_size)
    else:
        refuse_weights(context, "elbo_surgery")
        data = check_data(vae, params, {"x": x, **context}, key)
        drawn = _draw_of_arrays(*without_prior(vae, params), key, data, num_points, leave_one_out, chunk_size)
    (z, log_posterior, log_q), read, num_examples = drawn
    log_p = _log_prior(vae, params, z, read, chunk_size)
    parts = estimate(log_posterior - log_p), estimate(log_posterior - log_q), estimate(log_q - log_p)
    return Surgery(*parts, math.log(num_examples))


def _check_number(num_examples: int, leave_one_out: bool) -> int:
    if leave_one_out and num_examples < 2:
        raise ValueError("Expected at least 2 examples with `leave_one_out`; got 1, without which q(z) is empty.")
    return num_examples
