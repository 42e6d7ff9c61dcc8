"""How far a prior is from the encodings: those of held-out images, and the aggregated posterior of the training set."""

from functools import partial
from typing import Any, Literal

import distrax
import jax
import jax.numpy as jnp

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.measures.keys import KEYS
from experiments.measures.settings import EvaluationSettings
from experiments.models.trained import Model
from vaepriors_jax.evaluation.latents.hole_maps import HoleMap

Plane = Literal["principal", "difference"]
ENOUGH = 10_000  # encodings from which the classifier sees more than gross differences in 40 dimensions


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


@partial(jax.jit, static_argnums=(0, 4, 5))
def _hole_map(
    vae: vp.VAE, params: vp.VAEParams, x: jax.Array, context: Any, half_width: float | None, plane: Plane
) -> HoleMap:
    aggregated = vp.aggregated_posterior(vae, params, x, **context)
    return vp.hole_map(vae.latent_prior(params), aggregated, half_width=half_width, plane=plane)


def hole_map(model: Model, data: Dataset, half_width: float | None = None, plane: Plane = "principal") -> HoleMap:
    """log q(z), log p(z) and their difference, marginals on a plane; by default that of two principal components."""
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    return _hole_map(_without_label(model, data), model.params, x, context, half_width, plane)


@partial(jax.jit, static_argnums=0)
def _encode(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, x: jax.Array, context: Any) -> jax.Array:
    """One z of q(z|x) for each image: [N, dim]."""

    def encode_one(inputs: tuple[jax.Array, jax.Array, Any]) -> jax.Array:
        key, x, context = inputs
        return vae.posterior(params, x, **context).sample(seed=key)

    keys = jax.random.split(key, x.shape[0])
    return jax.lax.map(encode_one, (keys, jnp.asarray(x), context), batch_size=min(1000, x.shape[0]))


def divergence(model: Model, data: Dataset, prior: distrax.Distribution | None = None) -> dict[str, float]:
    """How well a classifier separates the encodings of held-out images from samples of a prior, by default the model's.

    It learns from the encodings of the validation images, one z an image, and is scored on those of the test images.
    """
    vae = _without_label(model, data)
    drawn_from = vae.latent_prior(model.params) if prior is None else prior
    keys = jax.random.split(KEYS["holes"], 5)
    q_train, q_test = (
        _encode(vae, model.params, key, split["x"], model.context(split))
        for key, split in zip(keys, (data.validation, data.test), strict=False)
    )
    # More samples of the prior show where it sits on single encodings.
    num_train = max(len(q_train), min(len(data.fixed_train["x"]), ENOUGH))
    p_train, p_test = (
        drawn_from.sample(seed=key, sample_shape=num)
        for key, num in zip(keys[2:4], (num_train, len(q_test)), strict=True)
    )
    separation = vp.classifier_divergence(keys[4], q_train, p_train, q_test, p_test)
    return {
        "divergence": float(separation.jensen_shannon.mean),
        "divergence_standard_error": float(separation.jensen_shannon.standard_error),
        "accuracy": float(separation.accuracy.mean),
        "accuracy_standard_error": float(separation.accuracy.standard_error),
        "num_encodings": len(q_train),
    }


def few_encodings_note(num_encodings: float | None) -> str:
    """A sentence on what the classifier cannot see; empty where it has learned from enough encodings."""
    if num_encodings is None or num_encodings >= ENOUGH:
        return ""
    return (
        f"The classifier learned from the encodings of {num_encodings:,.0f} held-out images: fewer than {ENOUGH:,} "
        "show gross differences only, and a divergence near 0 does not mean that p and q are alike."
    )


def holes(model: Model, data: Dataset, settings: EvaluationSettings) -> dict[str, Any]:
    """The distance of the prior from the encodings: by a classifier on held-out images, and from the training set."""
    del settings
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
    means = {name: float(value.mean) for name, value in estimates.items()}
    errors = {f"{name}_standard_error": float(value.standard_error) for name, value in estimates.items()}
    return divergence(model, data) | means | errors


def gaussian_divergence(model: Model, data: Dataset) -> dict[str, float]:
    """Divergence of the encodings from N(m, S), with their mean and covariance: the best that one Gaussian can reach.

    What is left is due to clusters, bends and tails.
    """
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    loc, scale = vp.aggregated_posterior(model.vae, model.params, x, **context).parameters
    mean = jnp.mean(loc, axis=0)
    covariance = jnp.cov(loc, rowvar=False, bias=True).reshape(len(mean), -1) + jnp.diag(jnp.mean(scale**2, axis=0))
    gaussian = distrax.MultivariateNormalFullCovariance(mean, covariance)
    return {f"gaussian_{name}": value for name, value in divergence(model, data, gaussian).items()}
