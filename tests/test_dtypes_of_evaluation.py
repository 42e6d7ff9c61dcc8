"""Evaluation, starts from data and scores give the same numbers for every dtype."""

import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import vaepriors_jax as vp
from tests import cases
from tests.test_dtypes import WIDE, X64, both, check_close
from vaepriors_jax.evaluation import samples

KEY = jax.random.key(0)
# bfloat16, which numpy does not count among floating numbers, is the hardest of the narrow ones.
FEW = ["uint8", "int64", ml_dtypes.bfloat16, "float64"]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 2, (40, 6))
# Whole numbers that int8 and bfloat16 hold, as encodings and features; uint8 differences of these wrap around.
POINTS = RNG.integers(0, 100, (4, 60, 3))
HUGE = 2**40 + np.arange(60)[:, None] * np.array([2**33, 2**34, 2**35])


def encode(params, x):
    loc, log_scale = jnp.split(params @ jnp.asarray(x, jnp.float32), 2)
    return vp.normal_diag(loc, jnp.exp(0.1 * log_scale))


VAMP = vp.vamp(5, (6,))
VAE = vp.VAE(encode, lambda params, z: vp.normal_diag(params @ z, jnp.ones(6)), VAMP)
PARAMS = vp.VAEParams(
    jnp.asarray(RNG.normal(size=(4, 6)), jnp.float32), jnp.asarray(RNG.normal(size=(6, 2)), jnp.float32), VAMP.init(KEY)
)


def holes(x):
    prior, aggregated = VAE.latent_prior(PARAMS), vp.aggregated_posterior(VAE, PARAMS, x)
    return vp.hole_mass(prior, aggregated, KEY, num_samples=50, quantile=0.2), aggregated.log_prob(jnp.ones(2))


OF_IMAGES = {
    "aggregated_posterior and hole_mass": holes,
    "log_marginal": lambda x: vp.log_marginal(VAE, PARAMS, KEY, x, num_samples=10).values,
    "evaluate_elbo": lambda x: vp.evaluate_elbo(VAE, PARAMS, KEY, x),
    "elbo_surgery": lambda x: vp.elbo_surgery(VAE, PARAMS, KEY, x),
    "latent_dimensions": lambda x: vp.latent_dimensions(VAE, PARAMS, KEY, x),
    "posterior_means": lambda x: vp.posterior_means(VAE, PARAMS, x),
    "active_units": lambda x: vp.active_units(VAE, PARAMS, x),
    "mixture_assignments": lambda x: vp.mixture_assignments(VAE, PARAMS, KEY, x),
    "mixture_usage": lambda x: vp.mixture_usage(VAE, PARAMS, KEY, x),
    "pseudo_input_distances": lambda x: vp.pseudo_input_distances(VAMP, PARAMS.prior, x),
    "fit_prior": lambda x: vp.fit_prior(VAMP, VAE, PARAMS, KEY, x, num_steps=3, batch_size=8).prior,
    "init_from_data": lambda x: vp.init_from_data(VAMP, KEY, x=x),
}


def hole_mass_of_held_out(z):
    prior = vp.normal_diag(jnp.full(3, 50.0), jnp.full(3, 30.0))
    return vp.hole_mass(prior, prior, KEY, num_samples=50, quantile=0.2, held_out=z)


def in_chunks(z):
    mixture = vp.DiagonalMixture(jnp.zeros(1), jnp.full((1, 3), 50.0), jnp.full((1, 3), 30.0))
    return vp.log_prob_in_chunks(mixture, z, chunk_size=25)


def of_labels(z):
    return vp.init_from_data(vp.conditional_mixture(3, 2, num_classes=2), KEY, z=z, y=np.arange(60) % 2)


