"""Defects seen in public code: one test for each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from tests.cases import encode
from tests.support.linear_gaussian import linear_gaussian_vae
from vaepriors_jax.priors.bounds import from_bounds, to_bounds

KEY = jax.random.key(0)


def test_a_mixture_is_not_a_product_of_one_dimensional_mixtures():
    """The ghost modes: two components at (-3, -3) and (3, 3) have no mass at (-3, 3)."""
    params = {"logits": jnp.zeros(2), "loc": jnp.array([[-3.0, -3.0], [3.0, 3.0]]), "log_scale": jnp.zeros((2, 2))}
    ghost = jnp.array([-3.0, 3.0])
    assert vp.mixture(2, 2).apply(params).log_prob(ghost) == pytest.approx(-19.838, abs=1e-3)
    params = {"logits": jnp.zeros(2), "loc": params["loc"], "scale_tril": jnp.zeros((2, 2, 2))}
    assert vp.mixture(2, 2, covariance="full").apply(params).log_prob(ghost) == pytest.approx(-19.838, abs=1e-3)
    centres = jnp.array([[0.2] * 6, [0.8] * 6])
    vamp = vp.vamp(2, (6,))
    fixed = vamp.apply(
        {"pseudo_inputs": from_bounds(centres, (0.0, 1.0))},
        encode=lambda u: vp.normal_diag(jnp.where(u[:2] < 0.5, -3.0, 3.0), jnp.ones(2)),
    )
    assert fixed.log_prob(ghost) == pytest.approx(-19.838, abs=1e-3)


def test_log_scale_is_the_log_of_a_standard_deviation():
    """Density and samples both: not exp(logvar) as a deviation, not the root of a deviation."""
    for prior, extra in ((vp.mixture(1, 1), {"logits": jnp.zeros(1)}), (vp.conditional_normal(1, num_classes=1), {})):
        params = {"loc": jnp.zeros((1, 1)), "log_scale": jnp.full((1, 1), np.log(3.0)), **extra}
        fixed = prior.apply(params, y=0)
        assert fixed.log_prob(jnp.array([2.0])) == pytest.approx(scipy.stats.norm(0, 3).logpdf(2.0), rel=1e-5)
        z = fixed.sample(seed=KEY, sample_shape=100_000)
        assert z.std() == pytest.approx(3.0, rel=0.02)


def test_log_densities_keep_two_pi():
    assert vp.standard_normal(3).apply({}).log_prob(jnp.zeros(3)) == pytest.approx(-1.5 * np.log(2 * np.pi), rel=1e-6)


def test_a_flows_log_determinant_is_counted_once_per_layer():
    """Five layers that each double the vector: log |det| = 5 * dim * log 2."""
    flow = vp.repeat(vp.affine_coupling(4, hidden=(8,), max_log_scale=100.0), 5)
    params = flow.init(KEY)
    bias = jnp.tile(jnp.array([np.log(2.0), 0.0]), 2)
    for half in ("first", "second"):
        params[half]["Dense_1"]["bias"] = jnp.broadcast_to(bias, (5, 4))
    z, log_det = flow.apply(params).forward_and_log_det(jnp.ones(4))
    np.testing.assert_allclose(z, 32.0, rtol=1e-3)
    assert log_det == pytest.approx(5 * 4 * np.log(2), rel=1e-3)


def test_weights_get_a_gradient():
    prior = vp.mixture(2, 3)
    params = prior.init(KEY)
    gradient = jax.grad(lambda p: prior.apply(p).log_prob(jnp.ones(2)))(params)
    assert (np.abs(gradient["logits"]) > 0).all()


def test_generation_samples_the_mixture_and_not_the_first_components():
    """1000 samples of a VampPrior with 10 components use all of them, by weight."""
    prior = vp.vamp(10, (1,), weights="learned", bounds=None)
    params = {"pseudo_inputs": jnp.arange(10.0)[:, None], "logits": jnp.log(jnp.arange(1.0, 11.0))}
    fixed = prior.apply(params, encode=lambda u: vp.normal_diag(u, jnp.full(1, 0.01)))
    z = fixed.sample(seed=KEY, sample_shape=20_000)
    counts = np.bincount(np.round(z[:, 0]).astype(int), minlength=10)
    assert scipy.stats.chisquare(counts, 20_000 * np.arange(1, 11) / 55).pvalue > 1e-4


def test_generation_uses_the_prior_that_was_trained():
    vae, params, _ = linear_gaussian_vae()
    far = vae._replace(prior=vp.from_distribution(vp.normal_diag(jnp.full(2, 50.0), jnp.full(2, 0.1))))
    generated = vp.generate(far, params, KEY, 20)
    expected = params.decoder["weight"] @ jnp.full(2, 50.0) + params.decoder["bias"]
    np.testing.assert_allclose(generated.mean(0), expected, atol=1.0)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-3.0, 5.0), None])
def test_pseudo_inputs_never_lose_their_gradient(bounds):
    """Not from binary images, not far outside the bounds, where a clip or a logistic function has none."""
    extreme = jnp.array([0.0, 1.0, 0.5]) if bounds is None else jnp.linspace(*bounds, 3)
    raw = from_bounds(extreme, bounds)
    assert np.isfinite(raw).all()
    for points in (raw, raw + 1e3, raw - 1e3):
        gradient = jax.vmap(jax.grad(lambda r: to_bounds(r, bounds)))(points)
        assert (gradient > 0).all()
    if bounds is not None:
        inside = to_bounds(jnp.linspace(-100, 100, 99), bounds)
        assert inside.min() >= bounds[0]
        assert inside.max() <= bounds[1]
        middle = jnp.linspace(bounds[0] + 0.1, bounds[1] - 0.1, 9)
        np.testing.assert_allclose(to_bounds(from_bounds(middle, bounds), bounds), middle, atol=1e-5)


def test_encoding_of_pseudo_inputs_trains_both_the_encoder_and_the_pseudo_inputs():
    prior = vp.vamp(3, (6,))
    params = prior.init(KEY)

    def density(weight, params):
        return prior.apply(params, encode=lambda x: vp.normal_diag(weight @ x, jnp.ones(2))).log_prob(jnp.ones(2))

    weight_gradient, gradient = jax.grad(density, (0, 1))(jnp.ones((2, 6)), params)
    assert np.abs(weight_gradient).max() > 0
    assert (np.abs(gradient["pseudo_inputs"]).max(1) > 0).all()


def test_start_from_data_is_what_training_starts_with():
    """No later initialiser overwrites it."""
    x = jax.random.uniform(KEY, (50, 6))
    prior = vp.vamp(5, (6,))
    params = vp.init_from_data(prior, KEY, x=x)
    inputs = np.asarray(vp.pseudo_inputs(prior, params))
    distance = np.abs(inputs[:, None] - np.clip(x, 0.01, 0.99)[None]).max(-1).min(1)
    assert (distance < 1e-5).all()
    state = vp.init_train_state(vp.VAEParams({}, {}, params), __import__("optax").adam(1e-3))
    np.testing.assert_array_equal(state.params.prior["pseudo_inputs"], params["pseudo_inputs"])


def test_sampler_and_density_of_a_vampprior_use_the_same_scales():
    params = vp.vamp(1, (6,)).init(KEY)
    fixed = vp.vamp(1, (6,)).apply(params, encode=encode)
    z = np.asarray(fixed.sample(seed=KEY, sample_shape=50_000), np.float64)
    entropy = -np.mean(np.asarray(fixed.log_prob(z.astype(np.float32)), np.float64))
    scale = np.asarray(fixed.parameters[1][0], np.float64)
    assert entropy == pytest.approx(np.log(scale).sum() + 1 + np.log(2 * np.pi), abs=0.03)


def test_iwae_weights_the_samples_and_not_the_loss():
    """The gradient is that of the log of the mean weight: samples weigh by their normalised weights."""
    vae, params, x = linear_gaussian_vae()
    wide = params._replace(encoder={**params.encoder, "scale": 2 * params.encoder["scale"]})

    def by_hand(p):
        q = vae.posterior(wide, x[0])
        z = q.sample(seed=KEY, sample_shape=20)
        log_w = jax.vmap(lambda z: vae.likelihood(p, z).log_prob(x[0]))(z)
        log_w += vae.latent_prior(p).log_prob(z) - q.log_prob(z)
        weights = jax.lax.stop_gradient(jax.nn.softmax(log_w))
        return jnp.sum(weights * log_w)

    gradient = jax.grad(lambda p: vp.iwae(vae, p, KEY, x[0], num_samples=20))(wide).decoder["bias"]
    np.testing.assert_allclose(gradient, jax.grad(by_hand)(wide).decoder["bias"], rtol=1e-4, atol=1e-5)


def test_generate_draws_from_the_likelihood_on_request():
    vae, params, _ = linear_gaussian_vae()
    drawn = np.asarray(vp.generate(vae, params, KEY, 50_000, mean=False))
    means = np.asarray(vp.generate(vae, params, KEY, 50_000))
    weight = np.asarray(params.decoder["weight"])
    np.testing.assert_allclose(np.cov(means.T), weight @ weight.T, atol=0.15)
    np.testing.assert_allclose(np.cov(drawn.T), weight @ weight.T + 0.49 * np.eye(5), atol=0.15)
