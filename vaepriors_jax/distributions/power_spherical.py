"""Power spherical and uniform distributions on the unit sphere."""

import math

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.lax import Precision

from vaepriors_jax.distributions.multivariate_t import log_gamma_step
from vaepriors_jax.distributions.numerics import as_event, full_precision
from vaepriors_jax.distributions.spaces import SPHERE

SMALLEST_SHARE = 1e-20  # of (1 + t) / 2; float32 resolves no smaller one


def log_area(dim: int) -> float:
    r"""Logarithm of the area $2 \pi^{D / 2} / \Gamma(D / 2)$ of the unit sphere in `dim` dimensions."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def log_gamma_ratio(a: jax.Array, num_halves: int) -> jax.Array:
    r"""$\log \Gamma(a + n / 2) - \log \Gamma(a)$ for an integer n, without cancellation."""
    whole, odd = divmod(num_halves, 2)
    steps = a[..., None] + odd / 2 + jnp.arange(whole, dtype=a.dtype)
    return jnp.sum(jnp.log(steps), axis=-1) + odd * (log_gamma_step(a) + 0.5 * jnp.log(a))


def log_peak(concentration: jax.Array, dim: int) -> jax.Array:
    r"""Log-density $\log C + \kappa \log 2$ of a power spherical distribution at its mode."""
    beta = (dim - 1) / 2
    return log_gamma_ratio(beta + concentration, dim - 1) - beta * (2 * math.log(2) + math.log(math.pi))


def kl_of_power_spherical_to_uniform(concentration: jax.Array, dim: int) -> jax.Array:
    r"""KL in nats of a power spherical distribution to the uniform one on the unit sphere in `dim` dimensions.

    With $\beta = (D - 1) / 2$, $\alpha = \beta + \kappa$ and $G(\alpha) = \log \Gamma(\alpha + \beta) - \log
    \Gamma(\alpha)$ it is $G(\alpha) - \kappa\, G'(\alpha) - \beta \log(4 \pi)$ + log area of the sphere, since
    $\mathbb{E} \log \frac{1 + \mu^\top z}2 = \psi(\alpha) - \psi(\alpha + \beta)$ (De Cao & Aziz, 2020, eqs. 5 and 9).
    """

    def gamma_ratio(alpha: jax.Array) -> jax.Array:
        return log_gamma_ratio(alpha, dim - 1)

    beta = (dim - 1) / 2
    ratio, slope = jax.jvp(gamma_ratio, (beta + concentration,), (jnp.ones_like(concentration),))
    return ratio - concentration * slope - beta * math.log(4 * math.pi) + log_area(dim)


def unit_vector(vector: jax.Array) -> jax.Array:
    """The direction of a vector [..., dim]; the first axis for a vector of zeros."""
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(vector), axis=-1, keepdims=True))
    is_zero = size == 0
    first = jnp.zeros_like(vector).at[..., 0].set(1)
    scaled = jnp.where(is_zero, first, vector / jnp.where(is_zero, 1, size))
    return scaled / jnp.sqrt(jnp.sum(scaled**2, axis=-1, keepdims=True))


def log_share(z: jax.Array, loc: jax.Array) -> jax.Array:
    r"""$\log \frac{1 + \mu^\top z}2$ of unit vectors [..., dim], by their distance, which does not cancel."""
    near, far = (jnp.sum((z + sign * loc) ** 2, axis=-1) / 4 for sign in (-1, 1))
    is_near = near < 0.5
    return jnp.where(
        is_near,
        jnp.log1p(-jnp.where(is_near, near, 0)),
        jnp.log(jnp.maximum(jnp.where(is_near, 1, far), SMALLEST_SHARE)),
    )


class SphericalUniform(distrax.Distribution):
    """The uniform distribution on the unit sphere; see `spherical_uniform`."""

    space = SPHERE

    def __init__(self, dim: int):
        """Takes the dimension of the space around the sphere."""
        self.dim = dim

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return (self.dim,)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        value = as_event(value, self.event_shape, jnp.float32)
        return jnp.full_like(value[..., 0], -log_area(self.dim))

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return unit_vector(jax.random.normal(key, (n, self.dim)))

    def mean(self) -> jax.Array:
        """Mean [dim], the centre of the sphere."""
        return jnp.zeros(self.dim)

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim], 1 / dim."""
        return jnp.full(self.dim, 1 / self.dim)

    def entropy(self) -> jax.Array:
        """Entropy in nats, the logarithm of the area."""
        return jnp.asarray(log_area(self.dim))


