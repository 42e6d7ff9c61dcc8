"""The distributions that users give, in the forms that the library computes with."""

from typing import Any

import distrax
import jax.numpy as jnp
from tensorflow_probability.substrates.jax import distributions as tfd

from vaepriors_jax.distributions.normal import NormalDiag
from vaepriors_jax.distributions.numerics import _full_precision
from vaepriors_jax.distributions.spellings import diagonal_gaussian, full_gaussian


def normalize(distribution: Any) -> distrax.Distribution:
    """Brings a distribution over one vector into the form that the closed-form KL and the fast mixture know.

    Args:
        distribution: a distrax or TFP distribution, of any batch shape.

    Returns:
        `NormalDiag` for a diagonal Gaussian of any spelling, `distrax.MultivariateNormalTri` for a Gaussian of TFP with
        a full covariance, anything else as a distrax distribution.
    """
    if type(distribution) is NormalDiag:
        return distribution
    if len(distribution.event_shape) == 1:
        if diagonal := diagonal_gaussian(distribution):
            loc, scale = jnp.broadcast_arrays(*map(_full_precision, diagonal))
            return NormalDiag(distrax.Normal(loc, scale), reinterpreted_batch_ndims=1)
        if isinstance(distribution, tfd.Distribution) and (full := full_gaussian(distribution)):
            return distrax.MultivariateNormalTri(*map(_full_precision, full))
    return distrax.as_distribution(distribution)


def normalize_posterior(distribution: Any, giver: str = "encoder") -> distrax.Distribution:
    """Brings what an encoder or a prior gives back into the form that the closed-form KL and the fast mixture know.

    Args:
        distribution: a distrax or TFP distribution over one z [dim].
        giver: who gave it back, for the errors.

    Returns:
        See `normalize`.

    Raises:
        TypeError: the encoder gave back something that is not a distribution.
        ValueError: the distribution is not over one vector.
    """
    name = type(distribution).__name__
    if not hasattr(distribution, "log_prob"):
        raise TypeError(
            f"Expected the {giver} to give back a distrax distribution over z; got {name}. "
            "Return for instance `vp.normal_diag(loc, scale)`."
        )
    if len(distribution.event_shape) != 1 or tuple(distribution.batch_shape) != ():
        raise ValueError(
            f"Expected the {giver} to give back a distribution over one vector, with batch_shape () and event_shape "
            f"(dim,); got batch_shape {tuple(distribution.batch_shape)} and event_shape "
            f"{tuple(distribution.event_shape)} from {name}. Take one example at a time, and return "
            "`vp.normal_diag(loc, scale)` rather than a distrax.Normal."
        )
    return normalize(distribution)
