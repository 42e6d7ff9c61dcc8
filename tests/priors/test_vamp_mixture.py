"""The VampPrior mixture model: stick-breaking weights, their Dirichlet process, and how it enters training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
from tensorflow_probability.substrates.jax import bijectors as tfb

import vaepriors_jax as vp
from tests.cases import encode, encode_laplace
from vaepriors_jax.priors.stick_breaking import log_prob_of_sticks, log_weights_of, sticks_of

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
STICKS = RNG.normal(size=4)
X = RNG.random((30, 6)).astype(np.float32)


def test_weights_are_those_of_tfp_and_come_back():
    """TFP's stick breaking is centred: its zero gives equal weights."""
    with jax.enable_x64(True):
        expected = tfb.IteratedSigmoidCentered().forward(STICKS + np.log([4, 3, 2, 1]))
        found = jnp.exp(log_weights_of(jnp.asarray(STICKS)))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(found.sum(), 1, rtol=1e-14)
        np.testing.assert_allclose(sticks_of(log_weights_of(jnp.asarray(STICKS))), STICKS, rtol=1e-12)
    far = jnp.exp(log_weights_of(jnp.array([-200.0, 200.0, 0.0])))
    np.testing.assert_allclose(far, [0, 1, 0, 0], atol=1e-30)


def test_the_density_of_sticks_is_that_of_beta_variables():
    v = 1 / (1 + np.exp(-STICKS))

    def by_scipy(concentration):
        return np.sum(scipy.stats.beta.logpdf(v, 1, concentration) + np.log(v * (1 - v)))

    with jax.enable_x64(True):
        for concentration in (0.3, 1.0, 5.0):
            found = log_prob_of_sticks(jnp.asarray(STICKS), concentration)
            assert found == pytest.approx(by_scipy(concentration), rel=1e-12)
        unknown = log_prob_of_sticks(jnp.asarray(STICKS), None)
    integral, _ = scipy.integrate.quad(lambda a: np.exp(by_scipy(a) - a), 0, np.inf, epsabs=0, epsrel=1e-10)
    assert unknown == pytest.approx(np.log(integral), rel=1e-9)


@pytest.mark.parametrize("concentration", [0.2, 3.0])
def test_with_counts_the_maximum_a_posteriori_is_the_one_that_is_documented(concentration):
    counts = np.array([5.0, 0.0, 12.0, 1.0, 0.0])

    def loss(sticks):
        return -jnp.dot(counts, log_weights_of(sticks)) - log_prob_of_sticks(sticks, concentration)

    with jax.enable_x64(True):
        run = jax.jit(jax.value_and_grad(loss))
        found = scipy.optimize.minimize(run, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    after = counts[::-1].cumsum()[::-1][1:]
    v = (counts[:-1] + 1) / (counts[:-1] + after + 1 + concentration)
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), v, rtol=1e-6)


def test_a_component_is_the_encoding_of_its_pseudo_input_blurred_by_its_own_scale():
    """By samples: m from q(m|u), then z from N(m, sigma^2)."""
    prior = vp.vamp_mixture(2, 1, (6,), 10)
    params = prior.init(KEY) | {"log_scale": jnp.log(jnp.array([[0.3, 2.0]]))}
    component = prior.apply(params, encode=encode)
    posterior = encode(vp.pseudo_inputs(prior, params)[0])
    means = np.asarray(posterior.sample(seed=KEY, sample_shape=4000), np.float64)
    z = means + RNG.normal(size=means.shape) * [0.3, 2.0]
    error = np.sqrt(component.variance() / 4000)
    assert (np.abs(z.mean(axis=0) - component.mean()) < 5 * error).all()
    np.testing.assert_allclose(z.var(axis=0), component.variance(), rtol=5 * np.sqrt(2 / 4000))


def vae_of(prior, start):
    weights = {"w": jnp.asarray(0.3 * RNG.normal(size=(2, 6)), jnp.float32)}

    def encoder(params, x):
        return vp.normal_diag(params["w"] @ x, jnp.ones(2))

    vae = vp.VAE(encoder, lambda params, z: vp.bernoulli(params["w"].T @ z), prior)
    return vae, vp.VAEParams(weights, weights, start)


