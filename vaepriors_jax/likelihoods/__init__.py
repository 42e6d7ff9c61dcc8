"""Likelihoods p(x|z): one family a file, each over one array. The Gaussian is `vp.normal_diag`."""

from vaepriors_jax.likelihoods.bernoulli import bernoulli
from vaepriors_jax.likelihoods.binomial_levels import binomial_levels
from vaepriors_jax.likelihoods.categorical_levels import categorical_levels
from vaepriors_jax.likelihoods.continuous_bernoulli import continuous_bernoulli
from vaepriors_jax.likelihoods.discretized_logistic import discretized_logistic
from vaepriors_jax.likelihoods.discretized_logistic_mixture import discretized_logistic_mixture
from vaepriors_jax.likelihoods.pixelwise import bits_per_dim
from vaepriors_jax.likelihoods.student_t import student_t

__all__ = [
    "bernoulli",
    "binomial_levels",
    "bits_per_dim",
    "categorical_levels",
    "continuous_bernoulli",
    "discretized_logistic",
    "discretized_logistic_mixture",
    "student_t",
]
