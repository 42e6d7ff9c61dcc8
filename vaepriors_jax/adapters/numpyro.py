"""Priors in models of NumPyro. It needs the extra `numpyro`, and so is imported by its own name only."""

from typing import Any

import jax
import numpyro.distributions as dist
from numpyro.distributions import constraints

from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.distributions.spaces import SIMPLEX, SPHERE, space_of

SUPPORTS = {SPHERE: constraints.sphere, SIMPLEX: constraints.simplex}


class LatentDistribution(dist.Distribution):
    """A distribution over one vector z [dim] for `numpyro.sample`; see `to_numpyro`."""

    arg_constraints = {}

    def __init__(self, distribution: Any):
        """Takes the distribution that a prior's `apply` returns."""
        self.distribution = distribution
        super().__init__(event_shape=tuple(distribution.event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """The space of z."""
        return SUPPORTS.get(space_of(self.distribution), constraints.real_vector)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws z [*sample_shape, dim]."""
        return self.distribution.sample(seed=key, sample_shape=sample_shape)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        return self.distribution.log_prob(value)


def to_numpyro(distribution: Any) -> LatentDistribution:
    """Makes a distribution of NumPyro of what a prior's `apply` returns, for a model.

    Build and use it inside one call of the model. In a plate it is the same for all examples. In a guide use NumPyro's
    own distributions: samples of mixtures have no gradient through the choice of the component.

    Args:
        distribution: a distribution over one z [dim], such as `prior.apply(params)`.

    Returns:
        A `numpyro.distributions.Distribution`.

    Raises:
        TypeError: not a distribution.
        ValueError: not over one vector.

    Example:
        >>> import jax, numpyro, vaepriors_jax as vp
        >>> from vaepriors_jax.adapters.numpyro import to_numpyro
        >>> prior = vp.mixture(2, num_components=3)
        >>> def model():
        ...     params = numpyro.param("prior", lambda key: prior.init(key))
        ...     return numpyro.sample("z", to_numpyro(prior.apply(params)))
        >>> numpyro.handlers.seed(model, jax.random.key(0))().shape
        (2,)
    """
    return LatentDistribution(as_latent_distribution(distribution, "prior"))
