"""Evaluation of a trained VAE: likelihoods, latents and samples.

Every function takes its arguments in one order: what is evaluated, then a random key if it draws, then data.

- A VAE: `(vae, params, key, x)`, with per-example context such as `y=` by keyword.
- A prior for a VAE: `(prior, vae, params, key, x)`.
- Distributions: `(prior, aggregated, key)`.
- A metric or a feature function: `(metric, key, real, generated)`.
- Samples or features alone: `(key, first, second)`.

A number with an error is an `Estimate(mean, standard_error)`. Results with several numbers are named tuples.
`report` measures the most important ones in one call.
"""

from vaepriors_jax.evaluation import latents, likelihood, samples
from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.report import report
from vaepriors_jax.evaluation.report_table import Hole, Latents, Likelihood, Report

__all__ = [
    "Estimate",
    "Hole",
    "Latents",
    "Likelihood",
    "Report",
    "latents",
    "likelihood",
    "report",
    "samples",
]
