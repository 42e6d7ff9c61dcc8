"""Properties of all priors, over the rows of `cases.PRIORS`."""

import inspect
import json
import re
from functools import cache
from importlib.util import find_spec

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.cases import FLOWS, PRIORS, PriorCase, params_of
from tests.support.spaces import CIRCLE, PLANE, SIMPLEX
from vaepriors_jax.distributions.spaces import space_of

EVERY_PRIOR = pytest.mark.parametrize("case", PRIORS, ids=repr)
POINTS = jnp.array([[0.0, 0.0], [1.0, -2.0], [-0.5, 0.3], [3.0, 2.5]])


def distribution(case: PriorCase, params):
    return case.make().apply(params, **case.context)


@cache
def density_of(name: str):
    """The log-density of a row as a program of (params, z) that all tests of this module share."""
    case = next(case for case in PRIORS if case.name == name)
    return jax.jit(lambda params, z: distribution(case, params).log_prob(z))


def log_prob(case: PriorCase, params, z=None):
    """Compiled: operation by operation it would take seconds."""
    return density_of(case.name)(params, case.points if z is None else z)


def factories_in(config) -> set[str]:
    if isinstance(config, (list, tuple)):
        return set().union(*map(factories_in, config)) if config else set()
    if not isinstance(config, dict):
        return set()
    own = {config["factory"]} if "factory" in config else set()
    return own.union(*(factories_in(value) for value in config.values()))


def test_every_public_factory_has_a_row():
    covered = set().union(*(factories_in(case.make().config) for case in [*PRIORS, *FLOWS]))
    public = {name for name in vp.__all__ if getattr(getattr(vp, name), "is_factory", False)}
    assert public == covered | ({"flow_matching", "diffusion"} if find_spec("diffrax") is None else set())


@EVERY_PRIOR
def test_signatures(case):
    prior = case.make()
    init = inspect.signature(prior.init).parameters
    assert len(init) == 1
    apply = inspect.signature(prior.apply).parameters.values()
    assert next(iter(apply)).name == "params"
    assert [p for p in apply if p.kind is p.VAR_KEYWORD], "must accept and ignore context that it does not read"


@EVERY_PRIOR
def test_params_are_nested_dicts_of_float_arrays_and_survive_a_round_trip(case):
    params = case.make().init(jax.random.key(0))

    def check(tree):
        if isinstance(tree, dict):
            assert all(isinstance(name, str) for name in tree)
            for item in tree.values():
                check(item)
        else:
            assert isinstance(tree, jax.Array)
            assert jnp.issubdtype(tree.dtype, jnp.floating)

    check(params)
    restored = flax.serialization.msgpack_restore(flax.serialization.msgpack_serialize(jax.device_get(params)))
    jax.tree.map(np.testing.assert_array_equal, params, restored)


@EVERY_PRIOR
def test_config_rebuilds_the_prior(case):
    prior = case.make()
    if not case.is_plain:
        with pytest.raises(ValueError, match="pass `prior=` when loading"):
            vp.plain_config(prior)
        return
    rebuilt = vp.prior_from_config(json.loads(json.dumps(vp.plain_config(prior))))
    assert rebuilt == prior
    assert hash(rebuilt) == hash(prior)
    assert eval(repr(prior), vars(vp)) == prior
    params = params_of(case)
    again = jax.jit(lambda params, z: rebuilt.apply(params, **case.context).log_prob(z))(params, case.points)
    np.testing.assert_array_equal(again, log_prob(case, params))


@EVERY_PRIOR
def test_samples_come_with_the_density_that_is_trained(case):
    @jax.jit
    def both(params, key):
        fixed = distribution(case, params)
        assert fixed.event_shape == (2,)
        assert fixed.batch_shape == ()
        z, values = fixed.sample_and_log_prob(seed=key, sample_shape=200)
        return z, values, distribution(case, params).log_prob(z)

    z, values, expected = both(params_of(case), jax.random.key(3))
    assert z.shape == (200, 2)
    np.testing.assert_allclose(values, expected, rtol=2e-4, atol=2e-4)


