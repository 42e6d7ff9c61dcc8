"""Bad input raises an error that says what was expected, what was passed, and what to do."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.cases import encode

KEY = jax.random.key(0)

FACTORY_ERRORS = [
    (lambda: vp.standard_normal(0), r"`dim` to be an integer >= 1; got 0"),
    (lambda: vp.standard_normal(2.5), r"`dim` to be an integer >= 1; got 2.5"),
    (lambda: vp.mixture(0, 3), r"`dim` to be an integer >= 1; got 0"),
    (lambda: vp.mixture(2, 0), r"`num_components` to be an integer >= 1; got 0"),
    (lambda: vp.mixture(2, 3, covariance="banded"), r"`covariance` to be one of 'diagonal', 'full'; got 'banded'"),
    (lambda: vp.mixture(2, 3, initial_spread=-1.0), r"`initial_spread` to be a finite number > 0; got -1.0"),
    (lambda: vp.vamp(0, (6,)), r"`num_components` to be an integer >= 1; got 0"),
    (lambda: vp.vamp(3, ()), r"`input_shape` to be a shape of 1 to 64 integers >= 1"),
    (lambda: vp.vamp(3, (6,), bounds=(1.0, 0.0)), r"low < high"),
    (lambda: vp.vamp(3, (6,), num_classes=4), r"at least one component for each class"),
    (lambda: vp.vamp(3, (6,), encoder_reads_class=True), r"Expected `num_classes`"),
    (lambda: vp.exemplar(0), r"`dim` to be an integer >= 1; got 0"),
    (lambda: vp.exemplar(2, num_neighbors=0), r"`num_neighbors` to be an integer >= 1; got 0"),
    (lambda: vp.exemplar(2, subset_size=1), r"`subset_size` to be an integer >= 2; got 1"),
    (lambda: vp.exemplar(2, num_classes=0), r"`num_classes` to be an integer >= 1; got 0"),
    (lambda: vp.exemplar(2, condition_dim=1.5), r"`condition_dim` to be an integer >= 1; got 1.5"),
    (lambda: vp.exemplar(2, initial_scale=0.0), r"`initial_scale` to be a finite number > 0; got 0.0"),
    (lambda: vp.topographic_map(0), r"`dim` to be an integer >= 1; got 0"),
    (lambda: vp.topographic_map(2, (2, 0)), r"`grid_shape` to be a shape of 1 to 64 integers >= 1"),
    (lambda: vp.topographic_map(2, (1001, 1000)), r"a grid of at most 1,000,000 points; .* has 1,001,000"),
    (lambda: vp.weighted_coreset(2, 3, (6,), initial_width=0.0), r"`initial_width` to be a finite number > 0; got 0.0"),
    (lambda: vp.vamp_mixture(0, 3, (6,), 10), r"`dim` to be an integer >= 1; got 0"),
    (lambda: vp.topographic_vamp((2, 2), ()), r"`input_shape` to be a shape of 1 to 64 integers >= 1"),
    (lambda: vp.topographic_vamp((2, 2), (6,), initial_mean=2.0), r"`initial_mean` as a fraction of the range"),
    (lambda: vp.affine_coupling(1), r"`dim` >= 2 for a coupling flow; got 1. Use `masked_autoregressive`"),
    (lambda: vp.spline_coupling(1), r"`dim` >= 2 for a coupling flow; got 1"),
    (lambda: vp.spline_coupling(2, num_bins=1), r"`num_bins` >= 2; got 1"),
    (lambda: vp.spline_coupling(2, bound=float("nan")), r"`bound` to be a finite number > 0"),
    (lambda: vp.masked_autoregressive(0), r"`dim` to be an integer >= 1; got 0"),
    (lambda: vp.permute(3, (0, 0, 1)), r"each of 0 to 2 once"),
    (lambda: vp.chain(), r"at least one flow"),
    (lambda: vp.repeat(vp.permute(2), 0), r"`num_layers` to be an integer >= 1; got 0"),
    (lambda: vp.conditional_normal(2), r"`num_classes` \(y is a label\) or `condition_dim`"),
    (lambda: vp.conditional_normal(2, num_classes=3, condition_dim=3), r"one of the two"),
    (lambda: vp.conditional_mixture(2, 3, num_classes=0), r"`num_classes` to be an integer >= 1; got 0"),
    (lambda: vp.marginalize(vp.conditional_normal(2, num_classes=3), (0.5, 0.6, 0.0)), r"that sum to 1"),
    (lambda: vp.marginalize(vp.conditional_normal(2, num_classes=3), (0.5, float("nan"), 0.5)), r"that sum to 1"),
    (lambda: vp.marginalize(vp.conditional_normal(2, num_classes=3), (0.5, 0.5)), r"each of the 3 classes"),
    (lambda: vp.from_distribution(distrax.Normal(0.0, 1.0)), r"over one vector"),
    (lambda: vp.prior_from_config({"factory": "no_such_prior"}), r"Expected a factory among .*; got 'no_such_prior'"),
    (lambda: vp.prior_from_config({"factory": "permute", "dim": 2}), r"is a flow. Use `flow_from_config`"),
    (lambda: vp.prior_from_config({}), r"with the key 'factory'"),
]


@pytest.mark.parametrize(("make", "message"), FACTORY_ERRORS, ids=[message[:40] for _, message in FACTORY_ERRORS])
def test_factories_check_their_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def vae_of(prior, context=()):
    vae = vp.VAE(lambda p, x, **c: vp.normal_diag(p @ x, jnp.ones(2)), lambda p, z: vp.bernoulli(p @ z), prior, context)
    return vae, vp.VAEParams(jnp.ones((2, 6)), jnp.ones((6, 2)), prior.init(KEY))


def fit(data, prior=None, **options):
    vae, params = vae_of(prior or vp.standard_normal(2))
    arguments = {"num_epochs": 1, "batch_size": 10, "progress": False, **options}
    return vp.fit(vae, params, KEY, data, optax.adam(1e-3), **arguments)


ONES = np.ones((20, 6), np.float32)
WITH_NAN = ONES.copy()
WITH_NAN[3, 2] = np.nan
LABELS = np.arange(20) % 4
CLASSES = vp.conditional_normal(2, num_classes=3)
GREY = np.full((20, 6), 0.3, np.float32)

DATA_ERRORS = [
    (lambda: fit({"x": WITH_NAN}), r"finite values in `x`; got 1 .* the first at index \(3, 2\)"),
    (lambda: fit({"x": GREY}), r"zeros and ones as data of a Bernoulli likelihood; got 0.3.*transform=vp.binarize"),
    (lambda: fit({"x": 3 * ONES}, transform=vp.binarize), r"grey values in \[0, 1\] to transform; got values from 3"),
    (lambda: fit({"x": ONES, "y": LABELS}, prior=CLASSES), r"labels in `y` from 0 to 2 .*got values from 0 to 3"),
    (lambda: fit({"x": ONES, "y": LABELS - 1}, prior=CLASSES), r"got values from -1 to 2"),
    (lambda: fit({"x": ONES, "y": LABELS * 0.5}, prior=CLASSES), r"integer labels in `y`; got dtype float"),
    (lambda: fit({"x": ONES[:5]}), r"at least one batch of 10 examples; got 5. Use a smaller `batch_size`"),
    (lambda: fit({"x": ONES, "y": LABELS[:7]}), r"arrays of one length .*'x': 20, 'y': 7"),
    (lambda: fit({"images": ONES}), r"an entry 'x' \[N, ...\], .*; got the entries \['images'\]"),
    (lambda: fit(ONES), r"an entry 'x' \[N, ...\], such as \{'x': images\}; got an array of shape \(20, 6\)"),
    (lambda: fit({"x": ONES}, num_epochs=0), r"`num_epochs` to be an integer >= 1"),
    (lambda: fit({"x": ONES}, validation={"x": WITH_NAN}), r"finite values in `x`"),
]


@pytest.mark.parametrize(("run", "message"), DATA_ERRORS, ids=[message[:40] for _, message in DATA_ERRORS])
def test_fit_checks_its_data_before_it_compiles(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_missing_context_of_a_batch_is_named():
    with pytest.raises(TypeError, match="A conditional prior or flow reads the context 'y', which is missing"):
        fit({"x": ONES}, prior=CLASSES)
    with pytest.raises(TypeError, match=r"vamp\(.*\) reads the context 'encode', which is missing. A VAE passes"):
        vp.vamp(3, (6,)).apply(vp.vamp(3, (6,)).init(KEY))


def fit_three(**options):
    """Three replicas; their parameters have no leading axis unless `stacked`."""
    vae, params = vae_of(vp.standard_normal(2))
    if options.pop("stacked", True):
        params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params)
    arguments = {"optimizer": optax.adam(1e-3), "num_epochs": 1, "batch_size": 10, "progress": False, **options}
    return vp.fit(vae, params, jax.random.split(KEY, 3), {"x": ONES}, **arguments)


def fit_params(params):
    vae, _ = vae_of(vp.standard_normal(2))
    return vp.fit(vae, params, KEY, {"x": ONES}, optax.adam(1e-3), num_epochs=1, batch_size=10)


ARGUMENT_ERRORS = [
    (lambda: fit({"x": ONES}, objective=vp.Objective(beta=-1.0)), r"`beta` to be finite and >= 0; got -1.0"),
    (lambda: fit({"x": ONES}, objective=vp.Objective(beta=float("nan"))), r"`beta` to be finite and >= 0; got nan"),
    (
        lambda: fit({"x": ONES}, objective=vp.Objective(warmup_epochs=-1)),
        r"`warmup_epochs` to be finite and >= 0; got -1",
    ),
    (lambda: fit({"x": ONES}, objective=vp.Objective(free_bits=-0.5)), r"`free_bits` to be finite and >= 0; got -0.5"),
    (lambda: fit({"x": ONES}, patience=3), r"Expected `validation` data with `patience`"),
    (
        lambda: fit_three(objective=vp.Objective(beta=np.ones(2))),
        r"`beta` to be one value, or one for each of 3 replicas .* shape \[2\]",
    ),
    (lambda: fit_three(stacked=False), r"leading axis of 3, one for each key of `key`; params.encoder is \[2, 6\]"),
    (
        lambda: fit_three(optimizer=optax.adam, hyperparameters={"learning_rate": np.ones(2)}),
        r"`learning_rate` to be one",
    ),
    (
        lambda: fit_three(hyperparameters={"learning_rate": 1.0}),
        r"a function that makes the optimizer from learning_rate",
    ),
    (lambda: fit_three(optimizer=optax.adam), r"an optax transformation, such as `optax.adam\(1e-3\)`; got <function"),
    (lambda: vp.make_train_step(vae_of(CLASSES)[0], 1e-3), r"an optax transformation, .*; got 0.001"),
    (lambda: fit({"x": ONES}, beta=0.5), r"fit\(\) no longer takes `beta`. Pass `objective=vp.Objective\(beta=...\)`"),
    (lambda: fit({"x": ONES}, checkpoint_every=2), r"no longer takes `checkpoint_every`. Pass `checkpoints=vp.Check"),
    (lambda: vp.make_train_step(*vae_of(CLASSES), free_bits=1.0), r"make_train_step\(\) no longer takes `free_bits`"),
    (lambda: vp.elbo(*vae_of(CLASSES), KEY, ONES[0], num_samples=2), r"elbo\(\) no longer takes `num_samples`"),
    (lambda: vp.elbo(*vae_of(CLASSES), KEY, ONES[0], objective=vp.Objective(beta=len)), r"a number as `beta`: `elbo`"),
    (lambda: fit({"x": ONES}, checkpoints=3), r"a folder in `checkpoints`, as text or a path; got 3"),
    (lambda: fit({"x": ONES}, checkpoints=vp.Checkpoints("run", every=0)), r"`every` to be an integer >= 1; got 0"),
    (lambda: fit_params({"encoder": ONES}), r"`params` as `vp.VAEParams\(encoder, decoder, prior\)`; got dict"),
    (lambda: fit_params(vp.VAEParams(np.ones((2, 6), int), {}, {})), r"parameters of floats; params.encoder is of int"),
    (lambda: vp.generate(*vae_of(CLASSES), KEY, -1, y=0), r"`num_samples` to be an integer >= 1; got -1"),
    (lambda: vp.active_units(*vae_of(CLASSES), ONES[:1], y=LABELS[:1] % 3), r"at least 2 examples"),
    (
        lambda: vp.log_marginal_over_classes(*vae_of(CLASSES), KEY, ONES, class_probabilities=(0.5, 0.5)),
        r"one probability for each of 3 classes; got 2",
    ),
    (lambda: vp.two_sample_test(KEY, vp.normal_diag(ONES[0], ONES[0]), ONES), r"samples .* got a distribution. Draw"),
]


@pytest.mark.parametrize(("run", "message"), ARGUMENT_ERRORS, ids=[message[:40] for _, message in ARGUMENT_ERRORS])
def test_functions_check_their_arguments_before_they_compile(run, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run()


def test_parameters_of_another_prior_are_named():
    prior, other = vp.mixture(2, 3), vp.mixture(2, 3, covariance="full")
    expected = (
        r"`init` of mixture\(dim=2, num_components=3\) .*'log_scale': \[3, 2\].*; got .*'scale_tril': \[3, 2, 2\]"
    )
    with pytest.raises(ValueError, match=expected):
        prior.apply(other.init(KEY))
    with pytest.raises(ValueError, match=r"the shape of pseudo_inputs is \[4, 5\] instead of \[4, 6\]. Pass"):
        vp.vamp(4, (6,)).apply(vp.vamp(4, (5,)).init(KEY), encode=encode)


def test_errors_of_the_users_own_networks_stay_as_they_are():
    """What the prior can't explain goes through, with a note of what the networks got."""

    def broken(x):
        raise KeyError("mine")

    prior = vp.vamp(4, (6,))
    with pytest.raises(KeyError, match="mine"):
        prior.apply(prior.init(KEY), encode=broken)
    vae, params = vae_of(vp.standard_normal(2))
    with pytest.raises(TypeError) as caught:
        vp.log_marginal(vae, params, KEY, np.ones((20, 5)), num_samples=2)
    assert "one example of the data, {'x': [20, 5]} [N, ...]" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("flow", [vp.permute(3), vp.affine_coupling(3), vp.masked_autoregressive(3)])
