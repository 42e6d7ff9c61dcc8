"""The prior hole as numbers and as maps: where the prior p(z) and the aggregated posterior q(z) differ."""

from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import VAE, VAEParams
from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.evaluation.aggregated_posterior import log_prob_in_chunks, mixture_of_all
from vaepriors_jax.evaluation.estimates import Estimate, estimate
from vaepriors_jax.mixtures import Mixture


class Surgery(NamedTuple):
    """The parts of the mean KL of the ELBO, in nats, each with its standard error.

    Attributes:
        mean_kl: mean over examples of KL(q(z|x_n) || p(z)); the sum of the other two.
        mutual_information: I(n; z) between the example's index and z; at most log N.
        marginal_kl: KL(q(z) || p(z)), the size of the mismatch between aggregated posterior and prior.
    """

    mean_kl: Estimate
    mutual_information: Estimate
    marginal_kl: Estimate


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _surgery(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: dict[str, jax.Array],
    num_points: int,
    leave_one_out: bool,
    chunk_size: int,
) -> Surgery:
    key_rows, key_noise = jax.random.split(key)
    num_examples = data["x"].shape[0]
    aggregated = mixture_of_all(vae, params, data)
    rows = jax.random.permutation(key_rows, num_examples)[:num_points]
    others = jnp.log(num_examples / (num_examples - 1)) if leave_one_out else 0.0

    def one(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        row, key = inputs
        example = {name: value[row] for name, value in data.items()}
        x = example.pop("x")
        posterior, prior = vae.posterior(params, x, **example), vae.latent_prior(params, **example)
        z, log_posterior = posterior.sample_and_log_prob(seed=key)
        q = aggregated
        if leave_one_out:
            q = aggregated.with_log_weights(aggregated.log_weights.at[row].set(-jnp.inf) + others)
        return jnp.stack([log_posterior, q.log_prob(z), prior.log_prob(z)])

    logs = jax.lax.map(one, (rows, jax.random.split(key_noise, num_points)), batch_size=min(chunk_size, num_points))
    log_posterior, log_q, log_p = logs.T
    return Surgery(estimate(log_posterior - log_p), estimate(log_posterior - log_q), estimate(log_q - log_p))


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

    Args:
        vae: the VAE. If its prior reads a label, give it `marginalize(prior, ...)`, since q(z) has none.
        params: its parameters.
        key: a random key.
        x: the whole data set [N, ...].
        num_points: examples from which z is drawn, at most N.
        leave_one_out: leave the sample's own example out of q(z), which underestimates q(z) instead.
        chunk_size: points at a time.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        A `Surgery`, in nats.

    References:
        Hoffman & Johnson (2016), ELBO surgery, eqs. 6-8.
    """
    check_positive_integer(num_points=num_points, chunk_size=chunk_size)
    data = check_data(vae, params, {"x": x, **context}, key)
    num_points = min(num_points, data["x"].shape[0])
    return _surgery(vae, params, key, data, num_points, leave_one_out, chunk_size)


class HoleMass(NamedTuple):
    """How much of each distribution lies where the other has next to nothing; `quantile` if the two are equal.

    Attributes:
        prior_in_holes: P under p of log q(z) below the `quantile` that log q(z) has under q: the mass of the holes.
        posterior_uncovered: P under q of log p(z) below the `quantile` that log p(z) has under p.
        quantile: what both would be for q = p.
    """

    prior_in_holes: Estimate
    posterior_uncovered: Estimate
    quantile: float


def hole_mass(
    prior: distrax.Distribution,
    aggregated: distrax.Distribution,
    key: jax.Array,
    *,
    num_samples: int = 10_000,
    quantile: float = 0.01,
    chunk_size: int = 500,
) -> HoleMass:
    r"""Mass of the prior's holes: $P_{z \sim p}(\log q(z) < t)$ with t the quantile of log q(z) under q.

    Args:
        prior: p(z).
        aggregated: q(z), such as `aggregated_posterior`.
        key: a random key.
        num_samples: samples of each; the standard error counts those of the threshold too.
        quantile: which quantile.
        chunk_size: points at a time.

    Returns:
        A `HoleMass` of probabilities.

    Raises:
        ValueError: `quantile` is not between 0 and 1.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> p, q = vp.normal_diag(jnp.zeros(1), 3 * jnp.ones(1)), vp.normal_diag(jnp.zeros(1), jnp.ones(1))
        >>> mass = vp.hole_mass(p, q, jax.random.key(0))
        >>> print(mass.prior_in_holes.mean.round(1))  # P(|3 z| > 2.58) = 0.39
        0.4
    """
    check_positive_integer(num_samples=num_samples, chunk_size=chunk_size)
    if not 0 < quantile < 1:
        raise ValueError(f"Expected `quantile` between 0 and 1; got {quantile!r}.")
    key_p, key_q = jax.random.split(key)
    from_p = prior.sample(seed=key_p, sample_shape=num_samples)
    from_q = aggregated.sample(seed=key_q, sample_shape=num_samples)
    evaluate = partial(log_prob_in_chunks, chunk_size=chunk_size)

    def below(density: distrax.Distribution, own: jax.Array, other: jax.Array) -> Estimate:
        log_own, log_other = evaluate(density, own), evaluate(density, other)
        outside = jnp.mean(log_other < jnp.quantile(log_own, quantile))
        # The threshold is estimated too: its quantile's error, carried over by the slope of the mass between
        # thresholds one of its standard errors apart.
        spread = jnp.sqrt(quantile * (1 - quantile) / num_samples)
        low, high = (jnp.quantile(log_own, jnp.clip(quantile + s * spread, 0, 1)) for s in (-1, 1))
        shift = 0.5 * (jnp.mean(log_other < high) - jnp.mean(log_other < low))
        return Estimate(outside, jnp.sqrt(outside * (1 - outside) / num_samples + shift**2))

    return HoleMass(below(aggregated, from_q, from_p), below(prior, from_p, from_q), quantile)


class HoleMap(NamedTuple):
    """log q(z), log p(z) and their difference on a grid of a plane through the latent space.

    Attributes:
        first: coordinates along the plane's first axis [G].
        second: coordinates along its second axis [G].
        origin: point of the plane [dim] at (0, 0).
        axes: unit vectors of the plane [2, dim].
        log_q: log-density of the aggregated posterior [G, G], rows by `second`; nats.
        log_p: log-density of the prior [G, G].
        difference: log q - log p [G, G]; strongly negative in a hole.
        explained: share of the variance of the encodings within the plane; 1 for two dimensions.
    """

    first: jax.Array
    second: jax.Array
    origin: jax.Array
    axes: jax.Array
    log_q: jax.Array
    log_p: jax.Array
    difference: jax.Array
    explained: jax.Array


def hole_map(
    prior: distrax.Distribution,
    aggregated: Mixture,
    *,
    num_points: int = 100,
    extent: float = 4.0,
    half_width: float | None = None,
    chunk_size: int = 500,
) -> HoleMap:
    """Maps the hole: the two densities on a grid.

    With two latent dimensions the plane is the latent space. With more it is the plane of the first two principal
    components of the encodings, through their mean: a slice of both densities, not a marginal.

    Args:
        prior: p(z).
        aggregated: q(z), the mixture of `aggregated_posterior`.
        num_points: points of the grid along each axis.
        extent: half-width of the grid, in standard deviations of the encodings (at least those of N(0, 1)).
        half_width: half-width of the grid along both axes in units of z, instead of `extent`: for maps side by side.
        chunk_size: points at a time.

    Returns:
        A `HoleMap`.

    Raises:
        ValueError: a latent space of one dimension.
    """
    check_positive_integer(num_points=num_points, chunk_size=chunk_size)
    check_positive(extent=extent, **({} if half_width is None else {"half_width": half_width}))
    (dim,) = aggregated.event_shape
    if dim < 2:
        raise ValueError("Expected at least 2 latent dimensions for a map; got 1. Plot the two densities on a line.")
    means, _ = aggregated.component_moments()
    if dim == 2:
        origin, axes, explained = jnp.zeros(2), jnp.eye(2), jnp.ones(())
    else:
        origin = jnp.mean(means, axis=0)
        _, singular, directions = jnp.linalg.svd(means - origin, full_matrices=False)
        axes, explained = directions[:2], jnp.sum(singular[:2] ** 2) / jnp.sum(singular**2)
    spread = jnp.maximum(1.0, jnp.std((means - origin) @ axes.T, axis=0))
    widths = extent * spread if half_width is None else jnp.full(2, half_width)
    first, second = (width * jnp.linspace(-1, 1, num_points) for width in widths)
    grid = origin + first[None, :, None] * axes[0] + second[:, None, None] * axes[1]
    flat = grid.reshape(-1, dim)
    log_q, log_p = (
        log_prob_in_chunks(density, flat, chunk_size=chunk_size).reshape(num_points, num_points)
        for density in (aggregated, prior)
    )
    return HoleMap(first, second, origin, axes, log_q, log_p, log_q - log_p, explained)
