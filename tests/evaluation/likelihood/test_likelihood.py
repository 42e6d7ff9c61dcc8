"""Importance-weighted log p(x) against exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from arviz_stats.base import array_stats

import vaepriors_jax as vp
from tests.support.linear_gaussian import exact_log_marginal, linear_gaussian_vae
from vaepriors_jax.evaluation.likelihood.importance_sampling import _weigh
from vaepriors_jax.evaluation.likelihood.pareto import pareto_k, tail_length
from vaepriors_jax.objectives import log_importance_weights

KEY = jax.random.key(0)


def widened(params, factor=1.4):
    return params._replace(encoder={**params.encoder, "scale": factor * params.encoder["scale"]})


def test_exact_with_one_sample_at_the_true_posterior():
    vae, params, x = linear_gaussian_vae()
    estimate = vp.log_marginal(vae, params, KEY, x, num_samples=1)
    exact = exact_log_marginal(params, x)
    np.testing.assert_allclose(estimate.values, exact, atol=1e-4)
    assert estimate.mean == pytest.approx(exact.mean(), abs=1e-4)
    assert estimate.standard_error == pytest.approx(exact.std(ddof=1) / np.sqrt(len(x)), rel=1e-3)
    many = vp.log_marginal(vae, params, KEY, x, num_samples=100)
    np.testing.assert_allclose(many.effective_sample_size, 100, rtol=1e-3)
    np.testing.assert_allclose([*many.curve.values()], exact.mean(), atol=1e-3)


def test_close_to_exact_from_another_proposal():
    vae, params, x = linear_gaussian_vae(40)
    estimate = vp.log_marginal(vae, widened(params), KEY, x, num_samples=5000)
    np.testing.assert_allclose(estimate.values, exact_log_marginal(params, x), atol=0.15)
    assert estimate.mean == pytest.approx(exact_log_marginal(params, x).mean(), abs=0.02)
    assert (estimate.effective_sample_size < 5000).all()


@pytest.mark.parametrize("chunk_size", [7, 64, 1000, 4000])
def test_exactly_num_samples_whatever_the_chunks(chunk_size):
    """exp of the estimate is unbiased: over many keys its mean is p(x) only if the divisor is the number drawn."""
    vae, params, x = linear_gaussian_vae(2)
    wide = widened(params)
    keys = jax.random.split(KEY, 400)
    values = jax.vmap(lambda key: _weigh(vae, wide, key, {"x": x}, 100, chunk_size).values)(keys)
    ratio = np.exp(np.asarray(values, np.float64) - exact_log_marginal(params, x))
    assert (np.abs(ratio.mean(0) - 1) < 5 * ratio.std(0, ddof=1) / 20).all()


def all_log_weights(vae, params, x, num_samples, block):
    """The same log-weights as `log_marginal` draws with KEY, all of them: [N, S]."""

    def one(key, x):
        posterior, prior = vae.posterior(params, x), vae.latent_prior(params)
        starts = range(0, num_samples, block)
        return jnp.concatenate(
            [
                log_importance_weights(
                    vae, params, posterior, prior, jax.random.fold_in(key, i), x, min(block, num_samples - start)
                )
                for i, start in enumerate(starts)
            ]
        )

    return np.asarray(jax.vmap(one)(jax.random.split(KEY, len(x)), x), np.float64)


@pytest.mark.parametrize(("num_samples", "block"), [(3000, 3000), (1234, 700), (150, 64)])
def test_everything_that_is_streamed_against_the_weights_themselves(num_samples, block):
    vae, params, x = linear_gaussian_vae(3)
    wide = widened(params)
    estimate = vp.log_marginal(vae, wide, KEY, x, num_samples=num_samples, chunk_size=block)
    weights = all_log_weights(vae, wide, x, num_samples, block)

    def bound(weights):
        return scipy.special.logsumexp(weights, axis=-1) - np.log(weights.shape[-1])

    np.testing.assert_allclose(estimate.values, bound(weights), atol=1e-4)
    squares = scipy.special.logsumexp(2 * weights, axis=1)
    sample_size = np.exp(2 * scipy.special.logsumexp(weights, axis=1) - squares)
    np.testing.assert_allclose(estimate.effective_sample_size, sample_size, rtol=1e-3)
    np.testing.assert_allclose(estimate.pareto_k, [array_stats.psislw(-w)[1] for w in weights], atol=1e-3)
    assert list(estimate.curve) == [s for s in (1, 10, 100, 1000, 5000) if s < num_samples] + [num_samples]
    for size, mean in estimate.curve.items():
        blocks = [weights[:, i : i + block] for i in range(0, num_samples, block)] if size <= block else [weights]
        groups = [b[:, i : i + size] for b in blocks for i in range(0, b.shape[1] - size + 1, size)]
        groups = groups if size <= block else groups[:1]
        assert mean == pytest.approx(np.mean([bound(group) for group in groups]), abs=1e-4)


def test_the_curve_rises_from_the_elbo_to_log_marginal():
    vae, params, x = linear_gaussian_vae(100)
    curve = vp.log_marginal(vae, widened(params, 1.5), KEY, x, num_samples=5000).curve
    exact = exact_log_marginal(params, x).mean()
    assert curve[1] == pytest.approx(exact - (1.5**2 - 1 - np.log(1.5**2)), abs=0.02)
    assert curve[1] < curve[10] < curve[100] < curve[1000]
    assert curve[5000] == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("factor", [0.4, 0.7])
def test_pareto_k_where_it_is_known(factor):
    """With scales c times the posterior's, weights in two dimensions are exactly Pareto with k = 1 - c^2."""
    vae, params, x = linear_gaussian_vae(100)
    estimate = vp.log_marginal(vae, widened(params, factor), KEY, x, num_samples=5000)
    k, tail = 1 - factor**2, tail_length(5000)
    # The estimator's standard deviation, (1 + k) / sqrt(M), and the pull of its prior to 0.5.
    error = (1 + k) / np.sqrt(tail * len(x))
    assert np.mean(estimate.pareto_k) == pytest.approx((tail * k + 5) / (tail + 10), abs=5 * error)


