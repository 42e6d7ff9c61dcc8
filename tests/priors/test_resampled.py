"""The resampled prior: density, samples and limits, the estimate of its normaliser, and its state in training."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from tests.cases import EXEMPLARS, encode, perturbed
from vaepriors_jax.distributions.resampled import Resampled, log_density_ratio

KEY = jax.random.key(0)
BASES = {
    "standard_normal": lambda: vp.standard_normal(2),
    "mixture": lambda: vp.mixture(2, 3),
    "flow": lambda: vp.transformed(vp.standard_normal(2), vp.affine_coupling(2, hidden=(4,))),
}
AXIS = np.linspace(-12, 12, 301, dtype=np.float32)
GRID = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)
CELL = float(AXIS[1] - AXIS[0]) ** 2


def made(base="standard_normal", seed=2, **options):
    """A prior with an acceptance that is far from constant, and parameters."""
    prior = vp.resampled(BASES[base](), 2, hidden=(6,), **options)
    params = jax.jit(prior.init)(KEY)
    key_base, key_acceptance = jax.random.split(jax.random.key(seed))
    moved = perturbed(params["base"], key_base, 0.3), perturbed(params["acceptance"], key_acceptance, 1.0)
    return prior, dict(zip(("base", "acceptance"), moved, strict=True))


def sigmoid_network(params, z):
    """The network of one hidden layer in numpy, in float64."""
    first, last = (params["acceptance"][name] for name in ("Dense_0", "Dense_1"))
    raw = z @ np.asarray(first["kernel"], np.float64) + np.asarray(first["bias"], np.float64)
    raw = (raw * scipy.special.expit(raw)) @ np.asarray(last["kernel"], np.float64)
    return scipy.special.expit(raw[:, 0] + float(last["bias"][0]))


def by_quadrature(prior, params):
    """The density of the base and the acceptance on the grid in float64, and Z."""
    base = prior.inner.prior.apply(params["base"])
    density = np.exp(np.asarray(jax.jit(base.log_prob)(GRID), np.float64))
    acceptance = sigmoid_network(params, GRID.astype(np.float64))
    return density, acceptance, float((density * acceptance).sum() * CELL)


def with_normalizer(prior, params, normalizer):
    return prior.apply(params, normalizer=normalizer, normalizer_error=0.0, normalizer_key=np.zeros(2, np.uint32))


@pytest.mark.parametrize(
    ("base", "num_proposals"), [("standard_normal", 2), ("standard_normal", 100), ("mixture", 5), ("flow", 3)]
)
def test_the_density_is_that_of_truncated_rejection(base, num_proposals):
    prior, params = made(base, num_proposals=num_proposals)
    density, acceptance, normalizer = by_quadrature(prior, params)
    # The first of T - 1 proposals that is accepted, or the last one: a geometric series.
    repeated = sum((1 - normalizer) ** t for t in range(num_proposals - 1))
    expected = density * (acceptance * repeated + (1 - normalizer) ** (num_proposals - 1))
    fixed = with_normalizer(prior, params, normalizer)
    found = np.exp(np.asarray(jax.jit(fixed.log_prob)(GRID), np.float64))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-12)
    assert found.sum() * CELL == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("num_proposals", [2, 6])
def test_samples_have_that_density(num_proposals):
    """A chi-square test over cells that are about equally probable along two directions."""
    prior, params = made("mixture", num_proposals=num_proposals)
    density, acceptance, normalizer = by_quadrature(prior, params)
    fixed = with_normalizer(prior, params, normalizer)
    probability = np.exp(np.asarray(jax.jit(fixed.log_prob)(GRID), np.float64)) * CELL
    z = np.asarray(jax.jit(lambda key: fixed.sample(seed=key, sample_shape=20_000))(KEY))
    for direction in (np.array([1.0, 0.0]), np.array([0.6, 0.8])):
        along = GRID @ direction
        order = np.argsort(along)
        edges = np.interp(np.linspace(0, 1, 21)[1:-1], np.cumsum(probability[order]), along[order])
        expected = np.bincount(np.searchsorted(edges, along), probability, 20)
        counts = np.bincount(np.searchsorted(edges, z @ direction), minlength=20)
        assert scipy.stats.chisquare(counts, len(z) * expected / expected.sum()).pvalue > 1e-4
    base = prior.inner.prior.apply(params["base"])
    other = np.asarray(jax.jit(lambda key: base.sample(seed=key, sample_shape=20_000))(KEY))
    assert scipy.stats.ks_2samp(z[:, 0], other[:, 0]).pvalue < 1e-4, "the test would not see the base alone"
    assert abs(acceptance.max() - acceptance.min()) > 0.5
    assert density.sum() * CELL == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_limits():
    """One proposal gives the base, and so does a constant acceptance; many give the base times a(z) / Z."""
    prior, params = made(num_proposals=1)
    z = GRID[::1501]
    base = np.asarray(vp.standard_normal(2).apply({}).log_prob(z))
    np.testing.assert_allclose(with_normalizer(prior, params, 0.3).log_prob(z), base, rtol=1e-6)
    assert with_normalizer(prior, params, 0.3).sample(seed=KEY, sample_shape=5).shape == (5, 2)
    constant = vp.resampled(vp.standard_normal(2), 2, num_proposals=7, hidden=(6,))
    of_constant = jax.jit(jax.value_and_grad(lambda params, state: constant.apply(params, **state).log_prob(z).sum()))
    for bias in (0.0, -3.0, 40.0):  # at 40 a(z) is 1 in float32
        start = constant.init(KEY)
        start["acceptance"]["Dense_1"]["bias"] = jnp.array([bias])
        state = constant.init_state(params=start, num_draws=10)
        found, gradient = of_constant(start, state)
        assert float(found) == pytest.approx(base.sum(), rel=1e-5)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    _, acceptance, normalizer = by_quadrature(prior, params)
    many = vp.resampled(vp.standard_normal(2), 2, num_proposals=100_000, hidden=(6,))
    found = with_normalizer(many, params, normalizer).log_prob(z)
    np.testing.assert_allclose(found, base + np.log(acceptance[::1501] / normalizer), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalizer", [0.0, 1e-30, 1e-6, 0.3, 1 - 1e-7, 1.0])
@pytest.mark.parametrize("num_proposals", [2, 3, 1000])
def test_the_ratio_of_densities_is_finite_with_its_gradient(normalizer, num_proposals):
    log_acceptance = jnp.array([-80.0, -1.0, -1e-3, 0.0])

    def total(log_acceptance, normalizer):
        return jnp.sum(log_density_ratio(log_acceptance, normalizer, num_proposals))

    value, gradient = jax.value_and_grad(total, (0, 1))(log_acceptance, jnp.float32(normalizer))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in gradient)
    if 1e-30 < normalizer < 0.9:
        exact = np.float64(normalizer)
        repeated = -np.expm1((num_proposals - 1) * np.log1p(-exact)) / exact
        terms = np.log(repeated * np.exp(np.float64(log_acceptance)) + (1 - exact) ** (num_proposals - 1))
        assert float(value) == pytest.approx(terms.sum(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_the_estimate_of_the_normalizer_has_its_error_and_its_gradient(base):
    prior, params = made(base, num_draws=4000)
    density, acceptance, normalizer = by_quadrature(prior, params)
    state = prior.init_state(params=params, key=jax.random.key(3), num_draws=50_000)
    error = float(state["normalizer_error"])
    spread = np.sqrt((density * (acceptance - normalizer) ** 2).sum() * CELL)
    assert error == pytest.approx(spread / np.sqrt(50_000), rel=0.05)
    assert abs(float(state["normalizer"]) - normalizer) < 5 * error

    def on_grid(params):
        own = prior.inner.prior.apply(params["base"])
        accept = with_normalizer(prior, params, 0.5)
        return CELL * jnp.sum(jnp.exp(own.log_prob(GRID) + accept._log_acceptance(GRID)))

    def estimated(params, words):
        return prior.apply(params, normalizer=normalizer, normalizer_error=0.0, normalizer_key=words).normalizer

    expected = jax.flatten_util.ravel_pytree(jax.jit(jax.grad(on_grid))(params))[0]
    keys = jax.random.bits(KEY, (100, 2), jnp.uint32)
    value, gradient = jax.jit(jax.lax.map, static_argnums=0)(
        lambda words: jax.value_and_grad(estimated)(params, words), keys
    )
    np.testing.assert_allclose(value, normalizer, rtol=1e-6)  # the value of the state, the gradient of the draws
    found = np.stack(
        [np.ravel(leaf) for leaf in jax.vmap(lambda tree: jax.flatten_util.ravel_pytree(tree)[0])(gradient)]
    )
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) < 5 * error + 1e-5).all()
    assert np.abs(expected).max() > 20 * error.max()


def vae_with(prior):
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(params @ x, jnp.full(2, 0.3)),
        decode=lambda params, z: vp.bernoulli(params @ z),
        prior=prior,
    )
    networks = 0.5 * jax.random.normal(KEY, (2, 2, 6))
    params = vp.VAEParams(networks[0], networks[1].T, perturbed(prior.init(KEY), KEY, 0.5))
    return vae, params


X = np.float32(np.random.default_rng(2).random((200, 6)) < 0.4)


def test_a_step_moves_the_running_mean_and_draws_anew():
    prior = vp.resampled(vp.mixture(2, 2), 2, hidden=(6,), num_draws=100, decay=0.9)
    vae, params = vae_with(vp.transformed(prior, vp.affine_coupling(2, hidden=(4,))))
    params = vp.init_prior_state(vae, params)
    before = params.prior.state
    own = params.prior.params["base"]
    # The mean over the draws of this step, through the gradient-free density without a state.
    base = vp.mixture(2, 2).apply(own["base"])
    z = base.sample(seed=jax.random.wrap_key_data(before["normalizer_key"]), sample_shape=100)
    a = sigmoid_network(own, np.asarray(z, np.float64))
    step = vp.make_train_step(vae, optax.sgd(0.1))
    state, _ = step(vp.init_train_state(params, optax.sgd(0.1)), KEY, {"x": X[:20]})
    after = state.params.prior.state
    assert float(after["normalizer"]) == pytest.approx(0.9 * float(before["normalizer"]) + 0.1 * a.mean(), rel=1e-5)
    expected = np.hypot(0.9 * float(before["normalizer_error"]), 0.1 * a.std() / 10)
    assert float(after["normalizer_error"]) == pytest.approx(expected, rel=1e-4)
    assert (after["normalizer_key"] != before["normalizer_key"]).any()


@pytest.mark.nightly
def test_runs_are_resumed_replicated_and_saved_with_the_state(tmp_path):
    vae, params = vae_with(vp.resampled(vp.standard_normal(2), 2, hidden=(4,), num_draws=50))
    params = vp.init_prior_state(vae, params, num_draws=500)
    options = {"progress": False, "batch_size": 50, "validation": {"x": X[:20]}}

    def run(params, key, num_epochs, **more):
        return vp.fit(vae, params, key, {"x": X}, optax.adam(0.01), num_epochs=num_epochs, **options, **more)

    whole = run(params, KEY, 2)
    run(params, KEY, 1, checkpoints=tmp_path / "run")
    resumed = run(params, KEY, 2, checkpoints=tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, (resumed.params, resumed.state), (whole.params, whole.state))
    keys = jnp.stack([KEY, jax.random.key(5)])
    replicas = run(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params), keys, 2).params.prior.state
    np.testing.assert_allclose(replicas["normalizer"][0], whole.params.prior.state["normalizer"], rtol=1e-4)
    assert replicas["normalizer"][0] != replicas["normalizer"][1]
    vp.save_model(tmp_path / "model", vae.prior, whole.params)
    prior, loaded = vp.load_model(tmp_path / "model")
    assert prior == vae.prior
    jax.tree.map(np.testing.assert_array_equal, loaded.prior.state, whole.params.prior.state)


@pytest.mark.slow
def test_training_finds_what_no_gaussian_has_and_keeps_the_normalizer():
    """A ring: the acceptance hollows out a Gaussian, and the running mean stays near the integral."""
    key_angle, key_radius = jax.random.split(KEY)
    angle = jax.random.uniform(key_angle, (4000,), maxval=2 * np.pi)
    ring = jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1) * (1.6 + 0.1 * jax.random.normal(key_radius, (4000, 1)))
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(x, jnp.full(2, 0.05)),
        decode=lambda params, z: vp.normal_diag(z, jnp.ones(2)),
        prior=vp.standard_normal(2),
    )
    prior = vp.resampled(vp.standard_normal(2), 2, hidden=(16, 16), num_proposals=50)
    params = vp.fit_prior(
        prior, vae, vp.VAEParams({}, {}, {}), KEY, np.asarray(ring), num_steps=200, learning_rate=2e-2
    )
    fixed = vae._replace(prior=prior).latent_prior(params)
    base = float(vp.standard_normal(2).apply({}).log_prob(ring).mean())
    density = np.exp(np.asarray(jax.jit(fixed.log_prob)(GRID), np.float64))
    assert density.sum() * CELL == pytest.approx(1, abs=0.01)
    assert float(jax.jit(fixed.log_prob)(ring).mean()) > base + 0.4
    radius = np.linalg.norm(jax.jit(lambda key: fixed.sample(seed=key, sample_shape=2000))(KEY), axis=1)
    assert (np.abs(radius - 1.6) < 0.5).mean() > 0.6  # of N(0, I) it is 0.44
    assert isinstance(fixed, Resampled)


@pytest.mark.slow
def test_log_marginal_says_what_the_error_means():
    prior = vp.resampled(vp.standard_normal(2), 2, hidden=(6,))
    vae, params = vae_with(prior)
    params = vp.init_prior_state(vae, params, num_draws=1000)
    found = vp.log_marginal(vae, params, KEY, X[:5], num_samples=200)
    state = params.prior.state
    relative = float(state["normalizer_error"] / state["normalizer"])
    # With T = 100 the density is that of a(z) / Z.
    np.testing.assert_allclose(found.normalizer_error, relative, rtol=1e-3)
    np.testing.assert_allclose(found.normalizer_bias, relative**2 / 2, rtol=1e-2)
    moved = {**state, "normalizer": state["normalizer"] + state["normalizer_error"]}
    other = vp.log_marginal(
        vae, params._replace(prior=vp.Variables(params.prior.params, moved)), KEY, X[:5], num_samples=200
    )
    np.testing.assert_allclose(found.values - other.values, found.normalizer_error, rtol=0.05)
    said = vp.evaluation.report(vae, params, KEY, X[:15], num_samples=100)
    assert said.likelihood.normalizer_error == pytest.approx(relative, rel=0.01)
    for words in ("with an estimated density", "on average log p(x) is too high by"):
        assert words in str(said)
    vae, params = vae_with(vp.standard_normal(2))
    assert vp.log_marginal(vae, params, KEY, X[:5], num_samples=20).normalizer_error is None


@pytest.mark.slow
def test_over_an_exemplar_prior_both_states_are_kept():
    prior = vp.resampled(vp.exemplar(2, num_neighbors=2), 2, hidden=(4,))
    vae, params = vae_with(prior)
    params = vp.init_prior_state(vae, params, x=X[:40], num_draws=500)
    step = vp.make_train_step(vae, optax.sgd(0.1))
    batch = {"x": X[:5], "index": np.arange(5)}
    state, metrics = step(vp.init_train_state(params, optax.sgd(0.1)), KEY, batch)
    assert state.params.prior.state.keys() == {"exemplars", "encodings", *params.prior.state.keys()}
    assert np.isfinite(metrics.elbo)
    assert (state.params.prior.state["normalizer"] != params.prior.state["normalizer"]).all()


@pytest.mark.slow
def test_two_levels_and_vampprior_read_the_encoder():
    prior = vp.two_level(vp.resampled(vp.exemplar(1), 1, hidden=(4,)), 1, 1, hidden=(4,))
    vae, params = vae_with(prior)
    params = vp.init_prior_state(vae, params, x=X[:40], num_draws=500)
    assert np.isfinite(jax.jit(lambda params: vp.elbo(vae, params, KEY, X[0]).elbo)(params))
    vamp = vp.resampled(vp.vamp(3, (6,)), 2, hidden=(4,))
    start = vamp.init(KEY)
    fixed = vamp.apply(start, encode=encode, **vamp.init_state(params=start, encode=encode, num_draws=500))
    assert isinstance(fixed.base, distrax.Distribution)
    assert fixed.sample(seed=KEY, sample_shape=3).shape == (3, 2)
    assert EXEMPLARS.shape[1:] == (6,)


def test_what_is_wrong_is_said():
    normal = vp.standard_normal(2)
    for options, message in (
        ({"num_proposals": 0}, "`num_proposals` to be an integer >= 1; got 0"),
        ({"decay": 1.0}, "`decay` to be a number of at least 0 and below 1; got 1.0"),
        ({"hidden": (0,)}, "`hidden` to be a shape"),
        ({"num_draws": 0.5}, "`num_draws` to be an integer >= 1; got 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            vp.resampled(normal, 2, **options)
    with pytest.raises(
        ValueError, match=r"reads no condition, on which its normaliser would depend; conditional_normal.* reads 'y'"
    ):
        vp.resampled(vp.conditional_normal(2, num_classes=3), 2)
    prior = vp.resampled(normal, 3)
    with pytest.raises(
        ValueError, match=r"a base prior over vectors of dim=3; standard_normal\(dim=2\) is over \(2,\)"
    ):
        prior.init_state(params=prior.init(KEY))
    vae, params = vae_with(vp.resampled(normal, 2, hidden=(4,)))
    step = vp.make_train_step(vae, optax.sgd(0.1))
    with pytest.raises(
        ValueError, match=r"with the state of the prior resampled.*; they have none. .*init_prior_state"
    ):
        step(vp.init_train_state(params, optax.sgd(0.1)), KEY, {"x": X[:5]})
    with pytest.raises(ValueError, match="with the state of the prior"):
        vp.fit(vae, params, KEY, {"x": X}, optax.sgd(0.1), num_epochs=1, progress=False)
