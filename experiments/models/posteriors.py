"""The posteriors q(z|x) of the programs: what the outputs of an encoder become, for priors over each space.

Each has as many degrees of freedom as `--latent-dim` says. The sphere and the simplex have one entry of z more.
"""

from collections.abc import Callable
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp

import vaepriors_jax as vp
from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.distributions.power_spherical import unit_vector
from vaepriors_jax.distributions.spaces import SPHERE, space_of
from vaepriors_jax.distributions.wrapped_normal import arcsinh_ratio


class Posterior(NamedTuple):
    """A family of posteriors over n degrees of freedom.

    Attributes:
        from_outputs: makes q(z|x) of the encoder's raw outputs, a vector.
        num_outputs: from n to the number of these outputs.
        num_more: entries of z beyond n.
        coordinates: from z [..., dim] to what a decoder and a picture take [..., dim]: entries about 1 large, as those
            of N(0, I) are.
    """

    from_outputs: Callable[[jax.Array], distrax.Distribution]
    num_outputs: Callable[[int], int]
    num_more: int = 0
    coordinates: Callable[[jax.Array], jax.Array] = lambda z: z


def _loc_and_scale(raw: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two halves: locations, and log-variances within [-6, 2]."""
    loc, log_variance = jnp.split(raw, 2)
    return loc, jnp.exp(0.5 * jnp.clip(log_variance, -6.0, 2.0))


def _power_spherical(raw: jax.Array) -> distrax.Distribution:
    r"""A direction of D entries, and the log-ratio r of noise to signal within [-6, 6].

    The concentration (D - 1) exp(-r) makes the mean of z 1 / (1 + exp(r)) long, in any dimension.
    """
    direction, log_ratio = raw[:-1], jnp.clip(raw[-1], -6.0, 6.0)
    return vp.power_spherical(direction, (len(direction) - 1) * jnp.exp(-log_ratio))


def _dirichlet(raw: jax.Array) -> distrax.Distribution:
    """Log-concentrations within [-3, 6]: entries of samples are above 0 in float32, and densities are accurate."""
    return vp.dirichlet(jnp.exp(jnp.clip(raw, -3.0, 6.0)))


def _logarithm(z: jax.Array) -> jax.Array:
    """Tangent vectors at the origin of hyperbolic space that lead to points z: the distance grows as log |z|."""
    return z * arcsinh_ratio(jnp.sum(z**2, axis=-1, keepdims=True))


NORMAL = "normal"
POSTERIORS = {
    NORMAL: Posterior(lambda raw: vp.normal_diag(*_loc_and_scale(raw)), lambda n: 2 * n),
    "power_spherical": Posterior(_power_spherical, lambda n: n + 2, 1, lambda z: z * z.shape[-1] ** 0.5),
    "dirichlet": Posterior(_dirichlet, lambda n: n + 1, 1, lambda z: z * z.shape[-1]),
    "logistic_normal": Posterior(
        lambda raw: vp.logistic_normal(*_loc_and_scale(raw)), lambda n: 2 * n, 1, lambda z: z * z.shape[-1]
    ),
    "wrapped_normal": Posterior(
        lambda raw: vp.wrapped_normal(*_loc_and_scale(raw)), lambda n: 2 * n, coordinates=_logarithm
    ),
}

# The posterior that goes with a prior of `families`; all others have a Gaussian.
PAIRED = {
    "spherical_uniform": "power_spherical",
    "power_spherical_mixture": "power_spherical",
    "dirichlet": "dirichlet",
    "logistic_normal": "logistic_normal",
    "hyperbolic": "wrapped_normal",
}


def posterior_of(prior: str) -> str:
    """The key in `POSTERIORS` of what goes with a prior, by the prior's name."""
    return PAIRED.get(prior, NORMAL)


def centre(posterior: distrax.Distribution) -> jax.Array:
    """The mean of a posterior [dim], or on the sphere its direction: a point of the space around which z lies.

    It is that of 64 samples with a fixed key where the mean is not known. In hyperbolic space the location would not
    do: almost all samples are farther out.
    """
    mean, _ = moments(posterior)
    return unit_vector(mean) if space_of(posterior) == SPHERE else mean
