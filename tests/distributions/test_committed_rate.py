"""The KL of a posterior with a committed rate, for any output of an encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import vaepriors_jax as vp
from tests.properties.test_properties import SETTINGS


def exact_kl(q):
    """KL(q || N(0, I)) in float64: the cross-entropy minus scipy's entropy."""
    loc, scale = (np.asarray(array, np.float64) for array in (q.mean(), q.stddev()))
    cross_entropy = 0.5 * np.log(2 * np.pi) + 0.5 * (loc**2 + scale**2)
    return np.sum(cross_entropy - scipy.stats.norm(loc, scale).entropy())


@settings(SETTINGS, max_examples=300)
@given(
    outputs=st.lists(st.tuples(st.floats(-30, 30), st.floats(-60, 60)), min_size=1, max_size=5),
    part=st.floats(1e-6, 60.0),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_no_output_of_an_encoder_undercuts_the_rate(outputs, part, dtype):
    loc, log_scale = (jnp.asarray(array, dtype) for array in zip(*outputs, strict=True))
    rate = part * len(outputs)
    q = vp.committed_rate(loc, jnp.exp(log_scale), rate)
    assert exact_kl(q) >= rate * (1 - 1e-12)


@pytest.mark.parametrize("rate", [1e-3, 0.7, 20.0])
def test_the_bound_is_tight_and_small_scales_stay(rate):
    widest = vp.committed_rate(jnp.zeros(3), jnp.full(3, jnp.inf), rate)
    assert exact_kl(widest) == pytest.approx(rate, rel=1e-3)
    narrow = vp.committed_rate(jnp.ones(3), jnp.full(3, 1e-12), rate)
    np.testing.assert_allclose(narrow.stddev(), 1e-12, rtol=1e-3)
    np.testing.assert_allclose(narrow.mean(), 1.0)


def test_the_scale_learns_wherever_it_is():
    gradient = jax.vmap(jax.grad(lambda s: vp.committed_rate(jnp.zeros(1), jnp.exp(s)[None], 0.5).stddev()[0]))
    assert (np.asarray(gradient(jnp.linspace(-10.0, 10.0, 9))) > 0).all()


def test_a_prior_that_follows_the_posterior_has_no_rate():
    """Why the bound is for N(0, I) alone."""
    q = vp.committed_rate(jnp.zeros(2), jnp.full(2, 1e6), 3.0)
    assert vp.kl_divergence(q, vp.normal_diag(q.mean(), q.stddev())) < 1e-6


def test_rates_out_of_range():
    for rate in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="`rate` to be a finite number > 0"):
            vp.committed_rate(jnp.zeros(2), jnp.ones(2), rate)
    with pytest.raises(ValueError, match="at most 60 nats a dimension"):
        vp.committed_rate(jnp.zeros(2), jnp.ones(2), 121.0)
    with pytest.raises(ValueError, match="`scale` > 0"):
        vp.committed_rate(jnp.zeros(2), -jnp.ones(2), 1.0)
