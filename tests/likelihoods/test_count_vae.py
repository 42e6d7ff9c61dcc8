"""Negative binomial VAEs whose log p(x) is known by quadrature: one by hand, and that of the example, trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from experiments.examples import counts

WEIGHT, BIAS, THETA = np.array([0.8, -0.5, 0.3]), np.array([0.2, 1.0, -1.0]), np.array([0.7, 3.0, 20.0])


def exact_log_marginal(x, library):
    z = np.linspace(-9, 9, 4001)
    mean = library * np.exp(np.outer(z, WEIGHT) + BIAS)
    log_joint = scipy.stats.nbinom(THETA, THETA / (THETA + mean)).logpmf(x).sum(1) + scipy.stats.norm.logpdf(z)
    return scipy.special.logsumexp(log_joint) + np.log(z[1] - z[0])


def test_the_estimate_is_that_of_quadrature():
    rng = np.random.default_rng(0)
    z, library = rng.normal(size=(6, 1)), np.array([0.1, 0.5, 1.0, 2.0, 5.0, 20.0], np.float32)
    x = rng.poisson(rng.gamma(THETA, library[:, None] * np.exp(z * WEIGHT + BIAS) / THETA))
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(jnp.zeros(1), jnp.ones(1)),
        decode=lambda params, z, library: vp.negative_binomial(jnp.exp(WEIGHT * z + BIAS), THETA, exposure=library),
        prior=vp.standard_normal(1),
        decoder_context=("library",),
    )
    found = vp.log_marginal(vae, vp.VAEParams({}, {}, {}), jax.random.key(0), x, num_samples=20_000, library=library)
    exact = np.array([exact_log_marginal(*example) for example in zip(x, library, strict=True)])
    assert (np.abs(found.values - exact) < 5 / np.sqrt(found.effective_sample_size)).all()
    assert (found.effective_sample_size > 500).all()


@pytest.mark.slow
def test_the_trained_example_against_quadrature():
    """BatchNorm in evaluation, batch covariate and library size; a mixture over two latents, on a grid."""
    prior = counts.PRIORS["mixture, 10 components"]
    cells, test = counts.simulate(200, seed=0), jax.tree.map(lambda a: a[:8], counts.simulate(20, seed=1))
    vae, params = counts.train(prior, cells, seed=0, num_epochs=4)
    found = vp.log_marginal(vae, params, jax.random.key(1), **test, num_samples=4000)

    axis = np.linspace(-9, 9, 181)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    log_prior = np.asarray(prior.apply(params.prior).log_prob(jnp.asarray(z, jnp.float32)), np.float64)
    assert abs(np.exp(log_prior).sum() * 0.1**2 - 1) < 1e-3, "the grid holds the prior"
    theta = np.exp(np.asarray(params.decoder.params["log_theta"], np.float64))
    for n, (x, batch, library) in enumerate(zip(test["x"], test["batch"], test["library"], strict=True)):
        mean = jax.jit(jax.vmap(lambda z, b=batch: vae.likelihood(params, z, batch=b, library=1.0).mean()))(z)
        mean = library * np.asarray(mean, np.float64)
        log_joint = scipy.stats.nbinom(theta, theta / (theta + mean)).logpmf(x).sum(1) + log_prior
        exact = scipy.special.logsumexp(log_joint) + 2 * np.log(0.1)
        assert abs(found.values[n] - exact) < 5 / np.sqrt(found.effective_sample_size[n]) + 1e-3
