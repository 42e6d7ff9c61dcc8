"""The classifier's divergence: 0 for equal distributions, a lower bound otherwise, and the power to find holes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import vaepriors_jax as vp

KEY = jax.random.key(0)


def normal(dim):
    return lambda key, num: jax.random.normal(key, (num, dim))


def outside_slab(dim):
    """N(0, I) without the slab |z_1| < 0.5, which holds 38 % of the mass of N(0, I)."""

    def draw(key, num):
        key_first, key_rest = jax.random.split(key)
        tail = jax.random.uniform(key_first, (num,), minval=-1.0, maxval=1.0) * scipy.stats.norm.sf(0.5)
        first = jnp.sign(tail) * -jax.scipy.special.ndtri(jnp.abs(tail))
        return jax.random.normal(key_rest, (num, dim)).at[:, 0].set(first)

    return draw


def divergence(q, p, num, seed=0):
    keys = jax.random.split(jax.random.key(seed), 5)
    return vp.classifier_divergence(keys[0], q(keys[1], num), p(keys[2], num), q(keys[3], num), p(keys[4], num))


def assert_zero(found, errors=3.0):
    assert abs(found.jensen_shannon.mean) <= errors * found.jensen_shannon.standard_error + 1e-6
    assert abs(found.accuracy.mean - 0.5) <= errors * found.accuracy.standard_error
    assert found.accuracy.standard_error > 0


@pytest.mark.parametrize("dim", [2, 40])  # at night those between them, with more points
def test_equal_distributions_have_divergence_zero(dim):
    assert_zero(divergence(normal(dim), normal(dim), 1000))


@pytest.mark.slow
@pytest.mark.parametrize("dim", [40, *(pytest.param(dim, marks=pytest.mark.nightly) for dim in (2, 10, 20))])
def test_equal_distributions_have_divergence_zero_at_ten_thousand(dim):
    assert_zero(divergence(normal(dim), normal(dim), 10_000))


@pytest.mark.nightly
def test_coverage_over_fifty_data_sets():
    """At three standard errors 0.3 % miss if the error is right: 3 of 50 or more have a probability below 0.001."""
    for dim in (2, 40):
        found = [divergence(normal(dim), normal(dim), 300, seed).jensen_shannon for seed in range(50)]
        assert sum(abs(one.mean) > 3 * one.standard_error + 1e-6 for one in found) <= 2
        assert max(float(one.mean) for one in found) < 0.02


def test_divergence_of_two_gaussians_is_that_by_quadrature():
    def integrand(z):
        q, p = scipy.stats.norm.pdf(z, 1.5, 1), scipy.stats.norm.pdf(z)
        return 0.5 * (q * np.log(2 * q / (q + p)) + p * np.log(2 * p / (q + p)))

    expected = scipy.integrate.quad(integrand, -8, 10)[0]
    best = scipy.stats.norm.cdf(0.75)
    keys = jax.random.split(KEY, 5)
    shift = jnp.array([1.5, 0.0])
    found = vp.classifier_divergence(  # of unequal sizes, which count alike
        KEY,
        normal(2)(keys[0], 2000) + shift,
        normal(2)(keys[1], 9000),
        normal(2)(keys[2], 4000) + shift,
        normal(2)(keys[3], 8000),
    )
    assert (found.num_train, found.num_test) == (11_000, 12_000)
    error = 4 * found.jensen_shannon.standard_error
    assert expected - error - 0.01 < found.jensen_shannon.mean < expected + error
    assert found.accuracy.mean == pytest.approx(best, abs=4 * float(found.accuracy.standard_error) + 0.005)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 40, pytest.param(10, marks=pytest.mark.nightly)])
def test_a_slab_that_is_empty_in_q_is_found(dim):
    found = divergence(outside_slab(dim), normal(dim), 10_000)
    assert found.jensen_shannon.mean > 5 * found.jensen_shannon.standard_error
    assert found.accuracy.mean > 0.5 + 5 * found.accuracy.standard_error


@pytest.mark.parametrize("dim", [2, 40])
def test_a_prior_that_memorises_training_encodings_is_told_from_a_good_one(dim):
    seen = normal(dim)(jax.random.key(5), 1000)

    def memorising(key, num):
        key_row, key_noise = jax.random.split(key)
        return seen[jax.random.randint(key_row, (num,), 0, 1000)] + 1e-3 * jax.random.normal(key_noise, (num, dim))

    found = divergence(normal(dim), memorising, 2000)
    assert found.jensen_shannon.mean > 0.2
    assert found.jensen_shannon.mean < np.log(2) + 1e-6


def test_the_key_decides():
    arrays = [normal(3)(key, 100) for key in jax.random.split(KEY, 4)]
    arrays[1] = arrays[1] + 2
    arrays[3] = arrays[3] + 2
    first, again, other = (vp.classifier_divergence(jax.random.key(i), *arrays) for i in (0, 0, 1))
    assert first.jensen_shannon == again.jensen_shannon
    assert first.jensen_shannon.mean != other.jensen_shannon.mean


def test_bad_samples_are_explained():
    z = np.zeros((20, 2), np.float32)
    for arrays, options, message in [
        ((z, z, z, z * np.nan), {}, "finite values in `p_test`"),
        ((z, z[:9], z, z), {}, r"`p_train` of shape \[N, dim\] with N >= 10; got \(9, 2\)"),
        ((z, z, z[:, :1], z), {}, "of one dimension"),
        ((z, z, z[None], z), {}, "`q_test` of shape"),
        ((z, z, z, z), {"validation_fraction": 1.0}, "`validation_fraction` between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            vp.classifier_divergence(KEY, *arrays, **options)
    with pytest.raises(TypeError, match="Draw from it"):
        vp.classifier_divergence(KEY, z, vp.normal_diag(jnp.zeros(2), jnp.ones(2)), z, z)
    assert_zero(vp.classifier_divergence(KEY, z, z, z, z))


def test_the_ratio_is_one_where_there_is_no_difference():
    """Held-out log-loss of 1,000 samples in 40 dimensions: a classifier trained to the end lost 3 nats on chance."""
    q, p = jax.random.normal(KEY, (2, 1000, 40))
    ratio = vp.density_ratio(jax.random.key(1), q, p)
    fresh_q, fresh_p = jax.random.normal(jax.random.key(2), (2, 2000, 40))
    loss = jax.nn.softplus(-ratio.log_ratio(fresh_q)).mean() + jax.nn.softplus(ratio.log_ratio(fresh_p)).mean()
    assert 0.5 * loss < np.log(2) + 0.01


def test_several_samples_of_an_example_stay_on_one_side():
    """Ten z near each of 200 encodings against N(0, I), for q = p: z that are split tell of one another."""
    keys = jax.random.split(KEY, 3)
    noise = jax.random.normal(keys[0], (200, 10, 5))
    q = jnp.sqrt(0.99) * jax.random.normal(keys[1], (200, 1, 5)) + 0.1 * noise
    p = jax.random.normal(keys[2], (2000, 5))
    by_example = vp.two_sample_test(KEY, q, p)
    assert by_example.p_value > 0.01
    flat = vp.two_sample_test(KEY, q.reshape(-1, 5), p)
    assert flat.statistic > 0.55
