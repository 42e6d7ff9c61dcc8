"""The uniform prior on the unit sphere."""

from typing import Any

import distrax
import jax

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_at_least_two
from vaepriors_jax.distributions.power_spherical import SphericalUniform
from vaepriors_jax.factories import factory


@factory
def spherical_uniform(dim: int) -> Prior:
    r"""Uniform prior on the unit sphere, $p(z) = \Gamma(D / 2) / (2 \pi^{D / 2})$ for z in D dimensions of length 1.

    The density is with respect to the surface measure. The encoder returns a distribution on the sphere, such as
    `vp.power_spherical`, from which the KL has a closed form.

    Args:
        dim: dimension D of z, at least 2; the sphere itself has D - 1.

    Returns:
        A prior without parameters.

    Raises:
        ValueError: `dim` is not an integer of at least 2.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> p = vp.spherical_uniform(3).apply({})
        >>> print(f"{p.prob(jnp.array([0.0, 0.6, 0.8])):.4f}")  # 1 / (4 pi)
        0.0796

    References:
        Davidson, Falorsi, De Cao, Kipf & Tomczak (2018), Hyperspherical variational auto-encoders, section 3;
        De Cao & Aziz (2020), The power spherical distribution.
    """
    check_at_least_two(dim=dim)

    def init(key: jax.Array) -> Any:
        del key
        return {}

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        del params, context
        return SphericalUniform(dim)

    return Prior(init, apply, {})
