"""What a first user gets wrong: the message says what was expected, what came and what to write."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp

KEY = jax.random.key(0)
X = np.ones((20, 6), np.float32)
NORMAL = vp.standard_normal(2)
OPTIMIZER = optax.adam(1e-3)


def encode(params, x):
    return vp.normal_diag(params @ x, jnp.ones(2))


def decode(params, z):
    return vp.bernoulli(params @ z)


def return_logits(params, z):
    return params @ z


def make_params(prior=None):
    return vp.VAEParams(jnp.ones((2, 6)), jnp.ones((6, 2)), {} if prior is None else prior.init(KEY))


VAE, PARAMS = vp.VAE(encode, decode, NORMAL), make_params()
NOT_CALLED = VAE._replace(prior=vp.standard_normal)
LOGITS = VAE._replace(decode=return_logits)
DICT = PARAMS._asdict()
VAMP = vp.vamp(3, (5,))


def fit(vae=VAE, params=PARAMS, x=X, **options):
    arguments = {"num_epochs": 1, "batch_size": 10, "progress": False, **options}
    return vp.fit(vae, params, KEY, {"x": x}, OPTIMIZER, **arguments)


PIECES = [
    (lambda: fit(NOT_CALLED), r"prior, .* as the `prior` of the `vp.VAE`; got the function `standard_normal`. Call"),
    (lambda: vp.elbo(NOT_CALLED, PARAMS, KEY, X[0]), r"as in `standard_normal\(...\)`, and pass what it returns"),
    (lambda: vp.make_train_step(NOT_CALLED, OPTIMIZER), r"got the function `standard_normal`. Call the factory"),
    (lambda: vp.log_marginal(NOT_CALLED, PARAMS, KEY, X), r"got the function `standard_normal`. Call the factory"),
    (lambda: vp.generate(NOT_CALLED, PARAMS, KEY, 3), r"got the function `standard_normal`. Call the factory"),
    (
        lambda: vp.fit_prior(vp.mixture, VAE, PARAMS, KEY, X),
        r"as `prior`; got the function `mixture`. Call",
    ),
    (lambda: vp.freeze(vp.mixture, {}), r"Expected a prior, .*; got the function `mixture`. Call the factory"),
    (lambda: vp.init_from_data(vp.mixture, KEY, z=X), r"Expected a prior, .*; got the function `mixture`"),
    (
        lambda: vp.transformed(vp.standard_normal, vp.affine_coupling(2)),
        r"as `base_prior` of `transformed\(base_prior, flow\)`; got the function `standard_normal`. Call the factory",
    ),
    (lambda: vp.transformed(NORMAL, vp.affine_coupling), r"Expected a flow, .*; got the function `affine_coupling`"),
    (
        lambda: vp.transformed(vp.affine_coupling(2), NORMAL),
        r"Expected a prior, .*; got the flow affine_coupling\(dim=2\). Check the order of the arguments",
    ),
    (lambda: vp.repeat(NORMAL, 2), r"Expected a flow, .* `repeat\(flow, .*; got the prior standard_normal\(dim=2\)"),
    (lambda: vp.chain(vp.permute(2), NORMAL), r"Expected a flow, .* `chain\(flows\)`; got the prior standard_normal"),
    (lambda: vp.chain([vp.permute(2)]), r"Expected a flow, .* `chain\(flows\)`; got list"),
    (lambda: vp.marginalize(vp.conditional_normal, (0.5, 0.5)), r"Expected a prior, .* `conditional_normal\(...\)`"),
    (
        lambda: vp.hole_mass(NORMAL, NORMAL.apply({}), KEY),
        r"`prior` to be a .*Pass `prior.apply\(params\)`",
    ),
]

OBJECTIVES = [
    (lambda: fit(objective={}), r"`objective` as an object such as `vp.Objective\(beta=0.5\)`; got {}"),
    (lambda: vp.make_train_step(VAE, OPTIMIZER, objective=0.5), r"`vp.Objective\(beta=0.5\)`; got 0.5"),
    (lambda: vp.elbo(VAE, PARAMS, KEY, X[0], objective={"beta": 2}), r"`vp.Objective\(beta=0.5\)`; got {'beta': 2}"),
    (lambda: vp.elbo(VAE, DICT, KEY, X[0]), r"`params` as `vp.VAEParams\(encoder, decoder, prior\)`; got dict"),
    (lambda: vp.iwae(VAE, DICT, KEY, X[0], num_samples=2), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.generate(VAE, DICT, KEY, 2), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.log_marginal(VAE, DICT, KEY, X), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.init_train_state(DICT, OPTIMIZER), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.elbo(LOGITS, PARAMS, KEY, X[0]), r"the decoder to return a distrax distribution over x; got an array"),
    (lambda: vp.generate(LOGITS, PARAMS, KEY, 2), r"got an array of shape \[6\]. Return for instance `vp.bernoulli"),
    (lambda: fit(LOGITS), r"got an array of shape \[6\]. Return for instance `vp.bernoulli\(logits\)`"),
]


@pytest.mark.parametrize(("run", "message"), PIECES + OBJECTIVES)
def test_an_argument_of_another_kind(run, message):
    with pytest.raises(TypeError, match=message):
        run()


DATA = [
    (None, r"Expected `x` to be an array \[N, ...\]; got NoneType"),
    # Evaluation takes a stream of batches as `x`.
    ((row for row in X), r"`x` to be an array \[N, ...\]; got generator|batches as dicts of arrays, .*; got a ndarray"),
    ({"x": X}, r"Expected `x` to be an array \[N, ...\]; got dict"),
    (
        (X, X),
        r"Expected `x` to be one array .*; got a tuple of shapes \[\[20, 6\], \[20, 6\]\]. Pass one of its arrays",
    ),
    ([[1.0, 0.0], [1.0]], r"Expected `x` to be an array \[N, ...\]; it cannot be made one"),
    (
        X.astype(object),
        r"Expected numbers in `x`; got an array of dtype object. Convert it, such as by `np.asarray\(x, ",
    ),
    (X.astype(str), r"Expected numbers in `x`; got an array of dtype <U32"),
    (X.astype("datetime64[s]"), r"Expected numbers in `x`; got an array of dtype datetime64\[s\]"),
    (X.astype(">f4"), r"byte order of this machine; got dtype >f4. Convert it with `x.astype\(x.dtype.newbyteorder"),
]


@pytest.mark.parametrize(("x", "message"), DATA)
def test_data_of_another_kind(x, message):
    for run in (fit, lambda **given: vp.log_marginal(VAE, PARAMS, KEY, **given)):
        with pytest.raises((TypeError, ValueError), match=message):
            run(x=x)


def test_rows_in_a_list_are_data():
    rows = vp.evaluate_elbo(VAE, PARAMS, KEY, list(X)).elbo
    np.testing.assert_array_equal(rows, vp.evaluate_elbo(VAE, PARAMS, KEY, X).elbo)


TEN = vp.mixture(2, 10)
OPTIONS = [
    (lambda: fit(mesh=3), r"`mesh` as a `jax.sharding.Mesh`, such as `vaepriors_jax.parallel.make_mesh\(\)`; got int"),
    (lambda: vp.log_marginal(VAE, PARAMS, KEY, X, mesh=3), r"`mesh` as a `jax.sharding.Mesh`, .*; got int"),
    (lambda: fit(hyperparameters=[1]), r'`hyperparameters` by name, such as {"learning_rate": rates}; got list'),
    (lambda: fit(transform=lambda key, batch: None), r"`transform\(key, batch\)` to return a batch .*; got NoneType"),
    (lambda: fit(transform=lambda key, batch: {"y": batch["x"]}), r"an entry 'x', .*; got the entries \['y'\]"),
    (lambda: fit(transform=3), r"`transform` to be a function of a key and a batch; got 3"),
    (
        lambda: fit(VAE._replace(prior=TEN), make_params(vp.mixture(2, 5))),
        r"`init` of mixture\(dim=2, num_components=10\) makes them; the shape of loc is \[5, 2\] instead of \[10, 2\]",
    ),
    (
        lambda: vp.log_marginal(VAE._replace(prior=TEN), make_params(vp.mixture(2, 5)), KEY, X),
        r"is \[5, 2\] instead of \[10, 2\]. Pass `prior.init\(key\)` of this prior",
    ),
    (lambda: vp.normal_diag(jnp.zeros(3), jnp.ones(2)), r"`loc` and `scale` of one shape; got \[3\] and \[2\]"),
    (lambda: vp.normal_diag(jnp.zeros(2), jnp.array([1.0, -2.0])), r"`scale` > 0, .*; got values from -2.0 to 1.0"),
    (lambda: vp.normal_diag(np.zeros(2), np.zeros(2)), r"`scale` > 0, .* such as by `jnp.exp` or `jax.nn.softplus`"),
    (lambda: vp.discretized_logistic(jnp.zeros(2), 0.0), r"`scale` > 0, .*; got values from 0.0 to 0.0"),
    (
        lambda: vp.discretized_logistic_mixture(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.zeros((2, 3))),
        r"`scale` > 0, .*; got values from 0.0 to 0.0",
    ),
    (lambda: vp.student_t(3.0, jnp.zeros(2), np.array([1.0, -1.0])), r"`scale` > 0, .*; got values from -1.0 to 1.0"),
]


@pytest.mark.parametrize(("run", "message"), OPTIONS)
def test_an_option_that_does_not_fit(run, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run()


def test_a_scale_whose_values_are_not_known_yet_passes():
    assert np.isnan(jax.jit(lambda scale: vp.normal_diag(jnp.zeros(2), scale).log_prob(jnp.zeros(2)))(-jnp.ones(2)))


def test_a_transform_of_a_training_step_returns_a_batch():
    step = vp.make_train_step(VAE, OPTIMIZER, transform=lambda key, batch: batch["x"])
    with pytest.raises(TypeError, match=r"`transform\(key, batch\)` to return a batch with an entry 'x'"):
        step(vp.init_train_state(PARAMS, OPTIMIZER), KEY, {"x": X})


STEP = vp.make_train_step(VAE, OPTIMIZER)
BATCHES = [
    ({"x": None}, r"Expected `x` of the batch to be an array \[B, ...\]; got NoneType"),
    ({"x": list(X)}, r"`x` of the batch .*; got list. Convert it, such as by `np.asarray\(x\)`"),
    ({"x": X, "y": [1] * 20}, r"`y` of the batch .*; got list"),
    ({"x": X, "y": np.ones(3)}, r"arrays of one length \[B, ...\], .* got {'x': 20, 'y': 3}"),
    ({"x": X[:0]}, r"at least 1, in the batch; got {'x': 0}"),
    ({"images": X}, r"a batch with an entry 'x' \[B, ...\], such as {'x': images}; got the entries \['images'\]"),
    (X, r"a batch with an entry 'x' .*; got ndarray"),
]


@pytest.mark.parametrize(("batch", "message"), BATCHES)
def test_a_batch_of_another_kind(batch, message):
    state = vp.init_train_state(PARAMS, OPTIMIZER)
    with pytest.raises((TypeError, ValueError), match=message):
        STEP(state, KEY, batch)
    assert not state.step.is_deleted()


def test_a_train_state_is_used_once():
    first = vp.init_train_state(PARAMS, OPTIMIZER)
    kept = jax.tree.map(jnp.copy, first)
    second, _ = STEP(first, KEY, {"x": X})
    with pytest.raises(
        ValueError, match=r"can be used once, since the step reuses its memory. Write `state, metrics = "
    ):
        STEP(first, KEY, {"x": X})
    again, _ = STEP(kept, KEY, {"x": X})
    np.testing.assert_array_equal(again.params.encoder, second.params.encoder)
    with pytest.raises(TypeError, match=r"the state of `vp.init_train_state\(params, optimizer\)`, .*; got VAEParams"):
        STEP(PARAMS, KEY, {"x": X})
    with pytest.raises(TypeError, match="Expected a random key"):
        STEP(second, 0, {"x": X})


def test_a_step_is_the_compiled_one_within_other_programs():
    """It can be lowered and scanned, where states and batches are not known yet."""
    state, batches = vp.init_train_state(PARAMS, OPTIMIZER), {"x": np.stack([X, X])}
    assert "stablehlo" in STEP.lower(state, KEY, {"x": X}).as_text()
    last, _ = jax.lax.scan(lambda state, batch: STEP(state, KEY, batch), state, batches)
    assert int(last.step) == 2


@pytest.mark.parametrize(
    ("prior", "other", "message"),
    [
        (
            TEN,
            vp.mixture(2, 5),
            r"`init` of mixture\(dim=2, num_components=10\) .* loc is \[5, 2\] instead of \[10, 2\]",
        ),
        (
            vp.vamp(4, (6,)),
            vp.vamp(3, (6,)),
            r"pseudo_inputs is \[3, 6\] instead of \[4, 6\]. Pass `prior.init\(key\)`",
        ),
        (
            vp.transformed(NORMAL, vp.affine_coupling(2, hidden=(8,))),
            vp.transformed(NORMAL, vp.affine_coupling(2, hidden=(9,))),
            r"the shape of flow.first.Dense_0.bias is \[9\] instead of \[8\]",
        ),
    ],
)
def test_parameters_of_another_size(prior, other, message):
    """Where `apply` is called directly, and where it is compiled."""
    params = other.init(KEY)

    def density(params):
        return prior.apply(params, encode=lambda x: vp.normal_diag(x[:2], jnp.ones(2))).log_prob(jnp.zeros(2))

    for run in (density, jax.jit(density)):
        with pytest.raises(ValueError, match=message):
            run(params)


NOTES = [
    (lambda: vp.elbo(VAE, PARAMS, KEY, X), r"takes one example; it was given x of shape \[20, 6\]. For a batch, map"),
    (lambda: vp.log_marginal(VAE, PARAMS, KEY, X[0]), r"{'x': \[6\]} .* a single example x is passed as `x\[None\]`"),
    (
        lambda: vp.elbo(VAE._replace(prior=VAMP), make_params(VAMP), KEY, X[0]),
        r"a pseudo-input of a `vamp` prior, of input_shape=\(5,\). Give the shape of one example",
    ),
    (lambda: fit(VAE._replace(prior=VAMP), make_params(VAMP)), r"of input_shape=\(5,\)"),
    (
        lambda: fit(transform=lambda batch: batch),
        r"from `transform\(key, batch\)`, given a batch of the entries \['x'\]",
    ),
    (lambda: VAE.likelihood(PARAMS, jnp.ones(3)), r"from the decoder, .* it was given z of shape \[3\]"),
]


@pytest.mark.parametrize(("run", "note"), NOTES)
def test_an_error_of_a_network_says_what_it_was_given(run, note):
    with pytest.raises((TypeError, ValueError)) as caught:
        run()
    assert any(re.search(note, text) for text in caught.value.__notes__)


def test_a_result_prints_on_a_screen():
    """Sizes and last values instead of arrays; a replica that failed and one of many are named."""
    prior = vp.mixture(2, 1000)
    result = fit(VAE._replace(prior=prior), make_params(prior), num_epochs=2, validation={"x": X})
    text = repr(result)
    assert text.startswith("FitResult(\n  params: 5,024 numbers (encoder 12, decoder 12, prior 5,000)\n  best_epoch: ")
    assert f"history['validation_elbo']: [2], at last {result.history['validation_elbo'][-1]:.2f}" in text
    assert "failures: 0\n" in text
    assert isinstance(result, tuple)
    many = result._replace(
        best_epoch=np.arange(50),
        history={"elbo": np.array([[-3.0, np.nan], [-2.0, -1.5]] * 25)},
        failures=tuple(vp.Failure(replica, 7, "kl") for replica in range(50)),
    )
    assert "history['elbo']: [50, 2], at last [-3.00, -1.50, -3.00, ..., -1.50, -3.00, -1.50]" in repr(many)
    assert "failures: 50, first: replica 0 was frozen at step 7: kl is not finite\n" in repr(many)
    assert max(map(len, repr(many).splitlines())) < 100
    assert repr(many).count("\n") < 10
