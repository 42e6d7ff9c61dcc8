"""A VampPrior where x is a dict of parts: its pseudo-inputs are vectors, which the encoder takes too."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp

KEY, RNG = jax.random.key(0), np.random.default_rng(0)
X = {"size": RNG.normal(size=(30, 2)).astype(np.float32), "visits": RNG.poisson(2.0, (30, 3)).astype(np.float32)}
WEIGHT = jnp.asarray(RNG.normal(size=(2, 5)), jnp.float32)


def join(x):
    return jnp.concatenate([x["size"], x["visits"]], axis=-1)


def encode(params, x):
    return vp.normal_diag(params @ (join(x) if isinstance(x, dict) else x), jnp.ones(2))


def decode(params, z):
    h = params @ z
    return vp.joint({"size": vp.normal_diag(h[:2], jnp.ones(2)), "visits": vp.poisson(jnp.exp(0.1 * h[2:]))})


def test_pseudo_inputs_are_vectors_of_all_parts():
    prior = vp.vamp(5, (5,), bounds=None)
    vae = vp.VAE(encode, decode, prior)
    params = vp.VAEParams(WEIGHT, WEIGHT.T, vp.init_from_data(prior, KEY, x=join(X)))
    density = vae.latent_prior(params).log_prob(jnp.zeros(2))
    means = np.asarray(vp.pseudo_inputs(prior, params.prior)) @ np.asarray(WEIGHT).T
    exact = np.log(np.mean(np.exp(-0.5 * (means**2).sum(1)) / (2 * np.pi)))
    np.testing.assert_allclose(density, exact, rtol=1e-5)
    result = vp.fit(vae, params, KEY, {"x": X}, optax.adam(1e-2), num_epochs=1, batch_size=10, progress=False)
    assert np.isfinite(vp.log_marginal(vae, result.params, KEY, X, num_samples=5).values).all()
    assert (result.params.prior["pseudo_inputs"] != params.prior["pseudo_inputs"]).all()


@pytest.mark.parametrize("make", [lambda: vp.vamp(4, (5,), bounds=None), lambda: vp.topographic_vamp((2, 2), (5,))])
def test_a_dict_in_place_of_vectors_is_explained(make):
    prior = make()
    with pytest.raises(TypeError, match=r"got a dict of \['size', 'visits'\].*join the parts into vectors \[N, D\]"):
        vp.init_from_data(prior, KEY, x=X)
    vae = vp.VAE(lambda params, x: vp.normal_diag(params @ join(x), jnp.ones(2)), decode, prior)
    with pytest.raises((TypeError, IndexError)) as caught:
        vp.log_marginal(vae, vp.VAEParams(WEIGHT, WEIGHT.T, prior.init(KEY)), KEY, X, num_samples=2)
    assert any("A pseudo-input is one array: where x is a dict of parts" in note for note in caught.value.__notes__)
