"""Closed forms of KL(q || p), one function for each pair of families."""

import math
from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jax.scipy.special import erf, i0e, i1e
from tensorflow_probability.substrates.jax import distributions as tfd

from vaepriors_jax.distributions.autoregressive_normal import AutoregressiveNormal, kl_of_diagonal_gaussian_to_chain
from vaepriors_jax.distributions.conversion import as_library_distribution
from vaepriors_jax.distributions.dirichlet import Dirichlet, kl_of_dirichlet
from vaepriors_jax.distributions.gaussian_parameters import distribution_class, full_gaussian, independent_scalars
from vaepriors_jax.distributions.logistic_normal import LogisticNormal
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.power_spherical import (
    PowerSpherical,
    SphericalUniform,
    kl_of_power_spherical_to_uniform,
)


def kl_of_diagonal_gaussians(q_loc: jax.Array, q_scale: jax.Array, p_loc: jax.Array, p_scale: jax.Array) -> jax.Array:
    r"""KL in nats of diagonal Gaussians, $\sum_i \frac12 (r_i^2 - 1) - \log r_i + \frac12 (\delta_i / \sigma^p_i)^2$.

    Here $r = \sigma^q / \sigma^p$ and $\delta = \mu^q - \mu^p$; all arguments are [..., dim].
    """
    ratio = q_scale / p_scale
    nats = 0.5 * (ratio - 1) * (ratio + 1) - jnp.log(ratio) + 0.5 * jnp.square((q_loc - p_loc) / p_scale)
    return jnp.sum(nats, axis=-1)


def kl_of_full_gaussians(q_loc: jax.Array, q_scale: jax.Array, p_loc: jax.Array, p_scale: jax.Array) -> jax.Array:
    r"""KL in nats of $\mathcal N(\mu, L L^T)$, with means [..., dim] and lower triangular L [..., dim, dim].

    $\frac12 (\|M\|_F^2 - D + \|m\|^2) - \sum_i \log |M_{ii}|$ with $M = L_p^{-1} L_q$ and
    $m = L_p^{-1} (\mu_q - \mu_p)$.
    """
    difference = (q_loc - p_loc)[..., None]
    batch = jnp.broadcast_shapes(q_scale.shape[:-2], difference.shape[:-2], p_scale.shape[:-2])
    q_scale, difference, p_scale = (
        jnp.broadcast_to(array, batch + array.shape[-2:]) for array in (q_scale, difference, p_scale)
    )
    columns = jnp.concatenate([q_scale, difference], axis=-1)
    solved = jax.lax.linalg.triangular_solve(p_scale, columns, left_side=True, lower=True)
    ratio = jnp.abs(jnp.diagonal(solved[..., :-1], axis1=-2, axis2=-1))
    off_diagonal = jnp.tril(solved[..., :-1], -1)
    nats = 0.5 * (ratio - 1) * (ratio + 1) - jnp.log(ratio)
    return (
        jnp.sum(nats, axis=-1)
        + 0.5 * jnp.sum(jnp.square(off_diagonal), axis=(-2, -1))
        + 0.5 * jnp.sum(jnp.square(solved[..., -1]), axis=-1)
    )


def kl_of_laplace(q_loc: jax.Array, q_scale: jax.Array, p_loc: jax.Array, p_scale: jax.Array) -> jax.Array:
    r"""KL in nats of independent Laplace distributions, all arguments [..., dim].

    $\sum_i r_i - 1 - \log r_i + r_i\,(t_i + e^{-t_i} - 1)$ with $r = b^q / b^p$ and $t = |\mu^q - \mu^p| / b^q$.
    """
    ratio, t = q_scale / p_scale, (q_loc - p_loc) / q_scale
    # Each sign has its own smooth branch, so that both derivatives are right at t = 0, where |t| has none.
    above, below = jnp.where(t >= 0, t, 0), jnp.where(t < 0, -t, 0)
    return jnp.sum(ratio - 1 - jnp.log(ratio) + ratio * (above + jnp.expm1(-above) + below + jnp.expm1(-below)), -1)


def kl_of_gaussian_to_laplace(q_loc: jax.Array, q_scale: jax.Array, p_loc: jax.Array, p_scale: jax.Array) -> jax.Array:
    r"""KL in nats of a diagonal Gaussian to independent Laplace distributions, all arguments [..., dim].

    $\sum_i \log\frac{2 b_i}{\sigma_i} - \frac12 \log(2 \pi e) + \frac{\sigma_i}{b_i} \mathbb{E}|n + t_i|$ with
    $t = (\mu^q - \mu^p) / \sigma$ and n from N(0, 1): $\mathbb{E}|n + t| = \sqrt{2 / \pi}\, e^{-t^2 / 2} +
    t\, \mathrm{erf}(t / \sqrt2)$, the mean of a folded normal.
    """
    t = (q_loc - p_loc) / q_scale
    distance = math.sqrt(2 / math.pi) * jnp.exp(-0.5 * t**2) + t * erf(t / math.sqrt(2))
    constant = math.log(2) - 0.5 * math.log(2 * math.pi * math.e)
    return jnp.sum(constant + jnp.log(p_scale / q_scale) + q_scale / p_scale * distance, axis=-1)


