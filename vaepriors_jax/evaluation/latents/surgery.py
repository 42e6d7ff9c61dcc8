"""ELBO surgery: the mean KL of the ELBO, split into mutual information and the KL of q(z) to the prior."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.evaluation.estimates import Estimate, estimate
from vaepriors_jax.evaluation.latents.aggregated_posterior import mixture_of_all, posterior_of
from vaepriors_jax.vae import VAE, VAEParams, context_of


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
) -> tuple[Estimate, Estimate, Estimate]:
    key_rows, key_noise = jax.random.split(key)
    num_examples = data["x"].shape[0]
    aggregated = mixture_of_all(vae, params, data)
    rows = jax.random.permutation(key_rows, num_examples)[:num_points]
    others = jnp.log(num_examples / (num_examples - 1)) if leave_one_out else 0.0

    def log_densities(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        row, key = inputs
        example = {name: value[row] for name, value in data.items()}
        context = context_of(example)
        posterior, prior = posterior_of(vae, params, example), vae.latent_prior(params, **context)
        z, log_posterior = posterior.sample_and_log_prob(seed=key)
        q = aggregated
        if leave_one_out:
            q = aggregated.with_log_weights(aggregated.log_weights.at[row].set(-jnp.inf) + others)
        return jnp.stack([log_posterior, q.log_prob(z), prior.log_prob(z)])

    keys = jax.random.split(key_noise, num_points)
    logs = jax.lax.map(log_densities, (rows, keys), batch_size=min(chunk_size, num_points))
    log_posterior, log_q, log_p = logs.T
    return estimate(log_posterior - log_p), estimate(log_posterior - log_q), estimate(log_q - log_p)


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
        x: the whole data set [N, ...].
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
    data = check_data(vae, params, {"x": x, **context}, key)
    num_examples = data["x"].shape[0]
    if leave_one_out and num_examples < 2:
        raise ValueError("Expected at least 2 examples with `leave_one_out`; got 1, without which q(z) is empty.")
    num_points = min(num_points, num_examples)
    mean_kl, information, divergence = _surgery(vae, params, key, data, num_points, leave_one_out, chunk_size)
    return Surgery(mean_kl, information, divergence, math.log(num_examples))
