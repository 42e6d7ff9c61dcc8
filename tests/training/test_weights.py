"""Weights of examples, against the same examples repeated, and against sums written by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from vaepriors_jax.evaluation.estimates import estimate
from vaepriors_jax.evaluation.latents.active_units import active_units
from vaepriors_jax.evaluation.likelihood import annealed_importance_sampling
from vaepriors_jax.objectives import weighted_mean

KEY = jax.random.key(0)
WEIGHTS = np.array([2, 0, 1, 3, 0, 1], np.float32)
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
# An encoder without noise and a Gaussian KL: the loss of an example depends on no key.
VAE = vp.VAE(
    lambda params, x: vp.normal_diag(params @ x, jnp.full(2, 1e-6)),
    lambda params, z: vp.normal_diag(params @ z, jnp.ones(3)),
    vp.conditional_normal(2, num_classes=2),
)
PARAMS = vp.VAEParams(jnp.ones((2, 3)) / 3, jnp.ones((3, 2)) / 2, VAE.prior.init(KEY))
Y = np.array([0, 1, 1, 0, 1, 1])


def repeated(values):
    return np.repeat(values, WEIGHTS.astype(int), axis=0)


def data(order=None):
    rows = np.arange(6) if order is None else order
    return {"x": X[rows], "y": Y[rows], "weight": WEIGHTS[rows]}


def step_on(batch):
    optimizer = optax.sgd(1.0)
    state = vp.init_train_state(PARAMS, optimizer)
    return vp.make_train_step(VAE, optimizer)(state, KEY, batch)


def test_a_step_on_weighted_examples_is_that_on_repeated_ones():
    many, terms = step_on({"x": repeated(X), "y": repeated(Y)})
    for order in (None, np.array([3, 5, 1, 0, 2, 4])):
        state, weighted = step_on(data(order))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), state.params, many.params)
        np.testing.assert_allclose(weighted.elbo, terms.elbo, rtol=1e-5)
    half, _ = step_on(data() | {"weight": WEIGHTS / 2})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), half.params, step_on(data())[0].params)


def test_weights_by_hand_and_values_that_count_nothing():
    values = jnp.array([1.0, jnp.nan, 3.0])
    np.testing.assert_allclose(weighted_mean(values, jnp.array([1.0, 0.0, 3.0])), 2.5)
    assert weighted_mean(values, jnp.zeros(3)) == 0
    gradient = jax.grad(lambda v: weighted_mean(v, jnp.array([1, 0, 3])))(values)
    np.testing.assert_allclose(gradient, [0.25, 0, 0.75])
    numbers, weight = np.random.default_rng(1).normal(size=50), np.random.default_rng(2).gamma(1.0, size=50)
    mean = np.average(numbers, weights=weight)
    error = np.sqrt(50 / 49 * (weight**2 * (numbers - mean) ** 2).sum()) / weight.sum()
    found = estimate(jnp.asarray(numbers), jnp.asarray(weight))
    np.testing.assert_allclose([found.mean, found.standard_error], [mean, error], rtol=1e-4)
    equal = estimate(jnp.asarray(numbers), jnp.full(50, 7.0))
    np.testing.assert_allclose(equal, estimate(jnp.asarray(numbers)), rtol=1e-4)


@pytest.mark.slow
def test_fit_weighs_arrays_and_streams_alike():
    """Batches of 3 in a fixed order, with a validation set that is cut into batches of 4 and 2."""
    options = {"num_epochs": 1, "progress": False, "patience": None}
    streamed = [{name: value[i : i + 3] for name, value in data().items()} for i in (0, 3)]
    validation = [{name: value[i : i + 4] for name, value in data().items()} for i in (0, 4)]
    run = vp.fit(VAE, PARAMS, KEY, streamed, optax.sgd(0.1), validation=validation, **options)
    state = vp.init_train_state(PARAMS, optax.sgd(0.1))
    step, totals, elbos = vp.make_train_step(VAE, optax.sgd(0.1)), [], []
    for batch in streamed:
        state, terms = step(state, KEY, batch)
        totals.append(batch["weight"].sum())
        elbos.append(terms.elbo)
    np.testing.assert_allclose(run.history["elbo"], [np.average(elbos, weights=totals)], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), run.params, state.params)
    each = vp.evaluate_elbo(VAE, state.params, KEY, X, y=Y).elbo
    expected = np.average(each, weights=WEIGHTS)
    np.testing.assert_allclose(run.history["validation_elbo"], [expected], rtol=1e-4)
    arrays = vp.fit(VAE, PARAMS, KEY, data(), optax.sgd(0.0), validation=data(), batch_size=6, **options)
    of_start = np.average(vp.evaluate_elbo(VAE, PARAMS, KEY, X, y=Y).elbo, weights=WEIGHTS)
    for name in ("elbo", "validation_elbo"):
        np.testing.assert_allclose(arrays.history[name], [of_start], rtol=1e-4)


@pytest.mark.parametrize("of", ["train", "validation"])
def test_an_epoch_of_batches_without_any_weight_is_refused(of):
    batches = {"train": [data()], "validation": [data()]}
    batches[of] = [data() | {"weight": np.zeros(len(X))}]
    with pytest.raises(ValueError, match=f"positive `weight` in each epoch of the {of} batches; all are 0 in epoch 1"):
        vp.fit(
            VAE,
            PARAMS,
            KEY,
            batches["train"],
            optax.sgd(0.1),
            validation=batches["validation"],
            num_epochs=1,
            progress=False,
        )


@pytest.mark.slow
def test_evaluations_weigh_examples():
    context = {"y": Y, "weight": WEIGHTS}
    for given in (
        (X, context),
        ([{"x": X[i : i + 4], **{k: v[i : i + 4] for k, v in context.items()}} for i in (0, 4)], {}),
    ):
        x, beside = given
        found = vp.log_marginal(VAE, PARAMS, KEY, x, num_samples=2, **beside)
        np.testing.assert_allclose(found.mean, np.average(found.values, weights=WEIGHTS), rtol=1e-5)
        np.testing.assert_allclose(found.curve[2], found.mean, rtol=1e-5)
        residuals = repeated(found.values - found.mean)
        clusters = [residuals[repeated(np.arange(6)) == n].sum() for n in range(6)]
        np.testing.assert_allclose(found.standard_error, np.sqrt(4 / 3 * np.square(clusters).sum()) / 7, rtol=1e-4)
        q = vp.aggregated_posterior(VAE, PARAMS, x, **beside)
        many = vp.aggregated_posterior(VAE, PARAMS, repeated(X), y=repeated(Y))
        z = many.sample(seed=KEY, sample_shape=3)
        np.testing.assert_allclose(q.log_prob(z), many.log_prob(z), rtol=1e-4)
    classes = vp.log_marginal_over_classes(
        VAE, PARAMS, KEY, X, class_probabilities=(0.5, 0.5), num_samples=2, weight=WEIGHTS
    )
    np.testing.assert_allclose(classes.mean, np.average(classes.values, weights=WEIGHTS), rtol=1e-5)
    annealed = annealed_importance_sampling(VAE, PARAMS, KEY, X, num_chains=1, num_temperatures=1, **context)
    np.testing.assert_allclose(annealed.mean, np.average(annealed.values, weights=WEIGHTS), rtol=1e-5)


@pytest.mark.parametrize("streams", [False, True])
def test_active_units_weigh_the_variance_of_means(streams):
    far = np.where(WEIGHTS[:, None] == 0, 100 * X, X)  # examples of weight 0 vary most
    context = {"y": Y, "weight": WEIGHTS}
    batches = [{"x": far[i : i + 4], **{k: v[i : i + 4] for k, v in context.items()}} for i in (0, 4)]
    exact = np.var(repeated(far) @ np.asarray(PARAMS.encoder).T, axis=0)
    for threshold in (0.999 * exact[0], 1.001 * exact[0]):
        given = (batches, {}) if streams else (far, context)
        found = active_units(VAE, PARAMS, given[0], threshold=threshold, **given[1])
        np.testing.assert_array_equal(found, exact > threshold)
    with pytest.raises(ValueError, match="at least 2 examples of positive weight"):
        active_units(VAE, PARAMS, X, y=Y, weight=WEIGHTS * (WEIGHTS == 3))


@pytest.mark.slow
def test_a_prior_is_fitted_to_weighted_examples():
    """A mixture of one component ends at the weighted mean of the encodings, which have no noise."""
    mean = np.average(X @ np.asarray(PARAMS.encoder).T, weights=WEIGHTS, axis=0)
    batch = {"x": X, "weight": WEIGHTS}
    for given, options in ((X, {"weight": WEIGHTS, "batch_size": 2000}), ([batch, batch], {})):
        fitted = vp.fit_prior(vp.mixture(2, 1), VAE, PARAMS, KEY, given, num_steps=200, learning_rate=0.05, **options)
        np.testing.assert_allclose(fitted.prior["loc"][0], mean, atol=0.02)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.float16, np.float64])
def test_weights_of_any_dtype(dtype):
    weight = WEIGHTS.astype(dtype)
    context = {"y": Y, "weight": weight}
    found = vp.log_marginal(VAE, PARAMS, KEY, X, num_samples=2, **context)
    expected = vp.log_marginal(VAE, PARAMS, KEY, X, num_samples=2, y=Y, weight=weight.astype(np.float32))
    np.testing.assert_allclose(found.average, expected.average, rtol=1e-6)
    runs = [
        vp.fit(VAE, PARAMS, KEY, data() | {"weight": w}, optax.sgd(0.1), num_epochs=1, batch_size=6, progress=False)
        for w in (weight, weight.astype(np.float32))
    ]
    np.testing.assert_array_equal(*(run.history["elbo"] for run in runs))


def test_halves_whose_sum_is_beyond_their_range():
    weight = np.full(6, 30_000, np.float16)
    found = vp.log_marginal(VAE, PARAMS, KEY, X, num_samples=2, y=Y, weight=weight)
    expected = vp.log_marginal(VAE, PARAMS, KEY, X, num_samples=2, y=Y)
    np.testing.assert_allclose(found.average, expected.average, rtol=1e-5)


@pytest.mark.slow
def test_batches_whose_examples_all_have_weight_0():
    """Such a batch changes nothing, also as the first; a stream of them alone is refused."""
    batch = data()
    nothing = batch | {"weight": np.zeros(6, np.float32)}
    options = {"num_epochs": 1, "progress": False}
    runs = [vp.fit(VAE, PARAMS, KEY, given, optax.sgd(0.1), **options) for given in ([nothing, batch], [batch])]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), *(run.params for run in runs))
    np.testing.assert_allclose(*(run.history["elbo"] for run in runs), rtol=1e-6)
    found = vp.log_marginal(VAE, PARAMS, KEY, [nothing, batch], num_samples=2)
    np.testing.assert_allclose(found.mean, np.average(found.values[6:], weights=WEIGHTS), rtol=1e-5)
    for evaluate in (partial(vp.log_marginal, VAE, PARAMS, KEY), partial(vp.aggregated_posterior, VAE, PARAMS)):
        with pytest.raises(ValueError, match="at least one example of a positive weight"):
            evaluate([nothing, nothing])


def test_a_start_from_data_leaves_out_examples_of_weight_0():
    prior = vp.vamp(4, (3,), bounds=None)
    inputs = vp.pseudo_inputs(prior, vp.init_from_data(prior, KEY, x=X, weight=WEIGHTS))
    assert {tuple(u) for u in np.asarray(inputs)} == {tuple(x) for x in X[WEIGHTS > 0]}


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-WEIGHTS, r"weights of examples >= 0 in `weight`; got -3 at index 3"),
        (np.where(WEIGHTS == 0, np.nan, WEIGHTS), "finite values in `weight`"),
        (WEIGHTS[:, None], r"one number for each example in `weight` \[N\]; got shape \[6, 1\]"),
        (0 * WEIGHTS, "at least one example of a positive weight"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        vp.log_marginal(VAE, PARAMS, KEY, X, y=Y, weight=weight, num_samples=2)
    with pytest.raises(ValueError, match=message):
        vp.fit(VAE, PARAMS, KEY, data() | {"weight": weight}, optax.sgd(0.1), num_epochs=1, batch_size=2)


def test_what_cannot_weigh_says_so_and_names_that_are_taken_are_refused():
    for function in (vp.elbo_surgery, vp.latent_dimensions, vp.evaluation.report):
        with pytest.raises(ValueError, match=f"Expected no 'weight' beside x in `{function.__name__}`"):
            function(VAE, PARAMS, KEY, X, y=Y, weight=WEIGHTS)
    for function in (vp.elbo_surgery, vp.latent_dimensions):
        with pytest.raises(ValueError, match=f"Expected no 'weight' beside x in `{function.__name__}`"):
            function(VAE, PARAMS, KEY, [data(), data()])
    with pytest.raises(ValueError, match="Expected no 'weight' beside x in `report`"):
        vp.evaluation.report(VAE, PARAMS, KEY, X, y=Y, train=data())
    vae = VAE._replace(encoder_context=("weight",))
    with pytest.raises(ValueError, match="Expected another name than 'weight'"):
        vp.evaluate_elbo(vae, PARAMS, KEY, X, y=Y, weight=WEIGHTS)
    for name in ("key", "beta", "num_samples", "data", "encode"):
        with pytest.raises(ValueError, match=f"Expected other names than '{name}' for entries of a batch"):
            vp.fit(VAE, PARAMS, KEY, data() | {name: Y}, optax.sgd(0.1), num_epochs=1, batch_size=2)
        with pytest.raises(ValueError, match=f"Expected other names than '{name}'"):
            step_on(data() | {name: Y})


def test_a_misspelt_entry_is_named():
    with pytest.warns(UserWarning, match="Is 'weights' for 'weight' a misspelling"):
        vp.evaluate_elbo(VAE, PARAMS, KEY, X, y=Y, weights=WEIGHTS)
    vae = VAE._replace(encoder_context=("batch",))
    with pytest.raises(TypeError, match="missing: 'batch'.*Is 'bacth' for 'batch' a misspelling"):
        vp.evaluate_elbo(vae, PARAMS, KEY, X, y=Y, bacth=Y)
    prior = vp.conditional_normal(2, num_classes=2, condition="site")
    with pytest.raises(TypeError, match="'site', which is missing.*Is 'stie' for 'site'"):
        prior.apply(prior.init(KEY), stie=1)
