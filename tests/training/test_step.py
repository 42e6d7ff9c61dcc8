"""One training step: its random numbers, buffers that are reused, and values that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data
from vaepriors_jax.training.batch import batch_elbo
from vaepriors_jax.training.step import TERMS

KEY = jax.random.key(0)


def test_step_reuses_its_state_but_never_the_users_arrays():
    vae, params = bernoulli_vae()
    optimizer = optax.adam(1e-2)
    step = vp.make_train_step(vae, optimizer)
    state = vp.init_train_state(params, optimizer)
    batch = {"x": jnp.asarray(binary_data()["x"])}
    new, metrics = step(state, KEY, batch)
    assert jax.tree.leaves(state.params)[0].is_deleted()
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    assert int(new.step) == 1
    assert metrics.elbo == pytest.approx(float(metrics.reconstruction - metrics.kl), rel=1e-5)


def test_step_compiles_once_and_folds_in_its_number():
    vae, params = bernoulli_vae()
    optimizer = optax.sgd(0.0)
    step = vp.make_train_step(vae, optimizer)
    state = vp.init_train_state(params, optimizer)
    seen = []
    for _ in range(3):
        state, metrics = step(state, KEY, {"x": jnp.asarray(binary_data()["x"])})
        seen.append(float(metrics.elbo))
    assert step._cache_size() == 1
    assert len(set(seen)) == 3, "the noise must change from step to step"


def test_a_gradient_that_is_not_finite_freezes_the_state_before_it():
    vae, params = bernoulli_vae()

    @jax.custom_jvp
    def poison(x):
        return x

    poison.defjvp(lambda primals, tangents: (primals[0], tangents[0] * jnp.nan))
    bad = vae._replace(decode=lambda p, z: vp.bernoulli(poison(p["weight"] @ z)))
    optimizer = optax.adam(1e-2)
    state = vp.init_train_state(params, optimizer)
    state, _ = vp.make_train_step(bad, optimizer)(state, KEY, {"x": jnp.asarray(binary_data()["x"])})
    assert TERMS[int(state.failed_term)] == "gradient"
    assert int(state.failed_step) == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, params)


def test_binarize_draws_each_pixel_by_its_grey_value():
    x = jnp.linspace(0, 1, 11)[None].repeat(20_000, 0)
    drawn = vp.binarize(KEY, {"x": x, "y": jnp.arange(3)})
    assert set(np.unique(drawn["x"])) == {0.0, 1.0}
    error = np.sqrt(np.asarray(x[0] * (1 - x[0])) / len(x))
    assert (np.abs(drawn["x"].mean(0) - x[0]) <= 5 * error + 1e-6).all()
    assert "y" in drawn


def test_binarize_and_training_draw_anew_for_each_key_and_step():
    grey = {"x": jnp.full((50, 20), 0.5)}
    first, second = (np.asarray(vp.binarize(key, grey)["x"]) for key in jax.random.split(KEY))
    # 1,000 fair coins: equal in half, within 5 standard errors.
    assert abs((first == second).mean() - 0.5) < 5 * 0.5 / np.sqrt(1000)
    vae, params = bernoulli_vae()
    optimizer = optax.sgd(0.0)
    step = vp.make_train_step(vae, optimizer, transform=vp.binarize)
    state, batch = vp.init_train_state(params, optimizer), {"x": jnp.full((20, 6), 0.5)}
    # Unless pixels are drawn anew, a decoder that ignores z has the same reconstruction at each step.
    flat = params.decoder | {"weight": jnp.zeros((6, 2)), "bias": jnp.linspace(-1, 1, 6)}
    state, seen = state._replace(params=params._replace(decoder=flat)), []
    for _ in range(3):
        state, terms = step(state, KEY, batch)
        seen.append(float(terms.reconstruction))
    assert len(set(seen)) == 3


def test_gradients_are_normalised_tensor_by_tensor():
    """Through Adam a step is then the same whatever the scale of the loss, down to gradients that nearly vanish."""
    rng = np.random.default_rng(0)
    gradient = {"a": rng.normal(size=(3, 4)).astype(np.float32), "b": {"c": np.float32([1e-3, 0.0])}}
    transform = vp.normalize_per_tensor()
    normalised, _ = transform.update(jax.tree.map(jnp.asarray, gradient), transform.init(gradient))
    np.testing.assert_allclose(normalised["a"], gradient["a"] / np.sqrt((gradient["a"] ** 2).sum()), rtol=1e-5)
    np.testing.assert_allclose(normalised["b"]["c"], [1.0, 0.0], rtol=1e-3)
    larger, _ = transform.update(jax.tree.map(lambda g: 1e6 * g, gradient), transform.init(gradient))
    np.testing.assert_allclose(larger["a"], normalised["a"], rtol=1e-5)


def test_examples_of_a_batch_have_noise_of_their_own():
    """Of equal examples the reconstructions differ; the same at two examples would mean one z for all."""
    vae, params = bernoulli_vae()
    terms, _ = batch_elbo(vae, params, KEY, {"x": jnp.ones((5, 6))}, vp.Objective())
    assert len(np.unique(terms.reconstruction)) == 5


def test_a_step_follows_the_objective():
    """With a beta of 0 the prior, which only the KL reads, gets no gradient; otherwise it moves."""
    vae, params = bernoulli_vae()
    optimizer = optax.sgd(0.1)
    for beta in (0.0, 1.0):
        state = vp.init_train_state(params, optimizer)
        step = vp.make_train_step(vae, optimizer, objective=vp.Objective(beta=beta))
        state, _ = step(state, KEY, {"x": binary_data(20)["x"]})
        moved = np.abs(state.params.prior["loc"] - params.prior["loc"]).max()
        assert (moved > 0) == (beta > 0)
