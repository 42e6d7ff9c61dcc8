"""How far a prior is from the aggregated posterior of the whole training set."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import vaepriors_jax as vp
from experiments.data import Dataset
from experiments.measures.keys import KEYS
from experiments.trained import Model
from vaepriors_jax.evaluation.holes import HoleMap


def _against_aggregated(model: Model, data: Dataset) -> tuple[vp.VAE, tuple[jax.Array, ...]]:
    """A VAE whose prior has no label, and the arrays of q(z) over the whole training set.

    A conditional prior counts as the mixture over classes, since q(z) has no label.
    """
    vae = model.vae
    if model.conditional:
        vae = vae._replace(prior=vp.marginalize(vae.prior, data.class_probabilities))
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    aggregated = vp.aggregated_posterior(vae, model.params, x, **context)
    return vae, (aggregated.log_weights, *aggregated.parameters)


@partial(jax.jit, static_argnums=0)
def _hole_mass(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, arrays: Any) -> Any:
    mass = vp.hole_mass(vae.latent_prior(params), vp.DiagonalMixture(*arrays), key, num_samples=5000)
    return mass.prior_in_holes, mass.posterior_uncovered


@partial(jax.jit, static_argnums=(0, 3))
def _hole_map(vae: vp.VAE, params: vp.VAEParams, arrays: Any, half_width: float | None) -> HoleMap:
    return vp.hole_map(vae.latent_prior(params), vp.DiagonalMixture(*arrays), half_width=half_width)


def hole_map(model: Model, data: Dataset, half_width: float | None = None) -> HoleMap:
    """log q(z), log p(z) and their difference on the plane of the encodings' first two principal components."""
    vae, arrays = _against_aggregated(model, data)
    return _hole_map(vae, model.params, arrays, half_width)


def holes(model: Model, data: Dataset) -> dict[str, Any]:
    """The mismatch between prior and aggregated posterior of the whole training set."""
    vae, arrays = _against_aggregated(model, data)
    context = model.context(data.fixed_train)
    surgery = vp.elbo_surgery(vae, model.params, KEYS["holes"], data.fixed_train["x"], **context)
    in_holes, uncovered = _hole_mass(vae, model.params, KEYS["holes"], arrays)
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
