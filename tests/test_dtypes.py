"""Densities of every dtype agree with float64, for numpy and jax, with and without x64."""

import json
import tracemalloc
from functools import cache

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests import cases
from tests.likelihoods import test_likelihoods as likelihoods
from vaepriors_jax.checks import check_finite
from vaepriors_jax.data_checks import check_data

INTEGERS = ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
DTYPES = [*INTEGERS, ml_dtypes.bfloat16, "float16", "float32", "float64"]
SOME = ["bool", "uint8", "int64", ml_dtypes.bfloat16, "float16", "float64"]  # each is compiled anew
WIDE = ["int64", "uint64", "float64"]  # what x64 changes
X64 = pytest.mark.parametrize("x64", [False, True], ids=["", "x64"])
KEY = jax.random.key(0)


def both(values, dtype):
    """The same values as an array of numpy and of jax."""
    array = np.asarray(values).astype(dtype)
    return array, jnp.asarray(array)


def check_close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=tolerance, atol=tolerance)


@X64
def test_bernoulli(x64):
    # log sigmoid(2) + log sigmoid(1) + log sigmoid(0.5), by hand: 0.126928 + 0.313262 + 0.474077.
    with jax.enable_x64(x64):
        for dtype in DTYPES:
            for x in both([1, 0, 1], dtype):
                check_close(vp.bernoulli(jnp.array([2.0, -1.0, 0.5])).log_prob(x), -0.914267)


@X64
@pytest.mark.parametrize("case", likelihoods.CASES, ids=repr)
def test_likelihoods(case, x64):
    with jax.enable_x64(x64):
        parameters = [jnp.asarray(array, jnp.float32) for array in case.parameters]
        fixed = case.make(*parameters)
        references = [
            case.reference(*one) for one in zip(*(np.asarray(a, np.float64) for a in parameters), strict=True)
        ]
        log_prob = jax.jit(fixed.log_prob)
        for dtype in DTYPES:
            is_level = case.is_discrete and dtype in INTEGERS[1:]
            top = likelihoods.LEVELS - 1 if is_level else 1
            for level in (0, 1, *((100,) if is_level else ())):
                expected = np.array([reference.logpdf(level / top) for reference in references], np.float64).ravel()
                for x in both(np.full(len(references), level), dtype):
                    check_close(log_prob(x), expected.sum(), 2e-5)
                    fixed.check_support(x) if not (is_level and level == 1) else None


@X64
def test_half_precision_between_the_ends(x64):
    """A value just above 0, of which 1 - x is not held by half precision."""
    reference = likelihoods.truncated_exponential(3.0)
    with jax.enable_x64(x64):
        for dtype in (ml_dtypes.bfloat16, "float16", "float32", "float64"):
            for x in both([0.0009765625], dtype):
                check_close(vp.continuous_bernoulli(jnp.array([3.0])).log_prob(x), reference.logpdf(2.0**-10))
                check_close(vp.normal_diag(jnp.array([1.0]), jnp.ones(1)).log_prob(x), -1.4179621, 1e-6)
    fixed = vp.categorical_levels(jnp.arange(16.0))
    levels = np.arange(16)
    x = (levels / 15).astype(ml_dtypes.bfloat16)
    fixed.check_support(x)
    expected = levels - np.log(np.exp(levels).sum())
    check_close(jax.vmap(fixed.log_prob)(jnp.asarray(x)), expected)


def test_half_precision_that_does_not_hold_the_levels_is_refused():
    with pytest.raises(ValueError, match="levels k / 255"):
        vp.binomial_levels(jnp.zeros(256)).check_support((np.arange(256) / 255).astype(ml_dtypes.bfloat16))


def test_integers_that_are_no_levels_are_refused():
    fixed = vp.discretized_logistic(jnp.zeros(2), 0.1)
    with pytest.raises(ValueError, match="from 0 to 256"):
        fixed.check_support(np.array([0, 256]))
    with pytest.raises(ValueError, match="only zeros and ones"):
        fixed.check_support(np.array([0, 1], np.uint8))
    fixed.check_support(np.array([False, True]))


def exactly(leaf):
    return jnp.asarray(leaf, jnp.float64)


def points_of(dim, x64):
    """The same two points in each dtype: zeros and ones where it holds no fractions. Those of half precision too."""
    for dtype in [ml_dtypes.bfloat16, *WIDE] if x64 else SOME:
        i = int(dtype not in INTEGERS)
        yield i, both(np.resize(([1, 0, 1], [0.75, -1.25, 0.5])[i], dim), dtype)