def test_training_adds_the_density_of_the_sticks_and_evaluation_does_not():
    prior = vp.vamp_mixture(2, 3, (6,), 7, concentration=2.0)
    own = prior.init(KEY) | {"sticks": jnp.array([1.0, -2.0])}
    vae, params = vae_of(prior, own)
    expected = log_prob_of_sticks(own["sticks"], 2.0) / 7
    # With so many examples the term is nothing. A step of gradient descent moves the sticks by the gradient of the sum.
    without = vae._replace(prior=vp.vamp_mixture(2, 3, (6,), 10**9, concentration=2.0))
    optimizer, moved, terms = optax.sgd(1.0), [], []
    for one in (vae, without):
        state, metrics = vp.make_train_step(one, optimizer)(
            vp.init_train_state(params, optimizer), KEY, {"x": (X > 0.5).astype(X.dtype)}
        )
        moved.append(state.params.prior["sticks"])
        terms.append(metrics)
    assert terms[0].elbo == terms[1].elbo
    np.testing.assert_allclose(terms[1].objective, terms[1].elbo, rtol=1e-6)
    np.testing.assert_allclose(terms[0].objective - terms[0].elbo, expected, rtol=1e-4)
    gradient = jax.grad(lambda sticks: log_prob_of_sticks(sticks, 2.0) / 7)(own["sticks"])
    np.testing.assert_allclose(moved[0] - moved[1], gradient, rtol=1e-3, atol=1e-6)


def test_priors_around_it_pass_the_density_on_and_stop_gradient_ends_it():
    mixture = vp.vamp_mixture(2, 3, (6,), 7)
    own = mixture.init(KEY)
    flow = vp.transformed(mixture, vp.affine_coupling(2, hidden=(4,)))
    levels = vp.two_level(mixture, 2, 1)
    expected = mixture.log_hyperprior(own)
    assert flow.log_hyperprior(flow.init(KEY) | {"base": own}) == expected
    assert levels.log_hyperprior(levels.init(KEY) | {"top": own}) == expected
    assert vp.stop_gradient(mixture).log_hyperprior is None
    assert vp.transformed(vp.mixture(2, 3), vp.permute(2)).log_hyperprior is None


def test_a_fit_after_training_counts_the_density_of_the_sticks():
    """A large concentration, for one example, leaves all of the stick to the last component."""
    last = []
    for num_examples in (1, 10**6):
        prior = vp.vamp_mixture(2, 3, (6,), num_examples, concentration=100.0)
        vae, params = vae_of(prior, prior.init(KEY))
        fitted = vp.fit_prior(prior, vae, params, KEY, np.float32(X > 0.5), num_steps=100, learning_rate=0.1)
        last.append(np.exp(log_weights_of(fitted.prior["sticks"]))[-1])
    assert last[0] > 0.9
    assert last[1] < 0.7


def test_a_start_from_data_has_equal_weights_or_the_shares_of_clusters():
    x = np.repeat([0.2, 0.8], [30, 10])[:, None] + 0.01 * RNG.normal(size=(40, 6))
    for start, expected in (("examples", [0.5, 0.5]), ("k-means", [11 / 42, 31 / 42])):
        prior = vp.vamp_mixture(2, 2, (6,), 40, start=start)
        params = vp.init_from_data(prior, KEY, x=x)
        weights = np.exp(log_weights_of(params["sticks"]))
        np.testing.assert_allclose(sorted(weights), expected, rtol=1e-5)
        assert np.abs(np.asarray(vp.pseudo_inputs(prior, params)) - 0.5).min() > 0.2


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ValueError, match="`num_examples` to be an integer >= 1; got 0"):
        vp.vamp_mixture(2, 3, (6,), 0)
    with pytest.raises(ValueError, match="`concentration` to be a finite number > 0; got 0.0"):
        vp.vamp_mixture(2, 3, (6,), 10, concentration=0.0)
    for dim, network in ((2, encode_laplace), (3, encode)):
        prior = vp.vamp_mixture(dim, 3, (6,), 10)
        with pytest.raises(ValueError, match=rf"diagonal Gaussians over z \[{dim}\].*Use `vp.vamp` for others"):
            prior.apply(prior.init(KEY), encode=network)
