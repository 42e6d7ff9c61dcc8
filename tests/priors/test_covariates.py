"""A VampPrior whose encoder reads covariates, against a mixture written by hand, and priors of several conditions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import vaepriors_jax as vp

KEY = jax.random.key(0)
COVARIATES = {"batch": {"num_classes": 3}, "age": {}, "mask": {"boolean": True, "shape": (4,)}}
PRIOR = vp.vamp(5, (4,), bounds=None, covariates=COVARIATES)
SHIFTS = np.array([[0.0, 1.0], [-2.0, 0.5], [3.0, -1.0]], np.float32)


def encode(params, x, *, batch, age, mask):
    assert jnp.issubdtype(mask.dtype, jnp.bool_)
    kept = jnp.where(mask, x, 0)
    return vp.normal_diag(params["gain"] * kept[:2] + jnp.asarray(SHIFTS)[batch], jnp.exp(0.1 * age + 0.05 * kept[2:]))


def decode(params, z):
    return vp.normal_diag(params["gain"] * jnp.tile(z, 2), jnp.ones(4))


VAE = vp.VAE(encode, decode, PRIOR, encoder_context=("batch", "age", "mask"))


def examples(count=40, seed=0):
    generator = np.random.default_rng(seed)
    return {
        "x": generator.normal(size=(count, 4)).astype(np.float32),
        "batch": generator.integers(0, 3, count).astype(np.uint8),
        "age": generator.normal(size=count).astype(np.float32),
        "mask": generator.random((count, 4)) < 0.7,
    }


def made(key=KEY):
    params = {"gain": jnp.float32(1.3)}
    return vp.VAEParams(params, params, vp.init_from_data(PRIOR, key, **examples()))


def by_hand(params, z):
    """The log-density of the mixture at z [M, 2], in float64."""
    u = np.asarray(vp.pseudo_inputs(PRIOR, params), np.float64)
    own = {name: np.asarray(value) for name, value in vp.pseudo_covariates(PRIOR, params).items()}
    kept = np.where(own["mask"], u, 0)
    loc = 1.3 * kept[:, :2] + SHIFTS.astype(np.float64)[own["batch"]]
    scale = np.exp(0.1 * own["age"][:, None] + 0.05 * kept[:, 2:])
    return logsumexp(norm.logpdf(z[:, None], loc, scale).sum(-1), axis=1) - np.log(len(u))


def test_pseudo_inputs_are_encoded_with_their_own_covariates_and_not_those_of_the_example():
    params, z = made(), np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
    expected = by_hand(params.prior, z)
    for row in range(2):
        context = {name: value[row] for name, value in examples().items() if name != "x"}
        values = VAE.latent_prior(params, **context).log_prob(z)
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(VAE.latent_prior(params).log_prob(z), expected, rtol=1e-5)


def test_a_start_from_data_takes_covariates_with_their_examples():
    data, params = examples(), made().prior
    inputs, own = np.asarray(vp.pseudo_inputs(PRIOR, params)), vp.pseudo_covariates(PRIOR, params)
    rows = [int(np.flatnonzero((data["x"] == u).all(1))[0]) for u in inputs]
    assert len(set(rows)) == 5
    for name, values in own.items():
        np.testing.assert_array_equal(values, data[name][rows])
    assert own["batch"].dtype == jnp.int32


def test_training_learns_real_covariates_and_leaves_the_others_where_they_are():
    # Weight decay of a tenth a step, and an optimiser that goes by the signs of gradients.
    for optimizer in (optax.adamw(1e-2, weight_decay=10.0), optax.lion(1e-2)):
        start = made()
        result = vp.fit(VAE, start, KEY, examples(), optimizer, num_epochs=2, batch_size=10, progress=False)
        before, after = (vp.pseudo_covariates(PRIOR, params.prior) for params in (start, result.params))
        assert np.abs(before["age"] - after["age"]).min() > 1e-4
        for name in ("batch", "mask"):
            np.testing.assert_array_equal(before[name], after[name])
        raw = (params.prior["covariates"]["batch"] for params in (start, result.params))
        assert not np.array_equal(*raw), "the optimiser scales the signs"


@pytest.mark.parametrize("num_classes", [1, 2, 3, 50_257, 2**31 - 1])
def test_integers_of_any_vocabulary_survive_the_way_through_floats(num_classes):
    prior = vp.vamp(4, (1,), covariates={"token": {"num_classes": num_classes, "shape": (2,)}})
    tokens = np.array([[0, num_classes - 1], [num_classes // 2, 0], [num_classes // 3, 0], [0, 0]], np.int64)
    params = vp.init_from_data(prior, KEY, x=np.arange(4, dtype=np.float32)[:, None] / 4, token=tokens)
    order = np.argsort(np.asarray(vp.pseudo_inputs(prior, params))[:, 0])
    np.testing.assert_array_equal(vp.pseudo_covariates(prior, params)["token"][order], tokens)
    moved = jax.tree.map(lambda leaf: jnp.full_like(leaf, 1.0), prior.init(KEY))
    assert (vp.pseudo_covariates(prior, moved)["token"] == num_classes - 1).all()


def test_covariates_reach_the_vampprior_through_other_priors_and_files(tmp_path):
    wrapped = vp.transformed(PRIOR, vp.affine_coupling(2, hidden=(4,)))
    params = made()._replace(prior=vp.init_from_data(wrapped, KEY, **examples()))
    assert vp.prior_from_config(json.loads(json.dumps(vp.plain_config(wrapped)))) == wrapped
    vp.save_model(tmp_path, wrapped, params)
    loaded, again = vp.load_model(tmp_path)
    z = np.zeros((1, 2), np.float32)
    values = [
        VAE._replace(prior=prior).latent_prior(p).log_prob(z) for prior, p in ((wrapped, params), (loaded, again))
    ]
    np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(values[0], by_hand(params.prior["base"], z), rtol=1e-5)  # the flow starts as identity
    with pytest.raises(ValueError, match="which has pseudo-inputs"):
        vp.pseudo_covariates(vp.standard_normal(2), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "known"),
    [
        (np.arange(12, dtype=np.int8) % 3, {"num_classes": 3}),
        (np.arange(12) % 2 > 0, {"num_classes": 2}),
        (np.arange(12, dtype=np.int8) % 2, {"boolean": True}),
        (np.arange(12) % 2 > 0, {}),
        (np.linspace(-1, 1, 12).astype(np.float16), {}),
        (np.arange(72.0).reshape(12, 3, 2), {"shape": [3, 2]}),
        (np.arange(72, dtype=np.uint8).reshape(12, 3, 2) % 5, {"num_classes": 5, "shape": (3, 2)}),
    ],
)
def test_covariates_of_many_types_and_shapes_train(values, known):
    size = int(np.prod(values.shape[1:]))
    prior = vp.vamp(3, (4,), bounds=None, covariates={"own": known})
    x = examples(12)["x"]

    def encode(params, x, *, own):
        return vp.normal_diag(params @ jnp.append(x, jnp.asarray(own, jnp.float32)), jnp.ones(2))

    vae = vp.VAE(encode, lambda params, z: vp.normal_diag(params @ z, jnp.ones(4)), prior, ("own",))
    start = vp.init_from_data(prior, KEY, x=x, own=values)
    params = vp.VAEParams(jnp.full((2, 4 + size), 0.01), jnp.ones((4, 2)), start)
    found = np.asarray(vp.pseudo_covariates(prior, start)["own"])
    rows = [int(np.flatnonzero((x == u).all(1))[0]) for u in np.asarray(vp.pseudo_inputs(prior, start))]
    np.testing.assert_allclose(found, values[rows].astype(float), rtol=1e-6)
    result = vp.fit(
        vae, params, KEY, {"x": x, "own": values}, optax.adam(1e-2), num_epochs=1, batch_size=6, progress=False
    )
    assert np.isfinite(result.history["elbo"]).all()


def test_classes_and_covariates_together():
    prior = vp.vamp(4, (4,), bounds=None, num_classes=2, condition="site", covariates=COVARIATES)
    data = examples() | {"site": np.arange(40) % 2}
    params = vp.init_from_data(prior, KEY, **data)
    inputs = np.asarray(vp.pseudo_inputs(prior, params))
    rows = [int(np.flatnonzero((data["x"] == u).all(1))[0]) for u in inputs]
    np.testing.assert_array_equal(data["site"][rows], [0, 0, 1, 1])
    np.testing.assert_array_equal(vp.pseudo_covariates(prior, params)["age"], data["age"][rows])


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        ({"batch": 3}, r"Expected `covariates\['batch'\]` as \{'num_classes': 3\}.*got 3"),
        ({"batch": {"classes": 3}}, "Expected .* with a 'shape'"),
        ({"batch": {"num_classes": 0}}, "integer"),
        ({"batch": {"num_classes": 3, "boolean": True}}, "or as booleans"),
        ({"batch": {"shape": (0,)}}, "shape"),
    ],
)
def test_covariates_that_make_no_sense_are_refused(covariates, message):
    with pytest.raises(ValueError, match=message):
        vp.vamp(3, (4,), covariates=covariates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": None}, "Expected `batch=` beside `x=`"),
        ({"batch": np.full(40, 3)}, "labels in `batch` from 0 to 2"),
        ({"batch": np.zeros(39, int)}, "as many `batch` as examples"),
        ({"age": np.full(40, np.nan)}, "finite values in `age`"),
        ({"mask": np.full((40, 4), 2)}, "Expected booleans"),
        ({"mask": np.ones(40, bool)}, r"Expected `mask` of shape \[N, 4\]"),
        ({"age": np.ones((40, 1))}, r"Expected `age` of shape \[N\]; got \(40, 1\)"),
        ({"batch": np.array(["a"] * 40)}, "or number its categories, as `np.unique"),
    ],
)
def test_covariates_that_do_not_fit_are_refused(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        vp.init_from_data(PRIOR, KEY, **(examples() | changes))


def test_a_vampprior_without_the_covariates_of_its_encoder_says_which():
    vae = VAE._replace(prior=vp.vamp(5, (4,), bounds=None))
    params = made()._replace(prior=vae.prior.init(KEY))
    with pytest.raises(TypeError, match="missing: 'batch'") as caught:
        vae.latent_prior(params, **{name: value[0] for name, value in examples().items() if name != "x"})
    assert any("`covariates`" in note for note in caught.value.__notes__)


def test_conditions_have_names_of_their_own():
    z = np.zeros(2, np.float32)
    for make in (vp.conditional_normal, vp.vamp, lambda dim, **rest: vp.conditional_mixture(dim, 2, **rest)):
        size = {"input_shape": (4,)} if make is vp.vamp else {}
        named, plain = (make(2, num_classes=2, **size, **rest) for rest in ({"condition": "batch"}, {}))
        params = plain.init(KEY)
        beside = {"encode": lambda x: vp.normal_diag(x[:2], x[2:])} if make is vp.vamp else {}
        values = named.apply(params, batch=1, y=0, **beside).log_prob(z), plain.apply(params, y=1, **beside).log_prob(z)
        np.testing.assert_array_equal(*values)
        with pytest.raises(TypeError, match="'batch'"):
            named.apply(params, y=1, **beside)
        with pytest.raises(ValueError, match="labels in `batch` from 0 to 1"):
            named.apply(params, batch=2, **beside)
        marginal = vp.marginalize(named, (0.25, 0.75), condition="batch").apply(params, **beside)
        terms = [np.log(p) + float(plain.apply(params, y=y, **beside).log_prob(z)) for y, p in enumerate((0.25, 0.75))]
        np.testing.assert_allclose(marginal.log_prob(z), logsumexp(terms), rtol=1e-5)
        with pytest.raises(ValueError, match="among the labels that .* reads, 'batch'; got 'y'"):
            vp.marginalize(named, (0.25, 0.75))
    with pytest.raises(ValueError, match="Expected `condition` as the name of an entry"):
        vp.conditional_normal(2, num_classes=2, condition="key")


def test_several_conditions_as_one_vector():
    conditions = {"batch": {"num_classes": 3}, "age": {"shape": (2,)}, "treated": {"boolean": True}}
    inner = vp.transformed(
        vp.conditional_normal(2, condition_dim=6), vp.affine_coupling(2, hidden=(4,), condition_dim=6)
    )
    prior = vp.conditioned(inner, conditions)
    params = jax.tree.map(lambda leaf: leaf + 0.1, prior.init(KEY))
    z, age = np.array([0.3, -0.4], np.float32), np.array([0.5, -1.5], np.float32)
    expected = inner.apply(params, y=np.array([0, 0, 1, 0.5, -1.5, 1], np.float32)).log_prob(z)
    np.testing.assert_allclose(prior.apply(params, batch=2, age=age, treated=True).log_prob(z), expected, rtol=1e-6)
    with pytest.raises(TypeError, match="'treated'"):
        prior.apply(params, batch=2, age=age)
    with pytest.raises(ValueError, match=r"condition `age` of shape \(2,\)"):
        prior.apply(params, batch=2, age=0.5, treated=True)
    with pytest.raises(ValueError, match="Expected condition_dim=3 in the prior.*got condition_dim=6"):
        vp.conditioned(inner, {"batch": {"num_classes": 3}})


def test_several_labels_as_one():
    inner = vp.conditional_mixture(2, 2, num_classes=6)
    prior = vp.conditioned(inner, {"batch": {"num_classes": 2}, "site": {"num_classes": 3}})
    params, z = inner.init(KEY), np.zeros(2, np.float32)
    for batch in range(2):
        for site in range(3):
            expected = inner.apply(params, y=3 * batch + site).log_prob(z)
            np.testing.assert_array_equal(prior.apply(params, batch=batch, site=site).log_prob(z), expected)
    density = jax.jit(lambda site: prior.apply(params, batch=0, site=site).log_prob(z))
    assert np.isnan(density(3)), "never the class of another batch"
    generator = np.random.default_rng(0)
    data = {"z": generator.normal(size=(60, 2)), "batch": np.arange(60) % 2, "site": np.arange(60) % 3}
    joint = vp.init_from_data(inner, KEY, z=data["z"], y=3 * data["batch"] + data["site"])
    jax.tree.map(np.testing.assert_array_equal, vp.init_from_data(prior, KEY, **data), joint)
    with pytest.raises(ValueError, match="single integers, since .* reads a label"):
        vp.conditioned(inner, {"batch": {"num_classes": 2}, "age": {}})
