"""The exemplar prior: its density, what leaving one out and nearest neighbours do, and its state in training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from tests.cases import EXEMPLARS, encode
from vaepriors_jax.distributions.isotropic_mixture import IsotropicMixture
from vaepriors_jax.distributions.nearest_exemplars import NearestExemplars

KEY = jax.random.key(0)
POINTS = np.array([[0.0, 0.0], [1.0, -2.0], [-0.5, 0.3]], np.float32)
PARAMS = {"log_scale": jnp.array(-0.7)}


def means(exemplars=EXEMPLARS):
    return np.asarray(jax.vmap(lambda x: encode(x).mean())(exemplars), np.float64)


def reference(z, loc, scale):
    """The mean of Gaussians around means [N, dim] at points [n, dim], in float64."""
    terms = scipy.stats.norm.logpdf(np.asarray(z, np.float64)[:, None], loc, scale).sum(-1)
    return scipy.special.logsumexp(terms, axis=1) - np.log(len(loc))


def log_prob(prior, z=POINTS, **context):
    context = {"encode": encode, "exemplars": EXEMPLARS, **context}
    return np.asarray(jax.jit(lambda z: prior.apply(PARAMS, **context).log_prob(z))(z))


@pytest.mark.parametrize("index", [0, 3, -1, 4, None])
def test_the_density_is_the_mean_over_the_other_exemplars(index):
    others = means() if index in (None, -1, 4) else np.delete(means(), index, axis=0)
    np.testing.assert_allclose(
        log_prob(vp.exemplar(2), index=index), reference(POINTS, others, np.exp(-0.7)), rtol=1e-5
    )


def test_nearest_neighbours_give_a_lower_bound_whatever_the_stored_encodings():
    exact = log_prob(vp.exemplar(2), index=1)
    np.testing.assert_allclose(log_prob(vp.exemplar(2, num_neighbors=3), index=1), exact, rtol=1e-5)
    others = np.delete(means(), 1, axis=0)
    nearest = others[np.argmin(((POINTS[:, None] - others) ** 2).sum(-1), axis=1)]
    one = scipy.stats.norm.logpdf(POINTS, nearest, np.exp(-0.7)).sum(-1) - np.log(3)
    np.testing.assert_allclose(log_prob(vp.exemplar(2, num_neighbors=1), index=1), one, rtol=1e-5)
    stale = log_prob(vp.exemplar(2, num_neighbors=1), index=1, encodings=-means().astype(np.float32))
    assert (stale <= one + 1e-6).all()
    assert (stale < one - 0.1).any()
    assert (one < exact).all()


def test_samples_of_the_bound_are_those_of_the_mixture_of_the_others():
    fixed = vp.exemplar(2, num_neighbors=1).apply(PARAMS, encode=encode, exemplars=EXEMPLARS, index=1)
    assert isinstance(fixed, NearestExemplars)
    z = jax.jit(lambda key: fixed.sample(seed=key, sample_shape=4000))(KEY)
    whole = vp.exemplar(2).apply(PARAMS, encode=encode, exemplars=EXEMPLARS, index=1)
    error = np.sqrt(np.asarray(whole.variance()) / 4000)
    assert (np.abs(z.mean(0) - whole.mean()) < 5 * error).all()
    np.testing.assert_allclose(z.var(0), whole.variance(), rtol=0.15)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.05, 0.0), (0.1, 30.0)])
def test_many_components_agree_with_float64(scale, offset):
    """Some points share a component, some lie between many of them."""
    rng = np.random.default_rng(0)
    loc = np.float32(rng.normal(size=(5000, 10)) + offset)
    z = np.float32(np.concatenate([loc[:4] + scale * rng.normal(size=(4, 10)), rng.normal(size=(4, 10)) + offset]))

    def density(z, loc, scale):
        return IsotropicMixture(jnp.full(5000, -np.log(5000), jnp.float32), loc, scale).log_prob(z)

    values, score = jax.jit(jax.vmap(jax.value_and_grad(density), (0, None, None)))(z, loc, jnp.float32(scale))
    at_once = jax.jit(density)(z.reshape(2, 4, 10), loc, jnp.float32(scale))
    expected = reference(z, loc.astype(np.float64), scale)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=2e-4)
    np.testing.assert_allclose(at_once.ravel(), values, rtol=1e-5, atol=2e-4)
    distances = ((z[:, None].astype(np.float64) - loc) ** 2).sum(-1)
    weights = scipy.special.softmax(-0.5 * distances / scale**2, axis=1)
    expected = (weights @ loc.astype(np.float64) - z) / scale**2
    np.testing.assert_allclose(score, expected, atol=1e-4 * np.abs(expected).max())


def vae_and_params(prior, x):
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(params @ x, jnp.full(2, 0.3)),
        decode=lambda params, z: vp.bernoulli(params @ z),
        prior=prior,
    )
    networks = 0.5 * jax.random.normal(KEY, (2, 2, 6))
    params = vp.VAEParams(networks[0], networks[1].T, prior.init(KEY))
    return vae, vp.init_prior_state(vae, params, x=x)


X = np.float32(np.random.default_rng(2).random((40, 6)) < 0.4)


def test_a_step_renews_the_encodings_of_its_batch_and_leaves_the_exemplars():
    prior = vp.transformed(vp.exemplar(2, num_neighbors=2), vp.affine_coupling(2, hidden=(4,)))
    vae, params = vae_and_params(prior, X)
    np.testing.assert_allclose(params.prior.state["encodings"], X @ params.encoder.T, rtol=1e-5, atol=1e-6)
    params.prior.state["encodings"] = jnp.zeros((40, 2))
    step = vp.make_train_step(vae, optax.adamw(0.1))
    batch = {"x": X[:5], "index": np.array([7, 3, 39, -1, 40])}
    state, _ = step(vp.init_train_state(params, optax.adamw(0.1)), KEY, batch)
    expected = np.zeros((40, 2), np.float32)
    expected[[7, 3, 39]] = X[:3] @ params.encoder.T
    np.testing.assert_allclose(state.params.prior.state["encodings"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.params.prior.state["exemplars"], X)
    assert state.params.prior.params["base"]["log_scale"] != 0


@pytest.mark.slow
def test_a_fit_with_replicas_carries_the_state_to_evaluation_and_to_disk(tmp_path):
    prior = vp.exemplar(2, num_neighbors=3)
    vae, params = vae_and_params(prior, X)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), params)
    data = {"x": X, "index": np.arange(40)}
    options = {"num_epochs": 2, "batch_size": 10, "validation": {"x": X[:8]}, "progress": False}
    result = vp.fit(vae, stacked, jax.random.split(KEY, 2), data, optax.adam(0.05), **options)
    trained = jax.tree.map(lambda leaf: leaf[1], result.params)
    np.testing.assert_array_equal(trained.prior.state["exemplars"], X)
    loc = X.astype(np.float64) @ np.asarray(trained.encoder, np.float64).T
    p = vae.latent_prior(trained)
    expected = reference(POINTS, loc, np.exp(float(trained.prior.params["log_scale"])))
    np.testing.assert_allclose(p.log_prob(POINTS), expected, rtol=1e-5)

    vp.save_model(tmp_path, prior, trained)
    loaded_prior, loaded = vp.load_model(tmp_path)
    assert loaded_prior == prior
    np.testing.assert_allclose(vae.latent_prior(loaded).log_prob(POINTS), p.log_prob(POINTS), rtol=1e-6)


def test_what_is_wrong_is_said():
    prior = vp.exemplar(2)
    with pytest.raises(ValueError, match=r"`index` to be an integer, .*; got int32 of shape \(2,\)"):
        prior.apply(PARAMS, encode=encode, exemplars=EXEMPLARS, index=jnp.arange(2))
    with pytest.raises(ValueError, match=r"at least 2 exemplars where `index` leaves one out; got 1"):
        prior.apply(PARAMS, encode=encode, exemplars=EXEMPLARS[:1], index=0)
    with pytest.raises(ValueError, match=r"into z of dim=3; its mean has the shape \(2,\)"):
        vp.exemplar(3).apply(PARAMS, encode=encode, exemplars=EXEMPLARS)
    vae, params = vae_and_params(prior, X)
    with pytest.raises(ValueError, match=r"a prior with state, such as .*; got standard_normal"):
        vp.init_prior_state(vae._replace(prior=vp.standard_normal(2)), params, x=X)
    with pytest.raises(TypeError, match=r"reads the context 'exemplars', which is missing"):
        vp.elbo(vae, params._replace(prior=params.prior.params), KEY, X[0])
    with pytest.raises(ValueError, match=r"at least one training example in `x`"):
        vp.init_prior_state(vae, params, x=X[:0])
    with pytest.raises(ValueError, match=r"finite values in `x`"):
        vae_and_params(prior, np.full((3, 6), np.nan))
