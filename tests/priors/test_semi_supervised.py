"""A prior whose labels may be missing: the density with and without, training on both, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from tests.support.linear_gaussian import linear_gaussian_vae

KEY = jax.random.key(0)
MISSING = -1
PROBABILITIES = (0.2, 0.5, 0.3)
RNG = np.random.default_rng(0)
LOC, SCALE = RNG.normal(size=(3, 2)) * 3, RNG.uniform(0.5, 2.0, size=(3, 2))
PARAMS = {"loc": jnp.asarray(LOC, jnp.float32), "log_scale": jnp.log(jnp.asarray(SCALE, jnp.float32))}
PRIOR = vp.semi_supervised(vp.conditional_normal(2, num_classes=3), PROBABILITIES)
Z = RNG.normal(size=(20, 2)) * 3


def exact_terms():
    """log p(y) + log p(z|y) in float64 [20, 3]."""
    of_classes = [scipy.stats.norm(m, s).logpdf(Z).sum(-1) for m, s in zip(LOC, SCALE, strict=True)]
    return np.stack(of_classes, axis=1) + np.log(PROBABILITIES)


def log_prob(labels):
    """log p(z|y) of each row of Z with its own label, compiled."""
    return jax.jit(jax.vmap(lambda z, y: PRIOR.apply(PARAMS, y=y).log_prob(z)))(jnp.asarray(Z, jnp.float32), labels)


def test_density_with_and_without_labels_in_one_batch():
    labels = np.resize([0, MISSING, 2, 1, MISSING], 20)
    joint = exact_terms()
    of_any = scipy.special.logsumexp(joint, axis=1)
    of_class = joint[np.arange(20), labels] - np.log(PROBABILITIES)[labels]
    np.testing.assert_allclose(log_prob(jnp.asarray(labels)), np.where(labels == MISSING, of_any, of_class), rtol=1e-5)


def test_class_given_z_is_by_the_rule_of_bayes():
    found = PRIOR.apply(PARAMS, y=MISSING).responsibilities(jnp.asarray(Z, jnp.float32))
    np.testing.assert_allclose(found, scipy.special.softmax(exact_terms(), axis=1), rtol=1e-4, atol=1e-6)


def test_gradient_is_that_of_the_conditional_and_of_the_marginal_prior():
    def gradient(prior, **context):
        def total(params):
            return prior.apply(params, **context).log_prob(jnp.asarray(Z, jnp.float32)).sum()

        return jax.jit(jax.grad(total))(PARAMS)

    conditional, marginal = vp.conditional_normal(2, num_classes=3), vp.marginalize(PRIOR.inner.prior, PROBABILITIES)
    pairs = [(gradient(PRIOR, y=1), gradient(conditional, y=1)), (gradient(PRIOR, y=MISSING), gradient(marginal))]
    for found, expected in pairs:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_samples_are_of_the_class_or_of_all_classes():
    of_class = np.asarray(PRIOR.apply(PARAMS, y=2).sample(seed=KEY, sample_shape=4000), np.float64)
    assert (abs(of_class.mean(0) - LOC[2]) < 5 * SCALE[2] / np.sqrt(4000)).all()
    of_any = np.asarray(PRIOR.apply(PARAMS, y=MISSING).sample(seed=KEY, sample_shape=4000), np.float64)
    assert (abs(of_any.mean(0) - PROBABILITIES @ LOC) < 5 * of_any.std(0) / np.sqrt(4000)).all()


def test_a_traced_label_outside_the_classes_is_nan():
    labels = jnp.asarray(np.resize([3, -2, 5, -7], 20))
    assert np.isnan(log_prob(labels)).all()
    joint = vp.conditioned(
        vp.semi_supervised(vp.conditional_normal(2, num_classes=3), PROBABILITIES), {"a": {"num_classes": 3}}
    )
    found = jax.jit(lambda a: joint.apply(PARAMS, a=a).log_prob(jnp.zeros(2)))(3)
    assert np.isnan(found)


def vae_with(prior, **options):
    vae, params, x = linear_gaussian_vae(40)
    return vae._replace(prior=prior, **options), params._replace(prior=PARAMS), x


def test_log_p_x_is_that_of_a_label_or_summed_over_classes():
    """Each with the same noise as the model that reads labels, or that reads none."""
    vae, params, x = vae_with(PRIOR)
    labels = np.resize([0, 1, 2, MISSING], 40)
    found = vp.log_marginal(vae, params, KEY, x, y=labels, num_samples=50).values
    conditional, _, _ = vae_with(PRIOR.inner.prior)
    given = vp.log_marginal(conditional, params, KEY, x, y=np.where(labels < 0, 0, labels), num_samples=50).values
    marginal, _, _ = vae_with(vp.marginalize(PRIOR.inner.prior, PROBABILITIES))
    of_any = vp.log_marginal(marginal, params, KEY, x, num_samples=50).values
    np.testing.assert_allclose(found, np.where(labels == MISSING, of_any, given), rtol=1e-4)


def test_fit_recovers_classes_of_which_one_label_in_ten_is_known():
    """Latents of three classes that overlap little; without any label the classes would have no order."""
    centers = np.array([[-4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    y = RNG.choice(3, size=600, p=PROBABILITIES)
    z = (centers[y] + RNG.normal(size=(600, 2))).astype(np.float32)
    labels = np.where(np.arange(600) % 10 == 0, y, MISSING)
    vae = vp.VAE(
        lambda params, x: vp.normal_diag(x, jnp.full(2, 0.1)),
        lambda params, z: vp.normal_diag(z, jnp.full(2, 0.1)),
        PRIOR,
    )
    params = vp.VAEParams({}, {}, vp.init_from_data(PRIOR, KEY, z=z[:60], y=labels[:60]))
    options = {"num_epochs": 60, "batch_size": 100, "progress": False}
    result = vp.fit(vae, params, KEY, {"x": z, "y": labels}, optax.adam(0.02), **options)
    error = 5 / np.sqrt(np.bincount(y).min())
    np.testing.assert_allclose(result.params.prior["loc"], centers, atol=error + 0.05)
    found = PRIOR.apply(result.params.prior, y=MISSING).responsibilities(z).argmax(1)
    assert (found == y).mean() > 0.97


def test_start_from_data_reads_the_examples_with_labels():
    z = np.concatenate([Z, Z + 100]).astype(np.float32)
    y = np.concatenate([np.resize([0, 1, 2], 20), np.full(20, MISSING)])
    found = vp.init_from_data(PRIOR, KEY, z=z, y=y)
    expected = vp.init_from_data(PRIOR.inner.prior, KEY, z=z[:20], y=y[:20])
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    with pytest.raises(ValueError, match="all are missing"):
        vp.init_from_data(PRIOR, KEY, z=z, y=np.full(40, MISSING))


def test_generation_of_given_and_of_any_class():
    vae, params, _ = vae_with(PRIOR)
    x = vp.generate(vae, params, KEY, 4, y=np.array([0, MISSING, 2, MISSING]))
    assert np.isfinite(x).all()
    with pytest.raises(ValueError, match="or -1 for a missing one; got values from -2 to 2"):
        vp.generate(vae, params, KEY, 2, y=np.array([-2, 2]))


def test_other_conventions_and_names():
    prior = vp.semi_supervised(
        vp.conditional_normal(2, num_classes=3, condition="kind"), PROBABILITIES, condition="kind", missing_label=255
    )
    vae, params, x = vae_with(prior)
    kind = np.resize(np.array([0, 255], np.uint8), 40)
    assert np.isfinite(vp.evaluate_elbo(vae, params, KEY, x, kind=kind).elbo).all()
    with pytest.raises(ValueError, match="or 255 for a missing one; got values from 0 to 7"):
        vp.evaluate_elbo(vae, params, KEY, x, kind=np.resize([0, 255, 7], 40))
    assert vp.prior_from_config(prior.config) == prior


def test_what_it_refuses():
    vae, params, x = vae_with(PRIOR, encoder_context=("y",))
    with pytest.raises(ValueError, match="a condition that the prior alone reads.*encoder_context has 'y'"):
        vp.make_train_step(vae, optax.adam(1e-3))
    with pytest.raises(ValueError, match="decoder_context has 'y'"):
        vp.log_marginal(vae_with(PRIOR, decoder_context=("y",))[0], params, KEY, x, y=np.zeros(40, int))
    vae, _, _ = vae_with(PRIOR)
    options = {"num_epochs": 1, "batch_size": 20, "progress": False}
    with pytest.raises(ValueError, match="or -1 for a missing one; got values from 3 to 3"):
        vp.fit(vae, params, KEY, {"x": x, "y": np.resize([3, MISSING], 40)}, optax.adam(1e-3), **options)
    with pytest.raises(ValueError, match="integer labels in `y`"):
        vp.fit(vae, params, KEY, {"x": x, "y": np.zeros(40)}, optax.adam(1e-3), **options)
    with pytest.raises(TypeError, match="reads the context 'y', which is missing"):
        vp.fit(vae, params, KEY, {"x": x}, optax.adam(1e-3), **options)
    inner = PRIOR.inner.prior
    with pytest.raises(ValueError, match="each of the 3 classes"):
        vp.semi_supervised(inner, (0.5, 0.5))
    with pytest.raises(ValueError, match="sum to 1"):
        vp.semi_supervised(inner, (0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="none of the 3 classes"):
        vp.semi_supervised(inner, PROBABILITIES, missing_label=2)
    with pytest.raises(ValueError, match="`condition` among the labels"):
        vp.semi_supervised(inner, PROBABILITIES, condition="kind")
