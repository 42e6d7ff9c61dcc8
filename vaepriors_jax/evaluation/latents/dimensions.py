"""The information about x in each dimension of z, and the KL of each dimension to its prior."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.evaluation.latents.aggregated_posterior import posterior_of
from vaepriors_jax.evaluation.latents.marginals import draw_marginals, marginal_log_prob, marginal_mixture
from vaepriors_jax.evaluation.per_example import concatenate, map_stream, open_examples, pick_examples, refuse_weights
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.parallel.sharding import example_keys
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.streams import is_stream
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of, without_prior

# Variance of the posterior mean [dim], mutual information [dim]; and z of some examples with the log-density of each of
# its dimensions under its own posterior, [M, dim] both.
Statistics = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


class Dimensions(NamedTuple):
    """Statistics of each dimension of z; all [dim].

    Attributes:
        active: whether the unit is active by the rule of `active_units`.
        mutual_information: I(n; z_d) between the example's index and z_d, in nats; independent of the scale of z, at
            most log N.
        kl: E_n KL(q(z_d|x_n) || p(z_d)) to the prior's marginal, in nats; NaN for flows, whose marginals have no closed
            form.
        collapsed: whether the mutual information is below 0.01 nats.
    """

    active: jax.Array
    mutual_information: jax.Array
    kl: jax.Array
    collapsed: jax.Array


class _Keys(NamedTuple):
    rows: jax.Array
    encode: jax.Array
    points: jax.Array


@partial(jax.jit, static_argnums=(0, 4, 5))
def _statistics_of_all(
    networks: VAE, params: VAEParams, keys: _Keys, data: dict[str, jax.Array], num_points: int, chunk_size: int
) -> tuple[Statistics, dict[str, jax.Array]]:
    """The statistics, and the context of the examples from which z is drawn."""
    num_examples = num_rows(data)
    encoded = _encode(networks, params, keys.encode, data)
    rows = jax.random.permutation(keys.rows, num_examples)[:num_points]
    examples = take_rows(data, rows)
    return _statistics(networks, params, keys.points, encoded, rows, examples, chunk_size), context_of(examples)


def _encode(
    vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array], places: Any = None
) -> tuple[jax.Array, ...]:
    """Location and scale of the marginals of each posterior, and its mean, [N, dim] each."""

    def encode(inputs: tuple[jax.Array, dict[str, jax.Array]]) -> tuple[jax.Array, ...]:
        key, example = inputs
        posterior = posterior_of(vae, params, example)
        drawn = draw_marginals(posterior, key)
        if drawn is None:
            raise ValueError(
                "Expected a diagonal Gaussian posterior, or one of two levels, whose marginals are known; got "
                f"{posterior.name}."
            )
        return (*drawn, moments(posterior)[0])

    return map_chunks(encode, (example_keys(key, num_rows(data), places), data), 500)


def _statistics(
    networks: VAE,
    params: VAEParams,
    key: jax.Array,
    encoded: tuple[jax.Array, ...],
    rows: jax.Array,
    examples: dict[str, jax.Array],
    chunk_size: int,
) -> Statistics:
    """The statistics from one z of each of some examples, which are at `rows` among those encoded."""
    loc, scale, means = encoded
    num_examples = len(loc)
    log_num = jnp.log(num_examples)
    aggregated = DiagonalMixture(jnp.full(num_examples, -log_num), loc, scale)

    def draw(inputs: tuple[jax.Array, jax.Array, dict[str, jax.Array]]) -> tuple[jax.Array, ...]:
        row, key, example = inputs
        key_z, key_own, _ = jax.random.split(key, 3)
        posterior = posterior_of(networks, params, example)
        z = posterior.sample(seed=key_z)
        marginals = marginal_mixture(posterior, key_own)
        assert marginals is not None  # as it was checked above
        own = marginal_log_prob(marginals, z)
        others = aggregated.with_log_weights(aggregated.log_weights.at[row].set(-jnp.inf))
        log_q = jnp.logaddexp(own - log_num, marginal_log_prob(others, z))
        return own - log_q, z, own

    inputs = rows, jax.random.split(key, len(rows)), examples
    information, z, own = map_chunks(draw, inputs, chunk_size)
    return jnp.var(means, axis=0), jnp.mean(information, axis=0), z, own


@partial(jax.jit, static_argnums=(0, 6))
def _kl(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    z: jax.Array,
    own: jax.Array,
    context: dict[str, jax.Array],
    chunk_size: int,
) -> jax.Array:
    """KL of each dimension [dim] to the prior's marginal, from what `_statistics` drew with the same key."""

    def log_ratio(inputs: tuple[jax.Array, jax.Array, jax.Array, dict[str, jax.Array]]) -> jax.Array:
        key, z, own, context = inputs
        _, _, key_prior = jax.random.split(key, 3)
        marginals = marginal_mixture(vae.latent_prior(params, **context), key_prior)
        return own - (jnp.full_like(z, jnp.nan) if marginals is None else marginal_log_prob(marginals, z))

    inputs = jax.random.split(key, len(z)), z, own, context
    return jnp.mean(map_chunks(log_ratio, inputs, chunk_size), axis=0)


