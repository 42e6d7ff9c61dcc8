"""Properties of all flows, over the rows of `cases.FLOWS`."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorflow_probability.substrates import jax as tfp

import vaepriors_jax as vp
from tests.cases import FLOWS, params_of
from vaepriors_jax.flows.spline_coupling import make_knots, spline_forward, spline_inverse

EVERY_FLOW = pytest.mark.parametrize("case", FLOWS, ids=repr)


def points(case, num=20):
    return 2 * jax.random.normal(jax.random.key(0), (num, case.dim))


@cache
def maps_of(name):
    case = next(case for case in FLOWS if case.name == name)
    forward = jax.jit(lambda params, u: case.make().apply(params, **case.context).forward_and_log_det(u))
    inverse = jax.jit(lambda params, z: case.make().apply(params, **case.context).inverse_and_log_det(z))
    return forward, inverse


def maps(case):
    """Forward and inverse, each with its log-determinant, as programs of (params, points) for all tests here."""
    return maps_of(case.name)


@EVERY_FLOW
def test_inverse_undoes_forward(case):
    forward, inverse = maps(case)
    params, u = params_of(case), points(case)
    z, forward_log_det = forward(params, u)
    back, inverse_log_det = inverse(params, z)
    np.testing.assert_allclose(back, u, atol=1e-3)  # float32: a spline can be flat
    np.testing.assert_allclose(forward_log_det, -inverse_log_det, atol=2e-3)


@EVERY_FLOW
def test_log_determinant_is_that_of_the_jacobian(case):
    def with_jacobian(name, params, start):
        def direction(x):
            outputs, log_det = getattr(case.make().apply(params, **case.context), name)(x)
            return outputs, (outputs, log_det)

        jacobian, (outputs, log_det) = jax.vmap(jax.jacfwd(direction, has_aux=True))(start)
        return outputs, log_det, jacobian

    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params_of(case))
        start = jnp.asarray(points(case, 5), jnp.float64)
        for name in ("forward_and_log_det", "inverse_and_log_det"):  # the inverse at what forward gives
            start, log_det, jacobian = jax.jit(with_jacobian, static_argnums=0)(name, params, start)
            np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-9)


@EVERY_FLOW
def test_starts_as_the_identity(case):
    u = points(case)
    z, log_det = maps(case)[0](case.make().init(jax.random.key(3)), u)
    assert np.allclose(z, u, atol=1e-5) == case.starts_as_identity
    if case.starts_as_identity:
        np.testing.assert_allclose(log_det, 0, atol=1e-5)


@EVERY_FLOW
def test_config_rebuilds_the_flow(case):
    flow = case.make()
    assert vp.flow_from_config(json.loads(json.dumps(vp.plain_config(flow)))) == flow
    assert eval(repr(flow), vars(vp)) == flow


@EVERY_FLOW
def test_gradient_reaches_every_parameter(case):
    if case.dim == 1:
        pytest.skip("the kernels of a one-dimensional autoregressive network are masked throughout")
    forward, _ = maps(case)

    def loss(params):
        z, log_det = forward(params, points(case))
        return jnp.sum(z**2) + jnp.sum(log_det)

    for path, leaf in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(params_of(case))):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@EVERY_FLOW
def test_missing_condition_is_named(case):
    if "y" in case.context:
        with pytest.raises(TypeError, match="'y'"):
            case.make().apply(params_of(case)).forward(points(case))


@pytest.mark.parametrize("make", [vp.affine_coupling, vp.spline_coupling])
def test_coupling_mixes_all_dimensions(make):
    """One layer: all but within the first half. Two layers, scanned: every output depends on every input."""
    dim, half = 6, 3

    def dependence(flow):
        params = jax.jit(flow.init)(jax.random.key(0))
        moved = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
        u = jax.random.normal(jax.random.key(1), (20, dim))
        return np.abs(jax.jit(jax.vmap(jax.jacfwd(lambda u: flow.apply(moved).forward(u))))(u)).max(0) > 0

    one = dependence(make(dim, hidden=(16,)))
    within_first = np.zeros((dim, dim), bool)
    within_first[:half, :half] = ~np.eye(half, dtype=bool)
    np.testing.assert_array_equal(one, ~within_first)
    assert dependence(vp.repeat(make(dim, hidden=(16,)), 2)).all()


def moved_inverse(flow):
    """The map from z to u with random parameters."""
    params = jax.jit(flow.init)(jax.random.key(0))
    moved = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
    return flow.apply(moved).inverse


@pytest.mark.parametrize("make", [vp.masked_autoregressive, vp.spline_autoregressive])
def test_autoregressive_flow_is_causal(make):
    jacobian = jax.jit(jax.vmap(jax.jacfwd(moved_inverse(make(5, hidden=(32, 32))))))
    reached = np.abs(jacobian(jax.random.normal(jax.random.key(1), (20, 5)))).max(0) > 0
    np.testing.assert_array_equal(reached, np.tril(np.ones((5, 5), bool)))


def test_masked_autoregressive_is_linear_in_its_own_input():
    """Neither its shift nor its scale reads that input."""
    inverse = moved_inverse(vp.masked_autoregressive(5, hidden=(32, 32)))
    z = jax.random.normal(jax.random.key(1), (20, 5))
    curvature = jax.jit(jax.vmap(jax.jacfwd(jax.jacfwd(inverse))))(z)
    assert np.abs(np.einsum("niii->ni", curvature)).max() < 1e-6
    assert np.abs(curvature).max() > 1e-3


def test_log_scale_is_bounded():
    flow = vp.affine_coupling(4, max_log_scale=1.5)
    params = jax.tree.map(lambda leaf: leaf + 100.0, flow.init(jax.random.key(0)))
    _, log_det = flow.apply(params).forward_and_log_det(jnp.ones(4))
    assert abs(log_det) <= 4 * 1.5 + 1e-4


@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0])
def test_spline_keeps_its_inverse_in_float32_for_large_parameters(scale):
    raw = scale * jax.random.normal(jax.random.key(0), (5000, 23))
    u = jax.random.uniform(jax.random.key(1), (5000,), minval=-6, maxval=6)
    z, log_slope = spline_forward(raw, u, 5.0)
    back, inverse_log_slope = spline_inverse(raw, z, 5.0)
    assert z.dtype == jnp.float32
    np.testing.assert_allclose(back, u, atol=5e-3)
    np.testing.assert_allclose(log_slope, -inverse_log_slope, atol=0.1)
    assert (np.diff(spline_forward(raw[:1].repeat(500, 0), jnp.linspace(-6, 6, 500), 5.0)[0]) > 0).all()


def test_repeat_compiles_in_a_size_that_does_not_depend_on_depth():
    def program_size(num_layers):
        flow = vp.repeat(vp.affine_coupling(4, hidden=(8,)), num_layers)
        params = jax.eval_shape(flow.init, jax.random.key(0))
        return len(jax.jit(lambda p, u: flow.apply(p).forward(u)).lower(params, jnp.ones(4)).as_text())

    assert program_size(32) < 1.05 * program_size(2)


def test_flow_over_batches_of_any_rank():
    flow = vp.affine_coupling(4, hidden=(8,))
    bijector = flow.apply(params_of(FLOWS[0]._replace(make=lambda: flow)))
    u = jax.random.normal(jax.random.key(0), (2, 3, 4))
    z, log_det = bijector.forward_and_log_det(u)
    assert z.shape == (2, 3, 4)
    assert log_det.shape == (2, 3)
    np.testing.assert_allclose(z[1, 2], bijector.forward(u[1, 2]), rtol=1e-5)


def test_spline_agrees_with_tfp_at_the_same_knots():
    with jax.enable_x64(True):
        raw = jax.random.normal(jax.random.key(0), (50, 14), jnp.float64)
        u = jax.random.uniform(jax.random.key(1), (50,), jnp.float64, minval=-4.9, maxval=4.9)
        knots = make_knots(raw, 5.0)
        reference = tfp.bijectors.RationalQuadraticSpline(
            jnp.diff(knots.x), jnp.diff(knots.y), knots.slope[:, 1:-1], range_min=-5.0
        )
        z, log_slope = spline_forward(raw, u, 5.0)
        np.testing.assert_allclose(z, reference.forward(u), atol=1e-10)
        np.testing.assert_allclose(log_slope, reference.forward_log_det_jacobian(u), atol=1e-10)
