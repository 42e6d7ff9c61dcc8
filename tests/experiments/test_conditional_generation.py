"""Generation by class, with encodings of known mean and class and images that show their class."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from experiments import conditional_generation, measures
from experiments.data.dataset import Dataset, load
from experiments.measures import Model
from experiments.options.resolve import resolve
from experiments.report.classes import BLIND, CONDITIONAL, SHARED, answer
from experiments.training.train import train


def placed(locations, scale):
    """A model whose q(z|x) is N(location of x, scale^2), with images that are numbered."""
    x = (np.arange(len(locations))[:, None, None] // 2 ** np.arange(8) % 2).astype(np.float32)  # the number, in bits
    table, scales = jnp.asarray(locations, jnp.float32), jnp.asarray(scale, jnp.float32)

    def encode(params, x):
        return vp.normal_diag(table[(x[0] @ 2.0 ** jnp.arange(8)).astype(int)] + 0 * params["zero"], scales)

    def decode(params, z):
        return vp.bernoulli(jnp.zeros((1, 8)) + params["zero"] * z[0])

    params = vp.VAEParams({"zero": jnp.zeros(())}, {"zero": jnp.zeros(())}, {})
    return Model("standard", 0, vp.VAE(encode, decode, vp.standard_normal(2)), params), x


def dataset_of(x, y):
    split = {"x": x, "y": np.asarray(y)}
    return Dataset("numbered", "none", split, split, split, split, None, int(max(y)) + 1)


def test_the_gaussian_has_the_mean_and_covariance_of_the_encodings(monkeypatch):
    module = sys.modules["experiments.measures.holes"]  # the package has a function of this name
    monkeypatch.setattr(
        module, "divergence", lambda model, data, prior: {"mean": prior.mean(), "covariance": prior.covariance()}
    )
    model, x = placed([[1, 0], [1, 0]], [1, 2])  # q(z) = N((1, 0), diag(1, 4))
    found = measures.gaussian_divergence(model, dataset_of(x, [0, 0]))
    np.testing.assert_allclose(found["gaussian_mean"], [1, 0], atol=1e-5)
    np.testing.assert_allclose(found["gaussian_covariance"], [[1, 0], [0, 4]], atol=1e-5)
    model, x = placed([[1, 0], [-1, 0]], [1, 1])  # mean 0, covariance diag(2, 1)
    found = measures.gaussian_divergence(model, dataset_of(x, [0, 0]))
    np.testing.assert_allclose(found["gaussian_mean"], [0, 0], atol=1e-5)
    np.testing.assert_allclose(found["gaussian_covariance"], [[2, 0], [0, 1]], atol=1e-5)


def test_each_class_against_its_prior():
    """Encodings of class y are N(m_y, I) at any x: KL(q(z|y) || N(0, I)) is m_y^2 / 2."""
    model, x = placed([[2, 0]] * 50 + [[0, 3]] * 60, [1, 1])
    y = [0] * 50 + [1] * 60
    found = conditional_generation.class_kl(model, dataset_of(x, y))
    assert found == pytest.approx((2 + 4.5) / 2, abs=5 * 2.5 / 10)  # a standard error of m / sqrt(50) each


def test_the_answer_on_classes_follows_from_the_numbers():
    names = (CONDITIONAL, SHARED, BLIND)
    close = dict(zip(names, ([0.9, 0.91, 0.92], [0.91, 0.9, 0.92], [0.5] * 3), strict=True))
    assert "within the noise between seeds" in answer(close, 0.95)
    apart = close | {names[1]: [0.6, 0.62, 0.61]}
    text = answer(apart, 0.95)
    assert "91.0 % are put into the class" in text
    assert "for all classes 61.0 %; of test images it is 95.0 %" in text
    assert "The prior for each class is better by more than the noise" in text


def test_share_of_samples_in_their_class(monkeypatch):
    """Images whose first pixel is the class that the network sees."""

    def seen(_, images):
        return jnp.log(1e-9 + jax.nn.one_hot(images[:, 0, 0], 2))

    monkeypatch.setattr(measures, "class_log_probabilities", seen)
    images = jnp.array([[0, 0, 1, 0], [1, 0, 0, 1]]).reshape(2, 4, 1, 1)
    scorer = measures.SampleScorer(network=None, references={})
    assert conditional_generation.shares_in_class(scorer, images) == pytest.approx([0.75, 0.5])


@pytest.mark.slow
def test_a_prior_alone_can_read_the_label(tmp_path):
    data = load("digits")
    options = conditional_generation.Options(dataset="digits", epochs=1, seeds=1, latent_dim=2, num_test=50)
    settings = resolve(options.comparison(priors=("conditional",)), data)
    made = conditional_generation.make_all(settings, data)[BLIND]
    model = train(BLIND, settings, data, tmp_path, made).model(0)
    assert model.vae.encoder_context == model.vae.decoder_context == ()
    np.testing.assert_array_equal(model.context(data.test)["y"], data.test["y"])