def test_a_flow_over_another_dimension_is_refused(flow):
    prior = vp.transformed(vp.standard_normal(2), vp.repeat(flow, 2))
    distribution = prior.apply(prior.init(KEY))
    with pytest.raises(ValueError, match=r"shape \[..., 3\] for a flow; got \[2\]. Give the flow"):
        distribution.sample(seed=KEY)
    with pytest.raises(ValueError, match=r"shape \[..., 3\] for a flow; got \[2\]"):
        distribution.log_prob(jnp.zeros((5, 2)))


def test_keys_of_both_styles_and_nothing_else():
    vae, params = vae_of(vp.mixture(2, 3))
    both = [vp.log_marginal(vae, params, key, ONES, num_samples=5).mean for key in (KEY, jax.random.PRNGKey(0))]
    assert both[0] == both[1]
    trained = [
        vp.fit(vae, params, key, {"x": ONES}, optax.adam(1e-3), num_epochs=1, batch_size=10, progress=False)
        for key in (KEY, jax.random.PRNGKey(0))
    ]
    np.testing.assert_array_equal(trained[0].params.decoder, trained[1].params.decoder)
    for key in (0, np.zeros(2), None):
        with pytest.raises(TypeError, match=r"a random key, such as `jax.random.key\(0\)`; got"):
            vp.log_marginal(vae, params, key, ONES, num_samples=5)


