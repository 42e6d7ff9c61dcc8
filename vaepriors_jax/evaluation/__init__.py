"""Evaluation of a trained VAE: likelihoods, latents and samples, each with its error."""

from vaepriors_jax.evaluation import latents, likelihood, samples

__all__ = [
    "latents",
    "likelihood",
    "samples",
]
