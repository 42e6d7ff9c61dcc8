"""The two-level model in the linear Gaussian case, against exact values."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from vaepriors_jax.evaluation.likelihood.annealing import annealed_importance_sampling

KEY = jax.random.key(0)
LEVEL, DATA = 2, 5  # two latents on each level
NOISE, BOTTOM_SCALE = 0.7, 0.6


class Model:
    """z2 ~ N(0, I), z1 ~ N(A z2, 0.36 I), x ~ N(W [z1, z2], 0.49 I), with exact q(z2|x) and q(z1|x, z2).

    Each pair (z1_i, z2_i) has a direction of x of its own, so that both posteriors are diagonal.
    """

    def __init__(self, num_examples=80):  # more than are encoded at a time
        rng = np.random.default_rng(0)
        slope = np.array([1.5, -0.8])
        directions = np.linalg.qr(rng.normal(size=(DATA, LEVEL)))[0]
        weight = np.concatenate([directions * [2.0, 1.0], directions * [0.5, -1.0]], axis=1)
        between = np.diag(slope)
        self.prior_covariance = np.block(
            [[BOTTOM_SCALE**2 * np.eye(LEVEL) + between @ between.T, between], [between.T, np.eye(LEVEL)]]
        )
        self.data_covariance = weight @ self.prior_covariance @ weight.T + NOISE**2 * np.eye(DATA)
        self.gain = self.prior_covariance @ weight.T @ np.linalg.inv(self.data_covariance)
        self.covariance = self.prior_covariance - self.gain @ weight @ self.prior_covariance
        self.x = np.float32(rng.multivariate_normal(np.zeros(DATA), self.data_covariance, num_examples))
        first, second = slice(0, LEVEL), slice(LEVEL, 2 * LEVEL)
        top = self.covariance[second, second]
        regression = self.covariance[first, second] @ np.linalg.inv(top)
        bottom = self.covariance[first, first] - regression @ self.covariance[second, first]
        for matrix in (top, bottom):
            np.testing.assert_allclose(matrix, np.diag(np.diag(matrix)), atol=1e-12)
        arrays = (self.gain, regression, np.sqrt(np.diag(top)), np.sqrt(np.diag(bottom)), weight)
        gain, regression, top_scale, bottom_scale, weight = (jnp.asarray(a, jnp.float32) for a in arrays)

        def encode(params, x):
            loc1, loc2 = jnp.split(params["gain"] @ x, 2)  # what q(z1|x, z2) closes over

            def bottom(z2):
                return vp.normal_diag(loc1 + regression @ (z2 - loc2), bottom_scale)

            return vp.two_level_posterior(vp.normal_diag(loc2, top_scale), bottom)

        prior = vp.two_level(vp.standard_normal(LEVEL), LEVEL, LEVEL, hidden=())
        self.vae = vp.VAE(encode, lambda params, z: vp.normal_diag(weight @ z, jnp.full(DATA, NOISE)), prior)
        start = prior.init(KEY)
        kernel = np.zeros((LEVEL, 2 * LEVEL), np.float32)
        kernel[:, :LEVEL] = between.T
        dense = {"kernel": jnp.asarray(kernel), "bias": jnp.log(jnp.array([1, 1, BOTTOM_SCALE, BOTTOM_SCALE]))}
        assert jax.tree.structure(start["bottom"]) == jax.tree.structure({"Dense_0": dense})
        self.params = vp.VAEParams({"gain": gain}, {}, start | {"bottom": {"Dense_0": dense}})

    def log_marginal(self):
        return scipy.stats.multivariate_normal(np.zeros(DATA), self.data_covariance).logpdf(self.x)

    def posterior_means(self):
        return self.x @ self.gain.T

    def aggregated_log_prob(self, z):
        terms = [scipy.stats.multivariate_normal(m, self.covariance).logpdf(z) for m in self.posterior_means()]
        return scipy.special.logsumexp(terms, axis=0) - np.log(len(self.x))


def with_vampprior_on_top(model):
    """The same model with another prior of z2: the encoder's posteriors at the first three examples."""
    prior = vp.two_level(vp.vamp(3, (DATA,), bounds=None), LEVEL, LEVEL, hidden=())
    params = model.params.prior | {"top": {"pseudo_inputs": jnp.asarray(model.x[:3])}}
    return model.vae._replace(prior=prior), model.params._replace(prior=params)


@pytest.fixture(scope="module")
def model():
    return Model()


def test_log_marginal_and_elbo_are_exact_for_an_exact_posterior(model):
    """All importance weights are equal, so that a few samples do."""
    exact = model.log_marginal()
    estimate = vp.log_marginal(model.vae, model.params, KEY, model.x, num_samples=3)
    np.testing.assert_allclose(estimate.values, exact, atol=1e-4)
    np.testing.assert_allclose(vp.evaluate_elbo(model.vae, model.params, KEY, model.x).elbo, exact, atol=1e-4)


