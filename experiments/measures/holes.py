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
from vaepriors_jax.evaluation.latents.aggregated_posterior import mixture_of_all
from vaepriors_jax.evaluation.latents.hole_maps import (
    Area,
    HoleMap,
    MapKeys,
    choose_area,
    join_map,
    log_density_on,
    marginal_on,
)
from vaepriors_jax.evaluation.latents.hole_mass import mass_of_holes, sample_encodings
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.vae import without_prior

Arrays = dict[str, Any]  # images "x" and, for a conditional model, labels "y"
Plane = Literal["principal", "difference"]
NUM_SAMPLES = 5000  # of prior and encodings, for the hole mass
NUM_DRAWN = 20_000  # samples of the prior in one program; all measures take the first ones of such a draw
ENOUGH = 10_000  # encodings from which the classifier sees more than gross differences in 40 dimensions


def without_label(model: Model, data: Dataset) -> vp.VAE:
    """The VAE; a conditional prior counts as the mixture over classes, since q(z) has no label."""
    if not model.conditional:
        return model.vae
    return model.vae._replace(prior=vp.marginalize(model.vae.prior, data.class_probabilities))


# What reads no prior takes q(z) as an argument, so that all priors share a program.
_aggregate = partial(jax.jit, static_argnums=0)(mixture_of_all)


@jax.jit
def _sample_encodings(aggregated: vp.Mixture, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    return sample_encodings(aggregated, key, NUM_SAMPLES)


@partial(jax.jit, static_argnums=0)
def draw_prior(vae: vp.VAE, params: vp.VAEParams, key: jax.Array) -> jax.Array:
    """Samples z ~ p(z) [NUM_DRAWN, dim]."""
    return vae.latent_prior(params).sample(seed=key, sample_shape=NUM_DRAWN)


@partial(jax.jit, static_argnums=0)
def _log_prior(vae: vp.VAE, params: vp.VAEParams, z: jax.Array) -> jax.Array:
    return vp.log_prob_in_chunks(vae.latent_prior(params), z)


@jax.jit
def _log_q(aggregated: vp.Mixture, z: jax.Array) -> jax.Array:
    return vp.log_prob_in_chunks(aggregated, z)


def _hole_mass(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, data: Arrays) -> vp.HoleMass:
    """`vp.hole_mass` of the encodings of all data."""
    key_p, key_q = jax.random.split(key)
    aggregated = _aggregate(*without_prior(vae, params), data)
    from_q, log_q_of_q = _sample_encodings(aggregated, key_q)
    from_p = draw_prior(vae, params, key_p)[:NUM_SAMPLES]
    log_p = _log_prior(vae, params, jnp.concatenate([from_p, from_q]))
    log_p_of_p, log_p_of_q = jnp.split(log_p, [len(from_p)])
    return mass_of_holes(log_q_of_q, _log_q(aggregated, from_p), log_p_of_p, log_p_of_q)


@jax.jit
def _map_q(aggregated: vp.Mixture, keys: MapKeys, from_p: jax.Array | None) -> tuple[Area, jax.Array, jax.Array]:
    """The area of the map, and log q(z) there."""
    area, aggregated = choose_area(aggregated, keys, from_p)
    marginal, is_exact = marginal_on(area, aggregated, jax.random.fold_in(keys.q, 1))
    return area, log_density_on(area, aggregated if marginal is None else marginal), is_exact


@partial(jax.jit, static_argnums=0)
def _marginal(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, area: Area) -> Any:
    return marginal_on(area, vae.latent_prior(params), key)


@partial(jax.jit, static_argnums=0)
def _log_p(vae: vp.VAE, params: vp.VAEParams, area: Area) -> jax.Array:
    return log_density_on(area, vae.latent_prior(params))


_log_marginal = jax.jit(log_density_on)


def hole_map(model: Model, data: Dataset, plane: Plane = "principal") -> HoleMap:
    """log q(z), log p(z) and their difference, marginals on a plane; by default that of two principal components."""
    vae, params, keys = without_label(model, data), model.params, MapKeys.split(jax.random.key(0))
    encoded = {"x": data.fixed_train["x"], **model.context(data.fixed_train)}
    from_p = draw_prior(vae, params, keys.p) if plane == "difference" else None
    area, log_q, q_is_exact = _map_q(_aggregate(*without_prior(vae, params), encoded), keys, from_p)
    marginal, p_is_exact = _marginal(vae, params, jax.random.fold_in(keys.p, 1), area)
    log_p = _log_p(vae, params, area) if marginal is None else _log_marginal(area, marginal)
    return join_map(area, log_q, log_p, q_is_exact, p_is_exact)


@partial(jax.jit, static_argnums=0)
def encode(networks: vp.VAE, params: vp.VAEParams, key: jax.Array, x: jax.Array, context: Any) -> jax.Array:
    """One z of q(z|x) for each image: [N, dim]."""

    def encode_one(inputs: tuple[jax.Array, jax.Array, Any]) -> jax.Array:
        key, x, context = inputs
        return networks.posterior(params, x, **context).sample(seed=key)

    keys = jax.random.split(key, x.shape[0])
    return map_chunks(encode_one, (keys, jnp.asarray(x), context), min(1000, x.shape[0]))


def divergence(model: Model, data: Dataset, prior: distrax.Distribution | None = None) -> dict[str, float]:
    """How well a classifier separates the encodings of held-out images from samples of a prior, by default the model's.

    It learns from the encodings of the validation images, one z an image, and is scored on those of the test images.
    """
    vae = without_label(model, data)
    keys = jax.random.split(KEYS["holes"], 5)
    q_train, q_test = (
        encode(*without_prior(vae, model.params), key, split["x"], model.context(split))
        for key, split in zip(keys, (data.validation, data.test), strict=False)
    )
    # More samples of the prior show where it sits on single encodings.
    num_train = max(len(q_train), min(len(data.fixed_train["x"]), ENOUGH))
    p_train, p_test = (
        draw_prior(vae, model.params, key)[:num] if prior is None else prior.sample(seed=key, sample_shape=num)
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
    vae = without_label(model, data)
    surgery = vp.elbo_surgery(vae, model.params, KEYS["holes"], x, **context)
    mass = _hole_mass(vae, model.params, KEYS["holes"], {"x": x, **context})
    estimates = {
        "marginal_kl": surgery.marginal_kl,
        "mutual_information": surgery.mutual_information,
        "hole_mass": mass.prior_in_holes,
        "uncovered_mass": mass.posterior_uncovered,
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
