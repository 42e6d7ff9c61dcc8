"""The conditional exemplar prior: of a label and of a vector, beside kernel estimates of scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from sklearn.neighbors import KernelDensity

import vaepriors_jax as vp

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
LABELS = np.array([0, 2, 1, 2, 0, 2, 1, 2], np.int32)
VECTORS = RNG.normal(size=(8, 3)).astype(np.float32)
X = RNG.normal(size=(8, 4)).astype(np.float32)
POINTS = np.array([[0.0, 0.0], [1.0, -2.0], [-0.5, 0.3]], np.float32)
SCALE, BANDWIDTHS = 0.6, np.array([0.5, 1.5, 0.8])


def encode(x, y=None):
    """Means are two of the entries, moved by what the encoder reads beside them."""
    moved = 0.0 if y is None else 0.3 * jnp.sum(jnp.asarray(y, x.dtype))
    return vp.normal_diag(x[:2] + moved, jnp.ones(2, x.dtype))


def kde(values, bandwidth, points):
    """The log of the mean of Gaussians of one width around values [N, D]."""
    return KernelDensity(bandwidth=bandwidth, rtol=1e-8).fit(values).score_samples(points)


def log_prob(prior, params, stored, y, **context):
    context = {"encode": encode, "exemplars": X, "exemplar_conditions": stored, "y": y, **context}
    return np.asarray(jax.jit(lambda z: prior.apply(params, **context).log_prob(z))(POINTS))


def of_classes(**options):
    prior = vp.exemplar(2, num_classes=3, initial_scale=SCALE, **options)
    return prior, prior.init(KEY)


def of_vectors(**options):
    prior = vp.exemplar(2, condition_dim=3, initial_scale=SCALE, **options)
    return prior, prior.init(KEY) | {"log_bandwidth": jnp.log(jnp.asarray(BANDWIDTHS, jnp.float32))}


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize(("y", "index"), [(0, None), (1, None), (2, None), (2, 3), (0, 0), (1, 0), (2, -1)])
def test_the_density_of_a_class_is_that_of_its_own_exemplars_but_one(y, index, reads):
    """Exemplar 3 is of class 2; 0 is of class 0, and leaving it out of class 1 changes nothing."""
    prior, params = of_classes(encoder_reads_condition=reads)
    kept = (LABELS == y) & (np.arange(8) != (-1 if index is None else index))
    means = X[kept, :2].astype(np.float64) + (0.3 * y if reads else 0.0)
    found = log_prob(prior, params, LABELS, y, index=index)
    np.testing.assert_allclose(found, kde(means, SCALE, POINTS), rtol=1e-5)


def kernel_ratio(rows, y, means, bandwidths=BANDWIDTHS):
    """p(z, y) / p(y), both by kernel estimates, with every axis in units of its width."""
    conditions = VECTORS[rows].astype(np.float64) / bandwidths
    both = np.concatenate([means / SCALE, conditions], axis=1)
    at = np.concatenate([POINTS / SCALE, np.tile(y / bandwidths, (len(POINTS), 1))], axis=1)
    return kde(both, 1.0, at) - kde(conditions, 1.0, at[:, 2:]) - 2 * np.log(SCALE)


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("index", [None, 3, 8])
def test_the_density_given_a_vector_is_a_ratio_of_kernel_estimates(index, reads):
    prior, params = of_vectors(encoder_reads_condition=reads)
    y = np.array([0.2, -0.4, 1.0], np.float32)
    rows = np.delete(np.arange(8), [] if index in (None, 8) else index)
    means = X[rows, :2].astype(np.float64) + (0.3 * VECTORS[rows].sum(1, keepdims=True) if reads else 0.0)
    found = log_prob(prior, params, VECTORS, y, index=index)
    np.testing.assert_allclose(found, kernel_ratio(rows, y, means), rtol=1e-5)


def test_the_gradient_reaches_each_bandwidth():
    prior, params = of_vectors()
    y = np.array([0.2, -0.4, 1.0], np.float32)

    def mean(params):
        p = prior.apply(params, encode=encode, exemplars=X, exemplar_conditions=VECTORS, y=y, index=3)
        return jnp.mean(p.log_prob(POINTS))

    found = jax.jit(jax.grad(mean))(params)["log_bandwidth"]
    rows, step = np.delete(np.arange(8), 3), 1e-4
    for i in range(3):
        ends = [BANDWIDTHS * np.exp(sign * step * np.eye(3)[i]) for sign in (1, -1)]
        high, low = (kernel_ratio(rows, y, X[rows, :2].astype(np.float64), end).mean() for end in ends)
        np.testing.assert_allclose(found[i], (high - low) / (2 * step), rtol=1e-3, atol=1e-4)


def test_far_from_all_exemplars_the_nearest_condition_alone_counts():
    """The kernel itself underflows there; its share does not."""
    prior, params = of_vectors()
    y = np.full(3, 500.0, np.float32)
    nearest = np.argmin((((VECTORS - y) / BANDWIDTHS) ** 2).sum(1))
    expected = scipy.stats.norm.logpdf(POINTS, X[nearest, :2], SCALE).sum(1)
    np.testing.assert_allclose(log_prob(prior, params, VECTORS, y), expected, rtol=1e-4)


@pytest.mark.parametrize(("make", "stored", "y"), [(of_classes, LABELS, 2), (of_vectors, VECTORS, VECTORS[0])])
def test_the_largest_terms_are_a_lower_bound_and_all_of_them_the_density(make, stored, y):
    exact = log_prob(*make(), stored, y, index=3)
    np.testing.assert_allclose(log_prob(*make(num_neighbors=7), stored, y, index=3), exact, rtol=1e-5)
    bounds = [log_prob(*make(num_neighbors=k), stored, y, index=3) for k in (1, 2)]
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] <= exact + 1e-6).all()


def make_vae(prior, network_reads=True, size=40):
    rng = np.random.default_rng(1)
    x = (rng.random((size, 4)) < 0.5).astype(np.float32)
    vae = vp.VAE(
        lambda params, x, y: vp.normal_diag(params @ x + 0.1 * jnp.sum(y), jnp.full(2, 0.3)),
        lambda params, z: vp.bernoulli(params @ z),
        prior,
        encoder_context=("y",),
    )
    networks = 0.5 * jax.random.normal(KEY, (2, 2, 4))
    return vae, vp.VAEParams(networks[0], networks[1].T, prior.init(KEY)), x


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["label", "vector"])
def test_a_fit_leaves_one_out_and_its_model_is_saved_with_the_conditions(kind, tmp_path):
    options = {"num_neighbors": 3, "encoder_reads_condition": True}
    prior = vp.exemplar(2, **({"num_classes": 4} if kind == "label" else {"condition_dim": 3}), **options)
    vae, params, x = make_vae(prior)
    y = np.arange(40) % 4 if kind == "label" else np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)
    params = vp.init_prior_state(vae, params, x=x, y=y)
    start = jax.tree.map(np.array, params.prior.params)
    np.testing.assert_array_equal(params.prior.state["exemplar_conditions"], y)
    result = vp.fit(
        vae,
        params,
        KEY,
        {"x": x, "y": y, "index": np.arange(40)},
        optax.adam(0.05),
        num_epochs=2,
        batch_size=10,
        validation={"x": x[:8], "y": y[:8]},
        progress=False,
    )
    assert np.isfinite(result.history["validation_elbo"]).all()
    assert all(np.all(start[name] != result.params.prior.params[name]) for name in start)
    vp.save_model(tmp_path, prior, result.params)
    loaded_prior, loaded = vp.load_model(tmp_path)
    assert loaded_prior == prior
    expected = vae.latent_prior(result.params, y=y[1]).log_prob(POINTS)
    np.testing.assert_allclose(vae.latent_prior(loaded, y=y[1]).log_prob(POINTS), expected, rtol=1e-6)


def test_other_priors_around_it_find_what_they_read():
    conditions = {"batch": {"num_classes": 2}, "half": {"num_classes": 2}}
    data = {"batch": np.array([0, 0, 1, 1] * 2), "half": np.array([0, 1] * 4)}
    inner = vp.exemplar(2, num_classes=4, initial_scale=SCALE)
    prior = vp.conditioned(inner, conditions)
    state = prior.init_state(params={}, encode=encode, x=X, **data)
    np.testing.assert_array_equal(state["exemplar_conditions"], 2 * data["batch"] + data["half"])
    found = prior.apply(prior.init(KEY), encode=encode, batch=1, half=0, **state).log_prob(POINTS)
    np.testing.assert_allclose(found, kde(X[[2, 6], :2].astype(np.float64), SCALE, POINTS), rtol=1e-5)

    vectors = vp.conditioned(
        vp.exemplar(2, condition_dim=3), {"batch": {"num_classes": 2}, "age": {}}
    ).init_state(params={}, encode=encode, x=X, batch=data["batch"], age=VECTORS[:, 0])  # fmt: skip
    expected = np.concatenate([np.eye(2)[data["batch"]], VECTORS[:, :1]], axis=1)
    np.testing.assert_allclose(vectors["exemplar_conditions"], expected, rtol=1e-6)

    whole = vp.marginalize(inner, (0.1, 0.2, 0.3, 0.4))
    found = whole.apply(whole.init(KEY), encode=encode, **state).log_prob(POINTS)
    terms = [kde(X[[k, k + 4], :2].astype(np.float64), SCALE, POINTS) for k in range(4)]
    np.testing.assert_allclose(found, np.log([0.1, 0.2, 0.3, 0.4] @ np.exp(terms)), rtol=1e-5)


def test_what_is_wrong_is_said():
    prior, params = of_classes()
    context = {"encode": encode, "exemplars": X, "exemplar_conditions": LABELS}
    state = {"params": params, "encode": encode, "x": X}
    for wrong, error, message in [
        ({"y": 3}, ValueError, r"labels in `y` from 0 to 2"),
        ({}, TypeError, r"reads the context 'y', which is missing"),
        ({"y": np.arange(2)}, ValueError, r"one label `y` for one example"),
        ({"y": 0, "exemplar_conditions": None}, TypeError, r"reads the context 'exemplar_conditions'"),
        ({"y": 0, "exemplar_conditions": LABELS[:3]}, ValueError, r"one condition for each of 8 exemplars; got 3"),
    ]:
        with pytest.raises(error, match=message):
            prior.apply(params, **(context | wrong))
    for y, message in [
        (None, r"Expected `y=`, the condition of each exemplar"),
        (LABELS[:5], r"as many `y` as examples x; got 5 and 8"),
        (np.where(LABELS == 1, 0, LABELS), r"at least 2 exemplars of each class in `y`.*; got 0 of class 1"),
        (np.array([0, 0, 1, 1, 1, 1, 1, 2]), r"got 1 of class 2\. Add examples, merge classes"),
        (LABELS + 1, r"labels in `y` from 0 to 2"),
        (LABELS.astype(float), r"integer labels in `y`"),
        (VECTORS, r"`y` of shape \[N\]; got \(8, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            prior.init_state(**state, y=y)
    vectors, params = of_vectors()
    with pytest.raises(ValueError, match=r"`y` of shape \[N, 3\]; got \(8, 2\)"):
        vectors.init_state(**state, y=VECTORS[:, :2])
    with pytest.raises(ValueError, match=r"finite values in `y`"):
        vectors.init_state(**state, y=np.full((8, 3), np.nan))
    with pytest.raises(ValueError, match=r"a condition `y` of shape \(3,\) for one example; got \(2,\)"):
        vectors.apply(params, encode=encode, exemplars=X, exemplar_conditions=VECTORS, y=np.zeros(2))


def test_a_label_outside_the_classes_gives_nan_within_a_compiled_function():
    prior, params = of_classes()

    def density(y):
        return prior.apply(params, encode=encode, exemplars=X, exemplar_conditions=LABELS, y=y).log_prob(POINTS)

    assert np.isnan(jax.jit(density)(3)).all()
    assert np.isfinite(jax.jit(density)(2)).all()
