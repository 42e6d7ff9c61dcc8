"""Distributions over one latent vector z. Their batch shape is empty; use `jax.vmap` for batches."""

from vaepriors_jax.distributions.committed_rate import committed_rate
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.dirichlet import dirichlet
from vaepriors_jax.distributions.full_mixture import FullMixture
from vaepriors_jax.distributions.logistic_normal import logistic_normal
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import NormalDiag, normal_diag
from vaepriors_jax.distributions.posterior_mixture import mixture_of_posteriors
from vaepriors_jax.distributions.power_spherical import power_spherical
from vaepriors_jax.distributions.two_level import TwoLevel, two_level_posterior
from vaepriors_jax.distributions.wrapped_normal import wrapped_normal

__all__ = [
    "DiagonalMixture",
    "FullMixture",
    "Mixture",
    "NormalDiag",
    "TwoLevel",
    "committed_rate",
    "dirichlet",
    "logistic_normal",
    "mixture_of_posteriors",
    "normal_diag",
    "power_spherical",
    "two_level_posterior",
    "wrapped_normal",
]
