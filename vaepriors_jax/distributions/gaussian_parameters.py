"""Reads mean and scale of a Gaussian from any class of distrax or of TensorFlow Probability (TFP).

Only the classes listed here are recognised, and not their subclasses, which may have another density.
"""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
from tensorflow_probability.substrates.jax import distributions as tfd

from vaepriors_jax.distributions.laplace import LaplaceDiag

INDEPENDENT = (distrax.Independent, LaplaceDiag, tfd.Independent)
NORMAL = (distrax.Normal, distrax.LogStddevNormal, tfd.Normal)
DIAGONAL = (distrax.MultivariateNormalDiag, tfd.MultivariateNormalDiag)
FULL_DISTRAX = (
    distrax.MultivariateNormalFromBijector,
    distrax.MultivariateNormalTri,
    distrax.MultivariateNormalFullCovariance,
    distrax.MultivariateNormalDiagPlusLowRank,
)
FULL_TFP = (
    tfd.MultivariateNormalTriL,
    tfd.MultivariateNormalFullCovariance,
    tfd.MultivariateNormalDiagPlusLowRank,
    tfd.MultivariateNormalLinearOperator,
)
# The bijectors that multiply by their `matrix`; a subclass may do something else.
LINEAR = (distrax.DiagLinear, distrax.TriangularLinear, distrax.DiagPlusLowRankLinear)


def distribution_class(distribution: Any) -> type:
    """The class of a distribution; for a TFP distribution that distrax has wrapped, TFP's class."""
    own = type(distribution)
    if not (issubclass(own, distrax.Distribution) and issubclass(own, tfd.Distribution)):
        return own
    return next(base for base in own.__bases__ if issubclass(base, tfd.Distribution))


def independent_scalars(distribution: Any) -> Any | None:
    """The scalar distributions [..., dim] inside any depth of `Independent`; None if they do not make one vector."""
    scalar = distribution
    while distribution_class(scalar) in INDEPENDENT:
        scalar = scalar.distribution
    is_vector = len(distribution.event_shape) == 1 and len(scalar.event_shape) == 0
    return scalar if is_vector else None


def diagonal_gaussian(distribution: Any) -> tuple[jax.Array, jax.Array] | None:
    """Mean and standard deviation, [..., dim] both, of a diagonal Gaussian over one vector; None for anything else."""
    scalar = independent_scalars(distribution)
    if scalar is not None:
        is_gaussian = distribution_class(scalar) in NORMAL
        distribution = scalar
    else:
        while distribution_class(distribution) in INDEPENDENT and len(distribution.event_shape) == 1:
            distribution = distribution.distribution
        is_gaussian = distribution_class(distribution) in DIAGONAL
    return (distribution.mean(), distribution.stddev()) if is_gaussian else None


def _lower_triangular(matrix: jax.Array) -> jax.Array:
    """L with L L^T = A A^T."""
    return jnp.swapaxes(jnp.linalg.qr(jnp.swapaxes(matrix, -1, -2), mode="r"), -1, -2)


def full_gaussian(distribution: Any) -> tuple[jax.Array, jax.Array] | None:
    """Mean [..., dim] and L [..., dim, dim], lower triangular, of N(mean, L L^T); None for anything else.

    The diagonal of L may be negative. For a diagonal Gaussian use `diagonal_gaussian`.
    """
    while distribution_class(distribution) in INDEPENDENT and len(distribution.event_shape) == 1:
        distribution = distribution.distribution
    class_ = distribution_class(distribution)
    with jax.default_matmul_precision("highest"):  # distrax and TFP multiply low-rank factors out
        if class_ in FULL_DISTRAX and type(distribution.scale) in LINEAR:
            scale = distribution.scale
            is_lower = type(scale) is distrax.TriangularLinear and scale.is_lower
            return distribution.mean(), scale.matrix if is_lower else _lower_triangular(scale.matrix)
        if class_ in FULL_TFP:
            matrix = distribution.scale.to_dense()
            is_lower = class_ in (tfd.MultivariateNormalTriL, tfd.MultivariateNormalFullCovariance)
            return distribution.mean(), matrix if is_lower else _lower_triangular(matrix)
        if class_ is tfd.MultivariateNormalDiagPlusLowRankCovariance:
            return distribution.mean(), jnp.linalg.cholesky(distribution.covariance())
    return None
