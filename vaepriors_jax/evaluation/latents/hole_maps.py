"""Maps of the prior hole: the prior p(z) and the aggregated posterior q(z) on a plane through the latent space."""

from typing import Any, Literal, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.numerics import LOG_2PI
from vaepriors_jax.evaluation.latents.aggregated_posterior import log_prob_in_chunks

PLANES = ("principal", "difference")
COMPONENTS_AT_ONCE = 4096
NUM_BINS = 40  # of the histograms that directions are compared by


class HoleMap(NamedTuple):
    """log q(z), log p(z) and their difference on a grid of a plane through the latent space.

    With more than two latent dimensions both are the marginal densities of z's two coordinates in the plane.

    Attributes:
        first: coordinates along the plane's first axis [G].
        second: coordinates along its second axis [G].
        origin: point of the plane [dim] at (0, 0).
        axes: unit vectors of the plane [2, dim].
        log_q: log-density of the aggregated posterior [G, G], rows by `second`; nats.
        log_p: log-density of the prior [G, G].
        difference: log q - log p [G, G]; strongly negative in a hole.
        explained: share of the variance of the encodings within the plane; 1 for two dimensions.
        q_is_exact: whether `log_q` is exact, rather than a kernel density of samples.
        p_is_exact: whether `log_p` is.
    """

    first: jax.Array
    second: jax.Array
    origin: jax.Array
    axes: jax.Array
    log_q: jax.Array
    log_p: jax.Array
    difference: jax.Array
    explained: jax.Array
    q_is_exact: jax.Array
    p_is_exact: jax.Array


class _Marginal(NamedTuple):
    """A mixture of Gaussians over the plane: log-weights [K], means [K, 2] and covariances [K, 2, 2]."""

    log_weights: jax.Array
    means: jax.Array
    covariances: jax.Array


def _along(axes: jax.Array, vectors: jax.Array) -> jax.Array:
    """Coordinates [..., 2] of vectors [..., dim]."""
    return jnp.matmul(vectors, axes.T, precision=Precision.HIGHEST)


def _exact_marginal(distribution: Any, origin: jax.Array, axes: jax.Array) -> _Marginal | None:
    r"""Marginal of a Gaussian or of a mixture of them: $\mathcal{N}(A (\mu - o), A \Sigma A^\top)$; None of others."""
    if isinstance(distribution, Mixture):

        def of_component(arrays: Any) -> _Marginal | None:
            return _exact_marginal(distribution._component(arrays), origin, axes)

        if jax.eval_shape(of_component, jax.tree.map(lambda leaf: leaf[0], distribution.parameters)) is None:
            return None
        batch_size = min(COMPONENTS_AT_ONCE, distribution.num_components)
        found = jax.lax.map(of_component, distribution.parameters, batch_size=batch_size)
        log_weights = distribution.log_weights[:, None] + found.log_weights
        return _Marginal(log_weights.reshape(-1), found.means.reshape(-1, 2), found.covariances.reshape(-1, 2, 2))
    if is_normal_diag(distribution):
        loc, scale = location_and_scale(distribution)
        half = axes * scale
        covariance = jnp.matmul(half, half.T, precision=Precision.HIGHEST)
    elif isinstance(distribution, distrax.MultivariateNormalFromBijector):
        loc = distribution.mean()
        covariance = _along(axes, _along(axes, distribution.covariance()).T)
    else:
        return None
    return _Marginal(jnp.zeros(1), _along(axes, loc - origin)[None], covariance[None])


def _kernel_density(points: jax.Array) -> _Marginal:
    r"""Kernel density of points [M, 2]: Scott's bandwidth, shrunk towards the mean to keep the points' covariance."""
    num_points, mean = points.shape[0], jnp.mean(points, axis=0)
    square = num_points ** (-1 / 3)  # of the bandwidth M^(-1/6), in standard deviations
    covariance = square / (1 + square) * jnp.cov(points, rowvar=False)
    return _Marginal(
        jnp.full(num_points, -jnp.log(num_points)),
        mean + (points - mean) / jnp.sqrt(1 + square),
        jnp.broadcast_to(covariance, (num_points, 2, 2)),
    )


