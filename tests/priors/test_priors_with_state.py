"""Functions of a prior and its parameters, for priors whose parameters are `vp.Variables`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp

KEY = jax.random.key(0)
X = np.random.default_rng(0).integers(0, 2, (20, 6)).astype(np.float32)
PRIORS = {
    "resampled": lambda base: vp.resampled(base, 2, num_proposals=5, hidden=(4,)),
    "snis": lambda base: vp.snis(base, 2, num_proposals=5, hidden=(4,)),
    "reweighted": lambda base: vp.reweighted(base, 2, num_proposals=5, hidden=(4,)),
}


def encode(params, x):
    return vp.normal_diag(x @ params, jnp.ones(2))


def over_vamp(name):
    prior = PRIORS[name](vp.vamp(3, (6,)))
    vae = vp.VAE(encode, lambda params, z: vp.bernoulli(params @ z), prior)
    params = vp.VAEParams(0.1 * jnp.ones((6, 2)), 0.1 * jnp.ones((6, 2)), vp.init_from_data(prior, KEY, x=X))
    return vae, vp.init_prior_state(vae, params, num_draws=1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_over_a_vamp_is_trained_looked_at_and_fixed(name):
    vae, params = over_vamp(name)
    result = vp.fit(vae, params, KEY, {"x": X}, optax.adam(1e-2), num_epochs=1, batch_size=10, progress=False)
    variables = result.params.prior
    inputs = vp.pseudo_inputs(vae.prior, variables)
    np.testing.assert_array_equal(inputs, vp.pseudo_inputs(vae.prior.inner.prior, variables.params["base"]))
    assert vp.pseudo_input_distances(vae.prior, variables, X).shape == (3,)
    frozen = vp.freeze(vae.prior, variables, encode=vae.encoder_with(result.params))
    z = jnp.array([0.3, -0.2])
    expected = vae.latent_prior(result.params).log_prob(z)
    np.testing.assert_allclose(frozen.apply(frozen.init(KEY)).log_prob(z), expected, rtol=1e-5)


def test_apply_says_what_to_pass_instead_of_variables():
    vae, params = over_vamp("resampled")
    with pytest.raises(
        TypeError, match=r"Pass these parts of them: `prior.apply\(variables.params, \*\*variables.state"
    ):
        vae.prior.apply(params.prior, encode=vae.encoder_with(params))
