"""The spaces of the latents [2] of tests/cases.py, each with a chart u -> z in which tests move freely."""

from collections.abc import Callable
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp


class Space(NamedTuple):
    """A space of latents.

    Attributes:
        name: in messages of the library.
        measure: with respect to which densities are.
        free: number d of free coordinates u.
        ends: of each coordinate; there is next to no mass outside.
        chart: from u [..., d] to z [..., 2].
        inverse: from z to u.
        log_volume: logarithm of the measure of a volume in z that is 1 in u [..., d]: [...].
        posterior: the family of q(z|x): a distribution around z [2] of about a width [2].
        is_euclidean: whether evaluations that move through R^n, such as annealing, apply.
    """

    name: str
    measure: str
    free: int
    ends: tuple[float, float]
    chart: Callable[[jax.Array], jax.Array]
    inverse: Callable[[jax.Array], jax.Array]
    log_volume: Callable[[jax.Array], jax.Array]
    posterior: Callable[[jax.Array, jax.Array], distrax.Distribution]
    is_euclidean: bool = False

    def grid(self, num_points: int) -> tuple[np.ndarray, float]:
        """Points u [num_points^d, d] for the rectangle rule, and the volume of each."""
        axis = np.linspace(*self.ends, num_points, endpoint=False, dtype=np.float32)
        return np.stack(np.meshgrid(*[axis] * self.free), -1).reshape(-1, self.free), (axis[1] - axis[0]) ** self.free


PLANE = Space(
    name="R^n",
    measure="Lebesgue measure",
    free=2,
    ends=(-25, 25),
    chart=lambda u: u,
    inverse=lambda z: z,
    log_volume=lambda u: jnp.zeros(u.shape[:-1]),
    posterior=vp.normal_diag,
    is_euclidean=True,
)
CIRCLE = Space(
    name="the unit sphere",
    measure="surface measure, here arc length",
    free=1,
    ends=(-np.pi, np.pi),
    chart=lambda u: jnp.concatenate([jnp.cos(u), jnp.sin(u)], axis=-1),
    inverse=lambda z: jnp.arctan2(z[..., 1:], z[..., :1]),
    log_volume=lambda u: jnp.zeros(u.shape[:-1]),
    posterior=lambda z, width: vp.power_spherical(z, jnp.mean(width) ** -2),
)


def _around_origin(u: jax.Array) -> jax.Array:
    """Points at the distance |u| from the origin, in the direction of u."""
    length = jnp.sqrt(jnp.sum(u**2, axis=-1, keepdims=True) + 1e-12)
    return u * jnp.sinh(length) / length


def _log_volume_around_origin(u: jax.Array) -> jax.Array:
    """In two dimensions sinh(r) cosh(r) / r."""
    length = jnp.sqrt(jnp.sum(u**2, axis=-1) + 1e-12)
    return jnp.log(jnp.sinh(length) * jnp.cosh(length) / length)


HYPERBOLIC = Space(
    name="R^n",
    measure="Lebesgue measure on the space-like coordinates",
    free=2,
    ends=(-12, 12),
    chart=_around_origin,
    inverse=lambda z: (
        z * jnp.arcsinh(jnp.linalg.norm(z, axis=-1, keepdims=True)) / jnp.linalg.norm(z, axis=-1, keepdims=True)
    ),
    log_volume=_log_volume_around_origin,
    posterior=vp.wrapped_normal,
    is_euclidean=True,
)
SIMPLEX = Space(
    name="the simplex",
    measure="Lebesgue measure on the first entry",
    free=1,
    ends=(-60, 60),
    chart=lambda u: jnp.concatenate([jax.nn.sigmoid(u), jax.nn.sigmoid(-u)], axis=-1),
    inverse=lambda z: jnp.log(z[..., :1]) - jnp.log(z[..., 1:]),
    log_volume=lambda u: (jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u))[..., 0],
    posterior=lambda z, width: vp.logistic_normal(
        jnp.log(jnp.maximum(z[:1], 1e-30) / jnp.maximum(z[1:], 1e-30)), width[:1]
    ),
)
