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

from vaepriors_jax.base import VAE, Flow, Prior, VAEParams, generate
from vaepriors_jax.checkpoint import load_model, save_model
from vaepriors_jax.combinators import chain, freeze, frozen, invert, marginalize, repeat, transformed
from vaepriors_jax.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions import bernoulli, normal_diag
from vaepriors_jax.evaluation.aggregated_posterior import aggregated_posterior, log_prob_in_chunks
from vaepriors_jax.evaluation.components import mixture_usage, pseudo_input_distances
from vaepriors_jax.evaluation.divergence import ClassifierDivergence, classifier_divergence
from vaepriors_jax.evaluation.elbo import evaluate_elbo
from vaepriors_jax.evaluation.ex_post import fit_prior
from vaepriors_jax.evaluation.hole_maps import hole_map
from vaepriors_jax.evaluation.holes import elbo_surgery, hole_mass
from vaepriors_jax.evaluation.latents import active_units, latent_dimensions, posterior_means
from vaepriors_jax.evaluation.likelihood import LogMarginal, log_marginal, log_marginal_over_classes
from vaepriors_jax.evaluation.two_sample import density_ratio, maximum_mean_discrepancy, two_sample_test
from vaepriors_jax.factories import factory, flow_from_config, plain_config, prior_from_config
from vaepriors_jax.fitting import Failure, FitResult, TrainingFailedError, fit
from vaepriors_jax.flows.affine_coupling import affine_coupling
from vaepriors_jax.flows.masked_autoregressive import masked_autoregressive
from vaepriors_jax.flows.permute import permute
from vaepriors_jax.flows.spline_coupling import spline_coupling
from vaepriors_jax.initialization import init_from_data
from vaepriors_jax.likelihoods.binomial_levels import binomial_levels
from vaepriors_jax.likelihoods.categorical_levels import categorical_levels
from vaepriors_jax.likelihoods.continuous_bernoulli import continuous_bernoulli
from vaepriors_jax.likelihoods.discretized_logistic import discretized_logistic
from vaepriors_jax.likelihoods.discretized_logistic_mixture import discretized_logistic_mixture
from vaepriors_jax.likelihoods.pixelwise import bits_per_dim
from vaepriors_jax.likelihoods.student_t import student_t
from vaepriors_jax.mixtures import FullMixture, Mixture
from vaepriors_jax.objectives import ELBO, elbo, iwae, kl_divergence
from vaepriors_jax.optimizers import normalize_per_tensor
from vaepriors_jax.priors.conditional_mixture import conditional_mixture
from vaepriors_jax.priors.conditional_normal import conditional_normal
from vaepriors_jax.priors.from_distribution import from_distribution
from vaepriors_jax.priors.mixture import mixture
from vaepriors_jax.priors.standard_normal import standard_normal
from vaepriors_jax.priors.two_level import two_level
from vaepriors_jax.priors.vamp import pseudo_inputs, vamp
from vaepriors_jax.training import TrainState, binarize, init_train_state, make_train_step, parameter_groups
from vaepriors_jax.two_level_distribution import TwoLevel, two_level_posterior

__all__ = [
    "ELBO",
    "VAE",
    "ClassifierDivergence",
    "DiagonalMixture",
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