SHORT = {"num_steps": 3, "batch_size": 8}
# Of four sets of points [60, 3].
OF_POINTS = {
    "hole_mass of held-out encodings": lambda a, *_: hole_mass_of_held_out(a),
    "log_prob_in_chunks": lambda a, *_: in_chunks(a),
    "init_from_data of a mixture": lambda a, *_: vp.init_from_data(vp.mixture(3, 2), KEY, z=a),
    "init_from_data of a full mixture": lambda a, *_: vp.init_from_data(vp.mixture(3, 2, covariance="full"), KEY, z=a),
    "init_from_data of classes": lambda a, *_: of_labels(a),
    "init_from_data of pseudo-inputs": lambda a, *_: vp.init_from_data(vp.vamp(5, (3,), bounds=None), KEY, x=a),
    "classifier_divergence": lambda *sets: vp.classifier_divergence(KEY, *sets, **SHORT),
    "two_sample_test": lambda a, b, *_: vp.two_sample_test(KEY, a, b, **SHORT),
    "density_ratio": lambda a, b, *_: vp.density_ratio(KEY, a, b, **SHORT),
    "maximum_mean_discrepancy": lambda a, b, *_: vp.maximum_mean_discrepancy(KEY, a, b, num_permutations=20),
    "frechet_distance": lambda a, b, *_: samples.frechet_distance(a, b),
    "squared_mmd": lambda a, b, *_: samples.squared_mmd(a, b),
    "kernel_distance": lambda a, b, *_: samples.kernel_distance(KEY, a, b, num_subsets=3, subset_size=20),
    "precision_recall": lambda a, b, *_: samples.precision_recall(a, b),
    "density_coverage": lambda a, b, *_: samples.density_coverage(a, b),
    "nearest_distances": lambda a, b, *_: samples.nearest_distances(a, b),
    "memorization": lambda a, b, c, *_: samples.memorization(a, b, c),
}


def check_same(found, expected, tolerance=2e-5):
    leaves, right = (
        [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree) if not callable(leaf)]
        for tree in (found, expected)
    )
    assert len(leaves) == len(right) > 0
    for a, b in zip(leaves, right, strict=True):
        assert np.isfinite(b).all()
        check_close(a, b, tolerance)


@X64
@pytest.mark.parametrize("name", OF_IMAGES)
def test_zeros_and_ones(name, x64):
    with jax.enable_x64(x64):
        expected = OF_IMAGES[name](IMAGES.astype(np.float32))
        for dtype in WIDE if x64 else ["bool", *FEW]:
            for x in both(IMAGES, dtype):
                check_same(OF_IMAGES[name](x), expected)


@X64
@pytest.mark.parametrize("name", OF_POINTS)
def test_points(name, x64):
    with jax.enable_x64(x64):
        expected = OF_POINTS[name](*POINTS.astype(np.float32))
        for dtype in WIDE if x64 else ["int8", *FEW, "uint64"]:
            for which in (0, 1):
                # In float64 training takes other steps by rounding.
                tolerance = 0.05 if x64 and dtype == "float64" else 2e-5
                check_same(OF_POINTS[name](*(both(one, dtype)[which] for one in POINTS)), expected, tolerance)


def check_does_not_wrap_around(call, *arrays):
    """The numbers of float32, or an error that says what to do."""
    try:
        found = call(*arrays)
    except ValueError as refusal:
        if not re.search("that int32 holds|within the bounds", str(refusal)):
            raise
        return
    check_same(found, call(*(array.astype(np.float32) for array in arrays)), 1e-3)


@pytest.mark.parametrize("name", OF_POINTS)
def test_points_beyond_32_bits(name):
    check_does_not_wrap_around(OF_POINTS[name], *(HUGE + i * 2**33 for i in range(4)))


@pytest.mark.parametrize("name", OF_IMAGES)
def test_images_beyond_32_bits(name):
    check_does_not_wrap_around(OF_IMAGES[name], IMAGES * 2**40)


OF_ITS_OWN = "from_distribution"  # a density of the user's


@pytest.mark.parametrize("case", [case for case in cases.PRIORS if case.name != OF_ITS_OWN], ids=repr)
def test_densities_beyond_32_bits(case):
    prior, params = case.make(), cases.params_of(case)
    distribution = prior.apply(params, **case.context)
    z = np.array([2**33, 1])  # the network of two levels reads the second one
    expected = distribution.log_prob(z.astype(np.float32))
    # A power of |z| is larger than float32 holds.
    assert np.isfinite(expected) or case.name == "generalized_normal"
    np.testing.assert_allclose(distribution.log_prob(z), expected, rtol=1e-6)