@EVERY_PRIOR
def test_density_integrates_to_one_by_quadrature(case):
    grid, volume = case.space.grid(case.grid_points)

    @jax.jit
    def in_chart(params, u):
        fixed, space = distribution(case, params), case.space
        return jax.lax.map(lambda u: fixed.log_prob(space.chart(u)) + space.log_volume(u), u, batch_size=50_000)

    values = in_chart(params_of(case), grid)
    integral = np.exp(np.asarray(values, np.float64)).sum() * volume
    # The kinks of a Laplace density and of splines cost the rectangle rule a little.
    assert integral == pytest.approx(1, abs=3e-3)


@EVERY_PRIOR
def test_density_and_samples_agree_statistically(case):
    """E_p[grad log p] = 0 in a chart, and E_p[q / p] = 1 for a q inside p's support; both within 5 standard errors."""
    space = case.space

    @jax.jit
    def sampled(params, key):
        fixed = distribution(case, params)
        z = fixed.sample(seed=key, sample_shape=20_000)
        score = jax.vmap(jax.grad(lambda u: fixed.log_prob(space.chart(u)) + space.log_volume(u)))(space.inverse(z))
        # Narrow, at a sample of the prior, so that q / p is bounded.
        narrow = space.posterior(z[0], jnp.full(2, 0.3))
        return score, narrow.log_prob(z) - fixed.log_prob(z)

    score, log_ratio = (np.asarray(one, np.float64) for one in sampled(params_of(case), jax.random.key(4)))
    error = score.std(0, ddof=1) / np.sqrt(len(score))
    assert (np.abs(score.mean(0)) < 5 * error + 1e-7).all()
    ratio = np.exp(log_ratio)
    assert abs(ratio.mean() - 1) < 5 * ratio.std(ddof=1) / np.sqrt(len(ratio))


@EVERY_PRIOR
def test_eager_jit_vmap_and_scan_agree(case):
    params = params_of(case)

    def density(params, z):
        return distribution(case, params).log_prob(z)

    @jax.jit
    def others(params, twice, z):
        fixed = distribution(case, params)
        return {
            "vmap over z": jax.vmap(density, (None, 0))(params, z),
            "scan over z": jax.lax.scan(lambda carry, z: (carry, fixed.log_prob(z)), None, z)[1],
            **({"vmap over params": jax.vmap(density, (0, None))(twice, z)[1]} if jax.tree.leaves(params) else {}),
        }

    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    eager = density(params, case.points)
    found = {"jit": log_prob(case, params), **others(params, twice, case.points)}
    for name, values in found.items():
        np.testing.assert_allclose(values, eager, rtol=1e-5, atol=1e-5, err_msg=name)


@EVERY_PRIOR
def test_vmap_over_per_example_context(case):
    if "y" not in case.context:
        pytest.skip("reads no per-example context")
    params = params_of(case)
    y = jnp.stack([jnp.asarray(case.context["y"]), 0 * jnp.asarray(case.context["y"])])
    shared = {name: value for name, value in case.context.items() if name != "y"}

    def one(y, z):
        return case.make().apply(params, **shared, y=y).log_prob(z)

    mapped = jax.jit(jax.vmap(one))(y, POINTS[:2])
    one = jax.jit(one)
    np.testing.assert_allclose(mapped, [one(y[i], POINTS[i]) for i in range(2)], rtol=1e-5, atol=1e-5)
    assert not np.allclose(one(y[0], POINTS[1]), one(y[1], POINTS[1])), "the condition must matter"


@EVERY_PRIOR
def test_gradient_reaches_every_parameter(case):
    params = params_of(case)
    z = case.space.chart(jax.random.normal(jax.random.key(5), (50, case.space.free)))
    gradient = jax.jit(jax.grad(lambda params: distribution(case, params).log_prob(z).sum()))(params)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert (np.abs(leaf).max() > 0) == case.learns, path


@EVERY_PRIOR
def test_missing_context_is_named(case):
    for name in case.context:
        context = {other: value for other, value in case.context.items() if other != name}
        with pytest.raises(TypeError, match=f"'{name}'"):
            case.make().apply(params_of(case), **context).log_prob(POINTS)


@EVERY_PRIOR
def test_a_posterior_over_another_space_is_refused(case):
    assert space_of(distribution(case, params_of(case))) == case.space.name
    for other in (space for space in (PLANE, CIRCLE, SIMPLEX) if space.name != case.space.name):
        q = other.posterior(jnp.array([0.3, 0.7]), jnp.full(2, 0.5))
        with pytest.raises(ValueError, match=re.escape(f"q is over {other.name} and p over {case.space.name}")):
            vp.kl_divergence(q, distribution(case, params_of(case)), key=jax.random.key(0))


