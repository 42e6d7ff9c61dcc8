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
from vaepriors_jax.evaluation.per_example import open_examples, pick_examples
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.streams import is_stream
from vaepriors_jax.vae import VAE, VAEParams, context_of

Parts = tuple[Estimate, Estimate, Estimate]  # mean KL, mutual information, marginal KL


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
def _surgery(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: dict[str, jax.Array],
    num_points: int,
    leave_one_out: bool,
    chunk_size: int,
) -> Parts:
    aggregated = mixture_of_all(vae, params, data)
    rows, key_noise = _choose(key, data["x"].shape[0], num_points)
    examples = {name: value[rows] for name, value in data.items()}
    return _parts(vae, params, key_noise, aggregated, rows, examples, leave_one_out, chunk_size)


def _choose(key: jax.Array, num_examples: int, num_points: int) -> tuple[jax.Array, jax.Array]:
    """The rows from which z is drawn, and the key with which it is."""
    key_rows, key_noise = jax.random.split(key)
    return jax.random.permutation(key_rows, num_examples)[:num_points], key_noise


def _parts(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    aggregated: Mixture,
    rows: jax.Array,
    examples: dict[str, jax.Array],
    leave_one_out: bool,
    chunk_size: int,
) -> Parts:
    """The parts from one z of each of some examples, which are at `rows` among those of `aggregated`."""
    num_examples, num_points = aggregated.num_components, len(rows)
    others = jnp.log(num_examples / (num_examples - 1)) if leave_one_out else 0.0

    def log_densities(inputs: tuple[jax.Array, jax.Array, dict[str, jax.Array]]) -> jax.Array:
        row, key, example = inputs
        context = context_of(example)
        posterior, prior = posterior_of(vae, params, example), vae.latent_prior(params, **context)
        z, log_posterior = posterior.sample_and_log_prob(seed=key)
        q = aggregated
        if leave_one_out:
            q = aggregated.with_log_weights(aggregated.log_weights.at[row].set(-jnp.inf) + others)
        return jnp.stack([log_posterior, q.log_prob(z), prior.log_prob(z)])

    inputs = rows, jax.random.split(key, num_points), examples
    logs = jax.lax.map(log_densities, inputs, batch_size=min(chunk_size, num_points))
    log_posterior, log_q, log_p = logs.T
    return estimate(log_posterior - log_p), estimate(log_posterior - log_q), estimate(log_q - log_p)


@partial(jax.jit, static_argnums=(0, 6, 7))
def _parts_in_stream(
    vae: VAE, params: VAEParams, key: jax.Array, encoded: Any, rows: jax.Array, examples: Any, *options: Any
) -> Parts:
    return _parts(vae, params, key, DiagonalMixture(*encoded), rows, examples, *options)


def _surgery_of_arrays(
    vae: VAE, params: VAEParams, key: jax.Array, data: Any, num_points: int, leave_one_out: bool, chunk_size: int
) -> tuple[Parts, int]:
    """The parts, and the number of examples."""
    num_examples = _check_number(data["x"].shape[0], leave_one_out)
    num_points = min(num_points, num_examples)
    return _surgery(vae, params, key, data, num_points, leave_one_out, chunk_size), num_examples


def _surgery_in_stream(
    vae: VAE, params: VAEParams, key: jax.Array, stream: PlacedStream, num_points: int, *options: Any
) -> tuple[Parts, int]:
    """As `_surgery_of_arrays`; reads the stream twice, where its posteriors are diagonal Gaussians."""
    stream.batches.check_can_be_read_again()
    aggregated = mixture_of_stream(vae, params, stream)
    if not isinstance(aggregated, DiagonalMixture):
        return _surgery_of_arrays(vae, params, key, aggregated.parameters, num_points, *options)
    num_examples = _check_number(aggregated.num_components, options[0])
    rows, key_noise = _choose(key, num_examples, min(num_points, num_examples))
    examples = pick_examples(stream.batches, np.asarray(rows))
    encoded = aggregated.log_weights, *aggregated.parameters
    return _parts_in_stream(vae, params, key_noise, encoded, rows, examples, *options), num_examples


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
        parts, num_examples = _surgery_in_stream(
            vae, params, key, open_examples(vae, params, key, x, context), num_points, leave_one_out, chunk_size
        )
    else:
        data = check_data(vae, params, {"x": x, **context}, key)
        parts, num_examples = _surgery_of_arrays(vae, params, key, data, num_points, leave_one_out, chunk_size)
    mean_kl, information, divergence = parts
    return Surgery(mean_kl, information, divergence, math.log(num_examples))


def _check_number(num_examples: int, leave_one_out: bool) -> int:
    if leave_one_out and num_examples < 2:
        raise ValueError("Expected at least 2 examples with `leave_one_out`; got 1, without which q(z) is empty.")
    return num_examples
