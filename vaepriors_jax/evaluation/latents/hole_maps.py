"""Maps of the prior hole: the prior p(z) and the aggregated posterior q(z) on a plane through the latent space."""

from typing import Literal, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_choice, check_key, check_positive, check_positive_integer
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.spaces import check_euclidean
from vaepriors_jax.evaluation.latents.aggregated_posterior import log_prob_in_chunks
from vaepriors_jax.evaluation.latents.latent_samples import check_distributions
from vaepriors_jax.evaluation.latents.plane_marginals import (
    PlaneMarginal,
    coordinates,
    exact_marginal,
    kernel_density,
    log_density,
)
from vaepriors_jax.evaluation.latents.planes import difference_axes, halves, principal_axes


class HoleMap(NamedTuple):
    """log q(z), log p(z) and their difference on a grid of a plane through the latent space.

    With more than two latent dimensions these are the marginal densities of z's two coordinates in the plane.

    Attributes:
        first: coordinates along the plane's first axis [G].
        second: coordinates along its second axis [G].
        origin: point of the plane [dim] at (0, 0).
        axes: unit vectors of the plane [2, dim].
        log_q: log-density of the aggregated posterior [G, G] in nats; rows follow `second`.
        log_p: log-density of the prior [G, G].
        difference: log q - log p [G, G]; strongly negative in a hole.
        explained: share of the variance of the encodings within the plane; 1 for two dimensions.
        q_is_exact: whether `log_q` is exact, rather than a kernel density of samples.
        p_is_exact: whether `log_p` is exact.
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
    r"""Maps the hole: the densities of q and p on a grid of a plane.

    With two latent dimensions the plane is the latent space. With more, the map shows **marginals**, the densities of
    the coordinates $A (z - o)$ in the plane with axes A through o. The marginal of
    $\sum_k w_k \mathcal{N}(\mu_k, \Sigma_k)$ is $\sum_k w_k \mathcal{N}(A (\mu_k - o), A \Sigma_k A^\top)$, so that the
    map is exact for Gaussians and their mixtures, VampPriors and aggregated posteriors. For other distributions, such
    as flows, it shows a kernel density of samples, which smooths details smaller than about a fifth of a standard
    deviation and means nothing far from all samples. The mean of the encodings is at the center of the grid.

    Args:
        prior: p(z).
        aggregated: q(z), the mixture from `aggregated_posterior`.
        num_points: points of the grid along each axis.
        extent: half-width of the grid, in standard deviations of the encodings (at least those of N(0, 1)); with two
            latent dimensions the larger of both, so that the map is a square.
        half_width: half-width of the grid along both axes in units of z, instead of `extent`, for maps of equal size.
        chunk_size: points at a time.
        plane: "principal" is the plane of the first two principal components of the encodings, through their mean;
            "difference" is the plane of two directions along which q and p differ most. The latter is chosen with one
            half of the components of q, and q is drawn from the other half, so that chance makes no hole.
        num_samples: samples of each distribution, for kernel densities and for the choice of the plane.
        key: a random key for the samples and the halves; the same one at each call by default.

    Returns:
        A `HoleMap`.

    Raises:
        ValueError: a latent space of one dimension or one other than R^n, an unknown plane, or a single component to
            split.
        TypeError: `prior` is not a distribution, `aggregated` not a mixture, or `key` not a random key.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q = vp.DiagonalMixture(jnp.log(jnp.full(2, 0.5)), jnp.array([[-2.0, 0, 0], [2.0, 0, 0]]), jnp.ones((2, 3)))
        >>> holes = vp.hole_map(vp.normal_diag(jnp.zeros(3), jnp.ones(3)), q, num_points=3)
        >>> print(holes.difference[1, 1].round(3))  # at the origin, where log q - log p is -2^2 / 2
        -2.0
    """
    _check_densities(prior, aggregated)
    check_positive_integer(num_points=num_points, chunk_size=chunk_size, num_samples=num_samples)
    check_positive(extent=extent, **({} if half_width is None else {"half_width": half_width}))
    check_choice("plane", plane, ("principal", "difference"))
    keys = MapKeys.split(jax.random.key(0) if key is None else check_key(key))
    from_p = None
    if plane == "difference" and aggregated.event_shape[0] > 2:
        from_p = prior.sample(seed=keys.p, sample_shape=num_samples)
    area, aggregated = choose_area(
        aggregated, keys, from_p, num_points=num_points, extent=extent, half_width=half_width, num_samples=num_samples
    )
    log_densities = []
    for density, key_density in ((aggregated, keys.q), (prior, keys.p)):
        marginal, is_exact = marginal_on(area, density, jax.random.fold_in(key_density, 1), num_samples)
        log_densities += [log_density_on(area, density if marginal is None else marginal, chunk_size), is_exact]
    log_q, q_is_exact, log_p, p_is_exact = log_densities
    return join_map(area, log_q, log_p, q_is_exact, p_is_exact)


def join_map(area: "Area", log_q: jax.Array, log_p: jax.Array, q_is_exact: jax.Array, p_is_exact: jax.Array) -> HoleMap:
    """The map from its area and its densities."""
    first, second, origin, axes, explained = area
    difference = log_q - log_p
    return HoleMap(first, second, origin, axes, log_q, log_p, difference, explained, q_is_exact, p_is_exact)


class MapKeys(NamedTuple):
    """The keys of a map: for the halves of q's components, and for samples of q and of p."""

    half: jax.Array
    q: jax.Array
    p: jax.Array

    @classmethod
    def split(cls, key: jax.Array) -> "MapKeys":
        """Splits the key of a map."""
        return cls(*jax.random.split(key, 3))


