"""`report` on linear-Gaussian VAEs, whose log p(x) is known: values, what is missing and why, table and JSON."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from tests.support.linear_gaussian import NOISE, linear_gaussian_vae

KEY = jax.random.key(0)
NUM = 200


def wider(vae):
    """The same VAE with a posterior that is too wide, so that the ELBO is below log p(x) by a known KL."""

    def encode(params, x):
        posterior = vae.encode(params, x)
        return vp.normal_diag(posterior.mean(), 1.2 * posterior.stddev())

    return vae._replace(encode=encode)


def exact_log_marginal(params, x):
    weight, bias = (np.asarray(params.decoder[name], np.float64) for name in ("weight", "bias"))
    covariance = weight @ weight.T + NOISE**2 * np.eye(len(bias))
    return scipy.stats.multivariate_normal(bias, covariance).logpdf(np.asarray(x, np.float64))


@pytest.fixture(scope="module")
def measured():
    vae, params, x = linear_gaussian_vae(NUM)
    shifted = x + 0.01
    report = vp.evaluation.report(
        wider(vae), params, KEY, x, train={"x": shifted}, features=lambda x: np.asarray(x)[:, :2], num_samples=100
    )
    return report, params, x


@pytest.mark.slow
def test_bounds_are_those_of_the_exact_log_marginal(measured):
    report, params, x = measured
    likelihood = report.likelihood
    exact = exact_log_marginal(params, x)
    assert likelihood.log_marginal.mean == pytest.approx(exact.mean(), abs=0.02)
    assert likelihood.log_marginal.standard_error == pytest.approx(exact.std(ddof=1) / NUM**0.5, rel=0.05)
    gap = 2 * (0.5 * (1.2**2 - 1) - np.log(1.2))  # KL(q(z|x) || p(z|x)), the same for every x
    assert likelihood.elbo.mean == pytest.approx(exact.mean() - gap, abs=4 * 0.6 / NUM**0.5)
    assert likelihood.elbo.mean == pytest.approx(likelihood.reconstruction.mean - likelihood.kl.mean, abs=1e-4)
    assert likelihood.log_marginal_given_context is None
    assert 0 <= likelihood.rise < 0.05


def test_hole_latents_and_samples_are_measured(measured):
    report, _, _ = measured
    assert report.hole.divergence.mean < 0.1
    assert report.hole.hole_mass.mean < 0.1
    assert report.hole.num_encodings == NUM // 2
    assert report.latents[:3] == (2, 2, 0)
    assert report.latents.components_used is None
    assert set(report.missing) == {"components"}
    assert report.samples.scores["generated"]["fid"].estimate.mean < 0.5


def test_the_table_has_units_and_bias_and_is_narrow(measured):
    text = str(measured[0])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 110
    of = {line.split("  ")[0]: line for line in lines}
    assert "nats  lower bound in expectation" in of["log p(x)"]
    assert "nats  lower bound of log p(x)" in of["ELBO"]
    assert any(line.startswith("Not measured: components.") for line in lines)
    assert "gross differences only" in text
    assert "-0.000" not in text


def test_json_holds_every_number(measured):
    report, _, _ = measured
    content = json.loads(report.to_json())
    assert content["likelihood"]["elbo"]["mean"] == report.likelihood.elbo.mean
    assert content["samples"]["scores"]["generated"]["kid"]["estimate"]["mean"] is not None
    assert content["missing"] == report.missing
    assert content["hole"]["hole_mass"]["standard_error"] > 0


def conditional(vae):
    """With a prior for each of two classes, both N(0, I): then log p(x) = log p(x|y)."""

    def init(key):
        del key
        return {}

    def apply(params, *, y, **context):
        del params, context
        return vp.normal_diag(jnp.zeros(2) * y, jnp.ones(2))

    return vae._replace(prior=vp.Prior(init, apply, {}))


def test_given_labels_the_elbo_bounds_another_likelihood():
    vae, params, x = linear_gaussian_vae(8)
    y = jnp.arange(8) % 2
    report = vp.evaluation.report(conditional(vae), params, KEY, x, y=y, num_samples=20)
    assert report.likelihood.log_marginal is None
    assert report.likelihood.log_marginal_given_context.mean == pytest.approx(
        exact_log_marginal(params, x).mean(), abs=1e-3
    )
    assert {"log p(x)", "divergence", "hole mass", "samples"} <= set(report.missing)
    assert "lower bound of log p(x|y)" in str(report)
    report = vp.evaluation.report(conditional(vae), params, KEY, x, y=y, num_samples=20, class_probabilities=(0.3, 0.7))
    assert report.likelihood.log_marginal.mean == pytest.approx(exact_log_marginal(params, x).mean(), abs=1e-3)
    assert report.missing["divergence"] == "Takes at least 20 examples; got 8."
    assert np.isnan(report.likelihood.unreliable)


def test_wrong_arguments_are_named():
    vae, params, x = linear_gaussian_vae(8)
    for arguments, options, error, message in [
        ((params, vae, KEY, x), {}, TypeError, r"The order is vae, params, key, data\."),
        ((vae, params, KEY, [{"x": x}]), {}, TypeError, "`x` as an array"),
        ((vae, params, KEY, x), {"train": x}, TypeError, '{"x": '),
        ((vae, params, KEY, x), {"class_probabilities": (1.0,)}, ValueError, "labels `y=`"),
        ((vae, params, KEY, x), {"num_samples": 0}, ValueError, "num_samples"),
        ((vae, params, KEY, x.at[0, 0].set(jnp.nan)), {}, ValueError, "finite"),
    ]:
        with pytest.raises(error, match=message):
            vp.evaluation.report(*arguments, **options)
