"""How far a prior is from the aggregated posterior of the whole training set."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import vaepriors_jax as vp
from experiments.data import Dataset
from experiments.measures.keys import KEYS
from experiments.trained import Model
from vaepriors_jax.evaluation.hole_maps import HoleMap


def _without_label(model: Model, data: Dataset) -> vp.VAE:
    """The VAE; a conditional prior counts as the mixture over classes, since q(z) has no label."""
    if not model.conditional:
        return model.vae
    return model.vae._replace(prior=vp.marginalize(model.vae.prior, data.class_probabilities))


@partial(jax.jit, static_argnums=0)
def _hole_mass(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, x: jax.Array, context: Any) -> Any:
    aggregated = vp.aggregated_posterior(vae, params, x, **context)
    mass = vp.hole_mass(vae.latent_prior(params), aggregated, key, num_samples=5000)
    return mass.prior_in_holes, mass.posterior_uncovered


@partial(jax.jit, static_argnums=(0, 4))
def _hole_map(vae: vp.VAE, params: vp.VAEParams, x: jax.Array, context: Any, half_width: float | None) -> HoleMap:
    aggregated = vp.aggregated_posterior(vae, params, x, **context)
    return vp.hole_map(vae.latent_prior(params), aggregated, half_width=half_width)


def hole_map(model: Model, data: Dataset, half_width: float | None = None) -> HoleMap:
    """log q(z), log p(z) and their difference on the plane of the encodings' first two principal components."""
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    return _hole_map(_without_label(model, data), model.params, x, context, half_width)


def holes(model: Model, data: Dataset) -> dict[str, Any]:
    """The mismatch between prior and aggregated posterior of the whole training set."""
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    vae = _without_label(model, data)
    surgery = vp.elbo_surgery(vae, model.params, KEYS["holes"], x, **context)
    in_holes, uncovered = _hole_mass(vae, model.params, KEYS["holes"], x, context)
    estimates = {
        "marginal_kl": surgery.marginal_kl,
        "mutual_information": surgery.mutual_information,
        "hole_mass": in_holes,
        "uncovered_mass": uncovered,
    }
    found = {name: float(value.mean) for name, value in estimates.items()}
    return found | {f"{name}_standard_error": float(value.standard_error) for name, value in estimates.items()}


def gaussian_part(model: Model, data: Dataset) -> float:
    """What of KL(q(z) || N(0, I)) is due to mean and covariance of q(z): KL(N(m, S) || N(0, I)), in nats.

    The rest is shape, KL(q(z) || N(m, S)): clusters, bends, tails.
    """
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    loc, scale = vp.aggregated_posterior(model.vae, model.params, x, **context).parameters
    mean = jnp.mean(loc, axis=0)
    covariance = jnp.cov(loc, rowvar=False, bias=True).reshape(len(mean), -1) + jnp.diag(jnp.mean(scale**2, axis=0))
    log_determinant = jnp.linalg.slogdet(covariance)[1]
    return float(0.5 * (jnp.sum(mean**2) + jnp.trace(covariance) - len(mean) - log_determinant))
