"""Optimisers that need the loss value, gradients in float16, and schedules of the KL's weight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, stacked

KEY = jax.random.key(0)
fit = functools.partial(vp.fit, progress=False)


def test_an_optimizer_reads_the_loss():
    """`value` is the loss of the step, which an identity that keeps it shows; `value_fn` gives it again."""

    def update(updates, state, params=None, *, value, value_fn, **extra):
        del state, extra
        return jax.tree.map(jnp.zeros_like, updates), (value, value_fn(params))

    keep = optax.GradientTransformationExtraArgs(lambda params: (jnp.zeros(()), jnp.zeros(())), update)
    vae, params = bernoulli_vae()
    optimizer = optax.chain(optax.identity(), keep)
    batch = {"x": jnp.asarray(binary_data()["x"])}
    step = vp.make_train_step(vae, optimizer, objective=vp.Objective(beta=0.5))
    state, terms = step(vp.init_train_state(params, optimizer), KEY, batch)
    for value in state.opt_state[1]:
        assert float(value) == pytest.approx(-float(terms.reconstruction) + 0.5 * float(terms.kl), rel=1e-5)


def test_the_rate_falls_on_a_plateau():
    vae, params = bernoulli_vae()
    # Nothing moves, so that no loss is better than the first by a half: after 3 steps the rate is a tenth.
    optimizer = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(factor=0.1, patience=3, rtol=0.5))
    result = fit(vae, params, KEY, binary_data(200), optimizer, num_epochs=1, batch_size=50)
    assert float(result.state.opt_state[1].scale) == pytest.approx(0.1)


def test_lbfgs_raises_the_elbo():
    vae, params = bernoulli_vae()
    data = binary_data()
    plain = functools.partial(fit, vae, params, KEY, data, batch_size=200, validation=binary_data(seed=1))
    with_lbfgs = plain(optax.lbfgs(memory_size=5), num_epochs=5).history["validation_elbo"]
    assert with_lbfgs[-1] > plain(optax.sgd(0.0), num_epochs=1).history["validation_elbo"][0] + 0.3


def test_an_optimizer_that_needs_more_is_explained_before_training():
    vae, params = bernoulli_vae()

    def update(updates, state, params=None, *, curvature, **extra):
        del params, extra
        return updates, curvature

    needs = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    with pytest.raises(TypeError, match="curvature") as caught:
        fit(vae, params, KEY, binary_data(), needs, num_epochs=1)
    assert "its `update` gets `value`, `grad` and `value_fn`" in "".join(caught.value.__notes__)


def test_gradients_of_float16_are_not_taken_for_infinite():
    """A norm of 300, whose square float16 can't hold, moves the parameters; an infinite one freezes them."""
    vae = vp.VAE(
        encode=lambda p, x: vp.normal_diag(p * x[:2], jnp.ones(2)),
        decode=lambda p, z: vp.normal_diag(jnp.zeros(3), jnp.ones(3)),
        prior=vp.standard_normal(2),
    )
    params = vp.VAEParams(jnp.full(2, 0.25, jnp.float16), {}, {})
    optimizer = optax.sgd(1e-3)
    step = vp.make_train_step(vae, optimizer)
    # The loss is the KL, whose gradient is p x^2 = 0.25 x^2.
    x = jnp.array([[30.0, 25.0, 0.0]])
    gradient = 0.25 * np.array([30.0, 25.0]) ** 2
    assert np.abs(gradient).max() < np.finfo(np.float16).max < (gradient**2).sum()
    state, _ = step(vp.init_train_state(params, optimizer), KEY, {"x": x})
    assert int(state.failed_step) == -1
    np.testing.assert_allclose(state.params.encoder, 0.25 - 1e-3 * gradient, rtol=1e-2)
    state, _ = step(vp.init_train_state(params, optimizer), KEY, {"x": 20 * x})
    assert int(state.failed_step) == 0


