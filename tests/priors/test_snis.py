"""The SNIS prior: its density for every K, its samples, the estimate of the density, and training."""

import math

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from tests.cases import SNIS_STATE, perturbed
from tests.priors.test_resampled import BASES, CELL, GRID, KEY, X, vae_with
from vaepriors_jax.distributions.proposals import choose_proposal


def made(base="standard_normal", seed=2, size=0.7, **options):
    """A prior with weights that are far from constant, and parameters."""
    prior = vp.snis(BASES[base](), 2, hidden=(6,), **options)
    params = jax.jit(prior.init)(KEY)
    key_base, key_weight = jax.random.split(jax.random.key(seed))
    moved = perturbed(params["base"], key_base, 0.3), perturbed(params["weight"], key_weight, size)
    return prior, dict(zip(("base", "weight"), moved, strict=True))


def log_weight(params, z):
    """log f in numpy, in float64."""
    first, last = (params["weight"][name] for name in ("Dense_0", "Dense_1"))
    raw = z @ np.asarray(first["kernel"], np.float64) + np.asarray(first["bias"], np.float64)
    return ((raw * scipy.special.expit(raw)) @ np.asarray(last["kernel"], np.float64))[:, 0]


def on_grid(prior, params):
    """The probability of the base in each cell in float64, and f."""
    base = prior.inner.prior.apply(params["base"])
    probability = np.exp(np.asarray(jax.jit(base.log_prob)(GRID), np.float64)) * CELL
    return probability / probability.sum(), np.exp(log_weight(params, GRID.astype(np.float64)))


@pytest.mark.slow
@pytest.mark.parametrize("base", ["mixture", "flow"])
def test_the_density_of_two_proposals_is_that_of_the_pair_that_is_chosen_from(base):
    """p(z) = 2 pi(z) sum over the other proposal of pi f(z) / (f(z) + f): a double sum over a grid."""
    prior, params = made(base, num_proposals=2)
    probability, f = on_grid(prior, params)
    rows = np.flatnonzero(probability * f > 1e-9)[::211]
    exact = np.array([2 * (probability * f[row] / (f[row] + f)).sum() for row in rows])
    kept = probability > 1e-10
    sums, weights = np.float32(np.log(f[kept])[:, None]), np.float32(kept.sum() * probability[kept])
    state = {**SNIS_STATE, "log_sums": sums, "normalizer": weights}
    fixed = prior.apply(params, **state)
    log_base = prior.inner.prior.apply(params["base"]).log_prob(GRID[rows])
    np.testing.assert_allclose(fixed.log_prob(GRID[rows]) - log_base, np.log(exact), atol=2e-4)
    assert np.ptp(np.log(exact)) > 0.5


@pytest.mark.slow
def test_samples_have_the_density_that_the_state_estimates():
    """Chi-square tests along two directions, for K where the limit of many proposals is far."""
    prior, params = made("mixture", num_proposals=4)
    fixed = prior.apply(params, **prior.init_state(params=params, num_draws=3 * 16 * 200))
    near = np.abs(GRID).max(1) < 6
    probability = np.exp(np.asarray(jax.jit(fixed.log_prob)(GRID[near]), np.float64)) * CELL
    assert probability.sum() == pytest.approx(1, abs=0.03)
    z = np.asarray(jax.jit(lambda key: fixed.sample(seed=key, sample_shape=10_000))(KEY))
    base, f = (values[near] for values in on_grid(prior, params))
    limit = base * f / (base * f).sum()
    for direction in (np.array([1.0, 0.0]), np.array([0.6, 0.8])):
        along = GRID[near] @ direction
        order = np.argsort(along)
        edges = np.interp(np.linspace(0, 1, 16)[1:-1], np.cumsum(base[order]) / base.sum(), along[order])
        counts = np.bincount(np.searchsorted(edges, z @ direction), minlength=15)

        def p_value(cells, along=along, edges=edges, counts=counts):
            expected = np.bincount(np.searchsorted(edges, along), cells, 15)
            return scipy.stats.chisquare(counts, len(z) * expected / expected.sum()).pvalue

        assert p_value(probability) > 1e-4
        assert min(p_value(base), p_value(limit)) < 1e-4, "the test would not see another density"


@pytest.mark.slow
def test_constant_weights_give_the_base_and_no_density_is_above_k_times_the_base():
    prior, params = made(num_proposals=7)
    start = prior.init(KEY)
    z, base = GRID[::1501], np.asarray(vp.standard_normal(2).apply({}).log_prob(GRID[::1501]))
    state = prior.init_state(params=start, num_draws=100)
    np.testing.assert_allclose(prior.apply(start, **state).log_prob(z), base, rtol=1e-6, atol=1e-5)
    steep = jax.tree.map(lambda leaf: 30 * leaf, params)
    found = prior.apply(steep, **prior.init_state(params=steep, num_draws=100)).log_prob(z)
    assert np.isfinite(found).all()
    assert (np.asarray(found) - base).max() == pytest.approx(math.log(7), abs=1e-3)


