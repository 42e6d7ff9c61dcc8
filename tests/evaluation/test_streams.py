"""Evaluations of batches that stream give what they give for arrays."""

import inspect

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data
from vaepriors_jax.evaluation import latents, samples

KEY = jax.random.key(3)
N, SIZE = 110, 40  # two batches and a rest of 30
DATA = {"x": binary_data(N)["x"], "y": np.arange(N) % 3}


def batches(epoch=1):
    assert epoch == 1
    for start in range(0, N, SIZE):
        yield {name: value[start : start + SIZE] for name, value in DATA.items()}


def conditional():
    return bernoulli_vae(vp.conditional_normal(2, num_classes=3))


def flow_posterior():
    """A VAE whose posteriors are no diagonal Gaussians."""
    vae, params = bernoulli_vae()
    flow = vp.affine_coupling(2)
    weights = jax.tree.map(lambda leaf: leaf + 0.1, flow.init(KEY))

    def encode(params, x):
        return distrax.Transformed(vae.encode(params, x), flow.apply(weights))

    return vae._replace(encode=encode), params


def aggregated(vae, params, x, **context):
    q = vp.aggregated_posterior(vae, params, x, **context)
    z = jax.random.normal(KEY, (7, 2))
    return q.log_weights, q.log_prob(z), q.component_moments()


EVALUATIONS = {
    "evaluate_elbo": (conditional, lambda *a, **c: vp.evaluate_elbo(*a[:2], KEY, a[2], **c)),
    "log_marginal": (
        conditional,
        lambda *a, **c: vp.log_marginal(*a[:2], KEY, a[2], num_samples=40, chunk_size=50, **c),
    ),
    "log_marginal_over_classes": (
        conditional,
        lambda vae, params, x, y=None: vp.log_marginal_over_classes(
            vae, params, KEY, x, class_probabilities=(0.5, 0.3, 0.2), num_samples=40
        ),
    ),
    "aggregated_posterior": (conditional, aggregated),
    "posterior_means": (conditional, latents.posterior_means),
    "active_units": (conditional, latents.active_units),
    "elbo_surgery": (conditional, lambda *a, **c: vp.elbo_surgery(*a[:2], KEY, a[2], num_points=50, **c)),
    "leave_one_out": (bernoulli_vae, lambda *a, **c: vp.elbo_surgery(*a[:2], KEY, a[2], leave_one_out=True, **c)),
    "latent_dimensions": (conditional, lambda *a, **c: vp.latent_dimensions(*a[:2], KEY, a[2], num_points=50, **c)),
    "aggregated_posterior of flows": (flow_posterior, lambda *a, **c: aggregated(*a)),
    "elbo_surgery of flows": (flow_posterior, lambda *a, **c: vp.elbo_surgery(*a[:2], KEY, a[2], num_points=50)),
    "annealed_importance_sampling": (
        conditional,
        lambda *a, **c: vp.evaluation.likelihood.annealed_importance_sampling(
            *a[:2], KEY, a[2], num_chains=2, num_temperatures=4, num_leapfrog_steps=1, **c
        ),
    ),
    "mixture_assignments": (bernoulli_vae, lambda *a, **c: vp.mixture_assignments(*a[:2], KEY, a[2], **c)),
    "mixture_usage": (bernoulli_vae, lambda *a, **c: vp.mixture_usage(*a[:2], KEY, a[2], **c)),
}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_batches_give_what_arrays_give(name):
    make, evaluate = EVALUATIONS[name]
    vae, params = make()
    expected = evaluate(vae, params, DATA["x"], y=DATA["y"])
    for source in (batches, list(batches())):
        found = evaluate(vae, params, source)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_what_needs_arrays_says_so():
    vae, params = bernoulli_vae()
    with pytest.raises(TypeError, match="got batches, list. Call the functions of its measures"):
        vp.evaluation.report(vae, params, KEY, list(batches()))
    with pytest.raises(ValueError, match="Expected images as an array in `x`; got batches"):
        samples.train_feature_network(KEY, list(batches()), DATA["y"], num_classes=3, validation=(DATA["x"], DATA["y"]))