class Area(NamedTuple):
    """The part of a plane that a map shows; see `HoleMap`."""

    first: jax.Array
    second: jax.Array
    origin: jax.Array
    axes: jax.Array
    explained: jax.Array

    @property
    def grid(self) -> jax.Array:
        """All points [G * G, 2]."""
        return jnp.stack(jnp.meshgrid(self.first, self.second), axis=-1).reshape(-1, 2)


def choose_area(
    aggregated: Mixture,
    keys: MapKeys,
    from_p: jax.Array | None,
    *,
    num_points: int = 100,
    extent: float = 4.0,
    half_width: float | None = None,
    num_samples: int = 20_000,
) -> tuple[Area, Mixture]:
    """The area of a map and the q(z) to draw, from arguments of `hole_map`.

    With samples of the prior [M, dim] it lies on the plane of the largest difference.
    """
    means, _ = aggregated.component_moments()
    (dim,) = aggregated.event_shape
    origin = jnp.zeros(2) if dim == 2 else jnp.mean(means, axis=0)
    if dim == 2:
        axes = jnp.eye(2)
    elif from_p is None:
        axes = principal_axes(means - origin)
    else:
        chosen_with, aggregated = halves(keys.half, aggregated)
        axes = difference_axes(chosen_with.sample(seed=keys.q, sample_shape=num_samples), from_p)
    in_plane = coordinates(axes, means - origin)
    explained = jnp.ones(()) if dim == 2 else jnp.sum(in_plane**2) / jnp.sum((means - origin) ** 2)
    # Two coordinates of z have the same scale and any mean; principal components have the mean 0.
    center = jnp.mean(in_plane, axis=0) if dim == 2 else jnp.zeros(2)
    widths = extent * jnp.maximum(1.0, jnp.std(in_plane, axis=0))
    widths = jnp.full(2, jnp.max(widths)) if dim == 2 else widths
    widths = widths if half_width is None else jnp.full(2, half_width)
    first, second = (
        place + width * jnp.linspace(-1, 1, num_points) for place, width in zip(center, widths, strict=True)
    )
    return Area(first, second, origin, axes, explained), aggregated


def marginal_on(
    area: Area, density: distrax.Distribution, key: jax.Array, num_samples: int = 20_000
) -> tuple[PlaneMarginal | None, jax.Array]:
    """The marginal of a density on the plane, and whether it is exact; None in two dimensions, where it is the density.

    Where it has no closed form it is a kernel density of samples.
    """
    if len(area.origin) == 2:
        return None, jnp.asarray(True)
    marginal = exact_marginal(density, area.origin, area.axes)
    if marginal is not None:
        return marginal, jnp.asarray(True)
    samples = density.sample(seed=key, sample_shape=num_samples)
    return kernel_density(coordinates(area.axes, samples - area.origin)), jnp.asarray(False)


def log_density_on(area: Area, density: distrax.Distribution | PlaneMarginal, chunk_size: int = 500) -> jax.Array:
    """The log-density [G, G] on the area, of a marginal or, in two dimensions, of the density itself."""
    if isinstance(density, PlaneMarginal):
        values = log_density(density, area.grid, chunk_size)
    else:
        values = log_prob_in_chunks(density, area.grid, chunk_size=chunk_size)
    return values.reshape(len(area.second), len(area.first))


def _check_densities(prior: distrax.Distribution, aggregated: Mixture) -> None:
    check_distributions(prior=prior, aggregated=aggregated)
    check_euclidean("a map of a plane", prior)
    if not isinstance(aggregated, Mixture):
        raise TypeError(
            f"Expected `aggregated` to be a mixture, as from `aggregated_posterior`; got {type(aggregated).__name__}. "
            "The order is prior, aggregated."
        )
    if aggregated.event_shape[0] < 2:
        raise ValueError("Expected at least 2 latent dimensions for a map; got 1. Plot the two densities on a line.")
