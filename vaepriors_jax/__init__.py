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

from vaepriors_jax import distributions, evaluation, flows, likelihoods, parallel, priors, training
from vaepriors_jax.base import Flow, Inner, Prior
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.full_mixture import FullMixture
from vaepriors_jax.distributions.kl_divergence import kl_divergence
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import normal_diag
from vaepriors_jax.distributions.two_level import TwoLevel, two_level_posterior
from vaepriors_jax.evaluation import latents, likelihood
from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.latents import *  # noqa: F403
from vaepriors_jax.evaluation.likelihood import *  # noqa: F403
from vaepriors_jax.factories import factory, flow_from_config, plain_config, prior_from_config
from vaepriors_jax.flows import *  # noqa: F403
from vaepriors_jax.likelihoods import *  # noqa: F403
from vaepriors_jax.objectives import ELBO, Objective, elbo, iwae
from vaepriors_jax.priors import *  # noqa: F403
from vaepriors_jax.training import *  # noqa: F403
from vaepriors_jax.vae import VAE, VAEParams, generate

__all__ = [
    "ELBO",
    "VAE",
    "DiagonalMixture",
    "Estimate",
    "Flow",
    "FullMixture",
    "Inner",
    "Mixture",
    "Objective",
    "Prior",
    "TwoLevel",
    "VAEParams",
    "__version__",
    "elbo",
    "factory",
    "flow_from_config",
    "generate",
    "iwae",
    "kl_divergence",
    "normal_diag",
    "plain_config",
    "prior_from_config",
    "two_level_posterior",
    "distributions",
    "evaluation",
    "flows",
    "likelihoods",
    "parallel",
    "priors",
    "training",
]
__all__ += flows.__all__
__all__ += likelihoods.__all__
__all__ += training.__all__
__all__ += latents.__all__
__all__ += likelihood.__all__
if not TYPE_CHECKING:  # checkers read the imports of `priors` themselves
    __all__ += priors.__all__
