"""The quality of a model's samples."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.measures.sample_scorer import NUM_RESAMPLES, sample_keys
from experiments.measures.settings import EvaluationSettings
from experiments.models.trained import Model
from vaepriors_jax.evaluation.samples import Interval, sample_quality
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.vae import without_prior

AT_ONCE = 500  # images that are drawn at a time


@partial(jax.jit, static_argnums=0)
def _draw_latents(vae: vp.VAE, params: vp.VAEParams, keys: jax.Array, context: Any) -> jax.Array:
    def draw_one(inputs: tuple[jax.Array, Any]) -> jax.Array:
        key, context = inputs
        return vae.latent_prior(params, **context).sample(seed=jax.random.split(key)[0], sample_shape=1)[0]

    return map_chunks(draw_one, (keys, context), AT_ONCE)


@partial(jax.jit, static_argnums=(0, 5))
def _decode(
    networks: vp.VAE, params: vp.VAEParams, keys: jax.Array, z: jax.Array, context: Any, mean: bool
) -> jax.Array:
    def decode_one(inputs: tuple[jax.Array, jax.Array, Any]) -> jax.Array:
        key, z, context = inputs
        likelihood = networks.likelihood(params, z, **context)
        return likelihood.mean() if mean else likelihood.sample(seed=jax.random.split(jax.random.split(key)[1], 1)[0])

    return map_chunks(decode_one, (keys, z, context), AT_ONCE)


def generate(model: Model, data: Dataset, num: int, *, mean: bool = False) -> jax.Array:
    """Samples x ~ p(x|z), or their means, with the same decoder noise for every model; labels of the test images.

    They are those of `vp.generate`, one for each key. Latents for all test images are drawn, so that all calls share a
    program; priors share that of the decoder.
    """
    keys = jax.random.split(sample_keys()[0], len(data.test["x"]))
    context = model.context(data.test)
    z = _draw_latents(model.vae, model.params, keys, context)[:num]
    context = {name: array[:num] for name, array in context.items()}
    return _decode(*without_prior(model.vae, model.params), keys[:num], z, context, mean)


@partial(jax.jit, static_argnums=0)
def _reconstruct(networks: vp.VAE, params: vp.VAEParams, keys: jax.Array, x: jax.Array, context: Any) -> jax.Array:
    def reconstruct_one(inputs: tuple[jax.Array, jax.Array, Any]) -> jax.Array:
        key, x, context = inputs
        key_z, key_x = jax.random.split(key)
        z = networks.posterior(params, x, **context).sample(seed=key_z)
        return networks.likelihood(params, z, **context).sample(seed=key_x)

    return map_chunks(reconstruct_one, (keys, x, context), AT_ONCE)


def samples(model: Model, data: Dataset, settings: EvaluationSettings) -> dict[str, dict[str, float]]:
    """Scores of samples x ~ p(x|z), as many as test images, and of what to compare them with; {} without a scorer.

    A conditional model is given the labels of the test images.
    """
    if settings.scorer is None:
        return {}
    _, key_reconstruct, key_score = sample_keys()
    num, context = len(data.test["x"]), model.context(data.test)
    generated = generate(model, data, num)
    keys = jax.random.split(key_reconstruct, num)
    x = jnp.asarray(data.test["x"])
    reconstructed = _reconstruct(*without_prior(model.vae, model.params), keys, x, context)
    quality = sample_quality(
        settings.scorer.network.features,
        key_score,
        train=data.fixed_train["x"],
        test=data.test["x"],
        generated=jnp.clip(generated, 0, 1),  # some likelihoods reach further than the data
        reconstructions=jnp.clip(reconstructed, 0, 1),
        references=settings.scorer.references,
        num_resamples=NUM_RESAMPLES,
    )
    values = {row: _as_numbers(scores) for row, scores in quality.scores.items()}
    copied = quality.memorization
    values["generated"] |= {"memorization_ratio": copied.ratio, "memorization_close_share": copied.close_share}
    return values


def _as_numbers(scores: dict[str, Interval]) -> dict[str, float]:
    """Each score by its name, with `_low`, `_high` and `_standard_error` where these are known."""
    values = {}
    for name, (estimate, low, high) in scores.items():
        ends = {"_low": low, "_high": high, "_standard_error": estimate.standard_error}
        values |= {name: estimate.mean, **{name + end: value for end, value in ends.items() if not math.isnan(value)}}
    return values