@pytest.mark.slow
def test_the_log_density_is_too_low_and_its_error_and_bias_are_those_of_other_draws():
    prior, params = made(num_proposals=4)
    vae, start = vae_with(prior)
    start = start._replace(prior=params)
    make = jax.jit(lambda key: prior.init_state(params=params, key=key, num_draws=3 * 64))

    def evaluate(state):
        return vp.log_marginal(vae, start._replace(prior=vp.Variables(params, state)), KEY, X[:6], num_samples=50)

    found = [evaluate(make(key)) for key in jax.random.split(KEY, 40)]
    values = np.stack([one.values for one in found])
    exact = evaluate(prior.init_state(params=params, num_draws=3 * 2**12))
    spread, bias = values.std(0, ddof=1), (values - exact.values).mean(0)
    np.testing.assert_allclose(np.mean([one.normalizer_error for one in found], 0), spread, rtol=0.3)
    of_bias = spread / np.sqrt(len(values)) + np.asarray(exact.normalizer_error)
    said = np.mean([one.normalizer_bias for one in found], 0)
    assert (np.abs(bias - said) < 4 * of_bias).all()
    assert (said < 0).all()
    assert (np.asarray(exact.normalizer_error) < spread / 4).all()


@pytest.mark.slow
def test_the_gradient_is_that_of_the_density_for_many_proposals():
    """In f and in the base, against the limit of many proposals on a grid."""
    prior, params = made("mixture", num_proposals=2000, size=0.3)
    z = GRID[np.linspace(0, len(GRID) - 1, 900).astype(int)]
    z = z[np.abs(z).max(1) < 4]

    def limit(params):
        base = prior.inner.prior.apply(params["base"])
        f = prior.apply(params, **state)._log_weight
        log_normalizer = jax.nn.logsumexp(base.log_prob(GRID) + f(GRID)) + math.log(CELL)
        return jnp.mean(base.log_prob(z) + f(z)) - log_normalizer

    def estimated(params, words):
        return jnp.mean(prior.apply(params, **{**state, "normalizer_key": words}).log_prob(z))

    state = prior.init_state(params=params, num_draws=100)
    expected = jax.flatten_util.ravel_pytree(jax.jit(jax.grad(limit))(params))[0]
    keys = jax.random.bits(KEY, (60, 2), jnp.uint32)
    found = jax.jit(lambda keys: jax.lax.map(lambda words: jax.grad(estimated)(params, words), keys))(keys)
    found = np.asarray(jax.vmap(lambda tree: jax.flatten_util.ravel_pytree(tree)[0])(found))
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) < 5 * error + 3e-3).all()
    assert np.abs(expected).max() > 0.1


@pytest.mark.slow
def test_a_step_renews_the_oldest_sums():
    prior = vp.snis(vp.mixture(2, 2), 2, hidden=(6,), num_proposals=20, num_sums=5)
    vae, params = vae_with(prior)
    params = vp.init_prior_state(vae, params, num_draws=19 * 32)
    before = params.prior.state
    own = params.prior.params
    z = (
        vp.mixture(2, 2)
        .apply(own["base"])
        .sample(seed=jax.random.wrap_key_data(before["normalizer_key"]), sample_shape=(5, 19))
    )
    new = scipy.special.logsumexp(log_weight(own, np.asarray(z, np.float64).reshape(-1, 2)).reshape(5, 19), axis=1)
    state, metrics = vp.make_train_step(vae, optax.sgd(0.1))(
        vp.init_train_state(params, optax.sgd(0.1)), KEY, {"x": X[:20]}
    )
    after = state.params.prior.state
    assert np.isfinite(metrics.elbo)
    np.testing.assert_allclose(after["log_sums"].reshape(-1)[:5], new, rtol=1e-5)
    np.testing.assert_array_equal(after["log_sums"].reshape(-1)[5:], before["log_sums"].reshape(-1)[:-5])
    assert (after["normalizer_key"] != before["normalizer_key"]).any()


@pytest.mark.parametrize(("num_proposals", "n"), [(5, 3), (700, 10_000)])
def test_a_choice_in_blocks_takes_the_proposals_by_their_weights(num_proposals, n):
    """The proposals are 0 or 1 alike, with weights 1 and 3: the share of ones is known for many proposals."""
    base = vp.from_distribution(_coin()).apply({})
    z = choose_proposal(KEY, base, lambda z: jnp.log(3.0) * z[..., 0], num_proposals, n)
    assert z.shape == (n, 1)
    ones = np.arange(num_proposals + 1)
    chance = scipy.stats.binom.pmf(ones, num_proposals, 0.5) * 3 * ones / (3 * ones + num_proposals - ones)
    assert abs(float(z.mean()) - chance.sum()) < 4.5 * np.sqrt(chance.sum() * (1 - chance.sum()) / n)


def _coin():
    return distrax.Independent(distrax.Bernoulli(probs=jnp.array([0.5]), dtype=jnp.float32), 1)


def test_what_is_wrong_is_said():
    normal = vp.standard_normal(2)
    for options, message in (
        ({"num_proposals": 1}, "`num_proposals` to be an integer >= 2; got 1"),
        ({"num_sums": 0}, "`num_sums` to be an integer >= 1; got 0"),
        ({"hidden": (0,)}, "`hidden` to be a shape"),
    ):
        with pytest.raises(ValueError, match=message):
            vp.snis(normal, 2, **options)
    with pytest.raises(ValueError, match=r"reads no condition, .*; conditional_normal.* reads 'y'"):
        vp.snis(vp.conditional_normal(2, num_classes=3), 2)
    nested = vp.snis(vp.resampled(normal, 2, hidden=()), 2, hidden=())
    with pytest.raises(ValueError, match=r"without a normaliser of its own; resampled\(.*has one in its state"):
        nested.init_state(params=nested.init(KEY), num_draws=10)
