"""Prior distributions p(z) for variational autoencoders in JAX."""

from typing import TYPE_CHECKING

from vaepriors_jax.version import TESTED_TFP_NIGHTLY
from vaepriors_jax.version import __version__ as __version__

try:
    import distrax as _  # noqa: F401
except Exception as error:  # whatever a nightly build of TFP may raise
    raise ImportError(
        f"distrax could not be imported ({type(error).__name__}: {error}). It reads tfp-nightly, whose newest build "
        "may not fit the installed JAX. Install the build that was tested: pip install "
        f"tfp-nightly=={TESTED_TFP_NIGHTLY}"
    ) from None

from vaepriors_jax import distributions as distributions
from vaepriors_jax import evaluation as evaluation
from vaepriors_jax import flows as flows
from vaepriors_jax import likelihoods as likelihoods
from vaepriors_jax import networks as networks
from vaepriors_jax import parallel as parallel
from vaepriors_jax import priors as priors
from vaepriors_jax import training as training
from vaepriors_jax.base import Flow as Flow
from vaepriors_jax.base import Inner as Inner
from vaepriors_jax.base import Prior as Prior
from vaepriors_jax.configuration import flow_from_config as flow_from_config
from vaepriors_jax.configuration import plain_config as plain_config
from vaepriors_jax.configuration import prior_from_config as prior_from_config
from vaepriors_jax.distributions.committed_rate import committed_rate as committed_rate
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture as DiagonalMixture
from vaepriors_jax.distributions.dirichlet import dirichlet as dirichlet
from vaepriors_jax.distributions.full_mixture import FullMixture as FullMixture
from vaepriors_jax.distributions.kl_divergence import kl_divergence as kl_divergence
from vaepriors_jax.distributions.logistic_normal import logistic_normal as logistic_normal
from vaepriors_jax.distributions.mixture import Mixture as Mixture
from vaepriors_jax.distributions.normal import normal_diag as normal_diag
from vaepriors_jax.distributions.power_spherical import power_spherical as power_spherical
from vaepriors_jax.distributions.two_level import TwoLevel as TwoLevel
from vaepriors_jax.distributions.two_level import two_level_posterior as two_level_posterior
from vaepriors_jax.distributions.wrapped_normal import wrapped_normal as wrapped_normal
from vaepriors_jax.evaluation import latents, likelihood
from vaepriors_jax.evaluation.estimates import Estimate as Estimate
from vaepriors_jax.evaluation.latents import *  # noqa: F403
from vaepriors_jax.evaluation.likelihood import *  # noqa: F403
from vaepriors_jax.factories import factory as factory
from vaepriors_jax.flows import *  # noqa: F403
from vaepriors_jax.generation import generate as generate
from vaepriors_jax.likelihoods import *  # noqa: F403
from vaepriors_jax.networks import *  # noqa: F403
from vaepriors_jax.objective_options import Objective as Objective
from vaepriors_jax.objectives import ELBO as ELBO
from vaepriors_jax.objectives import elbo as elbo
from vaepriors_jax.objectives import iwae as iwae
from vaepriors_jax.priors import *  # noqa: F403
from vaepriors_jax.reconstruction_constraint import ReconstructionConstraint as ReconstructionConstraint
from vaepriors_jax.training import *  # noqa: F403
from vaepriors_jax.vae import VAE as VAE
from vaepriors_jax.vae import VAEParams as VAEParams
from vaepriors_jax.vae import init_prior_state as init_prior_state

if not TYPE_CHECKING:  # checkers read the imports: `import NAME as NAME` and `import *` are public
    __all__ = [
        "DiagonalMixture",
        "ELBO",
        "Estimate",
        "Flow",
        "FullMixture",
        "Inner",
        "Mixture",
        "Objective",
        "Prior",
        "ReconstructionConstraint",
        "TwoLevel",
        "VAE",
        "VAEParams",
        "__version__",
        "committed_rate",
        "dirichlet",
        "distributions",
        "elbo",
        "evaluation",
        "factory",
        "flow_from_config",
        "flows",
        "generate",
        "init_prior_state",
        "iwae",
        "kl_divergence",
        "likelihoods",
        "logistic_normal",
        "networks",
        "normal_diag",
        "parallel",
        "plain_config",
        "power_spherical",
        "prior_from_config",
        "priors",
        "training",
        "two_level_posterior",
        "wrapped_normal",
    ]
    for _package in (flows, likelihoods, networks, priors, training, latents, likelihood):
        __all__ += _package.__all__
