"""Priors p(z) and p(z|y): one factory a file. What is imported here is public, such as `vp.vamp`."""

from typing import TYPE_CHECKING

from vaepriors_jax.priors.amortized_vamp import amortized_vamp as amortized_vamp
from vaepriors_jax.priors.autoregressive_mixture import autoregressive_mixture as autoregressive_mixture
from vaepriors_jax.priors.autoregressive_normal import autoregressive_normal as autoregressive_normal
from vaepriors_jax.priors.conditional_mixture import conditional_mixture as conditional_mixture
from vaepriors_jax.priors.conditional_normal import conditional_normal as conditional_normal
from vaepriors_jax.priors.conditioned import conditioned as conditioned
from vaepriors_jax.priors.dct_vamp import dct_vamp as dct_vamp
from vaepriors_jax.priors.diffusion import diffusion as diffusion
from vaepriors_jax.priors.dirichlet_prior import dirichlet_prior as dirichlet_prior
from vaepriors_jax.priors.exemplar import exemplar as exemplar
from vaepriors_jax.priors.flow_matching import flow_matching as flow_matching
from vaepriors_jax.priors.freeze import freeze as freeze
from vaepriors_jax.priors.freeze import frozen as frozen
from vaepriors_jax.priors.freeze import stop_gradient as stop_gradient
from vaepriors_jax.priors.from_distribution import from_distribution as from_distribution
from vaepriors_jax.priors.generalized_normal import generalized_normal as generalized_normal
from vaepriors_jax.priors.init_from_data import init_from_data as init_from_data
from vaepriors_jax.priors.laplace import laplace as laplace
from vaepriors_jax.priors.logistic_normal_prior import logistic_normal_prior as logistic_normal_prior
from vaepriors_jax.priors.low_frequencies import low_frequencies as low_frequencies
from vaepriors_jax.priors.marginalize import marginalize as marginalize
from vaepriors_jax.priors.mixture import mixture as mixture
from vaepriors_jax.priors.power_spherical_mixture import power_spherical_mixture as power_spherical_mixture
from vaepriors_jax.priors.resampled import resampled as resampled
from vaepriors_jax.priors.reweighted import reweighted as reweighted
from vaepriors_jax.priors.semi_supervised import semi_supervised as semi_supervised
from vaepriors_jax.priors.semi_supervised_vectors import semi_supervised_vectors as semi_supervised_vectors
from vaepriors_jax.priors.snis import snis as snis
from vaepriors_jax.priors.spherical_uniform import spherical_uniform as spherical_uniform
from vaepriors_jax.priors.standard_normal import standard_normal as standard_normal
from vaepriors_jax.priors.student_t_prior import student_t_prior as student_t_prior
from vaepriors_jax.priors.topographic_map import topographic_map as topographic_map
from vaepriors_jax.priors.topographic_vamp import topographic_vamp as topographic_vamp
from vaepriors_jax.priors.transformed import transformed as transformed
from vaepriors_jax.priors.transformer_mixture import transformer_mixture as transformer_mixture
from vaepriors_jax.priors.two_level import two_level as two_level
from vaepriors_jax.priors.vamp import pseudo_covariates as pseudo_covariates
from vaepriors_jax.priors.vamp import pseudo_inputs as pseudo_inputs
from vaepriors_jax.priors.vamp import vamp as vamp
from vaepriors_jax.priors.vamp_mixture import vamp_mixture as vamp_mixture
from vaepriors_jax.priors.weighted_coreset import weighted_coreset as weighted_coreset
from vaepriors_jax.priors.wrapped_normal_prior import wrapped_normal_prior as wrapped_normal_prior

if not TYPE_CHECKING:  # checkers read the imports: `import NAME as NAME` is public
    __all__ = [name for name, value in list(globals().items()) if callable(value) and not name.startswith("_")]