@pytest.mark.nightly
def test_annealing_and_refits_take_two_levels(model):
    """The weights of annealing are equal as well."""
    annealed = annealed_importance_sampling(
        model.vae, model.params, KEY, model.x[:4], num_chains=2, num_temperatures=20, num_leapfrog_steps=2
    )
    np.testing.assert_allclose(annealed.values, model.log_marginal()[:4], atol=1e-4)
    vae, params = with_vampprior_on_top(model)
    fitted = vp.fit_prior(vae.prior, vae, params, KEY, model.x, num_steps=2, batch_size=4)
    nearest = vp.pseudo_input_distances(vae.prior, fitted.prior, model.x)
    assert (nearest < 0.05).all()
    usage = vp.mixture_usage(vae, params, KEY, model.x)
    assert usage.mean_responsibilities.sum() == pytest.approx(1, abs=1e-4)
    assert vp.generate(vae, params, KEY, 3).shape == (3, DATA)
    aggregated = vp.aggregated_posterior(model.vae, model.params, model.x)
    difference = vp.hole_map(vae.latent_prior(params), aggregated, num_points=3).difference
    assert np.isfinite(difference).all()
    assert difference.shape == (3, 3)


def test_prior_and_aggregated_posterior_against_scipy(model):
    z = np.float32(np.random.default_rng(1).normal(size=(30, 4)))
    log_prior = jax.jit(lambda: model.vae.latent_prior(model.params).log_prob(z))()
    exact = scipy.stats.multivariate_normal(np.zeros(4), model.prior_covariance).logpdf(z)
    np.testing.assert_allclose(log_prior, exact, rtol=1e-5)
    aggregated = vp.aggregated_posterior(model.vae, model.params, model.x)
    np.testing.assert_allclose(
        vp.log_prob_in_chunks(aggregated, z, chunk_size=7), model.aggregated_log_prob(z), rtol=1e-4
    )
    samples = np.asarray(jax.jit(lambda: aggregated.sample(seed=KEY, sample_shape=4000))(), np.float64)
    means = model.posterior_means()
    error = samples.std(0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(0) - means.mean(0)) < 5 * error).all()
    spread = np.diag(model.covariance) + means.var(0)
    assert (np.abs(samples.var(0) - spread) < 5 * spread * np.sqrt(2 / len(samples))).all()
    surgery = vp.elbo_surgery(model.vae, model.params, KEY, model.x)
    inverse = np.linalg.inv(model.prior_covariance)
    log_det = np.linalg.slogdet(model.prior_covariance)[1] - np.linalg.slogdet(model.covariance)[1]
    quadratic = np.einsum("ni,ij,nj->n", means, inverse, means)
    exact_kl = 0.5 * (np.trace(inverse @ model.covariance) - 4 + log_det + quadratic)
    assert abs(surgery.mean_kl.mean - exact_kl.mean()) < 5 * surgery.mean_kl.standard_error


@pytest.mark.slow
def test_latents_of_two_levels_by_quadrature(model):
    """I(n; z_d) of Gaussian marginals, whose means and scales are known."""
    means, scale = model.posterior_means(), np.sqrt(np.diag(model.covariance))
    found = vp.posterior_means(model.vae, model.params, model.x)
    np.testing.assert_allclose(found[:, LEVEL:], means[:, LEVEL:], atol=1e-4)
    np.testing.assert_allclose(found, means, atol=5 * 0.5 / np.sqrt(64))  # z1 averages over draws of z2
    dimensions = vp.latent_dimensions(model.vae, model.params, KEY, model.x)
    grid = np.linspace(-12, 12, 1501)[:, None, None]
    step = grid[1, 0, 0] - grid[0, 0, 0]
    own = scipy.stats.norm(means, scale).pdf(grid)  # [grid, N, dim]

    def entropy(p):
        return -np.sum(scipy.special.xlogy(p, p), axis=0) * step

    exact = entropy(own.mean(1)) - entropy(own).mean(0)
    # One z of each example; the log of a density over 64 draws is a little low.
    np.testing.assert_allclose(dimensions.mutual_information, exact, atol=0.4)
    prior_scale = np.sqrt(np.diag(model.prior_covariance))
    kl = np.log(prior_scale / scale) + (scale**2 + means**2) / (2 * prior_scale**2) - 0.5
    np.testing.assert_allclose(dimensions.kl, kl.mean(0), atol=0.4)


