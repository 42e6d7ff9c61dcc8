"""Likelihoods p(x|z): one family a file, most over one array. The Gaussian is `vp.normal_diag`.

`joint`, `masked` and `zero_inflated` build on others.
"""

from vaepriors_jax.likelihoods.bernoulli import bernoulli
from vaepriors_jax.likelihoods.binomial_levels import binomial_levels
from vaepriors_jax.likelihoods.categorical_levels import categorical_levels
from vaepriors_jax.likelihoods.continuous_bernoulli import continuous_bernoulli
from vaepriors_jax.likelihoods.counts import negative_binomial, poisson
from vaepriors_jax.likelihoods.discretized_logistic import discretized_logistic
from vaepriors_jax.likelihoods.discretized_logistic_mixture import discretized_logistic_mixture
from vaepriors_jax.likelihoods.joint import joint
from vaepriors_jax.likelihoods.masked import masked
from vaepriors_jax.likelihoods.pixelwise import bits_per_dim
from vaepriors_jax.likelihoods.student_t import student_t
from vaepriors_jax.likelihoods.zero_inflated import zero_inflated

__all__ = [
    "bernoulli",
    "binomial_levels",
    "bits_per_dim",
    "categorical_levels",
    "continuous_bernoulli",
    "discretized_logistic",
    "discretized_logistic_mixture",
    "joint",
    "masked",
    "negative_binomial",
    "poisson",
    "student_t",
    "zero_inflated",
]
