"""A latent [2, 2, 3] of the networks is the vector of 12 of the priors."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import vaepriors_jax as vp

KEY, SHAPE = jax.random.key(0), (2, 2, 3)
X = jax.random.normal(jax.random.key(1), (20, 4, 4, 1))
WEIGHT = jax.random.normal(KEY, (16, 12)) * 0.3


def spatial(make):
    """A VAE whose networks have the latent [2, 2, 3], with `make(loc, scale)` as the posterior."""
    return vp.VAE(
        encode=lambda params, x: make((x.ravel() @ params).reshape(SHAPE), jnp.full(SHAPE, 0.5)),
        decode=lambda params, z: vp.normal_diag((params @ z.ravel()).reshape(4, 4, 1), jnp.ones((4, 4, 1))),
        prior=vp.mixture(12, 3),
        latent_shape=SHAPE,
    )


PARAMS = vp.VAEParams(WEIGHT, WEIGHT, vp.mixture(12, 3).init(KEY))


def laplace(loc, scale):
    return distrax.Independent(distrax.Laplace(loc, scale), 3)


@pytest.mark.parametrize("make", [vp.normal_diag, laplace], ids=["gaussian", "laplace"])
def test_all_numbers_are_those_of_the_flat_latent(make):
    vae = spatial(make)
    of_vector = vp.normal_diag if make is vp.normal_diag else lambda m, s: distrax.Independent(distrax.Laplace(m, s), 1)
    flat = vae._replace(encode=lambda params, x: of_vector(x.ravel() @ params, jnp.full(12, 0.5)), latent_shape=None)
    values = [vp.log_marginal(one, PARAMS, KEY, X, num_samples=5).values for one in (vae, flat)]
    # Laplace noise is drawn in another shape, of the same numbers.
    np.testing.assert_allclose(*values, rtol=1e-5)
    np.testing.assert_allclose(vp.generate(vae, PARAMS, KEY, 3), vp.generate(flat, PARAMS, KEY, 3), rtol=1e-5)
    q = vae.posterior(PARAMS, X[0])
    assert q.event_shape == (12,)
    np.testing.assert_allclose(q.mean(), flat.posterior(PARAMS, X[0]).mean(), rtol=1e-6)


def test_fit_with_batch_statistics_and_evaluation():
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            h = nn.BatchNorm(not train, axis_name="batch")(nn.Conv(3, (3, 3), strides=2)(x))
            return vp.normal_diag(h, jnp.full(SHAPE, 0.5))

    class Decoder(nn.Module):
        @nn.compact
        def __call__(self, z, train):
            h = nn.ConvTranspose(1, (3, 3), strides=(2, 2))(z)
            return vp.normal_diag(nn.BatchNorm(not train, axis_name="batch")(h), jnp.ones((4, 4, 1)))

    encoder, decoder = vp.linen_network(Encoder()), vp.linen_network(Decoder())
    vae = vp.VAE(encoder, decoder, vp.vamp(4, X.shape[1:], bounds=None), latent_shape=SHAPE)
    params = vp.VAEParams(encoder.init(KEY, X[0]), decoder.init(KEY, jnp.zeros(SHAPE)), vae.prior.init(KEY))
    result = vp.fit(vae, params, KEY, {"x": X}, optax.adam(1e-3), num_epochs=1, batch_size=10, progress=False)
    assert np.isfinite(vp.evaluate_elbo(vae, result.params, KEY, X).elbo).all()
    assert vp.aggregated_posterior(vae, result.params, X).event_shape == (12,)


def test_messages():
    vae = spatial(vp.normal_diag)
    with pytest.raises(ValueError, match=r"`latent_shape` \[2, 2, 3\]; got event_shape \(12,\)"):
        vae._replace(encode=lambda params, x: vp.normal_diag(jnp.zeros(12), jnp.ones(12))).posterior(PARAMS, X[0])
    with pytest.raises(ValueError, match="Expected a prior over 12 dimensions.*got z of 5"):
        vae.likelihood(PARAMS, jnp.zeros(5))
    for changes in ({"latent_shape": [2, 2, 3]}, {"encoder_context": "y"}, {"decoder_context": ["y"]}):
        (name,) = changes
        with pytest.raises(TypeError, match=rf"Expected `{name}` of the `vp.VAE` as a tuple, such as \("):
            vp.log_marginal(vae._replace(**changes), PARAMS, KEY, X, num_samples=1)
        with pytest.raises(TypeError, match=rf"Expected `{name}` of the `vp.VAE` as a tuple"):
            vp.make_train_step(vae._replace(**changes), optax.adam(1e-3))
