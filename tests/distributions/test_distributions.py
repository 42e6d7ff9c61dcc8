"""Distributions against scipy, scikit-learn and TFP: 1e-5 relative in float32, 1e-10 in float64."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.mixture import GaussianMixture
from tensorflow_probability.substrates import jax as tfp

import vaepriors_jax as vp
from vaepriors_jax.distributions.normal import normal_of_outputs

RNG = np.random.default_rng(0)
DIM, K = 4, 6
LOC = RNG.normal(size=(K, DIM)) * 2
SCALE = np.exp(RNG.normal(size=(K, DIM)) * 0.5)
LOWER = np.tril(RNG.normal(size=(K, DIM, DIM)) * 0.5, -1) + np.eye(DIM) * SCALE[:, None, :]
WEIGHTS = RNG.dirichlet(np.ones(K))
Z = RNG.normal(size=(50, DIM)) * 3


def precisions():
    return [(jnp.float32, 1e-5), (jnp.float64, 1e-10)]


def check(make, reference, values=Z):
    """Compares `make(dtype).log_prob` with a float64 reference at both precisions."""
    for dtype, tolerance in precisions():
        with jax.enable_x64(dtype == jnp.float64), jax.numpy_dtype_promotion("strict"):
            found = make(dtype).log_prob(jnp.asarray(values, dtype))
            assert found.dtype == dtype
        np.testing.assert_allclose(found, reference, rtol=tolerance, atol=tolerance)


def diagonal(dtype):
    return vp.DiagonalMixture(*(jnp.asarray(a, dtype) for a in (np.log(WEIGHTS), LOC, SCALE)))


def full(dtype):
    return vp.FullMixture(*(jnp.asarray(a, dtype) for a in (np.log(WEIGHTS), LOC, LOWER)))


def test_normal_diag_against_scipy():
    reference = scipy.stats.multivariate_normal(LOC[0], np.diag(SCALE[0] ** 2)).logpdf(Z)
    check(lambda dtype: vp.normal_diag(jnp.asarray(LOC[0], dtype), jnp.asarray(SCALE[0], dtype)), reference)


def test_diagonal_mixture_against_scipy():
    terms = [
        np.log(w) + scipy.stats.multivariate_normal(m, np.diag(s**2)).logpdf(Z)
        for w, m, s in zip(WEIGHTS, LOC, SCALE, strict=True)
    ]
    check(diagonal, scipy.special.logsumexp(terms, axis=0))


def test_mixtures_against_scikit_learn():
    for kind, make in (("diag", diagonal), ("full", full)):
        model = GaussianMixture(K, covariance_type=kind)
        model.weights_, model.means_ = WEIGHTS, LOC
        covariances = LOWER @ LOWER.swapaxes(-1, -2)
        model.precisions_cholesky_ = (
            1 / SCALE if kind == "diag" else np.stack([np.linalg.inv(np.linalg.cholesky(c)).T for c in covariances])
        )
        check(make, model.score_samples(Z))
        np.testing.assert_allclose(
            make(jnp.float32).responsibilities(jnp.asarray(Z, jnp.float32)), model.predict_proba(Z), atol=1e-5
        )


def test_diagonal_mixture_against_tfp():
    tfd = tfp.distributions
    reference = tfd.MixtureSameFamily(
        tfd.Categorical(probs=np.float32(WEIGHTS)), tfd.MultivariateNormalDiag(np.float32(LOC), np.float32(SCALE))
    )
    z = jnp.asarray(Z, jnp.float32)
    found = diagonal(jnp.float32)
    np.testing.assert_allclose(found.log_prob(z), reference.log_prob(z), rtol=1e-5)
    np.testing.assert_allclose(found.mean(), reference.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.variance(), reference.variance(), rtol=1e-5)


@pytest.mark.parametrize("make", [diagonal, full], ids=["diagonal", "full"])
def test_mixture_samples_have_its_moments(make):
    fixed = make(jnp.float32)
    z = np.asarray(fixed.sample(seed=jax.random.key(0), sample_shape=100_000), np.float64)
    error = z.std(0) / np.sqrt(len(z))
    assert (np.abs(z.mean(0) - fixed.mean()) < 5 * error).all()
    squares = (z - np.asarray(fixed.mean(), np.float64)) ** 2
    assert (np.abs(squares.mean(0) - fixed.variance()) < 5 * squares.std(0) / np.sqrt(len(z))).all()
    # How often each component is chosen, through the responsibilities: E_p[r_k] = w_k.
    responsibilities = np.asarray(fixed.responsibilities(z[:20_000].astype(np.float32)), np.float64)
    error = responsibilities.std(0) / np.sqrt(len(responsibilities))
    assert (np.abs(responsibilities.mean(0) - WEIGHTS) < 5 * error).all()


def test_general_mixture_agrees_with_the_diagonal_one():
    one = diagonal(jnp.float32)
    general = vp.Mixture(one.log_weights, one.parameters, lambda slice_: vp.normal_diag(*slice_))
    z = jnp.asarray(Z, jnp.float32)
    assert general.event_shape == (DIM,)
    np.testing.assert_allclose(general.log_prob(z), one.log_prob(z), rtol=1e-5)
    np.testing.assert_allclose(general.mean(), one.mean(), rtol=1e-5)
    np.testing.assert_allclose(general.variance(), one.variance(), rtol=1e-5)
    samples = general.sample(seed=jax.random.key(0), sample_shape=20_000)
    assert (np.abs(samples.mean(0) - one.mean()) < 5 * samples.std(0) / np.sqrt(20_000)).all()


def test_mixture_far_away_keeps_a_finite_gradient():
    z = jnp.full(DIM, 1e4)
    value, gradient = jax.value_and_grad(diagonal(jnp.float32).log_prob)(z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("logit", [0.0, 1.0, -20.0, 104.0, -104.0, 1e6, -1e30])
def test_bernoulli_is_stable_at_any_logit(logit):
    for x in (0.0, 1.0):
        value, gradient = jax.value_and_grad(lambda logit: vp.bernoulli(logit).log_prob(jnp.array([x])))(  # noqa: B023
            jnp.array([logit])
        )
        expected = scipy.special.log_expit(logit if x else -logit)
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(gradient, x - scipy.special.expit(logit), rtol=1e-5, atol=1e-7)


def test_bernoulli_against_scipy_and_its_samples():
    logits = RNG.normal(size=(3, 5)) * 3
    x = RNG.integers(0, 2, size=(7, 3, 5))
    reference = scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x).sum((1, 2))
    check(lambda dtype: vp.bernoulli(jnp.asarray(logits, dtype)), reference, x)
    fixed = vp.bernoulli(jnp.asarray(logits, jnp.float32))
    samples = fixed.sample(seed=jax.random.key(0), sample_shape=50_000)
    assert set(np.unique(samples)) == {0.0, 1.0}
    error = np.sqrt(np.asarray(fixed.variance()) / 50_000)
    assert (np.abs(samples.mean(0) - fixed.mean()) < 5 * error).all()


def test_distributions_are_safe_under_vmap():
    loc = jnp.asarray(LOC, jnp.float32)
    mapped = jax.vmap(lambda m: vp.normal_diag(m, jnp.ones(DIM)).log_prob(jnp.zeros(DIM)))(loc)
    expected = distrax.MultivariateNormalDiag(loc, jnp.ones_like(loc)).log_prob(jnp.zeros(DIM))
    np.testing.assert_allclose(mapped, expected, rtol=1e-5)


@pytest.mark.parametrize("dim", [3, 40])
def test_fast_density_against_float64_for_small_scales_and_far_means(dim):
    """Scales from e^-3 to e^1, means up to 10, K = 500: 1e-4 nats, gradients 1e-3 relative."""
    rng = np.random.default_rng(1)
    loc, log_scale = rng.uniform(-10, 10, (500, dim)), rng.uniform(-3, 1, (500, dim))
    log_weights = np.log(rng.dirichlet(np.ones(500)))
    near = rng.integers(0, 500, 100)
    z = loc[near] + np.exp(log_scale[near]) * rng.normal(size=(100, dim))
    z = np.concatenate([z, rng.uniform(-12, 12, (20, dim))])

    def density(z, log_weights, loc, log_scale):
        return vp.DiagonalMixture(log_weights, loc, jnp.exp(log_scale)).log_prob(z)

    def total(*arrays):
        return density(*arrays)[:100].sum()

    def run(dtype):
        with jax.enable_x64(dtype == jnp.float64):
            arrays = [jnp.asarray(a, dtype) for a in (z, log_weights, loc, log_scale)]
            found = jax.jit(density)(*arrays), jax.jit(jax.grad(total, (0, 1, 2, 3)))(*arrays)
            return jax.tree.map(lambda a: np.asarray(a, np.float64), found)

    single, single_gradient = run(jnp.float32)
    double, double_gradient = run(jnp.float64)
    terms = [
        lw + scipy.stats.norm(m, np.exp(s)).logpdf(z).sum(1)
        for lw, m, s in zip(log_weights, loc, log_scale, strict=True)
    ]
    np.testing.assert_allclose(double, scipy.special.logsumexp(terms, axis=0), rtol=1e-10)
    scale_of_value = np.maximum(1, np.abs(double) / 100)  # float32 itself holds 1e-5 of a value of 100
    assert (np.abs(single - double) / scale_of_value).max() < 1e-4
    for a, b in zip(single_gradient, double_gradient, strict=True):
        assert np.abs(a - b).max() < 1e-3 * np.abs(b).max()


def test_fast_density_keeps_equal_components_and_those_switched_off():
    equal = vp.DiagonalMixture(jnp.log(jnp.full(40, 0.025)), jnp.zeros((40, 3)), jnp.ones((40, 3)))
    assert equal.log_prob(jnp.ones(3)) == pytest.approx(
        float(vp.normal_diag(jnp.zeros(3), jnp.ones(3)).log_prob(jnp.ones(3)))
    )

    def density(z, logits):
        log_weights = jax.nn.log_softmax(jnp.where(jnp.arange(40) < 3, logits, -jnp.inf))
        return vp.DiagonalMixture(log_weights, jnp.arange(120.0).reshape(40, 3), jnp.ones((40, 3))).log_prob(z)

    value, gradient = jax.value_and_grad(density, (0, 1))(jnp.ones(3), jnp.zeros(40))
    first = vp.DiagonalMixture(jnp.log(jnp.full(3, 1 / 3)), jnp.arange(9.0).reshape(3, 3), jnp.ones((3, 3)))
    assert value == pytest.approx(float(first.log_prob(jnp.ones(3))), rel=1e-5)
    assert all(np.isfinite(g).all() for g in gradient)
    none = vp.DiagonalMixture(jnp.full(40, -jnp.inf), *equal.parameters)
    value, gradient = jax.value_and_grad(none.log_prob)(jnp.ones(3))
    assert value == -jnp.inf
    assert np.isfinite(gradient).all()


def test_fast_density_is_exact_where_many_components_overlap():
    """Two groups of 30 small components at +-10: a few leading ones computed exactly would not do."""
    rng = np.random.default_rng(3)
    loc = np.repeat(rng.choice([-10.0, 10.0], (2, 8)), 30, axis=0) + rng.normal(size=(60, 8)) * 0.01
    loc, z = np.float32(loc), np.float32(loc[::3] + rng.normal(size=(20, 8)) * 0.05)
    mixture = vp.DiagonalMixture(jnp.full(60, -jnp.log(60)), jnp.asarray(loc), jnp.full((60, 8), 0.05))
    terms = scipy.stats.norm(loc[:, None].astype(np.float64), np.float64(np.float32(0.05))).logpdf(z).sum(-1)
    expected = scipy.special.logsumexp(terms, axis=0) - np.log(60)
    np.testing.assert_allclose(mixture.log_prob(jnp.asarray(z)), expected, atol=1e-4)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("dim", [3, 40])
def test_fast_gradient_is_right_where_many_components_overlap(dim, backend, monkeypatch):
    """Ten groups of small components at +-10, each point shared by many: products of z^2 would be 2e-2 off."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(5)
    loc = np.repeat(rng.choice([-10.0, 10.0], (10, dim)), 20, axis=0) + rng.normal(size=(200, dim)) * 0.01
    scale, logits = np.full((200, dim), np.exp(-3)), rng.normal(size=200)
    z = loc[rng.integers(0, 200, 50)] + rng.normal(size=(50, dim)) * np.exp(-3)
    arrays = [jnp.asarray(array, jnp.float32) for array in (z, logits, loc, scale)]

    def total(z, logits, loc, scale):
        return jnp.sum(vp.DiagonalMixture(jax.nn.log_softmax(logits), loc, scale).log_prob(z))

    z, logits, loc, scale = (np.asarray(array, np.float64) for array in arrays)
    standard = (z[:, None] - loc) / scale
    joint = logits - 0.5 * (standard**2).sum(-1) - np.log(scale).sum(-1)
    share = scipy.special.softmax(joint, axis=1)
    pull = share[..., None] * standard / scale
    to_scale = (share[..., None] * (standard**2 - 1) / scale).sum(0)
    expected = (-pull.sum(1), share.sum(0) - 50 * scipy.special.softmax(logits), pull.sum(0), to_scale)
    for value, true in zip(jax.jit(jax.grad(total, (0, 1, 2, 3)))(*arrays), expected, strict=True):
        np.testing.assert_allclose(value, true, atol=1e-3 * np.abs(true).max())


