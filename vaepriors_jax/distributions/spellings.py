"""Reads the same distribution out of its different spellings in distrax and in TensorFlow Probability (TFP).

Only classes named here are read, and exactly those: a subclass may have another density.
"""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
from tensorflow_probability.substrates.jax import distributions as tfd

INDEPENDENT = (distrax.Independent, tfd.Independent)
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
# The bijectors whose `matrix` is what they multiply by; a subclass may do anything.
LINEAR = (distrax.DiagLinear, distrax.TriangularLinear, distrax.DiagPlusLowRankLinear)


def kind(distribution: Any) -> type:
    """The class of a distribution; of a TFP distribution that distrax has wrapped, TFP's."""
    own = type(distribution)
    if not (issubclass(own, distrax.Distribution) and issubclass(own, tfd.Distribution)):
        return own
    return next(base for base in own.__bases__ if issubclass(base, tfd.Distribution))


def factor(distribution: Any) -> Any | None:
    """The scalar distribution [..., dim] whose independent draws make a vector, within any depth of `Independent`."""
    scalar = distribution
    while kind(scalar) in INDEPENDENT:
        scalar = scalar.distribution
    is_vector = len(distribution.event_shape) == 1 and len(scalar.event_shape) == 0
    return scalar if is_vector else None


def diagonal_gaussian(distribution: Any) -> tuple[jax.Array, jax.Array] | None:
    """Mean and standard deviation, [..., dim] both, of a diagonal Gaussian over one vector; None for anything else."""
    scalar = factor(distribution)
    if scalar is not None:
        is_read = kind(scalar) in NORMAL
        distribution = scalar
    else:
        while kind(distribution) in INDEPENDENT and len(distribution.event_shape) == 1:
            distribution = distribution.distribution
        is_read = kind(distribution) in DIAGONAL
    return (distribution.mean(), distribution.stddev()) if is_read else None


def _lower_triangular(matrix: jax.Array) -> jax.Array:
    """L with L L^T = A A^T."""
    return jnp.swapaxes(jnp.linalg.qr(jnp.swapaxes(matrix, -1, -2), mode="r"), -1, -2)


def full_gaussian(distribution: Any) -> tuple[jax.Array, jax.Array] | None:
    """Mean [..., dim] and L [..., dim, dim], lower triangular, of N(mean, L L^T); None for anything else.

    The diagonal of L may be negative. A diagonal Gaussian is left to `diagonal_gaussian`.
    """
    while kind(distribution) in INDEPENDENT and len(distribution.event_shape) == 1:
        distribution = distribution.distribution
    which = kind(distribution)
    with jax.default_matmul_precision("highest"):  # low-rank factors are multiplied out
        if which in FULL_DISTRAX and type(distribution.scale) in LINEAR:
            scale = distribution.scale
            is_lower = type(scale) is distrax.TriangularLinear and scale.is_lower
            return distribution.mean(), scale.matrix if is_lower else _lower_triangular(scale.matrix)
        if which in FULL_TFP:
            matrix = distribution.scale.to_dense()
            is_lower = which in (tfd.MultivariateNormalTriL, tfd.MultivariateNormalFullCovariance)
            return distribution.mean(), matrix if is_lower else _lower_triangular(matrix)
        if which is tfd.MultivariateNormalDiagPlusLowRankCovariance:
            return distribution.mean(), jnp.linalg.cholesky(distribution.covariance())
    return None