_encode_batch = jax.jit(_encode, static_argnums=0)
_statistics_in_stream = jax.jit(_statistics, static_argnums=(0, 6))


def _statistics_of_stream(
    networks: VAE, params: VAEParams, keys: _Keys, stream: PlacedStream, num_points: int, chunk_size: int
) -> tuple[Statistics, dict[str, jax.Array]]:
    """The same of a stream, which is read twice, for q(z) and for the examples from which z is drawn."""
    stream.batches.check_can_be_read_again()
    encoded = concatenate(map_stream(partial(_encode_batch, networks), params, keys.encode, stream))
    rows = jax.random.permutation(keys.rows, len(encoded[0]))[:num_points]
    examples = pick_examples(stream.batches, np.asarray(rows))
    statistics = _statistics_in_stream(networks, params, keys.points, encoded, rows, examples, chunk_size)
    return statistics, context_of(examples)


def latent_dimensions(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_points: int = 1000,
    threshold: float = 0.01,
    chunk_size: int = 10,
    **context: Any,
) -> Dimensions:
    r"""Mutual information and KL of each dimension of z, and whether it is an active unit.

    Monte Carlo estimates from one z of each of `num_points` examples, relative to $q(z_d) = \frac1N \sum_n q(z_d|x_n)$
    over all of them. The marginals of the bottom level of a two-level distribution are averages over z2: over 64 draws
    for the prior and for z's own posterior (their logs are slightly too low), over one draw for each other example.

    Args:
        vae: a VAE with a diagonal Gaussian or a two-level posterior.
        params: its parameters.
        key: a random key.
        x: the whole data set [N, ...], or batches of it (see `vp.Stream`), which are read twice.
        num_points: examples from which z is drawn.
        threshold: variance of the posterior mean above which a unit is active.
        chunk_size: points at a time; memory grows with `chunk_size` times N times dim.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        A `Dimensions` of arrays [dim].

    Raises:
        ValueError: the posterior is of another kind, and as `log_marginal`.

    References:
        Burda, Grosse & Salakhutdinov (2016), section 5; Hoffman & Johnson (2016), ELBO surgery, eq. 6.
    """
    check_positive_integer(num_points=num_points, chunk_size=chunk_size)
    check_positive(threshold=threshold)
    if is_stream(x):
        stream = open_examples(vae, params, key, x, context)
        refuse_weights(stream.batches.first, "latent_dimensions")
        keys = _Keys(*jax.random.split(key, 3))
        networks = without_prior(vae, params)
        statistics, read = _statistics_of_stream(*networks, keys, stream, num_points, chunk_size)
    else:
        refuse_weights(context, "latent_dimensions")
        data = check_data(vae, params, {"x": x, **context}, key)
        num_points = min(num_points, num_rows(data))
        keys = _Keys(*jax.random.split(key, 3))
        statistics, read = _statistics_of_all(*without_prior(vae, params), keys, data, num_points, chunk_size)
    variance, information, z, own = statistics
    kl = _kl(vae, params, keys.points, z, own, read, chunk_size)
    return Dimensions(variance > threshold, information, kl, information < 0.01)