def check_dtypes(call, exact, dim, x64, tolerance):
    """`call(point)` gives `exact[i]`, leaf by leaf, for point i as an array of numpy and of jax of every dtype."""
    with jax.enable_x64(x64):
        numbers, values = zip(*points_of(dim, x64), strict=True)
        compiled = jax.jit(lambda values: [call(value) for value in values])  # one program for all dtypes
        for found in (compiled([value[which] for value in values]) for which in (0, 1)):
            for i, one in zip(numbers, found, strict=True):
                for leaf, right in zip(jax.tree.leaves(one), jax.tree.leaves(exact), strict=True):
                    check_close(leaf, right[i], tolerance)


@X64
@pytest.mark.parametrize("case", cases.PRIORS, ids=repr)
def test_priors(case, x64):
    prior, params = case.make(), cases.params_of(case)
    with jax.enable_x64(True):
        log_prob = jax.jit(lambda params, z: prior.apply(params, **case.context).log_prob(z))
        exact = log_prob(jax.tree.map(exactly, params), exactly([[1, 0], [0.75, -1.25]]))
    check_dtypes(lambda z: prior.apply(params, **case.context).log_prob(z), exact, 2, x64, 2e-5)


@X64
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
@pytest.mark.parametrize("case", cases.FLOWS, ids=repr)
def test_flows(case, direction, x64):
    flow, params = case.make(), cases.params_of(case)

    def call(params, value):
        return getattr(flow.apply(params, **case.context), direction)(value)

    with jax.enable_x64(True):
        points = exactly([np.resize(values, case.dim) for values in ([1, 0, 1], [0.75, -1.25, 0.5])])
        exact = jax.jit(call)(jax.tree.map(exactly, params), points)
    check_dtypes(lambda value: call(params, value), exact, case.dim, x64, 3e-5)


@pytest.mark.parametrize("case", cases.FLOWS, ids=repr)
def test_parameters_have_one_dtype_under_x64(case):
    with jax.enable_x64(True):
        assert {leaf.dtype.name for leaf in jax.tree.leaves(case.make().init(KEY))} <= {"float32"}


def of_images(likelihood, prior=None):
    """A VAE of images [6] that scales what it is given."""
    return vp.VAE(
        lambda w, x: vp.normal_diag(w @ (jnp.asarray(x, jnp.float32) / 255), jnp.ones(2)),
        lambda w, z: likelihood(w @ z),
        prior or vp.standard_normal(2),
    )


WEIGHTS = vp.VAEParams(
    jnp.asarray(np.random.default_rng(1).normal(size=(2, 6)), jnp.float32),
    jnp.asarray(np.random.default_rng(2).normal(size=(6, 2)), jnp.float32),
    {},
)
LEVELS = np.random.default_rng(3).integers(0, 128, (8, 6))


@pytest.mark.parametrize(
    ("dtype", "x64"), [("int8", False), ("uint8", False), ("uint16", False), ("int64", False), ("int64", True)]
)
def test_objectives_and_evaluation_of_integer_levels(dtype, x64):
    """Those of the same images as floating numbers: the network scales levels, the likelihood is given k / 255."""
    scaled = of_images(lambda loc: vp.discretized_logistic(loc, 0.2))._replace(
        encode=lambda w, x: vp.normal_diag(w @ x, jnp.ones(2))
    )
    vae = of_images(lambda loc: vp.discretized_logistic(loc, 0.2))
    numbers = (LEVELS / 255).astype(np.float32)
    with jax.enable_x64(x64):
        expected = float(vp.elbo(scaled, WEIGHTS, KEY, jnp.asarray(numbers[0])).elbo)
        iwae = float(vp.iwae(scaled, WEIGHTS, KEY, jnp.asarray(numbers[0]), num_samples=5))
        for x in both(LEVELS, dtype):
            check_close(vp.elbo(vae, WEIGHTS, KEY, x[0]).elbo, expected, 2e-5)
            check_close(vp.iwae(vae, WEIGHTS, KEY, x[0], num_samples=5), iwae, 2e-5)
        found, right = (
            vp.log_marginal(v, WEIGHTS, KEY, data, num_samples=20)
            for v, data in ((vae, LEVELS.astype(dtype)), (scaled, numbers))
        )
        check_close(found.values, np.asarray(right.values), 2e-5)
        found, right = (
            vp.evaluate_elbo(v, WEIGHTS, KEY, data) for v, data in ((vae, LEVELS.astype(dtype)), (scaled, numbers))
        )
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
            check_close(a, np.asarray(b, np.float64), 2e-5)