@EVERY_PRIOR
def test_a_point_of_another_dimension_is_refused(case):
    """Broadcasting would give the density of a point that nobody meant."""
    if not case.dtype_follows:
        pytest.skip("a distribution of the user's checks what it likes")
    params = params_of(case)
    for shape in ((3,), (1,), (), (2, 1)):
        with pytest.raises(ValueError, match=r"of shape \[\.\.\., (2|dim)\].*; got \["):
            jax.eval_shape(lambda z: distribution(case, params).log_prob(z), jnp.zeros(shape))


@EVERY_PRIOR
def test_float32_agrees_with_float64_under_strict_promotion(case):
    if not case.dtype_follows:
        pytest.skip("a fixed distribution has a fixed dtype")
    params = params_of(case)
    with jax.numpy_dtype_promotion("strict"):
        single = log_prob(case, params)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        reference = log_prob(case, double, jnp.asarray(case.points, jnp.float64))
        assert reference.dtype == jnp.float64
    np.testing.assert_allclose(single, reference, rtol=1e-5, atol=1e-5)


# Linen asks `init` for a function of one key, which that of every prior is: with and without parameters and context.
LINEN = ("standard_normal", "mixture", "vamp", "flow_maf_over_vamp", "conditional_normal_vector", "two_level_vamp")


@pytest.mark.parametrize("case", [case for case in PRIORS if case.name in LINEN], ids=repr)
def test_init_is_a_linen_parameter_initialiser(case):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, z):
            return case.make().apply(self.param("prior", case.make().init), **case.context).log_prob(z)

    variables = jax.jit(Model().init)(jax.random.key(0), case.points)
    params = variables.get("params", {}).get("prior", {})
    np.testing.assert_allclose(jax.jit(Model().apply)(variables, case.points), log_prob(case, params), rtol=1e-6)


@EVERY_PRIOR
def test_freeze_gives_the_same_distribution_without_context(case):
    params = params_of(case)
    fixed = vp.freeze(case.make(), params, **case.context)
    values = fixed.init(jax.random.key(9))

    def density(values):
        found = fixed.apply(values).log_prob(case.points)
        return found.sum(), found

    gradient, found = jax.jit(jax.grad(density, has_aux=True, allow_int=True))(values)
    np.testing.assert_allclose(found, log_prob(case, params), rtol=1e-5, atol=1e-5)
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(gradient) if leaf.dtype == jnp.float32)


def test_a_frozen_vampprior_is_saved_and_loaded_without_its_encoder(tmp_path):
    case = next(case for case in PRIORS if case.name == "vamp")
    params = params_of(case)
    fixed = vp.freeze(case.make(), params, **case.context)
    vp.save_model(tmp_path, fixed, vp.VAEParams({}, {}, fixed.init(jax.random.key(0))))
    loaded, loaded_params = vp.load_model(tmp_path)
    np.testing.assert_allclose(loaded.apply(loaded_params.prior).log_prob(POINTS), log_prob(case, params), rtol=1e-5)


def test_marginalize_sums_the_classes():
    prior = vp.conditional_mixture(2, 2, num_classes=3)
    params = params_of(next(case for case in PRIORS if case.name == "conditional_mixture"))
    probabilities = np.array([0.2, 0.3, 0.5])
    terms = [np.log(p) + prior.apply(params, y=y).log_prob(POINTS) for y, p in enumerate(probabilities)]
    marginal = vp.marginalize(prior, tuple(probabilities)).apply(params, y=0).log_prob(POINTS)
    np.testing.assert_allclose(marginal, np.logaddexp.reduce(terms, axis=0), rtol=1e-5)


def test_vamp_with_one_pseudo_input_is_the_posterior_there():
    from tests.cases import encode

    prior = vp.vamp(1, (6,))
    params = prior.init(jax.random.key(0))
    posterior = encode(vp.pseudo_inputs(prior, params)[0])
    fixed = prior.apply(params, encode=encode)
    np.testing.assert_allclose(fixed.log_prob(POINTS), posterior.log_prob(POINTS), rtol=1e-5)
    np.testing.assert_allclose(fixed.mean(), posterior.mean(), rtol=1e-6)
    np.testing.assert_allclose(fixed.variance(), posterior.variance(), rtol=1e-6)
