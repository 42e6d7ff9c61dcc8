"""The generative topographic map: a mixture whose components a network places, from a fixed grid."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.grid_map import apply_map, check_grid, grid_points, init_map, principal_plane
from vaepriors_jax.priors.init_from_data import as_params, rows_of_shape


@factory
def topographic_map(
    dim: int,
    grid_shape: tuple[int, ...] = (10, 10),
    *,
    hidden: tuple[int, ...] = (64,),
    initial_spread: float = 1.0,
) -> Prior:
    r"""Generative topographic map, $p(z) = \frac1K \sum_k \mathcal{N}(z; \mu(u_k), \mathrm{diag}(\sigma(u_k)^2))$.

    The $u_k$ are the points of a fixed grid on $[-1, 1]^d$, and a network gives $\mu$ and $\log\sigma$. Neighbours on
    the grid are neighbours in z, so that the components lie on a smooth sheet, which can be drawn. The network starts
    at 0, and a linear map, the plane, is added to it: components start on a plane.

    Args:
        dim: dimension of z.
        grid_shape: points along each axis of the grid; their product is the number K of components.
        hidden: widths of the network's hidden layers; () makes it linear.
        initial_spread: standard deviation of the directions of the plane that `init` draws. For a start at the
            principal plane of encodings see `init_from_data`.

    Returns:
        A prior with parameters `loc` and `log_scale` [dim], which are the same for all components, `plane` [d, 2 dim],
        from the grid to changes of both, and `network`, those of the network. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range, or a grid of more than a million points.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.topographic_map(3, grid_shape=(4, 5))
        >>> prior.apply(prior.init(jax.random.key(0))).num_components
        20

    References:
        Bishop, Svensen & Williams (1998), GTM: the generative topographic mapping, section 2. There radial basis
        functions take the place of the network, and one scale is shared. As the prior of a VAE: Tomczak (2022), Deep
        generative modeling, chapter 4.
    """
    check_positive_integer(dim=dim)
    grid_shape = check_grid(grid_shape)
    check_positive(initial_spread=initial_spread)
    network = Conditioner(check_shape("hidden", hidden) if hidden != () else (), 2 * dim)
    points = grid_points(grid_shape)

    def init(key: jax.Array) -> Any:
        # Directions of locations, and none of scales.
        spread = initial_spread * jnp.concatenate([jnp.ones(dim), jnp.zeros(dim)])
        return init_map(key, network, len(grid_shape), spread) | {"loc": jnp.zeros(dim), "log_scale": jnp.zeros(dim)}

    def apply(params: Any, **context: Any) -> DiagonalMixture:
        del context
        loc, log_scale = jnp.split(apply_map(network, params, points), 2, axis=-1)
        log_weights = jnp.full(len(points), -np.log(len(points)), loc.dtype)
        return DiagonalMixture(log_weights, params["loc"] + loc, jnp.exp(params["log_scale"] + log_scale))

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del data
        mean, plane, left = principal_plane(rows_of_shape("z", z, (dim,)), len(grid_shape))
        # Components are as wide as what is left around the plane, and at least half the distance between them.
        half = plane / np.maximum(np.array(grid_shape) - 1, 1)[:, None]
        log_scale = 0.5 * np.log(np.maximum(left, (half**2).sum(0)) + 1e-6)
        plane = np.concatenate([plane, np.zeros_like(plane)], axis=1)
        return init(key) | as_params({"loc": mean, "log_scale": log_scale, "plane": plane})

    return Prior(init, apply, {}, init_from_data)