@cache
def trained_on_zeros_and_ones(dtype, x64):
    vae = of_images(vp.bernoulli, vp.transformed(vp.standard_normal(2), vp.masked_autoregressive(2, hidden=(4,))))
    options = {"num_epochs": 2, "batch_size": 4, "progress": False}
    with jax.enable_x64(x64):
        params = WEIGHTS._replace(prior=vae.prior.init(KEY))
        fitted = vp.fit(vae, params, KEY, {"x": (LEVELS % 2).astype(dtype)}, optax.sgd(0.1), **options)
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(fitted.params)]


@pytest.mark.parametrize(
    ("dtype", "x64"),
    [
        *((dtype, False) for dtype in ("bool", "int8", "uint8", "uint64", ml_dtypes.bfloat16, "float16", "float64")),
        *((dtype, True) for dtype in (ml_dtypes.bfloat16, *WIDE)),
    ],
    ids=str,
)
def test_fit_of_zeros_and_ones(dtype, x64):
    """Training on any dtype takes the steps that it takes on float32."""
    expected = trained_on_zeros_and_ones("float32", x64)
    for a, b in zip(trained_on_zeros_and_ones(dtype, x64), expected, strict=True):
        check_close(a, b, 1e-4)


def test_binarize_of_every_dtype():
    """Frequencies within 5 standard errors of the grey value; all zeros and ones."""
    count = 40_000
    for dtype in ("uint8", "int32", "int16", "float16", ml_dtypes.bfloat16, "float32"):
        is_integer = np.issubdtype(np.dtype(dtype), np.integer)
        grey = np.array([0, 1, 51, 255]) if is_integer else np.array([0, 1 / 256, 0.25, 1])
        probability = grey / (255 if is_integer else 1)
        batch = {"x": jnp.asarray(np.broadcast_to(grey, (count, 4)).astype(dtype)), "y": jnp.zeros(count)}
        drawn = jax.jit(vp.binarize)(jax.random.key(3), batch)["x"]
        assert jnp.issubdtype(drawn.dtype, jnp.floating)
        drawn = np.asarray(drawn, np.float64)
        assert np.isin(drawn, (0, 1)).all()
        error = np.sqrt(probability * (1 - probability) / count)
        assert (np.abs(drawn.mean(0) - probability) <= 5 * error).all()
    drawn = vp.binarize(KEY, {"x": np.array([[True, False]])})["x"]
    assert drawn.tolist() == [[1, 0]]


def test_binarize_refuses_what_is_no_grey_value():
    for x in (np.array([[0, 256]]), np.array([[0.0, 1.5]]), np.array([[-1, 3]], np.int8)):
        with pytest.raises(ValueError, match="to transform; got values from"):
            vp.binarize(KEY, {"x": x})
    with pytest.raises(ValueError, match="only zeros and ones"):
        vp.binarize(KEY, {"x": np.array([[0, 1]], np.uint8)})


def scaling(key, batch):
    del key
    return {**batch, "x": batch["x"].astype(jnp.float32).reshape(len(batch["x"]), -1) / 255}


def test_what_the_transform_gives_is_judged():
    """uint8 images of another shape and range than the networks read stay uint8 in memory."""
    vae = of_images(vp.continuous_bernoulli)
    images = LEVELS.astype(np.uint8).reshape(-1, 2, 3)
    data = check_data(vae, WEIGHTS, {"x": images}, KEY, transform=scaling)
    assert data["x"].dtype == jnp.uint8
    with pytest.raises(ValueError, match=r"\[0, 1\] for a continuous Bernoulli"):
        check_data(vae, WEIGHTS, {"x": 4 * images.astype(np.int32)}, KEY, transform=scaling)
    fitted = vp.fit(
        vae, WEIGHTS, KEY, {"x": images}, optax.sgd(0.01), num_epochs=1, batch_size=4, transform=scaling, progress=False
    )
    right = vp.fit(
        vae,
        WEIGHTS,
        KEY,
        {"x": (LEVELS / 255).astype(np.float32)},
        optax.sgd(0.01),
        num_epochs=1,
        batch_size=4,
        progress=False,
        transform=lambda key, batch: batch,
    )
    for a, b in zip(jax.tree.leaves(fitted.params), jax.tree.leaves(right.params), strict=True):
        check_close(a, np.asarray(b, np.float64))


def test_standardised_data_may_be_transformed():
    vae = of_images(lambda loc: vp.normal_diag(loc, jnp.ones(6)))

    def noise(key, batch):
        return {"x": batch["x"] + jax.random.normal(key, batch["x"].shape)}

    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    check_data(vae, WEIGHTS, {"x": x}, KEY, transform=noise)

    def spoiling(key, batch):
        return {"x": jnp.log(batch["x"])}

    with pytest.raises(ValueError, match="x, transformed"):
        check_data(vae, WEIGHTS, {"x": x}, KEY, transform=spoiling)