def test_evaluation_checks_its_data():
    vae, params = vae_of(CLASSES)
    with pytest.raises(ValueError, match="labels in `y` from 0 to 2"):
        vp.log_marginal(vae, params, KEY, ONES, y=LABELS, num_samples=5)
    with pytest.raises(ValueError, match="zeros and ones"):
        vp.log_marginal(vae, params, KEY, GREY, y=LABELS % 3, num_samples=5)
    with pytest.raises(ValueError, match="`num_samples` to be an integer >= 1"):
        vp.log_marginal(vae, params, KEY, ONES, y=LABELS % 3, num_samples=0)
    with pytest.raises(ValueError, match="that sum to 1"):
        vp.log_marginal_over_classes(vae, params, KEY, ONES, class_probabilities=[0.5, 0.1, 0.1], num_samples=5)


def test_a_label_outside_the_classes_is_an_error_eagerly_and_nan_when_compiled():
    prior = vp.conditional_mixture(2, 2, num_classes=3)
    params = prior.init(KEY)
    with pytest.raises(ValueError, match="labels in `y` from 0 to 2"):
        prior.apply(params, y=3)
    for case, shared in (
        (prior, {}),
        (CLASSES, {}),
        (vp.vamp(6, (6,), num_classes=3), {"encode": encode}),
        (vp.transformed(vp.standard_normal(2), vp.affine_coupling(2, num_classes=3)), {}),
    ):
        # Off its start: a flow that is the identity would not show its condition.
        moved = jax.tree.map(lambda leaf: leaf + 0.1, case.init(KEY))
        density = jax.jit(lambda y: case.apply(moved, y=y, **shared).log_prob(jnp.zeros(2)))  # noqa: B023
        assert np.isfinite(density(2))
        assert np.isnan(density(3))
        assert np.isnan(density(-1))