@pytest.mark.parametrize("num_samples", [1, 2, 10, 29])
def test_no_pareto_k_from_few_samples(num_samples):
    vae, params, x = linear_gaussian_vae(2)
    estimate = vp.log_marginal(vae, widened(params), KEY, x, num_samples=num_samples)
    assert np.isnan(estimate.pareto_k).all()
    assert list(estimate.curve)[-1] == num_samples
    assert list(estimate.curve.values())[-1] == pytest.approx(float(estimate.mean), abs=1e-5)


@pytest.mark.parametrize("num_samples", [30, 225, 5000])
@pytest.mark.parametrize("k", [-0.5, 0.0, 0.7, 1.5])
def test_the_fit_is_that_of_arviz(k, num_samples):
    log_weights = np.log(scipy.stats.genpareto(k).rvs(num_samples, random_state=0))
    largest = np.sort(log_weights)[::-1][: tail_length(num_samples) + 1]
    assert pareto_k(jnp.asarray(largest, jnp.float32)) == pytest.approx(array_stats.psislw(-log_weights)[1], abs=1e-4)


def test_pareto_k_of_equal_weights():
    assert pareto_k(jnp.zeros(20)) == -jnp.inf
    # Ties at the threshold: the upper quarter alone stands out.
    assert jnp.isfinite(pareto_k(jnp.concatenate([jnp.linspace(1.0, 0.5, 3), jnp.zeros(18)])))


def test_x_is_encoded_once_and_the_prior_made_once():
    vae, params, x = linear_gaussian_vae()
    counts = {"encode": 0, "prior": 0}

    def encode(p, x):
        jax.debug.callback(lambda _: counts.__setitem__("encode", counts["encode"] + 1), x[0])
        return vae.encode(p, x)

    def apply(params, **context):
        jax.debug.callback(lambda _: counts.__setitem__("prior", counts["prior"] + 1), jnp.zeros(()))
        return vae.prior.apply(params, **context)

    counted = vae._replace(encode=encode, prior=vae.prior._replace(apply=apply))
    jax.block_until_ready(vp.log_marginal(counted, params, KEY, x, num_samples=50, chunk_size=10))
    jax.effects_barrier()
    assert counts == {"encode": len(x), "prior": 1}


