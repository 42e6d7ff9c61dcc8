"""Wrapped normal distributions on hyperbolic space."""

import math

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.normal import normal_diag
from vaepriors_jax.distributions.numerics import as_event

# Of asinh(x) / x = sum_k a_k x^(2 k), for x^2 below `SERIES_END`: there the quotient's derivatives would cancel.
COEFFICIENTS = [(-1) ** k * math.comb(2 * k, k) / 4**k / (2 * k + 1) for k in range(18)]
SERIES_END = 0.1
FARTHEST = 20.0  # from the centre, of samples; far above it coordinates overflow in float32


def arcsinh_ratio(square: jax.Array) -> jax.Array:
    r"""$\mathrm{arsinh}(x) / x$ of $x^2$ >= 0, which is smooth at 0."""
    is_small = square < SERIES_END
    small, series = jnp.where(is_small, square, 0), 0.0
    for coefficient in reversed(COEFFICIENTS):
        series = series * small + coefficient
    x = jnp.sqrt(jnp.where(is_small, 1, square))
    return jnp.where(is_small, series, jnp.arcsinh(x) / x)


def time_coordinate(z: jax.Array) -> jax.Array:
    r"""The coordinate $z_0 = \sqrt{1 + |z|^2}$ of points z [..., dim] of the hyperboloid: [..., 1]."""
    return jnp.sqrt(1 + jnp.sum(z**2, axis=-1, keepdims=True))


def boost(loc: jax.Array, z: jax.Array) -> jax.Array:
    """Moves points z [..., dim] by the Lorentz boost that takes the origin to loc."""
    product = jnp.sum(loc * z, axis=-1, keepdims=True)
    return z + loc * (time_coordinate(z) + product / (1 + time_coordinate(loc)))


def boost_back(loc: jax.Array, z: jax.Array) -> jax.Array:
    """The inverse of `boost`, for one loc [dim] and points z [..., dim].

    For a loc far out only the part of z along it moves, by a difference of squares, which does not cancel.
    """
    is_near = jnp.sum(loc**2) < 1
    near, far = jnp.where(is_near, loc, 0), jnp.where(is_near, jnp.zeros_like(loc).at[0].set(1), loc)
    length = jnp.sqrt(jnp.sum(far**2))
    axis = far / length
    along = jnp.sum(z * axis, axis=-1, keepdims=True)
    across = z - along * axis
    edge = length * time_coordinate(across)
    total, difference = (time_coordinate(far) * along + sign * length * time_coordinate(z) for sign in (1, -1))
    is_positive = along > 0
    moved = jnp.where(is_positive, (along - edge) / jnp.where(is_positive, total, 1) * (along + edge), difference)
    return jnp.where(is_near, boost(-near, z), across + moved * axis)


class WrappedNormal(distrax.Distribution):
    """A wrapped normal distribution on hyperbolic space; see `wrapped_normal`."""

    def __init__(self, loc: jax.Array, scale: jax.Array):
        """Takes a point of the hyperboloid by its space-like coordinates, and scales at the origin, [dim] both."""
        self.tangent = normal_diag(jnp.zeros_like(loc), scale)
        self.loc = jnp.broadcast_to(loc, self.tangent.event_shape).astype(self.tangent.distribution.loc.dtype)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.loc.shape

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        z = as_event(value, self.event_shape, self.loc.dtype)
        at_origin = boost_back(self.loc, z)
        ratio = arcsinh_ratio(jnp.sum(at_origin**2, axis=-1))
        log_density = self.tangent.log_prob(at_origin * ratio[..., None])
        return log_density + (self.loc.shape[0] - 1) * jnp.log(ratio) - jnp.log(time_coordinate(z)[..., 0])

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        tangent = self.tangent.sample(seed=key, sample_shape=n)
        return boost(self.loc, exponential_map(tangent))


def exponential_map(tangent: jax.Array) -> jax.Array:
    r"""The point $v \sinh(|v|) / |v|$ of the hyperboloid for a tangent vector v [..., dim] at the origin."""
    square = jnp.sum(tangent**2, axis=-1, keepdims=True)
    is_small = square < 1e-6
    length = jnp.sqrt(jnp.where(is_small, 1, square))
    return tangent * jnp.where(is_small, 1 + square / 6, jnp.sinh(jnp.minimum(length, FARTHEST)) / length)


def wrapped_normal(loc: jax.Array, scale: jax.Array) -> WrappedNormal:
    r"""Wrapped normal distribution on hyperbolic space of curvature -1.

    Hyperbolic space is the hyperboloid $z_0^2 - |z|^2 = 1$, $z_0 > 0$, and z in $\mathbb{R}^D$ are the space-like
    coordinates of a point. A normal vector $v \sim \mathcal{N}(0, \mathrm{diag}(\sigma^2))$ at the origin is moved in
    parallel to $\mu$, and the exponential map wraps it around the hyperboloid there. With respect to Lebesgue measure
    dz

    $$\log p(z) = \log \mathcal{N}(v; 0, \mathrm{diag}(\sigma^2)) - (D - 1) \log \frac{\sinh |v|}{|v|} - \log z_0,$$

    where |v| is the distance of $\mu$ and z. (Without the last term it is the density with respect to hyperbolic
    volume.) z may be any vector, so that every prior over R^n goes with it. Samples are differentiable in both
    parameters.

    Args:
        loc: $\mu$ [D], the space-like coordinates of the centre.
        scale: $\sigma$ > 0 [D], in units of distance along the axes at the origin.

    Returns:
        A distrax distribution over z [D]; log-densities in nats. The distance from the origin is arsinh |z|; in float32
        points should be within about 8 of it. Samples farther than 20 from the centre are put at 20.

    Raises:
        ValueError: shapes that do not fit, or a scale that is not above 0 (where its value is known: not in a compiled
            function).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q = vp.wrapped_normal(jnp.array([1.0, -2.0]), jnp.ones(2))
        >>> print(f"{q.prob(jnp.array([1.0, -2.0])):.4f}")  # 1 / (2 pi sqrt(6))
        0.0650

    References:
        Nagano, Yamaguchi, Fujita & Koyama (2019), A wrapped normal distribution on hyperbolic space for gradient-based
        learning, section 3 and algorithms 1 and 2. There the density is with respect to hyperbolic volume, and z has
        the coordinate $z_0$ too.
    """
    if jnp.ndim(loc) != 1:
        raise ValueError(f"Expected `loc` [D]; got shape {list(jnp.shape(loc))}. Take one example at a time.")
    return WrappedNormal(loc, scale)