def test_vampprior_on_top_reads_the_marginal_of_the_posterior(model):
    vae, params = with_vampprior_on_top(model)
    top = vae.latent_prior(params).top
    assert isinstance(top, vp.DiagonalMixture)
    means = model.posterior_means()[:3, LEVEL:]
    scale = np.sqrt(np.diag(model.covariance)[LEVEL:])
    terms = scipy.stats.norm(means, scale).logpdf(0.3).sum(1)
    found = top.log_prob(jnp.full(LEVEL, 0.3))
    assert found == pytest.approx(scipy.special.logsumexp(terms) - np.log(3), abs=1e-4)
    # A mean-field posterior over z has a marginal as well; what has none is refused.
    flat = vae._replace(encode=lambda params, x: vp.normal_diag(params["gain"] @ x, jnp.ones(4)))
    np.testing.assert_allclose(flat.latent_prior(params).top.parameters[0], means, atol=1e-4)
    laplace = distrax.Independent(distrax.Laplace(jnp.zeros(4), jnp.ones(4)), 1)
    with pytest.raises(TypeError, match="two_level_posterior"):
        vae.prior.apply(params.prior, encode=lambda x: laplace)


def test_vampprior_of_whole_two_level_posteriors(model):
    """A distribution that closes over its x never crosses the `vmap` over pseudo-inputs."""
    prior = vp.vamp(3, (DATA,), bounds=None)
    vae = model.vae._replace(prior=prior)
    params = model.params._replace(prior={"pseudo_inputs": jnp.asarray(model.x[:3])})
    z = np.float32(np.random.default_rng(1).normal(size=(6, 4)))
    found = jax.jit(lambda params: jax.vmap(lambda z: vae.latent_prior(params).log_prob(z))(z))(params)
    means = model.posterior_means()[:3]
    terms = [scipy.stats.multivariate_normal(m, model.covariance).logpdf(z) for m in means]
    np.testing.assert_allclose(found, scipy.special.logsumexp(terms, axis=0) - np.log(3), rtol=1e-4)


def test_mixture_on_top_starts_from_the_top_level_of_encodings():
    prior = vp.two_level(vp.mixture(1, 2), top_dim=1, bottom_dim=2)
    z = np.concatenate([np.full((20, 3), [9.0, 9.0, -3.0]), np.full((20, 3), [9.0, 9.0, 3.0])])
    params = vp.init_from_data(prior, KEY, z=z)
    assert sorted(params["top"]["loc"][:, 0].tolist()) == [-3.0, 3.0]


def test_wrong_dimensions_are_named():
    with pytest.raises(ValueError, match="top_dim=3"):
        vp.two_level(vp.standard_normal(2), 3, 2).apply(vp.two_level(vp.standard_normal(3), 3, 2).init(KEY))
    with pytest.raises(ValueError, match="`bottom_dim`"):
        vp.two_level(vp.standard_normal(2), 2, 0)
    with pytest.raises(ValueError, match="over one vector"):
        vp.two_level_posterior(vp.normal_diag(jnp.zeros(2), jnp.ones(2)), lambda z2: vp.normal_diag(z2[0], z2[1]))


def test_pseudo_inputs_on_top_are_found():
    vampprior = vp.vamp(3, (DATA,))
    prior = vp.two_level(vampprior, LEVEL, LEVEL)
    params = jax.jit(prior.init)(KEY)
    expected = vp.pseudo_inputs(vampprior, params["top"])
    np.testing.assert_array_equal(vp.pseudo_inputs(prior, params), expected)
    flow = vp.transformed(prior, vp.affine_coupling(2 * LEVEL, hidden=(2,)))
    np.testing.assert_array_equal(vp.pseudo_inputs(flow, {"base": params, "flow": {}}), expected)
    with pytest.raises(ValueError, match="Expected a `vamp` prior"):
        vp.pseudo_inputs(vp.two_level(vp.standard_normal(2), 2, 2), {"top": {}})


def test_moments_count_the_spread_of_the_means():
    """z1 = 3 z2 + 0.1 noise with z2 ~ N(1, 1): mean 3 and variance 9.01, within 4 standard errors of 64 draws."""
    one = vp.normal_diag(jnp.ones(1), jnp.ones(1))
    fixed = vp.two_level_posterior(one, lambda z2: vp.normal_diag(3 * z2, jnp.full(1, 0.1)))
    assert fixed.mean()[0] == pytest.approx(3, abs=4 * 3 / 8)
    assert fixed.variance()[0] == pytest.approx(9.01, abs=4 * 9 * np.sqrt(2 / 64))
    samples = np.asarray(fixed.sample(seed=KEY, sample_shape=4000))
    assert samples[:, 0].var() == pytest.approx(9.01, abs=5 * 9 * np.sqrt(2 / 4000))
    # With means that do not move, it is the variance of the noise.
    still = vp.two_level_posterior(one, lambda z2: vp.normal_diag(0 * z2, jnp.full(1, 0.1)))
    assert still.variance()[0] == pytest.approx(0.01, rel=1e-5)
