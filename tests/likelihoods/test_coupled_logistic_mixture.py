"""Mixtures of discretised logistics with coupled channels, against sums and differences in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp

# All values of a pixel of three channels with four levels.
FOUR = 4
VALUES = np.array(list(itertools.product(range(FOUR), repeat=3)))
PAIRS = ((1, 0), (2, 0), (2, 1))  # the order of the coefficients


def parameters(num_components=2, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "logits": rng.normal(size=num_components),
        "loc": rng.normal(0.5, spread, (3, num_components)),
        "scale": np.exp(rng.normal(-2, 1, (3, num_components))),
        "coefficients": np.tanh(rng.normal(size=(3, num_components))),
    }


def logistic_log_prob(level, loc, scale, num_levels):
    """The difference of the distribution function at the edges of a bin, of whichever tails are small."""
    lower = -np.inf if level == 0 else (level - 0.5) / (num_levels - 1)
    upper = np.inf if level == num_levels - 1 else (level + 0.5) / (num_levels - 1)
    fixed = scipy.stats.logistic(loc, scale)
    mass = fixed.cdf(upper) - fixed.cdf(lower) if upper < loc else fixed.sf(lower) - fixed.sf(upper)
    with np.errstate(divide="ignore"):
        return np.log(mass)


def reference(levels, num_levels, logits, loc, scale, coefficients):
    """log p of one pixel, from the definition: a sum over components of products over channels."""
    x, terms = np.asarray(levels) / (num_levels - 1), []
    for m, log_weight in enumerate(scipy.special.log_softmax(logits)):
        shift = np.zeros(3)
        for (channel, before), coefficient in zip(PAIRS, coefficients[:, m], strict=True):
            shift[channel] += coefficient * (x[before] - 0.5)
        of_channels = [logistic_log_prob(levels[c], loc[c, m] + shift[c], scale[c, m], num_levels) for c in range(3)]
        terms.append(log_weight + sum(of_channels))
    return scipy.special.logsumexp(terms)


def make(params, num_levels, dtype=jnp.float32):
    arrays = {name: jnp.asarray(array, dtype) for name, array in params.items()}
    return vp.discretized_logistic_mixture(
        arrays["logits"], arrays["loc"], arrays["scale"], num_levels, coefficients=arrays["coefficients"]
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
def test_four_levels_against_the_definition_and_their_sum(dtype):
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-12
    params = parameters()
    with jax.enable_x64(dtype == jnp.float64), jax.numpy_dtype_promotion("strict"):
        fixed = make(params, FOUR, dtype)
        found = np.asarray(fixed.log_prob(jnp.asarray(VALUES / (FOUR - 1), dtype)))
        of_integers = np.asarray(fixed.log_prob(jnp.asarray(VALUES, jnp.uint8)))
        mean = np.asarray(fixed.mean())
    assert found.dtype == dtype
    expected = [reference(levels, FOUR, **params) for levels in VALUES]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(of_integers, found, atol=tolerance)
    probabilities = np.exp(found.astype(np.float64))
    assert probabilities.sum() == pytest.approx(1, abs=tolerance)
    exact = probabilities @ VALUES / (FOUR - 1)
    np.testing.assert_allclose(mean[0], exact[0], atol=tolerance)
    np.testing.assert_allclose(mean[1:], exact[1:], atol=0.1)  # approximate: here much is cut off


@pytest.mark.parametrize("scale", [1e-5, 1e-2, 1.0, 1e3])
def test_bytes_at_both_ends_and_at_extreme_scales(scale):
    """Values and gradients in float32 against float64, and values against the definition where that has digits."""
    params = parameters(num_components=3) | {"scale": np.full((3, 3), scale)}
    levels = np.array([[0, 0, 0], [255, 255, 255], [0, 255, 128], [100, 1, 254], [128, 127, 129]])

    def values_and_gradients(dtype):
        def total(params, x):
            return make(params, 256, dtype).log_prob(x)

        cast = {name: jnp.asarray(array, dtype) for name, array in params.items()}
        values, gradients = jax.jit(jax.vmap(jax.value_and_grad(total), (None, 0)))(cast, jnp.asarray(levels))
        return np.asarray(values), jax.tree.map(np.asarray, gradients)

    values, gradients = values_and_gradients(jnp.float32)
    with jax.enable_x64(True):
        exact, exact_gradients = values_and_gradients(jnp.float64)
    np.testing.assert_allclose(values, exact, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        tolerance = 1e-3 * np.abs(exact_gradients[name]).max() + 1e-5
        np.testing.assert_allclose(gradient, exact_gradients[name], rtol=0, atol=tolerance, err_msg=name)
    expected = np.array([reference(row, 256, **params) for row in levels])
    known = np.isfinite(expected) & (expected > -600)
    assert known.any() or scale == 1e-5
    np.testing.assert_allclose(exact[known], expected[known], rtol=1e-6, atol=1e-6)


def test_an_image_is_a_product_over_pixels_and_samples_have_its_probabilities():
    num = 20_000
    params = [parameters(seed=seed) for seed in range(2)]
    image = make({name: np.stack([one[name] for one in params]) for name in params[0]}, FOUR)
    assert image.event_shape == (2, 3)
    x = np.asarray(image.sample(seed=jax.random.key(0), sample_shape=num))
    image.check_support(x)
    pixels = [[reference(levels, FOUR, **one) for levels in VALUES] for one in params]
    level = np.rint(x * (FOUR - 1)).astype(int)
    code = level @ [FOUR**2, FOUR, 1]
    expected = np.take(pixels[0], code[:, 0]) + np.take(pixels[1], code[:, 1])
    np.testing.assert_allclose(image.log_prob(x), expected, atol=1e-4)
    observed = vp.masked(image, np.array([True, False]))  # whole pixels may be missing
    np.testing.assert_allclose(observed.log_prob(x[:9]), np.take(pixels[0], code[:9, 0]), atol=1e-4)
    for i, log_probs in enumerate(pixels):
        probabilities = np.exp(log_probs)
        frequencies = np.bincount(code[:, i], minlength=len(VALUES)) / num
        error = np.sqrt(probabilities * (1 - probabilities) / num)
        assert (np.abs(frequencies - probabilities) < 5 * error + 1e-4).all()


def test_the_mean_is_that_of_samples_where_nothing_is_cut_off():
    params = parameters(spread=0.05) | {"scale": np.full((3, 2), 0.01)}
    fixed = make(params, 256)
    samples = np.asarray(fixed.sample(seed=jax.random.key(1), sample_shape=20_000))
    error = samples.std(0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(0) - fixed.mean()) < 5 * error).all()


def test_without_coupling_and_with_one_component_channels_are_independent():
    params = parameters(num_components=1) | {"coefficients": np.zeros((3, 1))}
    alone = vp.discretized_logistic(params["loc"][:, 0], params["scale"][:, 0], FOUR)
    x = VALUES / (FOUR - 1)
    np.testing.assert_allclose(make(params, FOUR).log_prob(x), alone.log_prob(x), atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"coefficients": np.zeros((2, 2))}, r"`coefficients` of shape \(3, 2\) beside locations \(3, 2\) of 3 chan"),
        ({"logits": np.zeros((3, 2))}, r"`logits` of shape \(2,\) .*; got \(3, 2\)"),
        ({"loc": np.zeros(2), "scale": np.ones(2)}, r"`loc` \[..., channels, components\] .*; got shape \(2,\)"),
        ({"scale": np.zeros((3, 2))}, "`scale`"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        make(parameters() | changed, FOUR)