def _log_density(marginal: _Marginal, points: jax.Array, chunk_size: int) -> jax.Array:
    """Log-density [M] at points [M, 2] of the plane, a chunk of points and of components at a time."""
    num_components = marginal.log_weights.shape[0]
    at_once = min(COMPONENTS_AT_ONCE, num_components)
    num_chunks = -(-num_components // at_once)
    missing = num_chunks * at_once - num_components
    variance, covariance, other = (marginal.covariances[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
    # The Cholesky factor by hand: x, and y less what x tells of it.
    slope = covariance / variance
    rest = other - slope * covariance
    constant = marginal.log_weights - LOG_2PI - 0.5 * (jnp.log(variance) + jnp.log(rest))
    parts = (constant, *marginal.means.T, variance, slope, rest)
    fills = (-jnp.inf, 0.0, 0.0, 1.0, 0.0, 1.0)
    chunks = tuple(
        jnp.pad(part, (0, missing), constant_values=fill).reshape(num_chunks, at_once)
        for part, fill in zip(parts, fills, strict=True)
    )

    def at(point: jax.Array) -> jax.Array:
        def add(total: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            constant, x, y, variance, slope, rest = chunk
            x, y = point[0] - x, point[1] - y
            square = x**2 / variance + (y - slope * x) ** 2 / rest
            return jnp.logaddexp(total, jax.nn.logsumexp(constant - 0.5 * square)), None

        return jax.lax.scan(add, jnp.full((), -jnp.inf, points.dtype), chunks)[0]

    return jax.lax.map(at, points, batch_size=min(chunk_size, points.shape[0]))


def _principal_axes(means: jax.Array) -> jax.Array:
    """The first two principal components [2, dim] of centred encodings [N, dim]."""
    return jnp.linalg.svd(means, full_matrices=False)[2][:2]


def _whitening(samples: jax.Array) -> jax.Array:
    """The matrix W [dim, dim] for which samples @ W have the unit covariance."""
    variances, vectors = jnp.linalg.eigh(jnp.cov(samples, rowvar=False))
    return vectors / jnp.sqrt(jnp.maximum(variances, 1e-6 * variances[-1]))


def _fourth_order_directions(samples: jax.Array) -> jax.Array:
    """Directions [dim, dim] in which samples [M, dim] are most and least like a Gaussian, by fourth moments."""
    whiten = _whitening(samples)
    white = (samples - jnp.mean(samples, axis=0)) @ whiten
    weighted = jnp.sum(white**2, axis=1, keepdims=True) * white
    _, directions = jnp.linalg.eigh(weighted.T @ white / samples.shape[0])
    return (whiten @ directions).T


def _divergences(directions: jax.Array, q: jax.Array, p: jax.Array) -> jax.Array:
    """Jensen-Shannon divergence [C] in nats between samples of q and p along each direction [C, dim], by histograms."""

    def one(direction: jax.Array) -> jax.Array:
        along_q, along_p = q @ direction, p @ direction
        edges = jnp.quantile(jnp.concatenate([along_q, along_p]), jnp.linspace(0, 1, NUM_BINS + 1)[1:-1])

        def shares(values: jax.Array) -> jax.Array:
            return jnp.bincount(jnp.searchsorted(edges, values), length=NUM_BINS) / values.shape[0]

        share_q, share_p = shares(along_q), shares(along_p)
        middle = jnp.maximum(0.5 * (share_q + share_p), 1e-30)
        terms = jax.scipy.special.rel_entr(share_q, middle) + jax.scipy.special.rel_entr(share_p, middle)
        return 0.5 * jnp.sum(terms)

    return jax.lax.map(one, directions)


def _difference_axes(q: jax.Array, p: jax.Array) -> jax.Array:
    """Two axes [2, dim] along which samples [M, dim] of q and p differ most.

    The candidates are the difference of the means, the directions in which the variances differ (of the covariance of
    q relative to that of p), and those in which either is least like a Gaussian.
    """
    whiten = _whitening(p)
    _, relative = jnp.linalg.eigh(jnp.cov(q @ whiten, rowvar=False))
    shift = whiten @ whiten.T @ (jnp.mean(q, axis=0) - jnp.mean(p, axis=0))
    candidates = [shift[None], (whiten @ relative).T, _fourth_order_directions(q), _fourth_order_directions(p)]
    directions = _unit(jnp.concatenate(candidates))

    def best(directions: jax.Array) -> jax.Array:
        is_new = jnp.linalg.norm(directions, axis=1) > 1e-3  # of what is left beside the first axis
        directions = _unit(directions)
        return directions[jnp.argmax(jnp.where(is_new, _divergences(directions, q, p), -1))]

    first = best(directions)
    second = best(directions - (directions @ first)[:, None] * first)
    return jnp.stack([first, _unit(second - (second @ first) * first)])


def _unit(directions: jax.Array) -> jax.Array:
    """Directions [..., dim] of length 1; zeros stay."""
    return directions / jnp.maximum(jnp.linalg.norm(directions, axis=-1, keepdims=True), 1e-12)


def _halves(key: jax.Array, mixture: Mixture) -> tuple[Mixture, Mixture]:
    """The mixtures of two halves of the components, drawn at random."""
    num_components = mixture.num_components
    first = jax.random.permutation(key, num_components) < num_components // 2

    def part(chosen: jax.Array) -> Mixture:
        log_weights = jnp.where(chosen, mixture.log_weights, -jnp.inf)
        return mixture.with_log_weights(log_weights - jax.nn.logsumexp(log_weights))

    return part(first), part(~first)


def hole_map(
    prior: distrax.Distribution,
    aggregated: Mixture,
    *,
    num_points: int = 100,
    extent: float = 4.0,
    half_width: float | None = None,
    chunk_size: int = 500,
    plane: Literal["principal", "difference"] = "principal",
    num_samples: int = 20_000,
    key: jax.Array | None = None,
) -> HoleMap:
    r"""Maps the hole: the two densities on a grid of a plane.

    With two latent dimensions the plane is the latent space. With more, the map shows **marginals**, the densities of
    the coordinates $A (z - o)$ in the plane with axes A through o. That of $\sum_k w_k \mathcal{N}(\mu_k, \Sigma_k)$ is
    $\sum_k w_k \mathcal{N}(A (\mu_k - o), A \Sigma_k A^\top)$, exactly: so for Gaussians and their mixtures, VampPriors
    and aggregated posteriors. Of other distributions, such as flows, the map shows a kernel density of samples, which
    smooths details finer than about a fifth of a standard deviation, and tells nothing far from all samples.

    Args:
        prior: p(z).
        aggregated: q(z), the mixture of `aggregated_posterior`.
        num_points: points of the grid along each axis.
        extent: half-width of the grid, in standard deviations of the encodings (at least those of N(0, 1)).
        half_width: half-width of the grid along both axes in units of z, instead of `extent`: for maps side by side.
        chunk_size: points at a time.
        plane: `principal`, that of the first two principal components of the encodings, through their mean; or
            `difference`, that of the two directions along which q and p differ most. The latter is chosen with one
            half of the components of q, and drawn from the other, so that chance makes no hole.
        num_samples: samples of each distribution that is drawn by a kernel density, and to choose a plane.
        key: the key of all samples and of the halves; always the same by default.

    Returns:
        A `HoleMap`.

    Raises:
        ValueError: a latent space of one dimension, an unknown plane, or a single component to halve.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q = vp.DiagonalMixture(jnp.log(jnp.full(2, 0.5)), jnp.array([[-2.0, 0, 0], [2.0, 0, 0]]), jnp.ones((2, 3)))
        >>> found = vp.hole_map(vp.normal_diag(jnp.zeros(3), jnp.ones(3)), q, num_points=3)
        >>> print(found.difference[1, 1].round(3))  # at the origin, where log q - log p is -2^2 / 2
        -2.0
    """
    check_positive_integer(num_points=num_points, chunk_size=chunk_size, num_samples=num_samples)
    check_positive(extent=extent, **({} if half_width is None else {"half_width": half_width}))
    if plane not in PLANES:
        raise ValueError(f"Expected `plane` to be one of {', '.join(PLANES)}; got {plane!r}.")
    (dim,) = aggregated.event_shape
    if dim < 2:
        raise ValueError("Expected at least 2 latent dimensions for a map; got 1. Plot the two densities on a line.")
    key_half, key_q, key_p = jax.random.split(jax.random.key(0) if key is None else key, 3)
    means, _ = aggregated.component_moments()
    if dim == 2:
        origin, axes, explained = jnp.zeros(2), jnp.eye(2), jnp.ones(())
    else:
        origin = jnp.mean(means, axis=0)
        if plane == "principal":
            axes = _principal_axes(means - origin)
        else:
            if aggregated.num_components < 2:
                raise ValueError("Expected at least 2 components of `aggregated` for plane='difference'; got 1.")
            chosen_with, aggregated = _halves(key_half, aggregated)
            axes = _difference_axes(
                chosen_with.sample(seed=key_q, sample_shape=num_samples),
                prior.sample(seed=key_p, sample_shape=num_samples),
            )
        explained = jnp.sum(_along(axes, means - origin) ** 2) / jnp.sum((means - origin) ** 2)
    spread = jnp.maximum(1.0, jnp.std(_along(axes, means - origin), axis=0))
    widths = extent * spread if half_width is None else jnp.full(2, half_width)
    first, second = (width * jnp.linspace(-1, 1, num_points) for width in widths)
    grid = jnp.stack(jnp.meshgrid(first, second), axis=-1).reshape(-1, 2)

    def evaluate(density: distrax.Distribution, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        if dim == 2:
            values, is_exact = log_prob_in_chunks(density, grid, chunk_size=chunk_size), True
        else:
            marginal = _exact_marginal(density, origin, axes)
            is_exact = marginal is not None
            if marginal is None:
                samples = density.sample(seed=key, sample_shape=num_samples)
                marginal = _kernel_density(_along(axes, samples - origin))
            values = _log_density(marginal, grid, chunk_size)
        return values.reshape(num_points, num_points), jnp.asarray(is_exact)

    log_q, q_is_exact = evaluate(aggregated, jax.random.fold_in(key_q, 1))
    log_p, p_is_exact = evaluate(prior, jax.random.fold_in(key_p, 1))
    return HoleMap(first, second, origin, axes, log_q, log_p, log_q - log_p, explained, q_is_exact, p_is_exact)
