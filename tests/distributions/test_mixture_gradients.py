"""Derivatives of Gaussian mixtures at ties, with zero weights, and for few and many components."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import vaepriors_jax as vp

SWITCHES = [(32, 3), (33, 3), (33, 2), (4097, 2), (4096, 3), (4097, 3)]


def density(z, log_weights, loc, scale):
    return vp.DiagonalMixture(log_weights, loc, scale).log_prob(z)


def total(z, log_weights, loc, scale):
    return jnp.sum(density(z, log_weights, loc, scale))


GRADIENTS = jax.jit(jax.grad(total, (0, 1, 2, 3)))


def gradients_in_float64(z, log_weights, loc, scale):
    """Sums over components of responsibility times the derivative of one Gaussian, in numpy."""
    z, log_weights, loc, scale = (np.asarray(array, np.float64) for array in (z, log_weights, loc, scale))
    t = (z[:, None] - loc) / scale
    joint = log_weights - 0.5 * (t**2).sum(-1) - np.log(scale).sum(-1)
    share = scipy.special.softmax(joint, axis=1)
    pull = share[..., None] * t / scale
    return -pull.sum(1), share.sum(0), pull.sum(0), (share[..., None] * (t**2 - 1) / scale).sum(0)


def far_apart(num_components, dim, scale, seed=0):
    """Means up to 10, and points beside some of them."""
    rng = np.random.default_rng(seed)
    loc = np.float32(rng.uniform(-10, 10, (num_components, dim)))
    scales = np.float32(scale * np.exp(0.3 * rng.normal(size=loc.shape)))
    near = rng.integers(0, num_components, 20)
    z = np.float32(loc[near] + scales[near] * rng.normal(size=(20, dim)))
    return z, np.float32(np.log(rng.dirichlet(np.ones(num_components)))), loc, scales


def overlapping(num_components, dim, scale, seed=0):
    """Groups of eleven at +-10, of which every point sees a whole group."""
    rng = np.random.default_rng(seed)
    corners = rng.choice([-10.0, 10.0], (-(-num_components // 11), dim))
    loc = np.repeat(corners, 11, axis=0)[:num_components] + 0.2 * scale * rng.normal(size=(num_components, dim))
    loc, scales = np.float32(loc), np.full((num_components, dim), scale, np.float32)
    z = np.float32(loc[rng.integers(0, num_components, 20)] + scale * rng.normal(size=(20, dim)))
    return z, np.float32(np.log(rng.dirichlet(np.ones(num_components)))), loc, scales


def check_gradients(arrays, tolerance=1e-4):
    for found, right in zip(GRADIENTS(*arrays), gradients_in_float64(*arrays), strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=tolerance * np.abs(right).max())


@pytest.mark.parametrize("make", [far_apart, overlapping])
@pytest.mark.parametrize(("num_components", "dim"), SWITCHES)
def test_gradients_on_both_sides_of_every_switch(num_components, dim, make):
    for scale in (1e-4, 1e-2, 1.0, 1e3):
        check_gradients(make(num_components, dim, scale))


@pytest.mark.parametrize("make", [far_apart, overlapping])
def test_gradients_in_many_dimensions_for_every_scale(make):
    for scale in (1e-4, 1e-3, 1e-1, 1e1, 1e3):
        check_gradients(make(500, 40, scale))


def test_gradients_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    arrays = overlapping(66, 5, 1e-4)
    for found, right in zip(jax.grad(total, (0, 1, 2, 3))(*arrays), gradients_in_float64(*arrays), strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-4 * np.abs(right).max())


def log_prob_of_some(z, logits, loc, is_on):
    log_weights = jnp.where(is_on, logits - jnp.log(3.0), -jnp.inf)
    return density(z, log_weights, loc, jnp.ones_like(loc))


@jax.jit
def derivatives_of_some(z, *arrays):
    """The value, its gradients, the Hessian by z, and a mixed derivative."""
    value, gradients = jax.value_and_grad(log_prob_of_some, (0, 1, 2))(z, *arrays)
    second = jax.hessian(log_prob_of_some)(z, *arrays)
    mixed = jax.grad(lambda *arrays: jnp.sum(jax.grad(log_prob_of_some)(*arrays)), 2)(z, *arrays)
    return value, gradients, second, mixed


@jax.jit
def derivatives_of_three(z, loc):
    few = vp.Mixture(jnp.full(3, -jnp.log(3.0)), loc, lambda loc: vp.normal_diag(loc, jnp.ones_like(loc)))
    return few.log_prob(z), jax.grad(few.log_prob)(z), few.responsibilities(z), jax.hessian(few.log_prob)(z)


@pytest.mark.parametrize(("num_components", "dim"), [(9000, 2), (9000, 3), (40, 3), (8, 2)])
def test_components_that_are_switched_off_change_no_derivative(num_components, dim):
    """Nearly all are off, or all: with 9000, whole chunks. The rest alone is the reference."""
    rng = np.random.default_rng(0)
    loc, z = jnp.asarray(rng.normal(size=(num_components, dim)), jnp.float32), jnp.full(dim, 0.3)
    for active in (slice(0, 3), slice(num_components - 3, None), slice(0, 0)):
        is_on = jnp.zeros(num_components, bool).at[active].set(True)
        value, gradients, second, mixed = derivatives_of_some(z, jnp.zeros(num_components), loc, is_on)
        if not is_on.any():
            assert value == -jnp.inf
            assert all(not np.any(array) for array in (*gradients, second, mixed))
            continue
        expected, gradient, responsibilities, hessian = derivatives_of_three(z, loc[active])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(gradients[0], gradient, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(gradients[1][active], responsibilities, rtol=1e-4)
        np.testing.assert_allclose(jnp.sum(gradients[1]), 1, rtol=1e-5)
        np.testing.assert_allclose(second, hessian, rtol=1e-4, atol=1e-5)
        assert np.isfinite(mixed).all()


def test_class_of_a_conditional_mixture_with_whole_chunks_of_others():
    prior = vp.conditional_mixture(2, 500, num_classes=10)
    params = prior.init(jax.random.key(0))
    for label in (0, 9):
        gradient = jax.grad(lambda p, label=label: prior.apply(p, y=label).log_prob(jnp.zeros(2)))(params)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(("num_components", "dim"), [(8, 2), (40, 3), (4100, 2), (4100, 3)])
def test_equal_components_have_the_derivatives_of_one(num_components, dim):
    log_weights = jnp.full(num_components, -jnp.log(num_components))
    mixture = vp.DiagonalMixture(log_weights, jnp.zeros((num_components, dim)), jnp.full((num_components, dim), 0.5))
    z = jnp.full(dim, 0.25)
    np.testing.assert_allclose(jax.grad(mixture.log_prob)(z), -4 * z, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(jax.hessian(mixture.log_prob))(z), -4 * np.eye(dim), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_components", [8, 40, 4100])
def test_second_derivatives_where_one_component_has_all_the_responsibility(num_components):
    """The sum of relative densities is then exactly 1."""
    loc = jnp.zeros((num_components, 3)).at[1:].set(1e3)
    scale = jnp.full((num_components, 3), 0.5)
    log_weights = jnp.full(num_components, -jnp.log(num_components))
    z = jnp.array([0.1, 0.2, -0.3])
    np.testing.assert_allclose(
        jax.jit(jax.hessian(density))(z, log_weights, loc, scale), -4 * np.eye(3), rtol=1e-4, atol=1e-4
    )

    def by_scale(row):
        return density(z, log_weights, loc, scale.at[0].set(row))

    curvature = jax.jit(jax.hessian(by_scale))(scale[0])
    expected = np.diag(1 / 0.5**2 - 3 * np.asarray(z) ** 2 / 0.5**4)
    np.testing.assert_allclose(curvature, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("num_components", "dim"), SWITCHES)
def test_arrays_of_numpy_give_the_density_of_those_of_jax(num_components, dim):
    arrays = far_apart(num_components, dim, 1.0)
    mixture = vp.DiagonalMixture(*(jnp.asarray(array) for array in arrays[1:]))
    z = arrays[0]
    np.testing.assert_array_equal(mixture.log_prob(z), mixture.log_prob(jnp.asarray(z)))
    np.testing.assert_array_equal(mixture.log_prob(z.astype(np.float64)), mixture.log_prob(jnp.asarray(z)))
    np.testing.assert_array_equal(vp.DiagonalMixture(*arrays[1:]).log_prob(z), mixture.log_prob(z))
