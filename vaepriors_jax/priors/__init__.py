"""Priors p(z) and p(z|y): one factory a file."""

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

__all__ = [
    "conditional_mixture",
    "conditional_normal",
    "freeze",
    "from_distribution",
    "frozen",
    "init_from_data",
    "marginalize",
    "mixture",
    "pseudo_inputs",
    "standard_normal",
    "transformed",
    "two_level",
    "vamp",
]
