"""How much each dimension of z tells of x, and how far it is from its prior."""

from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.full_mixture import FullMixture
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.distributions.two_level import NUM_DRAWS, TwoLevel
from vaepriors_jax.vae import VAE, VAEParams, context_of


class Dimensions(NamedTuple):
    """What each dimension of z carries; all [dim].

    Attributes:
        active: the variance rule of `active_units`.
        mutual_information: I(n; z_d) between the example's index and z_d, in nats; scale-free, at most log N.
        kl: E_n KL(q(z_d|x_n) || p(z_d)) to the prior's marginal, in nats; NaN where that has no closed form (flows).
        collapsed: the posterior tells nothing of x in this dimension: less than 0.01 nats of mutual information.
    """

    active: jax.Array
    mutual_information: jax.Array
    kl: jax.Array
    collapsed: jax.Array


def _given_draw(distribution: Any, key: jax.Array) -> tuple[jax.Array, jax.Array] | None:
    """Mean and scale [dim] of a diagonal Gaussian that depends on the key: over keys its marginals average to these."""
    if isinstance(distribution, TwoLevel):
        key_top, key_noise, key_bottom = jax.random.split(key, 3)
        top = _given_draw(distribution.top, key_top)
        z2 = distribution.top.sample(seed=key_noise)
        bottom = _given_draw(as_latent_distribution(distribution.bottom(z2)), key_bottom)
        if top is None or bottom is None:
            return None
        return jnp.concatenate([bottom[0], top[0]]), jnp.concatenate([bottom[1], top[1]])
    marginals = _marginal_mixture(distribution, key)
    if marginals is None:
        return None
    chosen = jax.random.categorical(key, marginals.log_weights)
    loc, scale = marginals.parameters
    return loc[chosen], scale[chosen]


def _marginal_mixture(distribution: Any, key: jax.Array) -> DiagonalMixture | None:
    """The 1-D marginals as diagonal mixture components ([K, dim]), where they are known; of two levels by draws."""
    if is_normal_diag(distribution):
        loc, scale = location_and_scale(distribution)
        return DiagonalMixture(jnp.zeros(1), loc[None], scale[None])
    if isinstance(distribution, DiagonalMixture):
        return distribution
    if isinstance(distribution, FullMixture):
        means, variances = distribution.component_moments()
        return DiagonalMixture(distribution.log_weights, means, jnp.sqrt(variances))
    if isinstance(distribution, TwoLevel):
        drawn = jax.vmap(lambda key: _given_draw(distribution, key))(jax.random.split(key, NUM_DRAWS))
        return None if drawn is None else DiagonalMixture(jnp.full(NUM_DRAWS, -jnp.log(NUM_DRAWS)), *drawn)
    return None


def _marginal_log_prob(mixture: DiagonalMixture, z: jax.Array) -> jax.Array:
    """Log-density of each dimension's own 1-D mixture at z [dim]: [dim]."""
    loc, scale = mixture.parameters
    return jax.nn.logsumexp(mixture.log_weights[:, None] + distrax.Normal(loc, scale).log_prob(z), axis=0)


@partial(jax.jit, static_argnums=(0, 4, 5))
def _dimensions(
    vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array], num_points: int, chunk_size: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def encode(example: dict[str, jax.Array]) -> distrax.Distribution:
        context = context_of(example)
        return vae.posterior(params, example["x"], **context)

    def encode_all(inputs: tuple[jax.Array, dict[str, jax.Array]]) -> tuple[jax.Array, ...]:
        key, example = inputs
        posterior = encode(example)
        drawn = _given_draw(posterior, key)
        if drawn is None:
            raise ValueError(
                "Expected a diagonal Gaussian posterior, or one of two levels, whose marginals are known; got "
                f"{posterior.name}."
            )
        return (*drawn, moments(posterior)[0])

    num_examples = data["x"].shape[0]
    key_rows, key_encode, key_points = jax.random.split(key, 3)
    loc, scale, means = jax.lax.map(encode_all, (jax.random.split(key_encode, num_examples), data), batch_size=500)
    log_num = jnp.log(num_examples)
    aggregated = DiagonalMixture(jnp.full(num_examples, -log_num), loc, scale)
    rows = jax.random.permutation(key_rows, num_examples)[:num_points]

    def one(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        row, key = inputs
        key_z, key_own, key_prior = jax.random.split(key, 3)
        example = {name: value[row] for name, value in data.items()}
        posterior = encode(example)
        z = posterior.sample(seed=key_z)
        marginals = _marginal_mixture(posterior, key_own)
        assert marginals is not None  # as it was checked above
        own = _marginal_log_prob(marginals, z)
        others = aggregated.with_log_weights(aggregated.log_weights.at[row].set(-jnp.inf))
        log_q = jnp.logaddexp(own - log_num, _marginal_log_prob(others, z))
        context = context_of(example)
        marginals = _marginal_mixture(vae.latent_prior(params, **context), key_prior)
        log_p = jnp.full_like(z, jnp.nan) if marginals is None else _marginal_log_prob(marginals, z)
        return own - log_q, own - log_p

    keys = jax.random.split(key_points, num_points)
    information, kl = jax.lax.map(one, (rows, keys), batch_size=chunk_size)
    return jnp.var(means, axis=0), jnp.mean(information, axis=0), jnp.mean(kl, axis=0)


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
    r"""KL and mutual information of each dimension, beside the variance rule for active units.

    Monte Carlo estimates from one z of each of `num_points` examples, against $q(z_d) = \frac1N \sum_n q(z_d|x_n)$ over
    all of them. The marginals of the bottom level of a two-level distribution are averages over z2: of the prior and of
    z's own posterior over 64 draws (their logs come out a little low), of the other examples' over one each.

    Args:
        vae: a VAE with a diagonal Gaussian or a two-level posterior.
        params: its parameters.
        key: a random key.
        x: the whole data set [N, ...].
        num_points: examples from which z is drawn.
        threshold: least variance of the posterior's mean of an active unit.
        chunk_size: points at a time; memory is `chunk_size` times N times dim.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        A `Dimensions` of arrays [dim].

    Raises:
        ValueError: another kind of posterior.

    References:
        Burda, Grosse & Salakhutdinov (2016), section 5; Hoffman & Johnson (2016), ELBO surgery, eq. 6.
    """
    check_positive_integer(num_points=num_points, chunk_size=chunk_size)
    check_positive(threshold=threshold)
    data = check_data(vae, params, {"x": x, **context}, key)
    num_points = min(num_points, data["x"].shape[0])
    variance, information, kl = _dimensions(vae, params, key, data, num_points, chunk_size)
    return Dimensions(variance > threshold, information, kl, information < 0.01)
