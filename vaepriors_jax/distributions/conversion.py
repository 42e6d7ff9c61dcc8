"""Converts the distributions of users to the forms that the library computes with."""

from collections.abc import Mapping
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from tensorflow_probability.substrates.jax import distributions as tfd

from vaepriors_jax.distributions.flattened import flattened
from vaepriors_jax.distributions.gaussian_parameters import diagonal_gaussian, full_gaussian
from vaepriors_jax.distributions.normal import NormalDiag
from vaepriors_jax.distributions.numerics import full_precision
from vaepriors_jax.distributions.numpyro import convert_numpyro


def as_library_distribution(distribution: Any) -> distrax.Distribution:
    """Converts a distribution over one vector to the form that the closed-form KL and the fast mixture read.

    Args:
        distribution: a distrax or TFP distribution, of any batch shape.

    Returns:
        `NormalDiag` for a diagonal Gaussian of any class, `distrax.MultivariateNormalTri` for a Gaussian of TFP with a
        full covariance, anything else as a distrax distribution.
    """
    if type(distribution) is NormalDiag:
        return distribution
    if len(distribution.event_shape) == 1:
        if diagonal := diagonal_gaussian(distribution):
            loc, scale = jnp.broadcast_arrays(*map(full_precision, diagonal))
            return NormalDiag(distrax.Normal(loc, scale), reinterpreted_batch_ndims=1)
        if isinstance(distribution, tfd.Distribution) and (full := full_gaussian(distribution)):
            return distrax.MultivariateNormalTri(*map(full_precision, full))
    return distrax.as_distribution(distribution)


def check_returned(value: Any, source: str, variable: str, example: str) -> None:
    """Raises TypeError unless what `source` returned is a distribution; `example` says what to return."""
    if hasattr(value, "log_prob"):
        return
    is_array = isinstance(value, (jax.Array, np.ndarray))
    got = f"an array of shape {list(value.shape)}" if is_array else type(value).__name__
    raise TypeError(
        f"Expected the {source} to return a distrax distribution over {variable}; got {got}. Return for instance "
        f"`{example}`."
    )


def as_likelihood(distribution: Any, source: str = "decoder") -> Any:
    """Returns what a decoder gave back as a distribution, or raises TypeError."""
    if isinstance(distribution, Mapping):
        raise TypeError(
            f"Expected the {source} to return a distribution over x; got a dict of {sorted(distribution)}. For parts "
            "of x return `vp.joint({...})` of a distribution for each."
        )
    check_returned(distribution, source, "x", "vp.bernoulli(logits)")
    return convert_numpyro(distribution)


def as_latent_distribution(
    distribution: Any, source: str = "encoder", latent_shape: tuple[int, ...] | None = None
) -> distrax.Distribution:
    """Checks that an encoder or a prior returned a distribution over one z, and converts it.

    Args:
        distribution: a distribution of distrax, TFP or NumPyro over one z [dim].
        source: what returned it, for the error messages.
        latent_shape: the shape of the array over which it is, if that is no vector; the result is over a vector.

    Returns:
        The distribution as `as_library_distribution` converts it.

    Raises:
        TypeError: `distribution` is not a distribution.
        ValueError: it is not over one vector.
    """
    check_returned(distribution, source, "z", "vp.normal_diag(loc, scale)")
    distribution = convert_numpyro(distribution)
    if latent_shape is not None:
        distribution = flattened(distribution, latent_shape)
    name = type(distribution).__name__
    if len(distribution.event_shape) != 1 or tuple(distribution.batch_shape) != ():
        raise ValueError(
            f"Expected the {source} to return a distribution over one vector, with batch_shape () and event_shape "
            f"(dim,); got batch_shape {tuple(distribution.batch_shape)} and event_shape "
            f"{tuple(distribution.event_shape)} from {name}. Take one example at a time, and return "
            "`vp.normal_diag(loc, scale)` rather than a distrax.Normal."
        )
    return as_library_distribution(distribution)