def test_every_evaluation_of_examples_is_among_these_tests():
    tested_below = {"pseudo_input_distances", "fit_prior"}
    need_arrays = {"boost_prior", "report", "reweight_prior", "train_feature_network"}
    rooms = (vp.evaluation, vp.evaluation.likelihood, latents, samples)
    functions = {name for room in rooms for name in room.__all__ if inspect.isfunction(getattr(room, name))}
    of_examples = {
        name
        for room in rooms
        for name in functions & set(room.__all__)
        if "x" in inspect.signature(getattr(room, name)).parameters
    }
    assert of_examples == (of_examples & set(EVALUATIONS)) | tested_below | need_arrays


def test_distances_of_pseudo_inputs():
    prior = vp.vamp(4, (6,))
    params = prior.init(KEY)
    expected = vp.evaluation.latents.pseudo_input_distances(prior, params, DATA["x"])
    found = vp.evaluation.latents.pseudo_input_distances(prior, params, batches)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_generator_is_evaluated_once():
    vae, params = bernoulli_vae()
    expected = vp.evaluate_elbo(vae, params, KEY, DATA["x"]).elbo
    np.testing.assert_allclose(vp.evaluate_elbo(vae, params, KEY, batches()).elbo, expected, rtol=1e-5)
    for evaluate in (vp.elbo_surgery, vp.latent_dimensions):
        with pytest.raises(ValueError, match="can be read more than once as the data; got a generator"):
            evaluate(vae, params, KEY, batches())
    vae, params = conditional()
    with pytest.raises(ValueError, match="once for each class"):
        vp.log_marginal_over_classes(vae, params, KEY, batches(), class_probabilities=(0.5, 0.3, 0.2))


def test_what_does_not_go_with_batches_is_refused():
    vae, params = bernoulli_vae()
    with pytest.raises(ValueError, match="context of batches in the batches, as entries beside 'x'; got y"):
        vp.evaluate_elbo(vae, params, KEY, batches, y=DATA["y"])
    with pytest.raises(ValueError, match="Expected zeros and ones") as caught:
        vp.log_marginal(vae, params, KEY, [{"x": DATA["x"]}, {"x": DATA["x"][:9] + 2}], num_samples=5)
    assert caught.value.__notes__ == ["This came from batch 2 of epoch 1 of the data."]


def rows_of_fit_prior(num_steps, batch_size):
    """The batches that `fit_prior` draws from arrays, one for each step."""
    _, key_steps = jax.random.split(KEY)
    for key in jax.random.split(key_steps, num_steps):
        rows = np.asarray(jax.random.randint(jax.random.split(key)[0], (batch_size,), 0, N))
        yield {name: value[rows] for name, value in DATA.items()}


def test_a_prior_is_fitted_to_batches_as_to_arrays():
    vae, params = bernoulli_vae()
    prior = vp.conditional_normal(2, num_classes=3)._replace(init_from_data=None)
    drawn = list(rows_of_fit_prior(20, 30))
    expected = vp.fit_prior(prior, vae, params, KEY, DATA["x"], y=DATA["y"], num_steps=20, batch_size=30)
    asked = []

    def two_epochs(epoch):
        asked.append(epoch)
        return drawn[:10] if epoch == 1 else drawn[10:]

    for source in (drawn, two_epochs):
        found = vp.fit_prior(prior, vae, params, KEY, source, num_steps=20)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    assert asked == [1, 2]
    with pytest.raises(ValueError, match="can be read more than once"):
        vp.fit_prior(prior, vae, params, KEY, iter(drawn), num_steps=21)
    with pytest.raises(ValueError, match="Expected no `batch_size` with batches"):
        vp.fit_prior(prior, vae, params, KEY, drawn, batch_size=30)


@pytest.mark.parametrize(
    "prior", [vp.mixture(2, 3), vp.conditional_normal(2, num_classes=3), vp.vamp(8, (6,))], ids=["z", "z and y", "x"]
)
def test_a_prior_starts_from_batches(prior):
    vae, params = bernoulli_vae()
    fitted = vp.fit_prior(prior, vae, params, KEY, batches, num_steps=1, learning_rate=1e-9).prior
    if "loc" in fitted:
        # As from arrays: the same z, the same start.
        expected = vp.fit_prior(prior, vae, params, KEY, DATA["x"], y=DATA["y"], num_steps=1, learning_rate=1e-9).prior
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), fitted, expected)
    else:
        inputs = vp.evaluation.latents.pseudo_input_distances(prior, fitted, batches)
        assert jnp.max(inputs) < 0.01  # each is an example