def test_fast_density_has_the_second_derivatives_of_a_general_mixture():
    with jax.enable_x64(True):
        loc = jnp.asarray(np.random.default_rng(4).normal(size=(40, 3)))
        arrays = (jnp.full(40, -jnp.log(40.0)), (loc, jnp.exp(loc[::-1] / 2)))
        general = vp.Mixture(*arrays, lambda slice_: vp.normal_diag(*slice_))
        fast = vp.DiagonalMixture(arrays[0], *arrays[1])
        second = [jax.jit(jax.hessian(one.log_prob))(jnp.arange(3.0)) for one in (fast, general)]
    np.testing.assert_allclose(*second, rtol=1e-9)


def test_many_components_are_streamed_in_constant_memory():
    rng = np.random.default_rng(2)
    loc, log_scale = rng.normal(size=(20_000, 3)) * 3, rng.uniform(-2, 0, (20_000, 3))
    z = rng.normal(size=(30, 3)) * 3
    terms = scipy.stats.norm(loc[:, None], np.exp(log_scale)[:, None]).logpdf(z[None]).sum(-1) - np.log(20_000)

    def density(z, loc, log_scale):
        log_weights = jnp.full(loc.shape[0], -jnp.log(loc.shape[0]))
        return vp.DiagonalMixture(log_weights, loc, jnp.exp(log_scale)).log_prob(z)

    arrays = [jnp.asarray(a, jnp.float32) for a in (z, loc, log_scale)]
    np.testing.assert_allclose(jax.jit(density)(*arrays), scipy.special.logsumexp(terms, axis=0), atol=2e-5)
    gradient = jax.jit(jax.grad(lambda *a: density(*a).sum(), (0, 1)))(*arrays)
    responsibility = np.exp(terms - scipy.special.logsumexp(terms, axis=0))
    expected = np.einsum("kb,kbd->bd", responsibility, (loc[:, None] - z) / np.exp(2 * log_scale)[:, None])
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-3, atol=1e-3)

    def gradient_bytes(num_components):
        shapes = [jax.ShapeDtypeStruct((n, 3), jnp.float32) for n in (500, num_components, num_components)]
        compiled = jax.jit(jax.grad(lambda *a: density(*a).sum(), (0, 1, 2))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # Twenty arrays of the size of the components, and no [500, K].
    assert gradient_bytes(100_000) - gradient_bytes(20_000) < 20 * 80_000 * 3 * 4


@pytest.mark.parametrize(("log_scale", "scale"), [(200.0, 1e8), (-200.0, 1e-8), (0.5, np.exp(0.5))])
def test_scales_of_a_network_stay_where_float32_carries_them(log_scale, scale):
    outputs = jnp.array([0.5, -0.5, log_scale, log_scale])

    def log_prob(outputs, value):
        return normal_of_outputs(outputs).log_prob(value)

    expected = -2 * np.log(scale) - np.log(2 * np.pi)
    assert log_prob(outputs, jnp.array([0.5, -0.5])) == pytest.approx(expected, rel=1e-6)
    far = jnp.array([1e4, -1e4])
    assert np.isfinite(log_prob(outputs, far))
    assert np.isfinite(jax.grad(log_prob)(outputs, far)).all()
