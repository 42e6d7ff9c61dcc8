"""Numbers and gradients are finite in float32 for latents to 1e4 and scales from 1e-6 to 1e3; batches may be empty."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from tests import cases
from tests.properties import edges
from tests.properties.test_properties import SETTINGS


def try_row(name, max_examples):
    row = edges.ROWS[name]()

    def total(params, value):
        numbers = row.function(params, value)
        return jnp.sum(numbers), numbers

    @jax.jit
    def numbers_and_gradients(params, value):
        gradients, numbers = jax.grad(total, (0, 1), has_aux=True)(params, value)
        return {"numbers": numbers, "gradients": gradients, "samples": row.samples(params)}

    @settings(SETTINGS, max_examples=max_examples)
    @given(edges.stretched(row.start), row.value)
    def finite(params, value):
        for path, found in jax.tree_util.tree_leaves_with_path(numbers_and_gradients(params, value)):
            assert np.isfinite(found).all(), f"{jax.tree_util.keystr(path)} is {found}"

    finite()


@pytest.mark.parametrize("name", [name for name in edges.ROWS if name.rsplit("_", 1)[0] not in cases.COMPOSED])
def test_numbers_and_gradients_are_finite(name):
    try_row(name, 6)


@pytest.mark.nightly
@pytest.mark.parametrize("name", edges.ROWS)
def test_numbers_and_gradients_are_finite_in_many_examples(name):
    try_row(name, 160)


def test_the_nightly_cases_are_ten_thousand():
    assert 160 * len(edges.ROWS) >= 10_000


@pytest.mark.parametrize("case", [*cases.PRIORS, *edges.ONE_OF_EACH], ids=lambda case: case.name)
def test_batches_of_a_prior_may_hold_one_or_none(case):
    prior, params = case.make(), cases.params_of(case)

    def numbers(params, size):
        p = prior.apply(params, **case.context)
        samples = p.sample(seed=jax.random.key(0), sample_shape=size)
        return samples, p.log_prob(samples)

    for size in (0, 1):
        samples, log_probs = jax.eval_shape(partial(numbers, size=size), params)
        assert samples.shape[:-1] == log_probs.shape == (size,)
