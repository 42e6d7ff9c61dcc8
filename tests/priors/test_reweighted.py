"""The reweighted prior, its samples, and the noise-contrastive fit of its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from tests.priors.test_resampled import BASES, CELL, GRID, KEY
from tests.priors.test_snis import on_grid as unbounded_on_grid
from tests.priors.test_snis import perturbed

NEAR = np.abs(GRID).max(1) < 7


def made(base="standard_normal", **options):
    """A prior with weights that are far from constant, and parameters."""
    prior = vp.reweighted(BASES[base](), 2, hidden=(6,), **options)
    params = jax.jit(prior.init)(KEY)
    key_base, key_weight = jax.random.split(jax.random.key(2))
    params = {"base": perturbed(params["base"], key_base, 0.3), "weight": perturbed(params["weight"], key_weight, 0.2)}
    params["weight"]["Dense_1"]["bias"] *= 0  # which the grid's function does not read
    return prior, params


def on_grid(prior, params):
    """The probability of the base in each cell in float64, and r, which is at most 1001."""
    probability, ratio = unbounded_on_grid(prior, params)
    return probability, 1.001 * ratio / (1 + ratio / 1000)


@pytest.mark.parametrize("base", ["mixture", "flow"])
def test_the_density_is_the_product_divided_by_its_integral(base):
    prior, params = made(base)
    probability, ratio = on_grid(prior, params)
    state = prior.init_state(params=params, num_draws=20_000)
    fixed = prior.apply(params, **state)
    found = np.exp(np.asarray(jax.jit(fixed.log_prob)(GRID), np.float64)) * CELL
    integral, error = (probability * ratio).sum(), float(state["normalizer_error"])
    np.testing.assert_allclose(found * float(state["normalizer"]), probability * ratio, rtol=1e-3, atol=1e-9)
    assert abs(float(state["normalizer"]) - integral) < 5 * error
    assert error == pytest.approx(np.sqrt((probability * (ratio - integral) ** 2).sum() / 20_000), rel=0.1)


@pytest.mark.parametrize(("num_proposals", "num_langevin_steps"), [(200, 0), (1, 200)])
def test_samples_have_the_density(num_proposals, num_langevin_steps):
    """Chi-square tests along two directions: of many proposals, and of Langevin steps from the base."""
    options = {"num_langevin_steps": num_langevin_steps, "step_size": 0.3}
    prior, params = made("mixture", num_proposals=num_proposals, **options)
    fixed = prior.apply(params, **prior.init_state(params=params, num_draws=100))
    z = np.asarray(jax.jit(lambda key: fixed.sample(seed=key, sample_shape=5000))(KEY))
    base, ratio = (values[NEAR] for values in on_grid(prior, params))
    for direction in (np.array([1.0, 0.0]), np.array([0.6, 0.8])):
        along = GRID[NEAR] @ direction
        order = np.argsort(along)
        edges = np.interp(np.linspace(0, 1, 13)[1:-1], np.cumsum(base[order]), along[order])
        counts = np.bincount(np.searchsorted(edges, z @ direction), minlength=12)

        def p_value(cells, along=along, edges=edges, counts=counts):
            expected = np.bincount(np.searchsorted(edges, along), cells, 12)
            return scipy.stats.chisquare(counts, len(z) * expected / expected.sum()).pvalue

        assert p_value(base * ratio) > 1e-4
        assert p_value(base) < 1e-4, "the test would not see the base alone"


def test_the_ratio_is_bounded():
    """Weights that would overflow: the density stays finite, and the error of Z within its bound."""
    prior, params = made(max_ratio=50.0)
    steep = params | {"weight": jax.tree.map(lambda leaf: 20 * leaf, params["weight"])}
    state = prior.init_state(params=steep, num_draws=10_000)
    log_ratio = np.asarray(prior.apply(steep, **state).log_weight(GRID[::97]))
    assert np.isfinite(log_ratio).all()
    assert np.exp(log_ratio.max()) == pytest.approx(51, rel=1e-3)
    normalizer, error = float(state["normalizer"]), float(state["normalizer_error"])
    assert 0 < error < np.sqrt(51 * normalizer / 10_000)


def vae_of(prior=None, scale=0.4):
    """A VAE whose encoder adds noise of a scale to its input."""
    return vp.VAE(
        encode=lambda params, x: vp.normal_diag(x, jnp.full(2, scale)),
        decode=lambda params, z: vp.normal_diag(z, jnp.ones(2)),
        prior=prior or vp.standard_normal(2),
    )


@pytest.mark.slow
def test_where_encodings_have_the_prior_nothing_changes():
    """q(z) is N(0, I): x has the variance that the encoder's noise leaves. Of six classifiers few beat chance."""
    prior, vae = vp.reweighted(vp.standard_normal(2), 2, hidden=(8,)), vae_of()
    z, changed = np.asarray(jax.random.normal(KEY, (500, 2))), 0
    exact = np.asarray(vae.latent_prior(vp.VAEParams({}, {}, {})).log_prob(z))
    for key in jax.random.split(KEY, 6):
        x = np.sqrt(1 - 0.4**2) * np.asarray(jax.random.normal(key, (1000, 2)))
        params = vp.reweight_prior(prior, vae, vp.VAEParams({}, {}, {}), key, x, num_steps=200)
        found = np.asarray(vae._replace(prior=prior).latent_prior(params).log_prob(z))
        changed += not np.allclose(found, exact, atol=1e-4)
        assert np.abs(found - exact).mean() < 0.2
    assert changed <= 1  # a chance of about 2 % each