def test_tensors_of_float16_are_normalised_as_those_of_float32():
    gradient = jnp.array([300.0, 400.0], jnp.float16)
    for scale in (1.0, 100.0, 1e-6):
        normalised = vp.normalize_per_tensor(epsilon=1e-12).update(gradient * jnp.float16(scale), optax.EmptyState())[0]
        assert normalised.dtype == jnp.float16
        np.testing.assert_allclose(normalised, [0.6, 0.8], rtol=1e-2)


@pytest.mark.slow
def test_beta_as_a_schedule_of_the_step():
    """Constant, it is that beta; at 0 and from then on 1, it is one epoch's warm-up of one step; replicas share it."""
    vae, params = bernoulli_vae()
    plain = functools.partial(fit, vae, params, KEY, binary_data(), optax.sgd(0.1), num_epochs=3, batch_size=200)

    def run(**options):
        return plain(objective=vp.Objective(**options))

    same = functools.partial(jax.tree.map, functools.partial(np.testing.assert_allclose, rtol=1e-6))
    same(run(beta=lambda step: 0.3).params, run(beta=0.3).params)
    same(run(beta=lambda step: jnp.minimum(step, 1)).params, run(warmup_epochs=1).params)
    several = fit(
        vae,
        stacked(params, 2),
        jnp.stack([KEY, KEY]),
        binary_data(),
        optax.sgd(0.1),
        objective=vp.Objective(beta=optax.linear_schedule(0.0, 1.0, 3)),
        num_epochs=3,
        batch_size=200,
    )
    alone = run(beta=optax.linear_schedule(0.0, 1.0, 3)).params
    same(jax.tree.map(lambda leaf: leaf[1], several.params), alone)
    assert not np.allclose(alone.prior["loc"], run().params.prior["loc"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_epochs": 1.5}, "`warmup_epochs` to be an integer >= 1; got 1.5"),
        ({"warmup_epochs": True}, "`warmup_epochs` to be finite and >= 0; got True"),
        ({"beta": 1e-50}, "argument `beta` that float32 can hold; got 1e-50"),
        ({"beta": lambda step: -1.0}, "`beta` as a schedule to be finite and >= 0; got -1"),
        ({"beta": lambda step: jnp.ones(2)}, r"one number for a step; got .* shape \[2\]"),
        ({"num_samples": 0}, "`num_samples` to be an integer >= 1; got 0"),
        ({"kl_method": "exact"}, "`kl_method` to be one of 'auto', 'analytic', 'monte_carlo'; got 'exact'"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(options, message):
    vae, params = bernoulli_vae()
    with pytest.raises((TypeError, ValueError), match=message):
        fit(vae, params, KEY, binary_data(), optax.sgd(0.1), num_epochs=1, objective=vp.Objective(**options))


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ([1], "`hyperparameters` by name, .*; got list"),
        ({"learning_rate": -1e-3}, "hyperparameter `learning_rate` to be >= 0; got -0.001"),
        ({"learning_rate": np.nan}, "finite numbers in the hyperparameter `learning_rate`"),
        ({"learning_rate": 1e-50}, "`learning_rate` that float32 can hold; got 1e-50"),
        ({"learning_rate": 1e39}, "`learning_rate` that float32 can hold; got 1e"),
    ],
)
def test_hyperparameters_that_make_no_sense_are_refused(hyperparameters, message):
    vae, params = bernoulli_vae()
    with pytest.raises((TypeError, ValueError), match=message):
        fit(vae, params, KEY, binary_data(), optax.sgd, num_epochs=1, hyperparameters=hyperparameters)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (vp.Objective(warmup_epochs=5), "no `warmup_epochs` in `make_train_step`, .*; got 5. Pass a schedule"),
        (vp.Objective(beta=np.ones(3)), "one `beta` in `make_train_step`; got 3"),
        (vp.Objective(beta=lambda step: -1.0), "`beta` as a schedule to be finite and >= 0; got -1"),
    ],
    ids=["warm-up", "replicas", "schedule"],
)
def test_what_belongs_to_fit_is_refused_by_a_step(objective, message):
    with pytest.raises(ValueError, match=message):
        vp.make_train_step(bernoulli_vae()[0], optax.sgd(0.1), objective=objective)
