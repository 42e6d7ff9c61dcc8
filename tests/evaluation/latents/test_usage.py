"""The usage of components, and samples of many: the same numbers in chunks, in memory that does not grow with N^2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from vaepriors_jax.evaluation.latents import mixture_usage
from vaepriors_jax.evaluation.latents.components import _usage

KEY = jax.random.key(0)
MIB = 2**20


def encode(params, x):
    return vp.normal_diag(x[:2] + params, jnp.full(2, 0.1))


def vae_of(prior):
    return vp.VAE(encode, lambda params, z: vp.normal_diag(jnp.zeros(3), jnp.ones(3)), prior)


@pytest.mark.parametrize("num", [1, 6, 7, 12, 13])
def test_usage_in_chunks_is_the_mean_over_examples(num):
    """With posteriors of no width the responsibilities are known; chunks of 6 leave remainders of 0 and 1."""
    prior = vp.mixture(2, num_components=3)
    vae = vae_of(prior)._replace(encode=lambda params, x: vp.normal_diag(x[:2] + params, jnp.full(2, 1e-6)))
    params = vp.VAEParams(jnp.zeros(2), {}, prior.init(jax.random.key(1)))
    x, weight = jax.random.normal(jax.random.key(2), (num, 3)), np.arange(num) % 3 + 1.0
    expected = np.asarray(prior.apply(params.prior).responsibilities(x[:, :2]))
    found = mixture_usage(vae, params, KEY, x, chunk_size=6)
    np.testing.assert_allclose(found.mean_responsibilities, expected.mean(axis=0), rtol=1e-4)
    weighted = mixture_usage(vae, params, KEY, x, chunk_size=6, weight=weight)
    np.testing.assert_allclose(weighted.mean_responsibilities, np.average(expected, axis=0, weights=weight), rtol=1e-4)
    np.testing.assert_allclose(found.weight_perplexity, 3, rtol=1e-4)


def exemplars(num, num_classes=None):
    """A VAE whose prior has so many exemplars, and its parameters."""
    prior = vp.exemplar(2, num_classes=num_classes)
    x = np.asarray(jax.random.normal(jax.random.key(3), (num, 3)))
    data = {"x": x} | ({} if num_classes is None else {"y": np.arange(num) % num_classes})
    vae = vae_of(prior)
    params = vp.VAEParams(jnp.zeros(2), {}, prior.init(KEY))
    return vae, vp.init_prior_state(vae, params, **data), x


def temporary_bytes(program, *arguments):
    return program.lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def test_usage_of_many_exemplars_takes_little_memory():
    vae, params, x = exemplars(4000)  # responsibilities [4000, 4000] would take 61 MiB
    assert temporary_bytes(_usage, vae, params, KEY, {"x": jnp.asarray(x)}, 200) < 20 * MIB


def test_samples_of_many_exemplars_by_class_take_little_memory():
    vae, params, _ = exemplars(2000, num_classes=4)
    prior = vp.marginalize(vae.prior, (0.25,) * 4)

    def draw(params, key):
        return vae._replace(prior=prior).latent_prior(params).sample(seed=key, sample_shape=20_000)

    # Weights of the exemplars for each sample, [20000, 2000], would take 153 MiB.
    assert temporary_bytes(jax.jit(draw), params, KEY) < 80 * MIB
    z = jax.jit(draw)(params, KEY)
    assert z.shape == (20_000, 2)
    np.testing.assert_allclose(z.std(axis=0), np.sqrt(2), rtol=0.1)  # of the encodings, and of the exemplars' width 1
