"""Blocks of low frequencies beside SciPy's cosine transform, and the priors of which they are parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.fft
from sklearn.datasets import load_digits

import vaepriors_jax as vp
from vaepriors_jax.priors.low_frequencies import of_low_frequencies

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DIGITS = (load_digits().images[:60] / 16).astype(np.float32)
LABELS = load_digits().target[:60].astype(np.int32)
SHAPES = [((28, 28), (8, 8)), ((7, 10), (7, 10)), ((6, 5, 3), (2, 4)), ((9,), (3,)), ((4, 6), (3,)), ((1, 5), (1, 2))]


def embedded(block, shape):
    """A block at the lowest frequencies of an array of zeros."""
    coefficients = np.zeros(shape)
    coefficients[tuple(map(slice, block.shape))] = block
    return coefficients


@pytest.mark.parametrize(("shape", "block_shape"), SHAPES)
def test_a_block_is_a_corner_of_the_cosine_transform(shape, block_shape):
    x = RNG.normal(size=shape).astype(np.float32)
    axes = tuple(range(len(block_shape)))
    coefficients = scipy.fft.dctn(x.astype(np.float64), axes=axes, norm="ortho")
    share = np.prod(block_shape) / np.prod(shape[: len(block_shape)])
    corner = coefficients[tuple(map(slice, block_shape))] * np.sqrt(share)
    found = vp.low_frequencies(x, block_shape)
    np.testing.assert_allclose(found, corner, atol=1e-5)
    assert np.mean(found**2) <= np.mean(x**2) + 1e-6

    smooth = scipy.fft.idctn(embedded(corner / np.sqrt(share), shape), axes=axes, norm="ortho")
    of_block = of_low_frequencies(jnp.asarray(corner, jnp.float32), shape, block_shape)
    np.testing.assert_allclose(of_block, smooth, atol=1e-5)
    np.testing.assert_allclose(np.mean(of_block**2), np.mean(corner**2), rtol=1e-4)
    np.testing.assert_allclose(vp.low_frequencies(of_block, block_shape), corner, atol=1e-5)


def test_grey_levels_and_booleans_have_the_transform_of_their_values():
    levels = RNG.integers(0, 256, (6, 6)).astype(np.uint8)
    found = vp.low_frequencies(levels, (2, 3))
    np.testing.assert_allclose(found, vp.low_frequencies(levels.astype(np.float32), (2, 3)), rtol=1e-6)
    assert vp.low_frequencies(levels > 100, (2, 3)).dtype == jnp.float32


def encode(x):
    return vp.normal_diag(x.reshape(-1)[:2], jnp.ones(2, x.dtype))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), None, (0.0, 255.0)])
def test_pseudo_inputs_start_as_smooth_examples(bounds):
    unit = 255.0 if bounds == (0.0, 255.0) else 1.0
    x = unit * (0.3 + 0.4 * DIGITS)  # where the map into the bounds changes nothing
    prior = vp.dct_vamp(20, (8, 8), (4, 4), bounds=bounds)
    inputs = np.asarray(vp.pseudo_inputs(prior, vp.init_from_data(prior, KEY, x=x))) / unit
    whole = vp.vamp(20, (8, 8), bounds=bounds)
    rough = np.asarray(vp.pseudo_inputs(whole, vp.init_from_data(whole, KEY, x=x)), np.float64) / unit
    coefficients = scipy.fft.dctn(rough, axes=(1, 2), norm="ortho")[:, :4, :4]
    expected = scipy.fft.idctn(np.stack([embedded(c, (8, 8)) for c in coefficients]), axes=(1, 2), norm="ortho")
    inside = (expected > 0.02) & (expected < 0.98) if bounds else np.full(expected.shape, True)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(inputs[inside], expected[inside], atol=1e-4)
    if bounds:
        assert ((inputs > 0) & (inputs < 1)).all()


@pytest.mark.parametrize("start", ["examples", "k-means"])
def test_a_block_of_all_frequencies_is_a_vamp(start):
    """The same pseudo-inputs, and so the same density, of binary images too."""
    x, options = np.round(DIGITS), {"weights": "learned", "num_classes": 10, "start": start}
    full, whole = vp.dct_vamp(20, (8, 8), (8, 8), **options), vp.vamp(20, (8, 8), **options)
    params, of_vamp = (vp.init_from_data(prior, KEY, x=x, y=LABELS) for prior in (full, whole))
    np.testing.assert_allclose(vp.pseudo_inputs(full, params), vp.pseudo_inputs(whole, of_vamp), atol=1e-5)
    np.testing.assert_array_equal(params["logits"], of_vamp["logits"])
    z = RNG.normal(size=(5, 2)).astype(np.float32)
    found, expected = (
        jax.jit(lambda z, prior=prior, params=p: prior.apply(params, encode=encode, y=3).log_prob(z))(z)
        for prior, p in ((full, params), (whole, of_vamp))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_blocks_that_init_draws_are_about_a_grey():
    prior = vp.dct_vamp(400, (14, 14), (5, 5), initial_mean=0.3, initial_scale=0.02)
    inputs = np.asarray(vp.pseudo_inputs(prior, prior.init(KEY)))
    np.testing.assert_allclose(inputs.mean(0), 0.3, atol=5 * 0.05 / 20)
    np.testing.assert_allclose(np.sqrt(inputs.var(0).mean()), 0.02, rtol=0.1)


def test_the_amortized_prior_starts_as_a_standard_normal_at_the_blocks_of_examples():
    prior = vp.amortized_vamp(2, 20, (8, 8), (3, 3), hidden=(4,), weights="learned")
    params = vp.init_from_data(prior, KEY, x=DIGITS)
    blocks = np.stack([scipy.fft.dctn(x.astype(np.float64), norm="ortho")[:3, :3] * 3 / 8 for x in DIGITS])
    distances = np.abs(np.asarray(params["blocks"])[:, None] - blocks).max((2, 3))
    assert (distances.min(1) < 1e-5).all()
    assert len(set(distances.argmin(1).tolist())) == 20
    z = RNG.normal(size=(5, 2)).astype(np.float32)
    standard = vp.standard_normal(2).apply({}).log_prob(z)
    found = jax.jit(lambda z: prior.apply(params).log_prob(z))(z)
    np.testing.assert_allclose(found, standard, rtol=1e-5)


@pytest.mark.parametrize("start", ["examples", "k-means"])
def test_the_amortized_prior_learns_what_a_network_of_its_blocks_can(start):
    """Encodings in four clusters: after training the density there is above that of one normal."""
    centres = np.sign(np.stack([DIGITS[:, 2, 3] - 0.5, DIGITS[:, 5, 4] - 0.5], axis=1))
    z = centres + 0.3 * np.random.default_rng(5).normal(size=(60, 2))
    prior = vp.amortized_vamp(2, 10, (8, 8), (4, 4), hidden=(16,), start=start)
    params = vp.init_from_data(prior, KEY, x=DIGITS)
    optimizer = optax.adam(optax.linear_schedule(0.02, 0.0, 300))

    def loss(params):
        return -jnp.mean(prior.apply(params).log_prob(z))

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (trained, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), length=300))(params)
    normal = -np.mean(vp.normal_diag(jnp.asarray(z.mean(0)), jnp.asarray(z.std(0))).log_prob(z))
    assert loss(trained) < normal - 0.5
    assert (np.abs(trained["blocks"] - params["blocks"]).max((1, 2)) > 1e-4).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.low_frequencies(np.ones((4, 4)), (5, 2)), r"at most as many frequencies .*; got \(5, 2\)"),
        (lambda: vp.low_frequencies(np.ones(4), (2, 2)), r"the input of shape \(4,\) has entries; got \(2, 2\)"),
        (lambda: vp.dct_vamp(3, (8, 8), (0, 2)), r"`block_shape` to be a shape of 1 to 64 integers >= 1"),
        (lambda: vp.dct_vamp(3, (8, 8), (9, 8)), r"`block_shape` with at most as many frequencies"),
        (lambda: vp.dct_vamp(0, (8, 8), (2, 2)), r"`num_components` to be an integer >= 1; got 0"),
        (lambda: vp.dct_vamp(3, (8, 8), (2, 2), initial_scale=0.0), r"`initial_scale` to be a finite number > 0"),
        (lambda: vp.dct_vamp(3, (8, 8), (2, 2), initial_mean=2.0), r"`initial_mean` as a fraction of the range"),
        (lambda: vp.dct_vamp(3, (8, 8), (2, 2), num_classes=4), r"at least one component for each class"),
        (lambda: vp.amortized_vamp(0, 3, (8, 8), (2, 2)), r"`dim` to be an integer >= 1; got 0"),
        (lambda: vp.amortized_vamp(2, 3, (8,), (2, 2)), r"`block_shape` with at most as many frequencies"),
        (lambda: vp.amortized_vamp(2, 3, (8, 8), (2, 2), start="rows"), r"`start` to be one of 'examples', 'k-means'"),
        (lambda: vp.amortized_vamp(2, 3, (8, 8), (2, 2), weights="no"), r"`weights` to be one of"),
        (lambda: vp.amortized_vamp(2, 3, (8, 8), (2, 2), initial_mean=np.inf), r"finite values in `initial_mean`"),
        (
            lambda: vp.init_from_data(vp.amortized_vamp(2, 70, (8, 8), (2, 2)), KEY, x=DIGITS),
            r"at least as many examples as pseudo-inputs",
        ),
        (
            lambda: vp.init_from_data(vp.dct_vamp(3, (8, 8), (2, 2)), KEY, x=3 * DIGITS),
            r"`x` within the bounds \(0, 1\)",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
