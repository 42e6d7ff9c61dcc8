"""The VampPrior whose pseudo-inputs a network gives, from a fixed grid."""

import math
from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.checks import check_positive, check_shape
from vaepriors_jax.conditioning import Conditioner
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.bounds import check_bounds, check_within, from_bounds, from_unit
from vaepriors_jax.priors.grid_map import apply_map, check_grid, grid_points, init_map, principal_plane
from vaepriors_jax.priors.init_from_data import examples_as_inputs
from vaepriors_jax.priors.vamp import check_initial_mean, vamp


@factory
def topographic_vamp(
    grid_shape: tuple[int, ...],
    input_shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] = (64,),
    bounds: tuple[float, float] | None = (0.0, 1.0),
    initial_mean: float = 0.5,
    initial_scale: float = 0.1,
) -> Prior:
    r"""VampPrior on a grid: $p(z) = \frac1K \sum_k q(z | g(u_k))$, for the points $u_k$ of a fixed grid.

    A network g gives the pseudo-inputs. Neighbours on the grid have similar ones, and few parameters give many: their
    number does not grow with K. The network starts at 0, and a linear map, the plane, is added to it.

    Args:
        grid_shape: points along each axis of the grid on $[-1, 1]^d$; their product is the number K of pseudo-inputs.
        input_shape: shape of one example x.
        hidden: widths of the network's hidden layers; () makes it linear.
        bounds: the least and the largest value that data can have, or None, as in `vamp`.
        initial_mean: the pseudo-input in the middle of the grid that `init` makes, as in `vamp`.
        initial_scale: standard deviation of the directions of the plane that `init` draws. For a start at the principal
            plane of examples see `init_from_data`.

    Context:
        encode: the encoder with its parameters, from x to q(z|x); a `VAE` passes its own.

    Returns:
        A prior with parameters `centre` [*input_shape], `plane` [d, D] for D entries of x, and `network`, those of the
        network. `vp.pseudo_inputs` gives the pseudo-inputs. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range, or a grid of more than a million points.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.topographic_vamp((3, 4), input_shape=(5,))
        >>> vp.pseudo_inputs(prior, prior.init(jax.random.key(0))).shape
        (12, 5)

    References:
        Tomczak (2022), Deep generative modeling, chapter 4 (GTM-VampPrior); Tomczak & Welling (2018), VAE with a
        VampPrior, eq. 9.
    """
    grid_shape, input_shape = check_grid(grid_shape), check_shape("input_shape", input_shape)
    bounds = check_bounds(bounds)
    check_initial_mean(initial_mean, bounds)
    check_positive(initial_scale=initial_scale)
    size = math.prod(input_shape)
    network = Conditioner(check_shape("hidden", hidden) if hidden != () else (), size)
    points = grid_points(grid_shape)
    inner = vamp(len(points), input_shape, bounds=bounds)

    def init(key: jax.Array) -> Any:
        centre = jnp.full(input_shape, float(initial_mean))
        centre = centre if bounds is None else from_unit(centre)
        return init_map(key, network, len(grid_shape), initial_scale) | {"centre": centre}

    def params_of_vamp(params: Any) -> Any:
        images = apply_map(network, params, points).reshape(-1, *input_shape)
        return {"pseudo_inputs": params["centre"] + images}

    def apply(params: Any, *, encode: Callable[..., distrax.Distribution], **context: Any) -> Mixture:
        return inner.apply(params_of_vamp(params), encode=encode, **context)

    def init_from_data(key: jax.Array, *, x: Any, **data: Any) -> Any:
        del data
        x = examples_as_inputs(x, input_shape)
        check_within(x, bounds)
        mean, plane, _ = principal_plane(x.reshape(len(x), -1), len(grid_shape))
        start, width = init(key), 1.0 if bounds is None else bounds[1] - bounds[0]
        dtype = start["centre"].dtype
        centre = from_bounds(jnp.asarray(mean.reshape(input_shape), dtype), bounds)
        return start | {"centre": centre, "plane": jnp.asarray(plane / width, dtype)}

    return Prior(init, apply, {}, init_from_data, Inner(inner, params_of_vamp))
