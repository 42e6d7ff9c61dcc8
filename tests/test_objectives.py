"""KL, ELBO and IWAE against closed forms and against a linear-Gaussian VAE, whose log p(x) is exact."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from tensorflow_probability.substrates import jax as tfp

import vaepriors_jax as vp
from tests.support.linear_gaussian import exact_log_marginal, linear_gaussian_vae

KEY = jax.random.key(0)


def normal_pair():
    rng = np.random.default_rng(0)
    q = vp.normal_diag(*(jnp.asarray(a, jnp.float32) for a in (rng.normal(size=3), np.exp(rng.normal(size=3) / 2))))
    p = vp.normal_diag(*(jnp.asarray(a, jnp.float32) for a in (rng.normal(size=3), np.exp(rng.normal(size=3) / 2))))
    return q, p


def as_mvn(d):
    return tfp.distributions.MultivariateNormalDiag(d.mean(), d.stddev())


def test_closed_form_against_tfp():
    q, p = normal_pair()
    expected = as_mvn(q).kl_divergence(as_mvn(p))
    assert vp.kl_divergence(q, p, method="analytic") == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("spelling", ["mvn_diag", "tfp", "tfp_independent", "mvn_tri"])
def test_closed_form_survives_other_spellings_of_a_gaussian(spelling):
    q, p = normal_pair()
    loc, scale = q.mean(), q.stddev()
    tfd = tfp.distributions
    other = {
        "mvn_diag": lambda: distrax.MultivariateNormalDiag(loc, scale),
        "tfp": lambda: tfd.MultivariateNormalDiag(loc, scale),
        "tfp_independent": lambda: tfd.Independent(tfd.Normal(loc, scale), 1),
        "mvn_tri": lambda: distrax.MultivariateNormalTri(loc, jnp.diag(scale)),
    }[spelling]()
    expected = float(as_mvn(q).kl_divergence(as_mvn(p)))
    assert vp.kl_divergence(other, p, method="analytic") == pytest.approx(expected, rel=1e-5)
    assert vp.kl_divergence(p, other, method="analytic") == pytest.approx(
        float(as_mvn(p).kl_divergence(as_mvn(q))), rel=1e-5
    )


def test_monte_carlo_agrees_with_the_closed_form():
    q, p = normal_pair()
    samples = q.sample(seed=KEY, sample_shape=50_000)
    terms = np.asarray(q.log_prob(samples) - p.log_prob(samples), np.float64)
    estimate = vp.kl_divergence(q, p, samples=samples, method="monte_carlo")
    assert abs(estimate - vp.kl_divergence(q, p)) < 5 * terms.std() / np.sqrt(len(terms))
    drawn = vp.kl_divergence(q, p, key=KEY, num_samples=50_000, method="monte_carlo")
    assert drawn == pytest.approx(float(estimate), rel=1e-5)


def test_auto_falls_back_to_monte_carlo_on_the_same_samples():
    q, _ = normal_pair()
    p = vp.mixture(3, 2).apply(vp.mixture(3, 2).init(KEY))
    z = q.sample(seed=KEY, sample_shape=7)
    expected = np.mean(q.log_prob(z) - p.log_prob(z))
    assert vp.kl_divergence(q, p, samples=z) == pytest.approx(float(expected), rel=1e-5)


def test_errors_of_kl_divergence():
    q, p = normal_pair()
    mixture = vp.mixture(3, 2).apply(vp.mixture(3, 2).init(KEY))
    with pytest.raises(ValueError, match=r"No closed form of KL\(NormalDiag \|\| DiagonalMixture\)"):
        vp.kl_divergence(q, mixture, key=KEY, method="analytic")
    with pytest.raises(ValueError, match="pass `samples=` from q, or a `key=`"):
        vp.kl_divergence(q, mixture)
    with pytest.raises(ValueError, match="`method` to be one of 'auto'"):
        vp.kl_divergence(q, p, method="exact")
    with pytest.raises(ValueError, match=r"vectors of one size; got \(3,\) and \(2,\)"):
        vp.kl_divergence(q, vp.standard_normal(2).apply({}))


def test_elbo_is_exact_at_the_true_posterior_and_below_elsewhere():
    vae, params, x = linear_gaussian_vae()
    exact = exact_log_marginal(params, x)
    at_posterior = jax.vmap(
        lambda key, x: vp.elbo(vae, params, key, x, objective=vp.Objective(num_samples=20_000)).elbo
    )(jax.random.split(KEY, len(x)), x)
    np.testing.assert_allclose(at_posterior, exact, atol=0.05)
    worse = params._replace(encoder={**params.encoder, "scale": 2 * params.encoder["scale"]})
    below = jax.vmap(lambda key, x: vp.elbo(vae, worse, key, x, objective=vp.Objective(num_samples=5000)).elbo)(
        jax.random.split(KEY, len(x)), x
    )
    assert (below < exact - 0.1).all()


def test_iwae_tightens_with_samples():
    vae, params, x = linear_gaussian_vae()
    worse = params._replace(encoder={**params.encoder, "scale": 1.5 * params.encoder["scale"]})
    keys = jax.random.split(KEY, 2000)

    def bound(num_samples):
        values = jax.vmap(lambda key: vp.iwae(vae, worse, key, x[0], num_samples=num_samples))(keys)
        return float(values.mean()), float(values.std() / np.sqrt(len(keys)))

    exact = exact_log_marginal(params, x)[0]
    (one, error_one), (many, error_many) = bound(1), bound(50)
    assert one + 5 * error_one < many
    assert many < exact + 5 * error_many
    assert abs(many - exact) < 0.05


def test_terms_beta_and_free_bits():
    vae, params, x = linear_gaussian_vae()
    plain = vp.elbo(vae, params, KEY, x[0])
    assert plain.elbo == pytest.approx(float(plain.reconstruction - plain.kl), rel=1e-6)
    assert plain.objective == plain.elbo
    weighted = vp.elbo(vae, params, KEY, x[0], objective=vp.Objective(beta=0.25))
    assert weighted.elbo == plain.elbo
    assert weighted.objective == pytest.approx(float(plain.reconstruction - 0.25 * plain.kl), rel=1e-6)
    bits = vp.elbo(vae, params, KEY, x[0], objective=vp.Objective(free_bits=100.0))
    assert bits.objective == pytest.approx(float(plain.reconstruction - 100.0), rel=1e-6)
    assert bits.kl == plain.kl
    gradient = jax.grad(
        lambda p: vp.elbo(vae, p, KEY, x[0], objective=vp.Objective(free_bits=100.0, beta=3.0)).objective
    )(params)
    assert np.isfinite(gradient.encoder["weight"]).all()


def test_gradient_of_the_elbo_reaches_encoder_decoder_and_pseudo_inputs():
    vae, params, x = linear_gaussian_vae()
    prior = vp.vamp(3, (x.shape[1],), bounds=None)
    vae = vae._replace(prior=prior)
    params = params._replace(prior=prior.init(KEY))
    gradient = jax.grad(lambda p: vp.elbo(vae, p, KEY, x[0]).objective)(params)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, path
    assert (np.abs(gradient.prior["pseudo_inputs"]).max(-1) > 0).all()


def test_shapes_that_do_not_fit_are_explained():
    vae, params, x = linear_gaussian_vae()
    with pytest.raises(ValueError, match="map over the batch"):
        vp.elbo(vae._replace(encode=lambda p, x: vae.encode(p, x[0])), params, KEY, x)
    batchwise = vae._replace(encode=lambda p, x: distrax.Normal(p["weight"] @ x, p["scale"]))
    with pytest.raises(ValueError, match="rather than a distrax.Normal"):
        vp.elbo(batchwise, params, KEY, x[0])
    with pytest.raises(TypeError, match="return a distrax distribution"):
        vp.elbo(vae._replace(encode=lambda p, x: (x, x)), params, KEY, x[0])
    with pytest.raises(ValueError, match="Give the prior the encoder's latent dimension"):
        vp.elbo(vae._replace(prior=vp.standard_normal(7)), params, KEY, x[0])
    with pytest.raises(TypeError, match="The encoder reads the context .*missing: 'y'"):
        vp.elbo(vae._replace(encoder_context=("y",)), params, KEY, x[0])


def test_gradient_through_a_vamp_prior_is_that_of_the_mixture_of_its_encoder():
    """The encoder of a VAE learns from p(z) too; against differences of a float64 density by scipy."""
    inputs, z = np.array([[0.2, 0.7, 0.4], [0.9, 0.1, 0.5]]), np.array([0.3, -0.8])
    weight, scale = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]]), 0.6
    vae = vp.VAE(
        encode=lambda weight, x: vp.normal_diag(weight @ x, jnp.full(2, scale)),
        decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        prior=vp.vamp(2, (3,), bounds=None),
    )

    def exact(weight):
        terms = [scipy.stats.norm(weight @ u, scale).logpdf(z).sum() for u in inputs]
        return scipy.special.logsumexp(terms) - np.log(2)

    def found(weight):
        params = vp.VAEParams(weight, {}, {"pseudo_inputs": jnp.asarray(inputs, jnp.float32)})
        return vae.latent_prior(params).log_prob(jnp.asarray(z, jnp.float32))

    gradient = jax.jit(jax.grad(found))(jnp.asarray(weight, jnp.float32))
    for index in np.ndindex(weight.shape):
        step = np.zeros_like(weight)
        step[index] = 1e-5
        difference = (exact(weight + step) - exact(weight - step)) / 2e-5
        assert gradient[index] == pytest.approx(difference, rel=1e-4, abs=1e-5)