def test_start_from_data_checks_what_it_gets():
    x, z = np.random.default_rng(0).random((30, 6)), np.random.default_rng(1).normal(size=(30, 2))

    def start(prior, **data):
        return vp.init_from_data(prior, KEY, **data)

    for run, message in [
        (lambda: start(vp.standard_normal(2), z=z), "which can start from data; got standard_normal"),
        (lambda: start(vp.mixture(2, 3)), "Expected `z=` to start"),
        (lambda: start(vp.mixture(2, 3), z=x), r"`z` of shape \[N, 2\]; got \(30, 6\)"),
        (lambda: start(vp.mixture(2, 31), z=z), "at least num_components=31 encodings; got 30"),
        (lambda: start(vp.mixture(2, 3), z=np.full((30, 2), np.inf)), "finite values in `z`"),
        (lambda: start(vp.vamp(31, (6,)), x=x), "as many examples as pseudo-inputs"),
        (lambda: start(vp.conditional_normal(2, num_classes=3), z=z, y=np.zeros(30, int)), "none of class 1, 2"),
        (lambda: start(vp.conditional_normal(2, num_classes=3), z=z, y=np.zeros(3, int)), "as many labels as examples"),
    ]:
        with pytest.raises(ValueError, match=message):
            run()


def test_start_from_data_finds_the_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    label = rng.choice(3, 3000, p=[0.2, 0.3, 0.5])
    z = centres[label] + 0.5 * rng.normal(size=(3000, 2))
    for prior in (vp.mixture(2, 3), vp.mixture(2, 3, covariance="full")):
        params = vp.init_from_data(prior, KEY, z=z)
        fixed = prior.apply(params)
        order = np.argmin(np.linalg.norm(centres[:, None] - np.asarray(params["loc"])[None], axis=-1), axis=1)
        np.testing.assert_allclose(params["loc"][order], centres, atol=0.1)
        np.testing.assert_allclose(np.exp(fixed.log_weights)[order], [0.2, 0.3, 0.5], atol=0.03)
        assert jax.tree.structure(params) == jax.tree.structure(prior.init(KEY))
    params = vp.init_from_data(vp.conditional_normal(2, num_classes=3), KEY, z=z, y=label)
    np.testing.assert_allclose(params["loc"], centres, atol=0.1)
    np.testing.assert_allclose(np.exp(params["log_scale"]), 0.5, atol=0.05)
    flow = vp.transformed(vp.mixture(2, 3), vp.affine_coupling(2))
    assert jax.tree.structure(vp.init_from_data(flow, KEY, z=z)) == jax.tree.structure(flow.init(KEY))
    classes = vp.conditional_mixture(2, 2, num_classes=3)
    assert vp.init_from_data(classes, KEY, z=z, y=label)["loc"].shape == (3, 2, 2)
