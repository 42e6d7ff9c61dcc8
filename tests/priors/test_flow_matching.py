"""The flow-matching prior: its fit, its errors, its start from data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from tests.cases import perturbed
from vaepriors_jax.distributions import probability_flow

KEY = jax.random.key(0)


@pytest.fixture
def _diffrax():
    pytest.importorskip("diffrax")


def identity_vae(prior):
    """Encodings are the data with a little noise."""
    return vp.VAE(
        encode=lambda params, x: vp.normal_diag(x, jnp.full(2, 0.1)),
        decode=lambda params, z: vp.normal_diag(z, jnp.full(2, 0.1)),
        prior=prior,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_diffrax")
@pytest.mark.parametrize("path", ["linear", "cosine"])
def test_fit_learns_the_encodings(path):
    """Encodings around two points, which N(mu, sigma^2) does not fit: log p comes near the entropy of the mixture."""
    centers = jnp.array([[-2.0, 1.0], [2.0, -1.0]])
    x = centers[jax.random.bernoulli(KEY, 0.3, (2000,)).astype(int)] + 0.5 * jax.random.normal(KEY, (2000, 2))
    prior = vp.flow_matching(2, hidden=(64, 64), path=path)
    vae = identity_vae(prior)
    params = vp.fit_prior(prior, vae, vp.VAEParams({}, {}, {}), KEY, x, num_steps=800)
    fitted = vae.latent_prior(params)
    scale = np.sqrt(0.5**2 + 0.1**2)
    exact = vp.DiagonalMixture(jnp.log(jnp.array([0.7, 0.3])), centers, jnp.full((2, 2), scale))
    z = exact.sample(seed=jax.random.key(5), sample_shape=(300,))
    gap = np.asarray(exact.log_prob(z) - jax.jit(fitted.log_prob)(z))
    gaussian = vp.normal_diag(x.mean(0), jnp.hypot(x.std(0), 0.1))
    assert np.mean(exact.log_prob(z) - gaussian.log_prob(z)) > 0.5
    assert -0.02 < gap.mean() < 0.15


@pytest.mark.slow
@pytest.mark.usefixtures("_diffrax")
def test_state_has_the_errors_of_the_solver_and_of_the_divergence():
    coarse = vp.flow_matching(2, hidden=(8,), tolerance=1e-3, num_probes=2)
    exact = vp.flow_matching(2, hidden=(8,), tolerance=1e-6)
    params = perturbed(coarse.init(KEY), jax.random.key(1))
    state = jax.jit(lambda params: coarse.init_state(params=params, key=jax.random.key(2)))(params)
    solver, divergence = state["normalizer_error"]
    other = exact.apply(params, **state)
    z = jax.jit(lambda key: other.sample(seed=key, sample_shape=(300,)))(jax.random.key(3))
    reference = jax.jit(other.log_prob)(z)
    of_both = coarse.apply(params, **state)
    error = np.sqrt(np.mean((jax.jit(of_both.log_prob)(z) - reference) ** 2))
    assert 0.7 * error < divergence < 1.4 * error
    assert error > 0.05 > solver > 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("_diffrax")
def test_log_marginal_carries_the_errors():
    prior = vp.flow_matching(2, hidden=(4,))
    vae = identity_vae(prior)
    own = prior.init(KEY)
    state = {
        "normalizer": jnp.ones(()),
        "normalizer_error": jnp.array([0.03, 0.04]),
        "normalizer_key": jnp.zeros(2, jnp.uint32),
    }
    params = vp.VAEParams({}, {}, vp.Variables(own, state))
    found = vp.log_marginal(vae, params, KEY, jnp.zeros((2, 2)), num_samples=30)
    np.testing.assert_allclose(found.normalizer_error, 0.05, rtol=1e-4)
    np.testing.assert_allclose(found.normalizer_bias, 0.05**2 / 2, rtol=1e-3)
    normal = vp.log_marginal(
        identity_vae(vp.standard_normal(2)), params._replace(prior={}), KEY, jnp.zeros((2, 2)), num_samples=30
    )
    np.testing.assert_allclose(found.values, normal.values, atol=1e-4)  # the velocity starts at 0


def test_training_with_the_vae_draws_other_signs_after_each_step():
    """With the same ones in each step v learns to fool them, and the ELBO rises without bound."""
    prior = vp.flow_matching(2, num_probes=16)
    params, words = prior.init(KEY), jnp.zeros(2, jnp.uint32)
    seen = []
    for _ in range(3):
        state = {"normalizer": 1.0, "normalizer_error": jnp.zeros(2), "normalizer_key": words}
        seen.append(np.asarray(prior.apply(params, **state)._probes))
        words = prior.update_state(state, params=params)["normalizer_key"]
    assert not (seen[0] == seen[1]).all()
    assert not (seen[1] == seen[2]).all()
    assert vp.flow_matching(2).update_state is None


def test_start_from_data_has_the_moments_of_the_encodings():
    z = np.random.default_rng(0).normal([3.0, -1.0], [0.5, 2.0], (500, 2))
    params = vp.init_from_data(vp.flow_matching(2), KEY, z=z)
    np.testing.assert_allclose(params["loc"], z.mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.exp(params["log_scale"]), z.std(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.flow_matching(0), "`dim` to be an integer >= 1; got 0"),
        (lambda: vp.flow_matching(2, num_probes=0), "`num_probes` to be an integer >= 1; got 0"),
        (lambda: vp.flow_matching(2, path="straight"), "`path` to be one of 'linear', 'cosine'; got 'straight'"),
        (lambda: vp.flow_matching(2, tolerance=0.0), "`tolerance` to be a finite number > 0"),
        (lambda: vp.flow_matching(2, num_classes=3, condition_dim=2), "one of the two"),
        (lambda: vp.flow_matching(2).init_from_data(KEY, z=np.zeros((9, 3))), r"`z` of shape \[N, 2\]"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.usefixtures("_diffrax")
@pytest.mark.parametrize("kind", ["label", "vector"])
def test_density_given_a_condition_is_that_of_its_encodings(kind):
    """Encodings around a point that depends on y: log p(z|y) comes near that of the Gaussian around it."""
    rng = np.random.default_rng(0)
    if kind == "label":
        y = rng.integers(0, 3, 3000)
        centers = np.array([[-2.0, 1.0], [2.0, -1.0], [0.0, 2.0]])[y]
        prior = vp.flow_matching(2, hidden=(64, 64), num_classes=3)
    else:
        y = rng.uniform(-1, 1, (3000, 1))
        centers = y * np.array([2.0, -1.0])
        prior = vp.flow_matching(2, hidden=(64, 64), path="cosine", condition_dim=1)
    x = centers + 0.5 * rng.normal(size=(3000, 2))
    vae = identity_vae(prior)
    params = vp.fit_prior(prior, vae, vp.VAEParams({}, {}, {}), KEY, jnp.asarray(x), num_steps=500, y=y)
    z = (centers + np.hypot(0.5, 0.1) * rng.normal(size=(3000, 2)))[:200]
    exact = scipy.stats.norm.logpdf(z, centers[:200], np.hypot(0.5, 0.1)).sum(1)
    found = jax.jit(jax.vmap(lambda z, y: vae.latent_prior(params, y=y).log_prob(z)))(jnp.asarray(z), y[:200])
    assert -0.02 < np.mean(exact - found) < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("_diffrax")
def test_errors_are_measured_at_conditions():
    """Of the labels all in turn; of vectors those of the data, if they are given: y = 50 needs more steps than 0."""
    of_vector = vp.flow_matching(2, hidden=(4,), tolerance=1e-2, condition_dim=1)
    params = perturbed(of_vector.init(KEY), jax.random.key(1))
    error = jax.jit(lambda y: of_vector.init_state(params=params, num_points=16, y=y)["normalizer_error"][0])
    errors = [error(jnp.full((10, 1), y)) for y in (0.0, 0.0, 50.0)]
    assert errors[0] == errors[1] != errors[2]
    of_label = vp.flow_matching(2, hidden=(4,), tolerance=1e-2, num_classes=3)
    params = perturbed(of_label.init(KEY), jax.random.key(1))
    state = jax.eval_shape(lambda: of_label.init_state(params=params, num_points=3))
    assert state["normalizer_error"].shape == (2,)
    with pytest.raises(ValueError, match=r"of shape \(1,\)"):
        of_vector.init_state(params=params, y=jnp.ones((10, 2)))


def test_on_top_of_two_levels_it_is_fitted_without_the_ode(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the ODE was solved")

    monkeypatch.setattr(probability_flow, "_solve", refuse)
    top, state = vp.flow_matching(2, hidden=(8,)), {"normalizer": 1.0, "normalizer_error": 0.0, "normalizer_key": 0}
    prior, z = vp.two_level(top, 2, 3, hidden=()), jnp.array([0.3, -0.7, 1.1, 0.2, -0.4])
    params = perturbed(prior.init(KEY), jax.random.key(1))

    def loss(params):
        return prior.apply(params, **state).fitting_loss(KEY, z)

    found, gradient = jax.value_and_grad(loss)(params)
    learned = [gradient["bottom"], gradient["top"]["network"]]  # loc and log_scale stay those of the data
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(learned))
    bottom = prior.apply(params, **state).bottom(z[3:])
    exact = scipy.stats.norm.logpdf(z[:3], bottom.mean(), bottom.stddev()).sum()
    alone = top.apply(params["top"], **state).fitting_loss(KEY, z[3:])
    assert found == pytest.approx(float(alone) - exact, rel=1e-5)
    plain = vp.two_level(vp.standard_normal(2), 2, 3)
    assert plain.apply(plain.init(KEY)).fitting_loss is None
