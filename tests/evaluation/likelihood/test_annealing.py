"""Annealed importance sampling and bidirectional Monte Carlo against exact log p(x) and importance weighting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.cases import PRIORS, encode, params_of
from tests.support.linear_gaussian import exact_log_marginal, linear_gaussian_vae
from vaepriors_jax.evaluation.likelihood.annealing import annealed_importance_sampling
from vaepriors_jax.evaluation.likelihood.bidirectional import bidirectional_monte_carlo

KEY = jax.random.key(0)
RUN_BY_DEFAULT = ("vamp", "conditional_normal")


def misled(params, factor=2.0):
    """An encoder whose means are off by more than a posterior standard deviation, and its scales by a factor."""
    encoder = {**params.encoder, "scale": factor * params.encoder["scale"], "bias": params.encoder["bias"] + 0.5}
    return params._replace(encoder=encoder)


def check_close(estimate, exact):
    assert estimate.mean == pytest.approx(exact.mean(), abs=0.05)
    np.testing.assert_allclose(estimate.values, exact, atol=0.4)
    # The pilot run brings each example's acceptance near to where it should be.
    np.testing.assert_allclose(estimate.acceptance_rate, 0.65, atol=0.05)
    assert (estimate.effective_sample_size > 8).all()
    assert (estimate.effective_sample_size <= 16.001).all()
    assert estimate.standard_error == pytest.approx(
        float(np.std(estimate.values, ddof=1)) / len(exact) ** 0.5, rel=1e-3
    )


def test_close_to_exact_from_a_wrong_encoder():
    vae, params, x = linear_gaussian_vae(40)
    for factor in (2.0, 0.3):
        estimate = annealed_importance_sampling(vae, misled(params, factor), KEY, x, num_temperatures=500)
        check_close(estimate, exact_log_marginal(params, x))


def test_close_to_exact_from_the_prior():
    vae, params, x = linear_gaussian_vae(40)
    estimate = annealed_importance_sampling(vae, misled(params), KEY, x, initial="prior", num_temperatures=500)
    check_close(estimate, exact_log_marginal(params, x))


@pytest.mark.parametrize(("initial", "num_temperatures"), [("posterior", 40), ("prior", 100)])
def test_estimates_are_unbiased_in_both_directions(initial, num_temperatures):
    """exp(forward) / p(x) and p(x) / exp(backward) have the mean 1, however few the temperatures.

    From the prior, p(x) / exp(backward) has a heavy tail at 40 temperatures: one chain of 4,000 can decide its mean,
    and its standard error is between 0.02 and 0.2. At 100 temperatures it is 0.011 for every key.
    """
    vae, params, _ = linear_gaussian_vae()
    bounds = bidirectional_monte_carlo(
        vae,
        misled(params, 1.5),
        KEY,
        num_examples=1000,
        num_temperatures=num_temperatures,
        num_chains=4,
        num_leapfrog_steps=5,
        initial=initial,
        chunk_size=4000,
    )
    exact = exact_log_marginal(params, bounds.x)
    for log_ratio in (bounds.lower - exact, exact - bounds.upper):
        ratio = np.exp(np.asarray(log_ratio, np.float64))
        error = ratio.std(ddof=1) / np.sqrt(1000)
        assert error < 0.02
        assert abs(ratio.mean() - 1) < 5 * error


def test_bounds_hold_exact_log_marginal_between_them():
    vae, params, _ = linear_gaussian_vae()
    bounds = bidirectional_monte_carlo(vae, misled(params), KEY, num_examples=40, num_temperatures=500)
    exact = exact_log_marginal(params, bounds.x)
    for difference in (exact - np.asarray(bounds.lower), np.asarray(bounds.upper) - exact):
        assert difference.mean() > -5 * difference.std(ddof=1) / np.sqrt(40)
        assert difference.mean() < 0.05
    assert abs(bounds.mean_gap.mean) < 0.05
    assert bounds.mean_gap.mean == pytest.approx(float(bounds.mean_upper.mean - bounds.mean_lower.mean), abs=1e-4)
    assert 0 < bounds.mean_gap.standard_error < 0.02
    np.testing.assert_allclose(bounds.acceptance_rate, 0.65, atol=0.05)


def two_layer_vae(prior, encoder_context=()):
    """A VAE of examples [6] with a decoder that is not linear."""
    weight = np.asarray(np.random.default_rng(1).normal(size=(2, 8, 6)), np.float32)
    return vp.VAE(
        encode=lambda params, x, **context: encode(x, **context),
        decode=lambda params, z: vp.normal_diag(jnp.tanh(z @ weight[0, :2]) @ weight[1, :6], jnp.full(6, 0.7)),
        prior=prior,
        encoder_context=encoder_context,
    )


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.name in RUN_BY_DEFAULT else pytest.mark.nightly)
        for case in PRIORS
        if case.space.is_euclidean
    ],
    ids=repr,
)
def test_agrees_with_importance_weighting_under_every_prior(case):
    num_examples, num_samples = 6, 20_000
    encoder_context = ("y",) if "encoder_reads_class" in case.name else ()
    vae = two_layer_vae(case.make(), encoder_context)
    params = vp.VAEParams({}, {}, case.variables(params_of(case)))
    x = jax.random.uniform(KEY, (num_examples, 6))
    context = {"y": jnp.stack([jnp.asarray(case.context["y"])] * num_examples)} if "y" in case.context else {}
    annealed = annealed_importance_sampling(vae, params, KEY, x, num_temperatures=200, **context)
    weighted = vp.log_marginal(vae, params, KEY, x, num_samples=num_samples, **context)
    # Variances of log p(x), from those of the weights.
    variance = 1 / annealed.effective_sample_size - 1 / 16 + 1 / weighted.effective_sample_size - 1 / num_samples
    variance = np.maximum(variance, 0)
    assert (np.abs(annealed.values - weighted.values) < 5 * np.sqrt(variance) + 0.02).all()
    assert abs(annealed.mean - weighted.mean) < 5 * np.sqrt(variance.sum()) / num_examples + 0.02


def test_a_mixture_prior_against_many_importance_samples():
    vae, params, x = linear_gaussian_vae(30)
    prior = vp.mixture(2, 3, initial_spread=2.0)
    vae, params = vae._replace(prior=prior), misled(params)._replace(prior=prior.init(KEY))
    annealed = annealed_importance_sampling(vae, params, KEY, x, num_temperatures=500)
    weighted = vp.log_marginal(vae, params, KEY, x, num_samples=50_000)
    assert annealed.mean == pytest.approx(float(weighted.mean), abs=0.05)
    np.testing.assert_allclose(annealed.values, weighted.values, atol=0.3)


def test_simulated_data_read_their_label():
    """p(z|y) = N(m_y, 0.01 I): the bounds are on log p(x|y), and x is about W m_y + b."""
    vae, params, _ = linear_gaussian_vae()
    loc = jnp.array([[5.0, 0.0], [-5.0, 3.0]])
    vae = vae._replace(prior=vp.conditional_normal(2, num_classes=2))
    params = params._replace(prior={"loc": loc, "log_scale": jnp.full((2, 2), np.log(0.1))})
    y = np.arange(10) % 2
    bounds = bidirectional_monte_carlo(
        vae, params, KEY, num_examples=10, num_temperatures=50, num_chains=4, initial="prior", y=y
    )
    expected = loc[y] @ params.decoder["weight"].T + params.decoder["bias"]
    np.testing.assert_allclose(bounds.x, expected, atol=5 * 0.8)
    assert abs(bounds.mean_gap.mean) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_chains": 0}, "`num_chains` to be an integer >= 1; got 0"),
        ({"num_temperatures": 2.5}, "`num_temperatures` to be an integer >= 1; got 2.5"),
        ({"num_leapfrog_steps": 0}, "`num_leapfrog_steps` to be an integer >= 1"),
        ({"chunk_size": 0}, "`chunk_size` to be an integer >= 1"),
        ({"initial": "encoder"}, "`initial` to be one of 'posterior', 'prior'; got 'encoder'"),
        ({"target_acceptance": 0.0}, "`target_acceptance` to be a finite number > 0"),
        ({"target_acceptance": 1}, "`target_acceptance` below 1, such as 0.65; got 1"),
    ],
)
def test_options_out_of_range(options, message):
    vae, params, x = linear_gaussian_vae()
    with pytest.raises(ValueError, match=message):
        annealed_importance_sampling(vae, params, KEY, x, **options)
    with pytest.raises(ValueError, match=message):
        bidirectional_monte_carlo(vae, params, KEY, num_examples=2, **options)


def test_wrong_data_and_context():
    vae, params, x = linear_gaussian_vae()
    with pytest.raises(ValueError, match="Expected finite values in `x`"):
        annealed_importance_sampling(vae, params, KEY, x.at[1, 2].set(jnp.nan))
    with pytest.raises(ValueError, match="`num_examples` to be an integer >= 1; got 0"):
        bidirectional_monte_carlo(vae, params, KEY, num_examples=0)
    prior = vp.conditional_normal(2, num_classes=3)
    vae, params = vae._replace(prior=prior), params._replace(prior=prior.init(KEY))
    with pytest.raises(TypeError, match="reads the context 'y', which is missing"):
        bidirectional_monte_carlo(vae, params, KEY, num_examples=2)
    with pytest.raises(ValueError, match=r"one `y` for each of num_examples=2 simulated examples; got shape \(3,\)"):
        bidirectional_monte_carlo(vae, params, KEY, num_examples=2, y=np.arange(3))
    with pytest.raises(ValueError, match="Expected labels in `y` from 0 to 2"):
        bidirectional_monte_carlo(vae, params, KEY, num_examples=2, y=np.array([0, 3]))


@pytest.mark.parametrize("num_temperatures", [1, 2, 30])
def test_increments_add_up_to_one(num_temperatures):
    """A decoder that ignores z gives every chain the weight p(x), forward and backward, to rounding."""
    logits = jnp.linspace(-3, 3, 50)
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        decode=lambda params, z: vp.bernoulli(logits),
        prior=vp.standard_normal(2),
    )
    params, settings = vp.VAEParams({}, {}, {}), {"num_chains": 2, "num_leapfrog_steps": 2}
    settings["num_temperatures"] = num_temperatures
    x = np.float32(np.random.default_rng(0).random((3, 50)) < 0.5)
    log_odds = np.linspace(-3, 3, 50)

    def exact(x):
        return (x * log_odds - np.log1p(np.exp(log_odds))).sum(-1)

    found = annealed_importance_sampling(vae, params, KEY, x, **settings)
    np.testing.assert_allclose(found.values, exact(x), rtol=2e-5)
    bounds = bidirectional_monte_carlo(vae, params, KEY, num_examples=3, **settings)
    for values in (bounds.lower, bounds.upper):
        np.testing.assert_allclose(values, exact(np.asarray(bounds.x, np.float64)), rtol=2e-5)


def test_a_prior_on_the_sphere_is_refused():
    """Chains would leave it."""
    vae = vp.VAE(
        lambda params, x: vp.power_spherical(x, 1.0), lambda params, z: vp.bernoulli(z), vp.spherical_uniform(3)
    )
    with pytest.raises(ValueError, match="over R.n for annealing, whose chains move through it; got one over the unit"):
        annealed_importance_sampling(vae, vp.VAEParams({}, {}, {}), KEY, jnp.ones((2, 3)))