def test_a_wrong_value_in_the_last_chunk_is_found():
    vae = of_images(vp.bernoulli)
    x = np.zeros((100_000, 6), np.uint8)
    x[-1, -1] = 2
    with pytest.raises(ValueError, match="zeros and ones.*got 2"):
        check_data(vae, WEIGHTS, {"x": x}, KEY)
    x[-1, -1] = 1
    check_data(vae, WEIGHTS, {"x": x}, KEY)
    grey = np.full((100_000, 6), 0.5, np.float32)
    grey[-1, -1] = 200
    with pytest.raises(ValueError, match="to transform; got values from 0.5 to 200"):
        check_data(vae, WEIGHTS, {"x": grey}, KEY, transform=vp.binarize)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_memory_of_the_checks(dtype):
    """Beyond the data and their copy on the device, at most a fifth of them (numpy's arrays are counted)."""
    vae = vp.VAE(
        lambda w, x: vp.normal_diag(x[:2] * jnp.float32(1), jnp.ones(2)),
        lambda w, z: vp.discretized_logistic(jnp.full(1000, z[0]), 0.1),
        vp.standard_normal(2),
    )
    levels = np.resize(np.arange(256, dtype=np.uint8), (120_000 if dtype == "uint8" else 40_000, 1000))
    x = levels if dtype == "uint8" else levels / np.float32(255)
    tracemalloc.start()
    check_data(vae, vp.VAEParams({}, {}, {}), {"x": x}, KEY)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * x.nbytes


def test_not_a_number_in_half_precision_is_found():
    for dtype in (ml_dtypes.bfloat16, "float16"):
        for x in both([0.0, np.nan], dtype):
            with pytest.raises(ValueError, match="1 that are NaN"):
                check_finite("x", x)


def test_numbers_of_numpy_in_a_configuration():
    plain = vp.conditional_mixture(2, 3, num_classes=10)
    for dtype in INTEGERS[1:]:
        prior = vp.conditional_mixture(np.dtype(dtype).type(2), 3, num_classes=np.arange(10, dtype=dtype).max() + 1)
        assert prior == plain
        assert hash(prior) == hash(plain)
        assert json.loads(json.dumps(vp.plain_config(prior))) == vp.plain_config(plain)
        assert type(prior.config["num_classes"]) is int
    vae = of_images(vp.bernoulli, vp.conditional_mixture(2, 3, num_classes=np.int64(3)))
    params = WEIGHTS._replace(prior=vae.prior.init(KEY))
    with pytest.raises(ValueError, match="num_classes=3"):
        check_data(vae, params, {"x": LEVELS % 2, "y": np.full(8, 3)}, KEY)
    assert vp.affine_coupling(4, max_log_scale=np.float64(1.5)) == vp.affine_coupling(4, max_log_scale=1.5)
    assert vp.vamp(5, (4,), encoder_reads_class=np.bool_(False)) == vp.vamp(5, (4,))
    assert vp.affine_coupling(4, hidden=np.array([8, 8])) == vp.affine_coupling(4, hidden=(8, 8))
    with_array, with_tuple = (vp.marginalize(plain, p) for p in (np.full(10, 0.1), (0.1,) * 10))
    assert with_array == with_tuple
    assert vp.prior_from_config(vp.plain_config(with_array)) == with_tuple


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
@X64
def test_labels_of_every_dtype(dtype, x64):
    """128 classes, which int8 cannot count; and two, which a boolean can."""
    table = np.arange(256.0).reshape(128, 2)
    prior = vp.conditional_normal(2, num_classes=128)
    with jax.enable_x64(x64):
        params = jax.tree.map(
            lambda leaf: jnp.asarray(table, jnp.float32) if leaf.shape == table.shape else leaf, prior.init(KEY)
        )
        for y in both(127, dtype):
            for call in (lambda y: prior.apply(params, y=y).mean(), jax.jit(lambda y: prior.apply(params, y=y).mean())):
                check_close(call(y), prior.apply(params, y=127).mean())
        if np.issubdtype(dtype, np.signedinteger):
            assert np.isnan(jax.jit(lambda y: prior.apply(params, y=y).mean())(np.asarray(-1, dtype))).all()
        two = vp.conditional_normal(2, num_classes=2)
        params = cases.perturbed(two.init(KEY), KEY)
        for y in both(True, bool):
            check_close(two.apply(params, y=y).mean(), two.apply(params, y=1).mean())
