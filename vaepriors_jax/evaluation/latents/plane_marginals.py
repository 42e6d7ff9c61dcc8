"""Marginal densities of a distribution on a plane through the latent space, exact or by a kernel density."""

from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.numerics import LOG_2PI
from vaepriors_jax.loops import map_chunks

COMPONENTS_AT_ONCE = 4096


class PlaneMarginal(NamedTuple):
    """A mixture of Gaussians over a plane: log-weights [K], means [K, 2] and covariances [K, 2, 2]."""

    log_weights: jax.Array
    means: jax.Array
    covariances: jax.Array


def coordinates(axes: jax.Array, vectors: jax.Array) -> jax.Array:
    """Coordinates [..., 2] along the axes [2, dim] of vectors [..., dim]."""
    return jnp.matmul(vectors, axes.T, precision=Precision.HIGHEST)


def exact_marginal(distribution: Any, origin: jax.Array, axes: jax.Array) -> PlaneMarginal | None:
    r"""Marginal $\mathcal{N}(A (\mu - o), A \Sigma A^\top)$ of a Gaussian, or of a mixture of them; otherwise None."""
    if isinstance(distribution, Mixture):

        def of_component(arrays: Any) -> PlaneMarginal | None:
            return exact_marginal(distribution._component(arrays), origin, axes)

        if jax.eval_shape(of_component, jax.tree.map(lambda leaf: leaf[0], distribution.parameters)) is None:
            return None
        batch_size = min(COMPONENTS_AT_ONCE, distribution.num_components)
        components = map_chunks(of_component, distribution.parameters, batch_size)
        return PlaneMarginal(
            (distribution.log_weights[:, None] + components.log_weights).reshape(-1),
            components.means.reshape(-1, 2),
            components.covariances.reshape(-1, 2, 2),
        )
    if is_normal_diag(distribution):
        loc, scale = location_and_scale(distribution)
        half = axes * scale
        covariance = jnp.matmul(half, half.T, precision=Precision.HIGHEST)
    elif isinstance(distribution, distrax.MultivariateNormalFromBijector):
        loc = distribution.mean()
        covariance = coordinates(axes, coordinates(axes, distribution.covariance()).T)
    else:
        return None
    return PlaneMarginal(jnp.zeros(1), coordinates(axes, loc - origin)[None], covariance[None])


def kernel_density(points: jax.Array) -> PlaneMarginal:
    """Kernel density of points [M, 2] with Scott's bandwidth, shrunk to the mean to keep the points' covariance."""
    num_points, mean = points.shape[0], jnp.mean(points, axis=0)
    square = num_points ** (-1 / 3)  # of the bandwidth M^(-1/6), in standard deviations
    covariance = square / (1 + square) * jnp.cov(points, rowvar=False)
    return PlaneMarginal(
        jnp.full(num_points, -jnp.log(num_points)),
        mean + (points - mean) / jnp.sqrt(1 + square),
        jnp.broadcast_to(covariance, (num_points, 2, 2)),
    )


def log_density(marginal: PlaneMarginal, points: jax.Array, chunk_size: int) -> jax.Array:
    """Log-density [M] at points [M, 2] of the plane, a chunk of points and of components at a time."""
    num_components = marginal.log_weights.shape[0]
    at_once = min(COMPONENTS_AT_ONCE, num_components)
    num_chunks = -(-num_components // at_once)
    missing = num_chunks * at_once - num_components
    variance, covariance, other = (marginal.covariances[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
    # By hand, the Cholesky factor: x, and y given x.
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

    return map_chunks(at, points, min(chunk_size, points.shape[0]))
