"""The aggregated posterior q(z) of a data set, and densities at many points."""

from functools import partial
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from vaepriors_jax.checks import check_positive_integer, check_some_weight
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.numerics import full_precision_as
from vaepriors_jax.distributions.posterior_mixture import gaussian_arrays, mixture_of_posteriors
from vaepriors_jax.evaluation.latents.latent_samples import check_distributions
from vaepriors_jax.evaluation.per_example import concatenate, map_stream, open_examples
from vaepriors_jax.loops import map_chunks, scan
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.streams import is_stream
from vaepriors_jax.trees import num_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of, without_prior


def posterior_of(vae: VAE, params: VAEParams, example: dict[str, jax.Array]) -> distrax.Distribution:
    """Returns q(z|x) of an example, {"x": x} with its context beside x."""
    context = context_of(example)
    return vae.posterior(params, example["x"], **context)


@partial(jax.jit, static_argnums=(0, 3))
def _encode_all(vae: VAE, params: VAEParams, data: dict[str, jax.Array], chunk_size: int) -> Any:
    """Means and scales of all posteriors if they are diagonal Gaussians, otherwise None."""
    return map_chunks(lambda example: gaussian_arrays(posterior_of(vae, params, example)), data, chunk_size)


def mixture_of_all(vae: VAE, params: VAEParams, data: dict[str, jax.Array], chunk_size: int = 1000) -> Mixture:
    """The mixture of the posteriors of checked data with equal weights; encodes `chunk_size` examples at a time."""
    vae, params = without_prior(vae, params)
    encoded = _encode_all(vae, params, data, chunk_size)
    log_weights = _log_weights(num_rows(data), data.get("weight"))
    return mixture_of_posteriors(log_weights, Partial(posterior_of, vae, params), data, encoded)


def _log_weights(num_examples: int, weight: jax.Array | None) -> jax.Array:
    """Log-weights of the components, minus infinity for an example of weight 0; equal ones without weights."""
    if weight is None:
        return jnp.full(num_examples, -jnp.log(num_examples))
    check_some_weight(weight)
    weight = jnp.asarray(weight, float)
    return jnp.log(weight) - jnp.log(jnp.sum(weight))


def mixture_of_stream(vae: VAE, params: VAEParams, stream: PlacedStream, chunk_size: int = 1000) -> Mixture:
    """The same of the examples of a stream: an `EncodedMixture` keeps them all, a `DiagonalMixture` none of them."""

    def program(params: VAEParams, key: jax.Array, data: Any, places: Any) -> Any:
        del key, places
        encoded = _encode_all(*without_prior(vae, params), data, chunk_size)
        return (data, None, data.get("weight")) if encoded is None else (None, encoded, data.get("weight"))

    data, encoded, weight = concatenate(map_stream(program, params, jax.random.key(0), stream))
    log_weights = _log_weights(len(jax.tree.leaves((data, encoded))[0]), weight)
    return mixture_of_posteriors(log_weights, Partial(posterior_of, vae, params), data, encoded)


def aggregated_posterior(vae: VAE, params: VAEParams, x: Any, *, chunk_size: int = 1000, **context: Any) -> Mixture:
    r"""The aggregated posterior of a data set, $q(z) = \frac1N \sum_n q(z|x_n)$.

    Args:
        vae: the VAE.
        params: its parameters.
        x: the whole data set [N, ...], or batches of it (see `vp.Stream`): with a part of it, KL(q(z) || p(z)) is
            overestimated.
        chunk_size: examples encoded at a time.
        **context: per-example context [N, ...] that the encoder reads; `weight=` weighs the examples.

    Returns:
        A mixture of N components. Its density is computed in chunks of components; for many points, use
        `log_prob_in_chunks`. Diagonal Gaussian posteriors are encoded once, here. For other posteriors the mixture
        keeps the examples, of batches too, and encodes them again for each chunk of points.

    Raises:
        ValueError: as `log_marginal`.

    References:
        Makhzani et al. (2016), Adversarial autoencoders, section 2; Tomczak & Welling (2018), eq. 6.
    """
    check_positive_integer(chunk_size=chunk_size)
    if is_stream(x):
        stream = open_examples(vae, params, jax.random.key(0), x, context)
        return mixture_of_stream(vae, params, stream, chunk_size)
    data = check_data(vae, params, {"x": x, **context}, jax.random.key(0))
    return mixture_of_all(vae, params, data, chunk_size)


def log_prob_in_chunks(distribution: distrax.Distribution, z: jax.Array, *, chunk_size: int = 500) -> jax.Array:
    """Log-density in nats at many points z [M, dim], `chunk_size` points at a time; returns [M].

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> from vaepriors_jax.evaluation.latents import log_prob_in_chunks
        >>> log_prob_in_chunks(vp.normal_diag(jnp.zeros(2), jnp.ones(2)), jnp.zeros((1000, 2))).shape
        (1000,)
    """
    check_distributions(distribution=distribution)
    z = full_precision_as(z, jnp.result_type(float))
    num_points = z.shape[0]
    chunk_size = min(chunk_size, max(1, num_points))
    num_chunks = max(1, -(-num_points // chunk_size))
    padded = jnp.pad(z, [(0, num_chunks * chunk_size - num_points), (0, 0)])
    # A chunk goes to the density as a whole, and not point by point, for densities that use matrix products.
    chunks = padded.reshape(num_chunks, chunk_size, z.shape[1])
    _, log_prob = scan(lambda _, chunk: (None, distribution.log_prob(chunk)), None, chunks, num_chunks)
    return log_prob.reshape(-1)[:num_points]
