"""Distributions over two levels of latents, z = [z1, z2] as one vector: p(z1|z2) p(z2), or q(z1|x, z2) q(z2|x).

The top level can have two levels itself, which makes three.
"""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale, normal_diag
from vaepriors_jax.distributions.numerics import as_event
from vaepriors_jax.distributions.spaces import EUCLIDEAN, space_of

# Draws of z2 for the moments of z1: the standard error is an eighth of the standard deviation over z2.
NUM_DRAWS = 64


class TwoLevel(distrax.Distribution):
    r"""$p(z) = p(z_1 | z_2)\, p(z_2)$ over one vector, the bottom level first: $z = [z_1, z_2]$."""

    def __init__(self, top: distrax.Distribution, bottom: Callable[[jax.Array], distrax.Distribution], bottom_dim: int):
        """Takes p(z2), a function from z2 to p(z1|z2), and the size of z1."""
        self.top = top
        self.bottom = bottom
        self.bottom_dim = bottom_dim

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(bottom_dim + top_dim,)."""
        return (self.bottom_dim + self.top.event_shape[0],)

    @property
    def space(self) -> str:
        """R^n, or the product of R^n and the space of the top level."""
        space = space_of(self.top)
        return space if space == EUCLIDEAN else f"{EUCLIDEAN} x {space}"

    @property
    def fitting_loss(self) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
        """What `fit_prior` minimises in place of -log p(z), where the top level has a loss of its own; else None.

        A function of a key and one z [dim]: -log p(z1|z2) plus that loss at z2.
        """
        of_top = getattr(self.top, "fitting_loss", None)
        if of_top is None:
            return None

        def loss(key: jax.Array, value: jax.Array) -> jax.Array:
            bottom, top = self.split(as_event(value, self.event_shape, jnp.result_type(float)))
            return of_top(key, top) - self.bottom(top).log_prob(bottom)

        return loss

    def split(self, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Splits z [..., dim] into z1 and z2."""
        return value[..., : self.bottom_dim], value[..., self.bottom_dim :]

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        value = as_event(value, self.event_shape, jnp.result_type(float))
        bottom, top = self.split(value)
        conditional = jnp.vectorize(lambda z1, z2: self.bottom(z2).log_prob(z1), signature="(b),(t)->()")
        return self.top.log_prob(top) + conditional(bottom, top)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_top, key_bottom = jax.random.split(key)
        top = self.top.sample(seed=key_top, sample_shape=n)
        bottom = jax.vmap(lambda key, z2: self.bottom(z2).sample(seed=key))(jax.random.split(key_bottom, n), top)
        return jnp.concatenate([bottom, top], axis=-1)

    def _sample_n_and_log_prob(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        key_top, key_bottom = jax.random.split(key)
        top, log_top = self.top.sample_and_log_prob(seed=key_top, sample_shape=n)

        def draw(key: jax.Array, z2: jax.Array) -> tuple[jax.Array, jax.Array]:
            return self.bottom(z2).sample_and_log_prob(seed=key)

        bottom, log_bottom = jax.vmap(draw)(jax.random.split(key_bottom, n), top)
        return jnp.concatenate([bottom, top], axis=-1), log_top + log_bottom

    def mean(self) -> jax.Array:
        """Mean [dim]; that of z1 is an average over 64 draws of z2 with a fixed key."""
        means, _ = self._bottom_moments()
        return jnp.concatenate([jnp.mean(means, axis=0), self.top.mean()])

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim]; that of z1 is estimated from 64 draws of z2 with a fixed key."""
        means, variances = self._bottom_moments()
        bottom = jnp.mean(variances, axis=0) + jnp.var(means, axis=0)
        return jnp.concatenate([bottom, self.top.variance()])

    def _bottom_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of z1 given each of the draws, [NUM_DRAWS, bottom_dim] both."""

        def moments(z2: jax.Array) -> tuple[jax.Array, jax.Array]:
            bottom = self.bottom(z2)
            return bottom.mean(), bottom.variance()

        return jax.vmap(moments)(self.top.sample(seed=jax.random.key(0), sample_shape=NUM_DRAWS))


def top_level(distribution: distrax.Distribution, z: jax.Array) -> tuple[distrax.Distribution, jax.Array]:
    """The distribution of the uppermost of two or more levels, and that part of z; both as they are for one level."""
    while isinstance(distribution, TwoLevel):
        distribution, z = distribution.top, distribution.split(z)[1]
    return distribution, z


def two_level_posterior(top: Any, bottom: Callable[[jax.Array], distrax.Distribution]) -> TwoLevel:
    r"""Posterior of a two-level model, $q(z|x) = q(z_2|x)\, q(z_1|x, z_2)$ with $z = [z_1, z_2]$.

    An encoder returns it. It has no closed-form KL. Density and samples are exact; mean and variance of z1 are averages
    over 64 draws of z2 with a fixed key. Evaluating q(z) over many examples runs `bottom` for each pair of a point and
    an example. For three levels, the top is a `two_level_posterior` too.

    Args:
        top: q(z2|x), such as `normal_diag(loc, scale)`.
        bottom: a function from one z2 [top_dim] to q(z1|x, z2) over z1 [bottom_dim]; it may close over x, features of
            x, and parameters.

    Returns:
        A distrax distribution over z [bottom_dim + top_dim]; log-densities in nats.

    Raises:
        ValueError: a level that is not a distribution over one vector.
        TypeError: a level that is not a distribution.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> def encode(params, x):
        ...     top = vp.normal_diag(x[:2], jnp.ones(2))
        ...     return vp.two_level_posterior(top, lambda z2: vp.normal_diag(x[2:] + z2[0], jnp.ones(3)))
        >>> print(encode({}, jnp.zeros(5)).event_shape)
        (5,)

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, section 4.
    """
    top = as_latent_distribution(top)
    shapes: list[tuple[int, ...]] = []

    def find(z2: jax.Array) -> jax.Array:
        shapes.append(as_latent_distribution(bottom(z2)).event_shape)
        return z2

    jax.eval_shape(lambda: find(top.sample(seed=jax.random.key(0))))
    return TwoLevel(top, bottom, shapes[0][0])


def top_posterior(posterior: distrax.Distribution, top_dim: int) -> distrax.Distribution:
    """The marginal q(z2|x) of a posterior over z = [z1, z2].

    Raises:
        TypeError: a posterior whose marginal is not known.
        ValueError: a marginal over another number of latents.
    """
    if isinstance(posterior, TwoLevel):
        top = posterior.top
    elif is_normal_diag(posterior):
        loc, scale = location_and_scale(posterior)
        top = normal_diag(loc[-top_dim:], scale[-top_dim:])
    else:
        raise TypeError(
            "Expected an encoder that returns `vp.two_level_posterior(...)` or `vp.normal_diag(...)`, whose marginal "
            f"q(z2|x) is known, for the prior of the top level; got {posterior.name}."
        )
    if top.event_shape != (top_dim,):
        raise ValueError(
            f"Expected a posterior with top_dim={top_dim} latents in the top level, the same as `two_level`; got "
            f"{top.event_shape[0]}."
        )
    return top
