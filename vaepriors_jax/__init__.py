"""Prior distributions p(z) for variational autoencoders in JAX."""

from vaepriors_jax.version import TESTED_TFP_NIGHTLY, __version__

try:
    import distrax as _  # noqa: F401
except Exception as error:  # whatever a nightly build of TFP may raise
    raise ImportError(
        f"distrax could not be imported ({type(error).__name__}: {error}). It reads tfp-nightly, whose newest build "
        "may not fit the installed JAX. Install the build that was tested: pip install "
        f"tfp-nightly=={TESTED_TFP_NIGHTLY}"
    ) from None

from vaepriors_jax.base import Flow, Prior
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.full_mixture import FullMixture
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import normal_diag
from vaepriors_jax.distributions.two_level import TwoLevel, two_level_posterior
from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.latents.active_units import active_units, posterior_means
from vaepriors_jax.evaluation.latents.aggregated_posterior import aggregated_posterior, log_prob_in_chunks
from vaepriors_jax.evaluation.latents.components import mixture_usage, pseudo_input_distances
from vaepriors_jax.evaluation.latents.dimensions import latent_dimensions
from vaepriors_jax.evaluation.latents.divergence import ClassifierDivergence, classifier_divergence
from vaepriors_jax.evaluation.latents.ex_post import fit_prior
from vaepriors_jax.evaluation.latents.hole_maps import hole_map
from vaepriors_jax.evaluation.latents.hole_mass import hole_mass
from vaepriors_jax.evaluation.latents.surgery import elbo_surgery
from vaepriors_jax.evaluation.latents.two_sample import density_ratio, maximum_mean_discrepancy, two_sample_test
from vaepriors_jax.evaluation.likelihood.class_marginal import log_marginal_over_classes
from vaepriors_jax.evaluation.likelihood.elbo import evaluate_elbo
from vaepriors_jax.evaluation.likelihood.importance_sampling import LogMarginal, log_marginal
from vaepriors_jax.factories import factory, flow_from_config, plain_config, prior_from_config
from vaepriors_jax.flows.affine_coupling import affine_coupling
from vaepriors_jax.flows.chain import chain
from vaepriors_jax.flows.invert import invert
from vaepriors_jax.flows.masked_autoregressive import masked_autoregressive
from vaepriors_jax.flows.permute import permute
from vaepriors_jax.flows.repeat import repeat
from vaepriors_jax.flows.spline_coupling import spline_coupling
from vaepriors_jax.likelihoods.bernoulli import bernoulli
from vaepriors_jax.likelihoods.binomial_levels import binomial_levels
from vaepriors_jax.likelihoods.categorical_levels import categorical_levels
from vaepriors_jax.likelihoods.continuous_bernoulli import continuous_bernoulli
from vaepriors_jax.likelihoods.discretized_logistic import discretized_logistic
from vaepriors_jax.likelihoods.discretized_logistic_mixture import discretized_logistic_mixture
from vaepriors_jax.likelihoods.pixelwise import bits_per_dim
from vaepriors_jax.likelihoods.student_t import student_t
from vaepriors_jax.objectives import ELBO, elbo, iwae, kl_divergence
from vaepriors_jax.priors.conditional_mixture import conditional_mixture
from vaepriors_jax.priors.conditional_normal import conditional_normal
from vaepriors_jax.priors.freeze import freeze, frozen
from vaepriors_jax.priors.from_data import init_from_data
from vaepriors_jax.priors.from_distribution import from_distribution
from vaepriors_jax.priors.marginalize import marginalize
from vaepriors_jax.priors.mixture import mixture
from vaepriors_jax.priors.standard_normal import standard_normal
from vaepriors_jax.priors.transformed import transformed
from vaepriors_jax.priors.two_level import two_level
from vaepriors_jax.priors.vamp import pseudo_inputs, vamp
from vaepriors_jax.training.checkpoint import load_model, save_model
from vaepriors_jax.training.fit import Failure, FitResult, TrainingFailedError, fit
from vaepriors_jax.training.optimizers import normalize_per_tensor, parameter_groups
from vaepriors_jax.training.state import TrainState, init_train_state
from vaepriors_jax.training.step import make_train_step
from vaepriors_jax.training.transforms import binarize
from vaepriors_jax.vae import VAE, VAEParams, generate

__all__ = [
    "ELBO",
    "VAE",
    "ClassifierDivergence",
    "DiagonalMixture",
    "Estimate",
    "Failure",
    "FitResult",
    "Flow",
    "FullMixture",
    "LogMarginal",
    "Mixture",
    "Prior",
    "TrainState",
    "TrainingFailedError",
    "TwoLevel",
    "VAEParams",
    "__version__",
    "active_units",
    "affine_coupling",
    "aggregated_posterior",
    "bernoulli",
    "binarize",
    "binomial_levels",
    "bits_per_dim",
    "categorical_levels",
    "chain",
    "classifier_divergence",
    "conditional_mixture",
    "conditional_normal",
    "continuous_bernoulli",
    "density_ratio",
    "discretized_logistic",
    "discretized_logistic_mixture",
    "elbo",
    "elbo_surgery",
    "evaluate_elbo",
    "factory",
    "fit",
    "fit_prior",
    "flow_from_config",
    "freeze",
    "from_distribution",
    "frozen",
    "generate",
    "hole_map",
    "hole_mass",
    "init_from_data",
    "init_train_state",
    "invert",
    "iwae",
    "kl_divergence",
    "latent_dimensions",
    "load_model",
    "log_marginal",
    "log_marginal_over_classes",
    "log_prob_in_chunks",
    "make_train_step",
    "marginalize",
    "masked_autoregressive",
    "maximum_mean_discrepancy",
    "mixture",
    "mixture_usage",
    "normal_diag",
    "normalize_per_tensor",
    "parameter_groups",
    "permute",
    "plain_config",
    "posterior_means",
    "prior_from_config",
    "pseudo_input_distances",
    "pseudo_inputs",
    "repeat",
    "save_model",
    "spline_coupling",
    "standard_normal",
    "student_t",
    "transformed",
    "two_level",
    "two_level_posterior",
    "two_sample_test",
    "vamp",
]
