"""Conditional priors use the parameters of class y and of no other class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from tests.support.linear_gaussian import exact_log_marginal, linear_gaussian_vae

KEY = jax.random.key(0)
CLASSES, COMPONENTS = 3, 2
RNG = np.random.default_rng(5)
LOC = RNG.normal(size=(CLASSES, COMPONENTS, 2)) + 4 * np.arange(CLASSES)[:, None, None]
LOG_SCALE = RNG.uniform(-1.2, 0.9, size=LOC.shape)
LOGITS = RNG.normal(size=(CLASSES, COMPONENTS))
Z = RNG.normal(size=(20, 2)) * 3 + 4
EACH_CLASS = pytest.mark.parametrize("y", range(CLASSES))


def as_float32(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def log_mixture(weights, loc, scale):
    """Log-density of a diagonal Gaussian mixture at Z, in float64."""
    terms = [np.log(w) + scipy.stats.norm(m, s).logpdf(Z).sum(-1) for w, m, s in zip(weights, loc, scale, strict=True)]
    return scipy.special.logsumexp(terms, axis=0)


@EACH_CLASS
def test_conditional_mixture(y):
    prior = vp.conditional_mixture(2, COMPONENTS, num_classes=CLASSES)
    params = as_float32({"logits": LOGITS, "loc": LOC, "log_scale": LOG_SCALE})
    weights, scale = scipy.special.softmax(LOGITS[y]), np.exp(LOG_SCALE[y])
    fixed = prior.apply(params, y=y)
    np.testing.assert_allclose(fixed.log_prob(Z), log_mixture(weights, LOC[y], scale), rtol=1e-5)
    mean = weights @ LOC[y]
    variance = weights @ (scale**2 + (LOC[y] - mean) ** 2)
    np.testing.assert_allclose(fixed.mean(), mean, rtol=1e-5)
    np.testing.assert_allclose(fixed.variance(), variance, rtol=1e-4)
    samples = np.asarray(fixed.sample(seed=KEY, sample_shape=4000), np.float64)
    assert (np.abs(samples.mean(0) - mean) < 5 * samples.std(0) / np.sqrt(4000)).all()
    others = np.delete(np.asarray(fixed.responsibilities(Z)).reshape(-1, CLASSES, COMPONENTS), y, axis=1)
    assert (others == 0).all()


@EACH_CLASS
def test_conditional_normal(y):
    params = as_float32({"loc": LOC[:, 0], "log_scale": LOG_SCALE[:, 0]})
    fixed = vp.conditional_normal(2, num_classes=CLASSES).apply(params, y=y)
    exact = scipy.stats.norm(LOC[y, 0], np.exp(LOG_SCALE[y, 0])).logpdf(Z).sum(-1)
    np.testing.assert_allclose(fixed.log_prob(Z), exact, rtol=1e-5)


def encode(u, y=0.0):
    """Posteriors whose mean and scale differ for every input and every class."""
    y = jnp.asarray(y, u.dtype)
    return vp.normal_diag(u + 10 * y, jnp.exp(0.1 * u + 0.2 * y))


@EACH_CLASS
@pytest.mark.parametrize("reads_class", [False, True])
def test_vamp_of_classes(y, reads_class):
    """Components 0 and 1 are those of class 0, and so on; an encoder that reads the class gets that of each."""
    num_components = CLASSES * COMPONENTS
    prior = vp.vamp(
        num_components, (2,), weights="learned", num_classes=CLASSES, encoder_reads_class=reads_class, bounds=None
    )
    inputs, logits = LOC.reshape(num_components, 2), LOGITS.reshape(-1)
    fixed = prior.apply(as_float32({"pseudo_inputs": inputs, "logits": logits}), encode=encode, y=y)
    own = slice(COMPONENTS * y, COMPONENTS * (y + 1))
    label = y if reads_class else 0
    loc, scale = inputs[own] + 10 * label, np.exp(0.1 * inputs[own] + 0.2 * label)
    exact = log_mixture(scipy.special.softmax(logits[own]), loc, scale)
    np.testing.assert_allclose(fixed.log_prob(Z), exact, rtol=1e-5)


@EACH_CLASS
@pytest.mark.parametrize(
    "make",
    [
        lambda **condition: vp.affine_coupling(2, hidden=(8,), **condition),
        lambda **condition: vp.spline_coupling(2, hidden=(8,), **condition),
        lambda **condition: vp.masked_autoregressive(2, hidden=(8,), **condition),
    ],
)
def test_flows_read_a_label_as_its_unit_vector(make, y):
    by_label, by_vector = make(num_classes=CLASSES), make(condition_dim=CLASSES)
    start = jax.jit(by_label.init)(KEY)
    params = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32), start)
    points = jnp.asarray(Z[:5] - 4, jnp.float32)
    label, vector = (
        jax.jit(jax.vmap(flow.apply(params, y=condition).forward))(points)
        for flow, condition in ((by_label, y), (by_vector, np.eye(CLASSES, dtype=np.float32)[y]))
    )
    np.testing.assert_allclose(label, vector, rtol=1e-5)


def test_start_from_data_of_each_class():
    """Encodings of class y lie about 10 y, with a spread of 0.1 (y + 1); two thirds of them in one of two clusters."""
    z, y, x = [], [], []
    for label in range(CLASSES):
        left = np.arange(60) < 40
        z.append(10 * label + np.where(left, -2, 2)[:, None] + 0.1 * (label + 1) * RNG.normal(size=(60, 2)))
        y.append(np.full(60, label))
        x.append(np.full((60, 2), 0.2 + 0.2 * label))
    z, y, x = (np.concatenate(parts).astype(np.float32) for parts in (z, y, x))
    mixture = vp.init_from_data(vp.conditional_mixture(2, 2, num_classes=CLASSES), KEY, z=z, y=y.astype(int))
    normal = vp.init_from_data(vp.conditional_normal(2, num_classes=CLASSES), KEY, z=z, y=y.astype(int))
    vamp_prior = vp.vamp(6, (2,), num_classes=CLASSES)
    vamp = vp.init_from_data(vamp_prior, KEY, x=x, y=y.astype(int))
    for label in range(CLASSES):
        order = np.argsort(mixture["loc"][label, :, 0])
        np.testing.assert_allclose(mixture["loc"][label, order, 0], 10 * label + np.array([-2, 2]), atol=0.15)
        weights = scipy.special.softmax(np.asarray(mixture["logits"][label]))[order]
        np.testing.assert_allclose(weights, [2 / 3, 1 / 3], atol=0.02)
        np.testing.assert_allclose(np.exp(mixture["log_scale"][label]), 0.1 * (label + 1), rtol=0.3)
        own = z[y == label]
        np.testing.assert_allclose(normal["loc"][label], own.mean(0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.exp(normal["log_scale"][label]), own.std(0), rtol=1e-4)
        inputs = vp.pseudo_inputs(vamp_prior, vamp)[2 * label : 2 * label + 2]
        np.testing.assert_allclose(inputs, 0.2 + 0.2 * label, atol=1e-5)


@pytest.mark.parametrize("probabilities", [(0.01, 0.09, 0.9), (0.9, 0.1, 0.0)])
def test_log_marginal_over_classes_weighs_them_by_their_probability(probabilities):
    """p(z|y) = N(m_y, I) with classes far apart, so that mostly one class explains an x."""
    vae, params, x = linear_gaussian_vae(6)
    loc = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 4.0]], np.float32)
    vae = vae._replace(
        prior=vp.conditional_normal(2, num_classes=3),
        encode=lambda params, x, y: vp.normal_diag(
            params["weight"] @ (x - params["bias"]) + params["scale"] ** 2 * jnp.asarray(loc)[y], params["scale"]
        ),
        encoder_context=("y",),
    )
    params = params._replace(prior={"loc": jnp.asarray(loc), "log_scale": jnp.zeros((3, 2))})
    weight = np.asarray(params.decoder["weight"])
    x = x + loc[np.arange(6) % 3] @ weight.T
    given = np.stack([exact_log_marginal(params, x - (weight @ m)[None]) for m in loc])
    with np.errstate(divide="ignore"):
        exact = scipy.special.logsumexp(given + np.log(probabilities)[:, None], axis=0)
    found = vp.log_marginal_over_classes(vae, params, KEY, x, class_probabilities=probabilities, num_samples=3)
    # The encoder gives the exact posterior of each class, so that every weight is p(x|y).
    np.testing.assert_allclose(found.values, exact, atol=1e-3)


@EACH_CLASS
def test_generation_of_a_class(y):
    prior = vp.conditional_mixture(2, COMPONENTS, num_classes=CLASSES)
    params = as_float32({"logits": LOGITS, "loc": 20 * LOC, "log_scale": LOG_SCALE - 3})
    vae = vp.VAE(
        lambda params, x: vp.normal_diag(x, jnp.ones(2)), lambda params, z: vp.normal_diag(z, jnp.ones(2)), prior
    )
    made = np.asarray(vp.generate(vae, vp.VAEParams({}, {}, params), KEY, 50, y=y))
    distance = np.linalg.norm(made[:, None, None] - 20 * LOC, axis=-1).reshape(50, -1)
    assert set(distance.argmin(1) // COMPONENTS) == {y}