class PowerSpherical(distrax.Distribution):
    """A power spherical distribution; see `power_spherical`."""

    space = SPHERE

    def __init__(self, loc: jax.Array, concentration: jax.Array):
        """Takes a direction [dim], of any length, and a concentration []."""
        self.loc = unit_vector(full_precision(loc))
        self.concentration = full_precision(concentration)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.loc.shape

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at the directions z [..., dim]: [...]."""
        z = unit_vector(as_event(value, self.event_shape, self.loc.dtype))
        return log_peak(self.concentration, self.loc.shape[0]) + self.concentration * log_share(z, self.loc)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_along, key_across = jax.random.split(key)
        dim, dtype = self.loc.shape[0], self.loc.dtype
        # (1 + t) / 2 is a Beta variable, the share of one of two gamma variables, here by their logarithms.
        shapes = jnp.stack([self.concentration + (dim - 1) / 2, jnp.full_like(self.concentration, (dim - 1) / 2)])
        log_odds = jnp.subtract(*jnp.moveaxis(jax.random.loggamma(key_along, shapes, (n, 2), dtype), -1, 0)) / 2
        along, radius = jnp.tanh(log_odds), 1 / jnp.cosh(jnp.clip(log_odds, -40, 40))
        across = unit_vector(jax.random.normal(key_across, (n, dim - 1), dtype))
        # Around a pole, e_1 or -e_1; a reflection then takes the pole to loc. It is the pole farther from loc, since
        # the reflection is singular where the two meet.
        sign = jnp.where(self.loc[0] >= 0, -1, 1).astype(dtype)
        around_pole = jnp.concatenate([sign * along[:, None], radius[:, None] * across], axis=1)
        difference = -self.loc.at[0].add(-sign)
        size = jnp.einsum("nd,d->n", around_pole, difference, precision=Precision.HIGHEST)
        return unit_vector(around_pole - (size / (1 - sign * self.loc[0]))[:, None] * difference)

    def mean(self) -> jax.Array:
        """Mean [dim], inside the sphere: the direction times kappa / (kappa + dim - 1)."""
        return self.loc * self.concentration / (self.concentration + self.loc.shape[0] - 1)

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim]."""
        dim = self.loc.shape[0]
        alpha, beta = self.concentration + (dim - 1) / 2, (dim - 1) / 2
        along = 4 * alpha * beta / (alpha + beta) ** 2 / (alpha + beta + 1)
        across = 4 * alpha / (alpha + beta) / (alpha + beta + 1) * beta / (dim - 1)
        return along * self.loc**2 + across * (1 - self.loc**2)

    def entropy(self) -> jax.Array:
        """Entropy in nats."""
        dim = self.loc.shape[0]
        return log_area(dim) - kl_of_power_spherical_to_uniform(self.concentration, dim)


def power_spherical(loc: jax.Array, concentration: jax.Array) -> PowerSpherical:
    r"""Power spherical distribution on the unit sphere in D dimensions, $p(z) \propto (1 + \mu^\top z)^\kappa$.

    The density is with respect to the surface measure, with the constant $2^{-(\alpha + \beta)} \pi^{-\beta}
    \Gamma(\alpha + \beta) / \Gamma(\alpha)$, where $\beta = (D - 1) / 2$ and $\alpha = \beta + \kappa$. It is much like
    a von Mises-Fisher distribution, and needs neither Bessel functions nor rejection. Samples are differentiable in
    both parameters. As a posterior q(z|x) it goes with priors on the sphere; its KL to `spherical_uniform` has a
    closed form.

    Args:
        loc: direction of the mode $\mu$ [D], D >= 2, of any length but 0: the output of a network as it is.
        concentration: $\kappa$ >= 0 []; 0 is the uniform distribution. The mean is $\mu\, \kappa / (\kappa + D - 1)$.

    Returns:
        A distrax distribution over z [D] of length 1; log-densities in nats. Of a z of another length it reads the
        direction.

    Raises:
        ValueError: shapes that do not fit, or a concentration below 0 (where its value is known: not in a compiled
            function).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q = vp.power_spherical(jnp.array([0.0, 0.0, 2.0]), 1.0)
        >>> print(f"{q.prob(jnp.array([0.0, 0.0, 1.0])):.4f}")  # 2 / (4 pi)
        0.1592
        >>> print(f"{vp.kl_divergence(q, vp.spherical_uniform(3).apply({})):.4f}")  # log 2 - 1 / 2
        0.1931

    References:
        De Cao & Aziz (2020), The power spherical distribution, eqs. 5 and 9, algorithm 1. There one pole serves for all
        directions; for spherical latents see also Davidson et al. (2018), Hyperspherical variational auto-encoders.
    """
    if len(np.shape(loc)) != 1 or np.shape(loc)[0] < 2 or np.shape(concentration) != ():
        raise ValueError(
            f"Expected `loc` [D] with D >= 2 and `concentration` [], one number; got shapes {list(np.shape(loc))} and "
            f"{list(np.shape(concentration))}. Take one example at a time."
        )
    if not isinstance(concentration, Tracer) and not np.asarray(concentration) >= 0:
        raise ValueError(
            f"Expected `concentration` >= 0; got {concentration}. Make the output of a network positive, such as by "
            "`jax.nn.softplus`."
        )
    return PowerSpherical(loc, concentration)