@pytest.mark.slow
def test_the_ratio_that_is_learned_is_that_of_the_densities():
    """q(z) is a Gaussian, and the base a mixture; the fitted density comes near q(z)."""
    vae = vae_of(BASES["mixture"](), scale=0.3)
    start = vp.VAEParams({}, {}, perturbed(vae.prior.init(KEY), KEY, 0.2))
    x = np.array([0.8, -0.5]) + 0.4 * np.asarray(jax.random.normal(KEY, (4000, 2)))
    prior = vp.reweighted(vae.prior, 2, hidden=(16,))
    params = vp.reweight_prior(prior, vae, start, KEY, x, num_steps=1000, learning_rate=1e-2)
    fitted = vae._replace(prior=prior).latent_prior(params)
    jax.tree.map(np.testing.assert_array_equal, params.prior.params["base"], start.prior)
    density = scipy.stats.multivariate_normal([0.8, -0.5], 0.25)  # 0.3^2 + 0.4^2
    z = density.rvs(4000, random_state=0).astype(np.float32)
    divergence = np.mean(density.logpdf(z) - np.asarray(jax.jit(fitted.log_prob)(z)))
    before = np.mean(density.logpdf(z) - np.asarray(vae.latent_prior(start).log_prob(z)))
    assert divergence < 0.05
    assert before > 0.5
    total = np.exp(np.asarray(jax.jit(fitted.log_prob)(GRID), np.float64)).sum() * CELL
    relative = float(params.prior.state["normalizer_error"] / params.prior.state["normalizer"])
    assert abs(total - 1) < 5 * relative + 1e-3


@pytest.mark.nightly
def test_training_stops_where_held_out_encodings_say_so():
    """Few examples, with hardly any noise: a classifier that learned them by heart would give them its weight."""
    vae = vae_of(scale=0.01)
    x = np.asarray(jax.random.normal(KEY, (40, 2)))
    prior = vp.reweighted(vae.prior, 2, hidden=(100, 100))
    params = vp.reweight_prior(
        prior, vae, vp.VAEParams({}, {}, {}), KEY, x, num_steps=400, learning_rate=1e-2, held_out_fraction=0.5
    )
    fitted = vae._replace(prior=prior).latent_prior(params)
    others = np.asarray(jax.random.normal(jax.random.key(1), (2000, 2)))
    base = np.asarray(vp.standard_normal(2).apply({}).log_prob(others))
    assert np.mean(np.asarray(fitted.log_prob(others)) - base) > -0.3


def test_what_is_wrong_is_said():
    normal = vp.standard_normal(2)
    for options, message in (
        ({"num_proposals": 0}, "`num_proposals` to be an integer >= 1; got 0"),
        ({"num_langevin_steps": -1}, "`num_langevin_steps` to be an integer >= 1; got -1"),
        ({"step_size": 0.0}, "`step_size`"),
        ({"max_ratio": 1.0}, "`max_ratio` above 1, the ratio to start from; got 1.0"),
        ({"decay": -0.1}, "`decay` to be a number of at least 0 and below 1; got -0.1"),
    ):
        with pytest.raises(ValueError, match=message):
            vp.reweighted(normal, 2, **options)
    vae, params, x = vae_of(), vp.VAEParams({}, {}, {}), np.zeros((100, 2), np.float32)
    prior = vp.reweighted(normal, 2)
    with pytest.raises(TypeError, match="The order is prior, vae, params, key, x"):
        vp.reweight_prior(vae, prior, params, KEY, x)
    for other in (normal, vp.reweighted(vp.mixture(2, 3), 2)):
        with pytest.raises(ValueError, match=r"`vp.reweighted\(vae.prior, dim\)`, over the prior of the VAE"):
            vp.reweight_prior(other, vae, params, KEY, x)
    with pytest.raises(ValueError, match="`held_out_fraction` between 0 and 1; got 1.0"):
        vp.reweight_prior(prior, vae, params, KEY, x, held_out_fraction=1.0)
    with pytest.raises(ValueError, match="at least 20 examples in `x`.*; got 19"):
        vp.reweight_prior(prior, vae, params, KEY, x[:19])
