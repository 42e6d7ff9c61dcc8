"""Arguments in another order than model, parameters, key, data are refused before anything is computed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.linear_gaussian import linear_gaussian_vae
from vaepriors_jax.evaluation.likelihood import annealed_importance_sampling, bidirectional_monte_carlo
from vaepriors_jax.evaluation.samples import (
    bootstrap,
    frechet_distance,
    kernel_distance,
    reference_quality,
    sample_quality,
    train_feature_network,
)

KEY = jax.random.key(0)
NORMAL = vp.normal_diag(jnp.zeros(2), jnp.ones(2))
MIXTURE = vp.DiagonalMixture(jnp.zeros(1), jnp.zeros((1, 2)), jnp.ones((1, 2)))
Z = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
LABELS = np.arange(20) % 2

OF_A_VAE = {
    "log_marginal": vp.log_marginal,
    "log_marginal_over_classes": lambda *model: vp.log_marginal_over_classes(*model, class_probabilities=(0.5, 0.5)),
    "annealed_importance_sampling": annealed_importance_sampling,
    "bidirectional_monte_carlo": lambda *model: bidirectional_monte_carlo(*model[:3]),
    "evaluate_elbo": vp.evaluate_elbo,
    "elbo_surgery": vp.elbo_surgery,
    "latent_dimensions": vp.latent_dimensions,
    "mixture_assignments": vp.mixture_assignments,
    "mixture_usage": vp.mixture_usage,
    "report": vp.evaluation.report,
}


@pytest.mark.parametrize("name", OF_A_VAE)
def test_functions_of_a_vae_name_the_argument_that_is_out_of_place(name):
    vae, params, x = linear_gaussian_vae()
    arguments = (vae, params, KEY, x)
    for order in itertools.permutations(range(4)):
        if order[:3] == (0, 1, 2):
            continue
        expected = "`vp.VAE` as the first argument" if order[0] != 0 else "Expected `params` as"
        expected = "Expected a random key" if order[:2] == (0, 1) else expected
        with pytest.raises(TypeError, match=expected):
            OF_A_VAE[name](*(arguments[i] for i in order))


def test_the_order_is_in_the_message():
    vae, params, x = linear_gaussian_vae()
    with pytest.raises(TypeError, match=r"got VAEParams\. The order is vae, params, key, data\."):
        vp.log_marginal(params, vae, KEY, x)


def test_fit_prior_names_its_order():
    vae, params, x = linear_gaussian_vae()
    with pytest.raises(TypeError, match=r"got Prior and PRNGKeyArray\. The order is prior, vae, params, key, x\."):
        vp.fit_prior(vae.prior, KEY, vae, params, x)  # the order of 0.1.0
    with pytest.raises(TypeError, match=r"got VAE and VAEParams\. The order is prior, vae, params, key, x\."):
        vp.fit_prior(vae, params, vae.prior, KEY, x)
    with pytest.raises(TypeError, match="Expected a random key"):
        vp.fit_prior(vae.prior, vae, params, x, KEY)


IMAGES = {"train": Z, "test": Z}
OF_ARRAYS = {
    "classifier_divergence": (lambda: vp.classifier_divergence(Z, KEY, Z, Z, Z), "a random key"),
    "density_ratio": (lambda: vp.density_ratio(Z, KEY, Z), "a random key"),
    "two_sample_test": (lambda: vp.two_sample_test(Z, Z, KEY), "a random key"),
    "maximum_mean_discrepancy": (lambda: vp.maximum_mean_discrepancy(Z, KEY, Z), "a random key"),
    "kernel_distance": (lambda: kernel_distance(Z, Z, KEY), "a random key"),
    "bootstrap": (lambda: bootstrap(KEY, frechet_distance, Z, Z), "a random key"),
    "sample_quality": (
        lambda: sample_quality(KEY, np.asarray, **IMAGES, generated=Z),
        r"got PRNGKeyArray\. The order is features, key",
    ),
    "reference_quality": (lambda: reference_quality(np.asarray, np.asarray, **IMAGES), "a random key"),
    "train_feature_network": (
        lambda: train_feature_network(Z, KEY, LABELS, num_classes=2, validation=(Z, LABELS)),
        "a random key",
    ),
    "hole_mass": (lambda: vp.hole_mass(KEY, NORMAL, NORMAL), "`prior` to be a distribution"),
    "hole_mass, key before q": (lambda: vp.hole_mass(NORMAL, KEY, NORMAL), "`aggregated` to be a distribution"),
    "hole_mass, samples": (lambda: vp.hole_mass(NORMAL, NORMAL, Z), "a random key"),
    "hole_map": (lambda: vp.hole_map(MIXTURE, NORMAL), "The order is prior, aggregated"),
    "log_prob_in_chunks": (lambda: vp.log_prob_in_chunks(Z, NORMAL), "`distribution` to be a distribution"),
}


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_functions_of_arrays_and_distributions_refuse_another_order(name):
    call, message = OF_ARRAYS[name]
    with pytest.raises(TypeError, match=message):
        call()
