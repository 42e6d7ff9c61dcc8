"""The importance-weighted bound as an objective, and the two estimators of its gradient."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.linear_gaussian import exact_log_marginal, linear_gaussian_vae
from tests.support.trainable_networks import PIXELS, trainable_vae
from vaepriors_jax.training.batch import batch_elbo

KEY = jax.random.key(0)
IWAE = vp.Objective(bound="iwae", num_samples=3)
DREG = replace(IWAE, gradient="doubly_reparameterized")


def value(vae, params, key, x, objective):
    return vp.elbo(vae, params, key, x, objective=objective).objective


def worse_encoder(params):
    return params._replace(encoder={**params.encoder, "scale": 1.5 * params.encoder["scale"]})


@pytest.mark.parametrize("objective", [IWAE, DREG])
def test_at_the_true_posterior_each_estimate_is_log_p_x(objective):
    vae, params, x = linear_gaussian_vae()
    found = jax.vmap(lambda key, x: value(vae, params, key, x, objective))(jax.random.split(KEY, len(x)), x)
    np.testing.assert_allclose(found, exact_log_marginal(params, x), rtol=1e-5)


def test_it_is_the_bound_of_iwae_and_the_metrics_stay():
    vae, params, x = linear_gaussian_vae()
    terms = vp.elbo(vae, worse_encoder(params), KEY, x[0], objective=IWAE)
    np.testing.assert_allclose(
        terms.objective, vp.iwae(vae, worse_encoder(params), KEY, x[0], num_samples=3), rtol=1e-5
    )
    plain = vp.elbo(vae, worse_encoder(params), KEY, x[0], objective=vp.Objective(num_samples=3))
    np.testing.assert_allclose(terms[:3], plain[:3], rtol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("prior", ["standard_normal", "vamp"])
def test_both_gradients_have_the_same_expectation(prior, beta):
    vae, params, x = linear_gaussian_vae()
    params = worse_encoder(params)
    if prior == "vamp":
        vamp = vp.vamp(3, (5,), bounds=(-4.0, 4.0))
        vae, params = vae._replace(prior=vamp), params._replace(prior=vamp.init(KEY))

    @jax.jit
    def gradients(keys):
        def of_key(key, objective):
            return jax.grad(lambda params: value(vae, params, key, x[0], replace(objective, beta=beta)))(params)

        return [jax.vmap(lambda key, o=objective: of_key(key, o))(keys) for objective in (IWAE, DREG)]

    plain, doubly = gradients(jax.random.split(KEY, 20_000))
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(doubly), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        error = np.sqrt((one.var(0) + other.var(0)) / len(one))
        assert (abs(one.mean(0) - other.mean(0)) <= 5 * error + 1e-6).all()
    # The decoder's is the same at each sample.
    np.testing.assert_allclose(plain.decoder["bias"], doubly.decoder["bias"], rtol=1e-3, atol=1e-4)


def test_the_doubly_reparameterized_gradient_of_the_encoder_has_no_noise_where_that_is_exact():
    vae, params, x = linear_gaussian_vae()
    gradient = {
        objective.gradient: jax.grad(lambda params, o=objective: value(vae, params, KEY, x[0], o))(params).encoder
        for objective in (IWAE, DREG)
    }
    assert all((abs(leaf) < 1e-3).all() for leaf in jax.tree.leaves(gradient["doubly_reparameterized"]))
    assert abs(gradient["reparameterized"]["scale"]).max() > 0.1


@pytest.mark.parametrize("gradient", ["reparameterized", "doubly_reparameterized"])
def test_networks_with_state(gradient):
    vae, params, _ = trainable_vae("linen", rate=0.2)
    x = jax.random.bernoulli(KEY, 0.5, (16, PIXELS)).astype(jnp.float32)
    one = vp.Objective(bound="iwae", num_samples=1, gradient=gradient)
    plain = vp.Objective(kl_method="monte_carlo")

    def loss(params, objective):
        return jnp.mean(batch_elbo(vae, params, KEY, {"x": x}, objective)[0].objective)

    # With one sample the bound is the ELBO with a Monte Carlo KL; so is the decoder's gradient.
    found, expected = (
        jax.jit(jax.value_and_grad(lambda p, o=o: loss(p, o), allow_int=True))(params) for o in (one, plain)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for ours, theirs in zip(*(jax.tree.leaves(side[1].decoder.params) for side in (found, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    several = jax.jit(jax.grad(loss), static_argnums=1)(params, replace(one, num_samples=4))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(several.encoder.params))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(several.encoder.params))


def test_fit_takes_the_bound():
    vae, params, x = linear_gaussian_vae(64)
    start = worse_encoder(params)
    result = vp.fit(
        vae, start, KEY, {"x": x}, optax.adam(1e-2), num_epochs=3, batch_size=32, objective=DREG, progress=False
    )
    before, after = (vp.log_marginal(vae, params, KEY, x, num_samples=200).mean for params in (start, result.params))
    assert after > before


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="no `free_bits`"):
        vp.Objective(bound="iwae", free_bits=1.0)
    with pytest.raises(ValueError, match='bound="iwae" with gradient'):
        vp.Objective(gradient="doubly_reparameterized")
    with pytest.raises(ValueError, match="bound"):
        vp.Objective(bound="iwae5")