def kl_of_von_mises(q_loc: jax.Array, q_conc: jax.Array, p_loc: jax.Array, p_conc: jax.Array) -> jax.Array:
    r"""KL in nats of independent von Mises distributions, all arguments [..., dim]; concentration 0 is uniform.

    $\sum_i \log\frac{I_0(\kappa^p_i)}{I_0(\kappa^q_i)} + A_i\,(\kappa^q_i - \kappa^p_i\cos(\mu^q_i - \mu^p_i))$ with
    $A = I_1(\kappa^q) / I_0(\kappa^q)$, in terms of the scaled $e^{-\kappa} I(\kappa)$, which do not overflow.
    """
    ratio = i1e(q_conc) / i0e(q_conc)
    turned = 2 * jnp.square(jnp.sin((q_loc - p_loc) / 2))  # 1 - cos
    nats = jnp.log(i0e(p_conc) / i0e(q_conc)) + (p_conc - q_conc) * (1 - ratio) + ratio * p_conc * turned
    return jnp.sum(nats, axis=-1)


def _scalars(q: Any, p: Any, *classes: type) -> tuple[Any, Any] | None:
    """The scalar distributions of two vectors with independent entries, if both are of the given classes."""
    scalars = independent_scalars(q), independent_scalars(p)
    return scalars if all(scalar is not None and distribution_class(scalar) in classes for scalar in scalars) else None


def _mean_and_factor(distribution: Any) -> tuple[jax.Array, jax.Array] | None:
    """The mean and the Cholesky factor of the covariance of any Gaussian; None for other distributions."""
    if not is_normal_diag(distribution):
        return full_gaussian(distribution)
    loc, scale = location_and_scale(distribution)
    return loc, scale[..., None] * jnp.eye(scale.shape[-1], dtype=scale.dtype)


def _broadcast(scalar: Any, *parameters: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(jnp.broadcast_to(array, tuple(scalar.batch_shape)) for array in parameters)


def kl_of_independent(q: Any, p: Any) -> tuple[Callable[..., jax.Array], tuple[jax.Array, ...]] | None:
    """A closed form that is a sum over dimensions, and its arguments [..., dim]; None for other pairs."""
    if is_normal_diag(q) and is_normal_diag(p):
        return kl_of_diagonal_gaussians, (*location_and_scale(q), *location_and_scale(p))
    if pair := _scalars(q, p, distrax.Laplace, tfd.Laplace):
        return kl_of_laplace, tuple(array for d in pair for array in _broadcast(d, d.loc, d.scale))
    if is_normal_diag(q) and (laplace := _scalars(p, p, distrax.Laplace, tfd.Laplace)):
        scalar = laplace[0]
        arrays = *location_and_scale(q), *_broadcast(scalar, scalar.loc, scalar.scale)
        return kl_of_gaussian_to_laplace, arrays
    if pair := _scalars(q, p, distrax.VonMises, tfd.VonMises):
        return kl_of_von_mises, tuple(array for d in pair for array in _broadcast(d, d.loc, d.concentration))
    return None


def closed_form_kl(q: Any, p: Any) -> jax.Array | None:
    """KL(q || p) in nats for the pairs of families of this module, None for others; `vp.kl_divergence` lists them.

    Args:
        q: a distrax or TFP distribution over one vector, of any batch shape.
        p: another, over a vector of the same size.

    Returns:
        The KL, of the shape to which the batch shapes broadcast.
    """
    q, p = as_library_distribution(q), as_library_distribution(p)
    if independent := kl_of_independent(q, p):
        function, arrays = independent
        return function(*arrays)
    if (full_q := _mean_and_factor(q)) and (full_p := _mean_and_factor(p)):
        return kl_of_full_gaussians(*full_q, *full_p)
    if is_normal_diag(q) and type(p) is AutoregressiveNormal:
        return kl_of_diagonal_gaussian_to_chain(*location_and_scale(q), p)
    if type(q) is LogisticNormal and type(p) is LogisticNormal:  # the KL is that of what both are maps of
        return closed_form_kl(q.log_ratios, p.log_ratios)
    if {distribution_class(q), distribution_class(p)} <= {Dirichlet, tfd.Dirichlet}:
        return kl_of_dirichlet(q.concentration, p.concentration)
    is_power_spherical = distribution_class(q) in (PowerSpherical, tfd.PowerSpherical)
    if is_power_spherical and distribution_class(p) in (SphericalUniform, tfd.SphericalUniform):
        batch = jnp.broadcast_shapes(tuple(q.batch_shape), tuple(p.batch_shape))
        return jnp.broadcast_to(kl_of_power_spherical_to_uniform(q.concentration, q.event_shape[0]), batch)
    return None
