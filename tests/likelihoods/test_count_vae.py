"""A negative binomial VAE with a known log p(x), by quadrature over its latent of one dimension."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

import vaepriors_jax as vp

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
