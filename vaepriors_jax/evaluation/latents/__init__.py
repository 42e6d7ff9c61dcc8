"""Comparisons of encodings with the prior: holes, divergences, and the use of dimensions and components."""

from vaepriors_jax.evaluation.latents.active_units import active_units, posterior_means
from vaepriors_jax.evaluation.latents.aggregated_posterior import aggregated_posterior, log_prob_in_chunks
from vaepriors_jax.evaluation.latents.boosting import boost_prior
from vaepriors_jax.evaluation.latents.clusters import ClusteringScores, clustering_scores, mixture_assignments
from vaepriors_jax.evaluation.latents.components import Usage, mixture_usage, pseudo_input_distances
from vaepriors_jax.evaluation.latents.density_ratio import DensityRatio, density_ratio
from vaepriors_jax.evaluation.latents.dimensions import Dimensions, latent_dimensions
from vaepriors_jax.evaluation.latents.divergence import ClassifierDivergence, classifier_divergence
from vaepriors_jax.evaluation.latents.ex_post import fit_prior
from vaepriors_jax.evaluation.latents.hole_maps import HoleMap, hole_map
from vaepriors_jax.evaluation.latents.hole_mass import HoleMass, hole_mass
from vaepriors_jax.evaluation.latents.noise_contrastive import reweight_prior
from vaepriors_jax.evaluation.latents.surgery import Surgery, elbo_surgery
from vaepriors_jax.evaluation.latents.two_sample import TwoSampleTest, maximum_mean_discrepancy, two_sample_test

__all__ = [
    "ClassifierDivergence",
    "ClusteringScores",
    "DensityRatio",
    "Dimensions",
    "HoleMap",
    "HoleMass",
    "Surgery",
    "TwoSampleTest",
    "Usage",
    "active_units",
    "aggregated_posterior",
    "boost_prior",
    "classifier_divergence",
    "clustering_scores",
    "density_ratio",
    "elbo_surgery",
    "fit_prior",
    "hole_map",
    "hole_mass",
    "latent_dimensions",
    "log_prob_in_chunks",
    "maximum_mean_discrepancy",
    "mixture_assignments",
    "mixture_usage",
    "posterior_means",
    "pseudo_input_distances",
    "reweight_prior",
    "two_sample_test",
]