def test_uses_the_prior_that_the_model_has():
    """With a shifted Gaussian prior the exact value shifts: a log p(x) that assumed N(0, I) would not."""
    vae, params, x = linear_gaussian_vae()
    shift = jnp.array([1.0, -2.0])
    prior = vp.from_distribution(vp.normal_diag(shift, jnp.ones(2)))
    moved = exact_log_marginal(params, x - (params.decoder["weight"] @ shift)[None])
    estimate = vp.log_marginal(vae._replace(prior=prior), widened(params, 2.0), KEY, x, num_samples=50_000)
    np.testing.assert_allclose(estimate.values, moved, atol=0.1)


def test_given_a_label_and_summed_over_classes():
    """p(z|y) = N(m_y, I): both log p(x|y) and log p(x) are known."""
    vae, params, x = linear_gaussian_vae()
    loc = jnp.array([[0.5, 0.0], [-0.5, 0.3], [0.0, -0.4]])
    prior = vp.conditional_normal(2, num_classes=3)
    vae = vae._replace(prior=prior)
    params = widened(params, 1.3)._replace(prior={"loc": loc, "log_scale": jnp.zeros_like(loc)})
    weight = params.decoder["weight"]
    exact = np.stack([exact_log_marginal(params, x - (weight @ m)[None]) for m in loc])
    y = jnp.arange(len(x)) % 3
    given = vp.log_marginal(vae, params, KEY, x, y=y, num_samples=5000)
    np.testing.assert_allclose(given.values, exact[y, np.arange(len(x))], atol=0.1)
    probabilities = np.array([0.2, 0.3, 0.5])
    summed = vp.log_marginal_over_classes(vae, params, KEY, x, class_probabilities=probabilities, num_samples=5000)
    expected = scipy.special.logsumexp(exact + np.log(probabilities)[:, None], axis=0)
    np.testing.assert_allclose(summed.values, expected, atol=0.1)
    assert summed.pareto_k.shape == summed.values.shape
    assert list(summed.curve) == [1, 10, 100, 1000, 5000]
    assert summed.curve[5000] == pytest.approx(float(summed.mean), abs=1e-4)
    assert summed.curve[1] < summed.curve[100] < summed.mean
    # The same through the marginal prior, which needs no label.
    marginal = vae._replace(prior=vp.marginalize(prior, tuple(probabilities)))
    np.testing.assert_allclose(vp.log_marginal(marginal, params, KEY, x, num_samples=5000).values, expected, atol=0.1)


def test_elbo_is_below_log_marginal_by_the_kl_to_the_true_posterior():
    vae, params, x = linear_gaussian_vae(30)
    wide = widened(params, 1.5)
    elbo = vp.evaluate_elbo(vae, wide, KEY, x, chunk_size=7).elbo
    log_marginal = vp.log_marginal(vae, wide, KEY, x, num_samples=5000).mean
    gap = 2 * 0.5 * (1.5**2 - 1 - np.log(1.5**2))
    spread = np.std(np.asarray(elbo - vp.log_marginal(vae, wide, KEY, x, num_samples=5000).values))
    assert log_marginal - elbo.mean() == pytest.approx(gap, abs=5 * spread / np.sqrt(len(x)))


def test_memory_does_not_grow_with_samples_or_examples():
    vae, params, _ = linear_gaussian_vae()

    def temporary_bytes(num_examples, num_samples):
        x = jax.ShapeDtypeStruct((num_examples, 5), jnp.float32)
        lowered = _weigh.lower(vae, params, KEY, {"x": x}, num_samples, 100)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    small = temporary_bytes(100, 1000)
    assert temporary_bytes(100, 100_000) < 1.5 * small + 10_000
    assert temporary_bytes(1000, 1000) < small + 1000 * 40


def test_active_units():
    vae, params, _ = linear_gaussian_vae()
    _, _, x = linear_gaussian_vae(500)
    dead = params._replace(
        encoder={**params.encoder, "weight": params.encoder["weight"].at[1].set(0.0)},
    )
    assert vp.active_units(vae, params, x).tolist() == [True, True]
    assert vp.active_units(vae, dead, x).tolist() == [True, False]
    means = vp.posterior_means(vae, params, x, chunk_size=33)
    expected = (np.asarray(x) - params.encoder["bias"]) @ np.asarray(params.encoder["weight"]).T
    np.testing.assert_allclose(means, expected, atol=1e-4)
