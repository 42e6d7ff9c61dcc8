"""The ELBO against its own exact value and log p(x), both integrated over two latents on a grid."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from tensorflow_probability.substrates.jax import distributions as tfd

import vaepriors_jax as vp
from tests.cases import perturbed
from tests.support.linear_gaussian import DATA_DIM, NOISE

KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
# The columns are correlated, so that the true posterior has a full covariance.
WEIGHT = RNG.normal(size=(DATA_DIM, 2)) @ np.array([[1.0, 0.8], [0.0, 0.5]])
BIAS = RNG.normal(size=DATA_DIM)
X = WEIGHT @ np.array([0.5, -1.0]) + BIAS + NOISE * RNG.normal(size=DATA_DIM)
PRIOR_LOC, PRIOR_LOWER = np.array([0.4, -0.3]), np.array([[0.9, 0.0], [0.5, 0.7]])
GRID = np.stack(np.meshgrid(*2 * [np.linspace(-9, 9, 361)], indexing="ij"), -1).reshape(-1, 2)
LOG_CELL = 2 * np.log(18 / 360)


def f32(array):
    return jnp.asarray(array, jnp.float32)


def true_posterior(prior_loc, prior_covariance):
    """Mean and covariance of q(z|x) under a Gaussian prior, in float64."""
    covariance = np.linalg.inv(np.linalg.inv(prior_covariance) + WEIGHT.T @ WEIGHT / NOISE**2)
    pull = WEIGHT.T @ (X - BIAS) / NOISE**2 + np.linalg.solve(prior_covariance, prior_loc)
    return covariance @ pull, covariance


def priors():
    flow = vp.transformed(vp.standard_normal(2), vp.masked_autoregressive(2, hidden=(8,)))
    mixture = vp.mixture(2, 3)
    full = tfd.MultivariateNormalTriL(f32(PRIOR_LOC), f32(PRIOR_LOWER))
    return {
        "standard_normal": (vp.standard_normal(2), {}),
        "full_tfp": (vp.from_distribution(full), {}),
        "raw_tfp": (vp.Prior(lambda key: {}, lambda params, **context: full, {}), {}),
        "mixture": (mixture, perturbed(mixture.init(KEY), jax.random.key(1))),
        "flow": (flow, perturbed(flow.init(KEY), jax.random.key(2))),
    }


def posteriors():
    mean, covariance = (f32(array) for array in true_posterior(np.zeros(2), np.eye(2)))
    flow = vp.masked_autoregressive(2, hidden=(8,))
    bijector = flow.apply(perturbed(flow.init(KEY), jax.random.key(4)))
    scale = jnp.sqrt(jnp.diag(covariance))
    return {
        "diagonal": lambda: vp.normal_diag(mean + 0.1, scale),
        "full_distrax": lambda: distrax.MultivariateNormalFullCovariance(mean, covariance),
        "full_tfp": lambda: tfd.MultivariateNormalFullCovariance(mean, covariance),
        "low_rank_tfp": lambda: tfd.MultivariateNormalDiagPlusLowRank(mean, 0.5 * scale, scale[:, None] / 2),
        "flow": lambda: distrax.Transformed(vp.normal_diag(0.5 * mean, scale), bijector),
    }


def linear_vae(prior, posterior):
    return vp.VAE(
        encode=lambda params, x: posterior(),
        decode=lambda params, z: vp.normal_diag(f32(WEIGHT) @ z + f32(BIAS), jnp.full(DATA_DIM, NOISE)),
        prior=prior,
    )


def on_grid(distribution) -> np.ndarray:
    return np.asarray(jax.jit(distribution.log_prob)(f32(GRID)), np.float64)


@pytest.mark.parametrize("prior_name", list(priors()))
@pytest.mark.parametrize("posterior_name", list(posteriors()))
def test_the_mean_elbo_is_its_integral_and_below_log_p_x(prior_name, posterior_name):
    prior, prior_params = priors()[prior_name]
    posterior = posteriors()[posterior_name]
    vae, params = linear_vae(prior, posterior), vp.VAEParams({}, {}, prior_params)
    keys = jax.random.split(KEY, 4000)
    elbo = np.asarray(jax.jit(jax.vmap(lambda key: vp.elbo(vae, params, key, f32(X)).elbo))(keys), np.float64)
    mean, error = elbo.mean(), elbo.std() / np.sqrt(len(elbo))
    log_p_x_z = scipy.stats.norm(GRID @ WEIGHT.T + BIAS, NOISE).logpdf(X).sum(-1)
    log_joint = log_p_x_z + on_grid(vae.latent_prior(params))
    log_p_x = scipy.special.logsumexp(log_joint) + LOG_CELL
    log_q = on_grid(posterior())
    q = np.exp(log_q + LOG_CELL)
    assert q.sum() == pytest.approx(1, abs=1e-3)
    assert mean < log_p_x + 5 * error + 1e-4
    assert abs(mean - np.sum(q * (log_joint - log_q))) < 5 * error + 3e-3


@pytest.mark.parametrize("spelling", ["tril", "full", "distrax"])
def test_a_full_covariance_gives_log_p_x_itself_at_the_true_posterior(spelling):
    """Posterior and prior have full covariances: every importance weight is p(x), and the KL is exact."""
    mean, covariance = true_posterior(PRIOR_LOC, PRIOR_LOWER @ PRIOR_LOWER.T)
    posterior = {
        "tril": lambda: tfd.MultivariateNormalTriL(f32(mean), f32(np.linalg.cholesky(covariance))),
        "full": lambda: tfd.MultivariateNormalFullCovariance(f32(mean), f32(covariance)),
        "distrax": lambda: distrax.MultivariateNormalFullCovariance(f32(mean), f32(covariance)),
    }[spelling]
    of_x = WEIGHT @ PRIOR_LOWER
    exact = scipy.stats.multivariate_normal(
        WEIGHT @ PRIOR_LOC + BIAS, of_x @ of_x.T + NOISE**2 * np.eye(DATA_DIM)
    ).logpdf(X)
    vae, params = linear_vae(priors()["full_tfp"][0], posterior), vp.VAEParams({}, {}, {})
    estimate = vp.log_marginal(vae, params, KEY, f32(X)[None], num_samples=10)
    np.testing.assert_allclose(estimate.values, [exact], rtol=1e-4)
    assert vp.iwae(vae, params, KEY, f32(X), num_samples=3) == pytest.approx(exact, rel=1e-4)
    assert np.isfinite(vp.elbo(vae, params, KEY, f32(X), objective=vp.Objective(kl_method="analytic")).elbo)


def full_encoder(params, x):
    lower = jnp.zeros((2, 2)).at[jnp.tril_indices(2)].set(params["lower"])
    return tfd.MultivariateNormalTriL(params["weight"] @ x, lower + jnp.eye(2))


def full_params():
    return {"weight": f32(RNG.normal(size=(2, DATA_DIM)) / 3), "lower": f32([0.5, 0.4, 0.2])}


def test_a_vamp_of_full_covariances_is_the_mixture_of_them():
    prior, params = vp.vamp(3, (DATA_DIM,), bounds=None), full_params()
    prior_params = prior.init(KEY)
    z = RNG.normal(size=(7, 2))
    density = prior.apply(prior_params, encode=lambda x: full_encoder(params, x)).log_prob(f32(z))
    lower = np.array([[1.5, 0.0], [0.4, 1.2]])
    components = [
        scipy.stats.multivariate_normal(np.asarray(params["weight"]) @ u, lower @ lower.T).logpdf(z)
        for u in np.asarray(vp.pseudo_inputs(prior, prior_params), np.float64)
    ]
    np.testing.assert_allclose(density, scipy.special.logsumexp(components, axis=0) - np.log(3), rtol=1e-5)


@pytest.mark.parametrize("make", [lambda: vp.vamp(3, (DATA_DIM,), bounds=None), lambda: priors()["full_tfp"][0]])
def test_fit_with_a_full_covariance_of_tfp(make):
    vae = vp.VAE(
        full_encoder, lambda params, z: vp.normal_diag(params["weight"] @ z, jnp.full(DATA_DIM, NOISE)), make()
    )
    params = vp.VAEParams(full_params(), {"weight": f32(WEIGHT)}, vae.prior.init(KEY))
    data = {"x": f32(X + RNG.normal(size=(64, DATA_DIM)))}
    result = vp.fit(vae, params, KEY, data, optax.adam(1e-2), num_epochs=3, batch_size=32)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), params, result.params)
    assert all(value > 0 for value in jax.tree.leaves(moved))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


def batched_decoder(params, z):
    return distrax.Independent(distrax.Normal(jnp.zeros((3, DATA_DIM)) + z.sum(), jnp.ones((3, DATA_DIM))), 1)


def test_a_decoder_with_a_batch_axis_left_over_is_refused():
    vae = linear_vae(vp.standard_normal(2), posteriors()["diagonal"])._replace(decode=batched_decoder)
    params, x = vp.VAEParams({"unused": jnp.zeros(1)}, {}, {}), f32(X)
    calls = [
        lambda: vp.elbo(vae, params, KEY, x),
        lambda: vp.iwae(vae, params, KEY, x, num_samples=2),
        lambda: vp.log_marginal(vae, params, KEY, x[None], num_samples=2),
        lambda: vp.evaluate_elbo(vae, params, KEY, x[None]),
        lambda: vp.fit(vae, params, KEY, {"x": x[None]}, optax.adam(1e-3), num_epochs=1, batch_size=1),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"over one example of shape \(5,\).*\(batch_shape \(3,\)\)"):
            call()


def test_a_batched_prior_is_refused_by_the_objectives():
    batch = distrax.MultivariateNormalDiag(jnp.zeros((4, 2)), jnp.ones((4, 2)))
    prior = vp.Prior(lambda key: {}, lambda params, **context: batch, {})
    vae = linear_vae(prior, posteriors()["diagonal"])
    with pytest.raises(ValueError, match=r"Expected the prior to return .*batch_shape \(4,\)"):
        vp.elbo(vae, vp.VAEParams({}, {}, {}), KEY, f32(X))
