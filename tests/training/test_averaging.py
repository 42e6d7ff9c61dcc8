"""`average_params`: what is averaged, and that `fit` validates, chooses by and keeps the average."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, exploding, stacked
from tests.support.trainable_networks import trainable_vae

KEY = jax.random.key(0)
VAE, PARAMS = bernoulli_vae()
DATA, VALIDATION = binary_data(), binary_data(60, seed=1)
DECAY = 0.8
AVERAGED = vp.average_params(optax.adam(3e-2), DECAY)
CASE = {
    "vae": VAE,
    "params": PARAMS,
    "key": KEY,
    "data": DATA,
    "optimizer": AVERAGED,
    "batch_size": 50,
    "validation": VALIDATION,
    "num_epochs": 4,
    "progress": False,
}


def run(**changes):
    return vp.fit(**{**CASE, **changes})


def same(first, second, rtol=0.0):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol), first, second)


def after_each_step(num_steps, optimizer=AVERAGED, params=PARAMS):
    step, state = vp.make_train_step(VAE, optimizer), vp.init_train_state(params, optimizer)
    for _ in range(num_steps):
        state, _ = step(state, KEY, {"x": jnp.asarray(DATA["x"])})
        yield jax.tree.map(np.array, state)


@pytest.mark.parametrize("decay", [DECAY, 0.9999])
def test_the_average_is_the_weighted_mean_of_the_parameters_after_each_step(decay):
    states = list(after_each_step(6, vp.average_params(optax.adam(3e-2), decay)))
    plain = list(after_each_step(6, optax.adam(3e-2)))
    weights = decay ** np.arange(5, -1, -1.0)
    same(states[-1].params, plain[-1].params)  # the steps are those of the optimiser
    expected = jax.tree.map(
        lambda *leaves: np.tensordot(weights / weights.sum(), np.stack(leaves).astype(np.float64), 1),
        *(state.params for state in plain),
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        vp.averaged_params(states[-1]),
        expected,
    )


def test_fit_validates_chooses_by_and_keeps_the_average():
    seen = []
    result = run(callback=lambda epoch: seen.append(jax.tree.map(np.array, epoch)))
    plain = run(optimizer=optax.adam(3e-2))
    for name in ("elbo", "reconstruction", "kl"):
        np.testing.assert_array_equal(result.history[name], plain.history[name])
    same(result.state.params, plain.state.params)
    best = seen[int(result.best_epoch) - 1]
    same(result.params, best.params)
    for epoch in seen:
        same(epoch.params, vp.averaged_params(epoch.state))
        assert not np.allclose(epoch.params.decoder["weight"], epoch.state.params.decoder["weight"])
    # The validation ELBO is that of the average, with the key of validation.
    _, key = jax.random.split(KEY)
    for epoch, score in zip(seen, result.history["validation_elbo"], strict=True):
        values = vp.evaluate_elbo(VAE, epoch.params, key, VALIDATION["x"]).elbo
        np.testing.assert_allclose(values.mean(), score, rtol=1e-5)


def test_the_average_is_better_where_steps_are_large():
    noisy = optax.sgd(0.5)
    result = run(optimizer=vp.average_params(noisy, 0.95), num_epochs=20, batch_size=5)
    plain = run(optimizer=noisy, num_epochs=20, batch_size=5)
    assert result.history["validation_elbo"][-5:].mean() > plain.history["validation_elbo"][-5:].mean() + 0.02


def test_without_validation_the_last_average_is_returned():
    result = run(validation=None)
    same(result.params, vp.averaged_params(result.state))


def test_a_run_with_an_average_resumes(tmp_path):
    whole = run()
    run(num_epochs=2, checkpoints=tmp_path)
    resumed = run(checkpoints=tmp_path)
    same(resumed[:4], whole[:4])
    with pytest.raises(ValueError, match="optimizer differs"):
        run(checkpoints=tmp_path, optimizer=vp.average_params(optax.adam(3e-2), 0.9))


def test_replicas_with_learning_rates_of_their_own():
    rates = np.float32([1e-2, 3e-2])
    together = run(
        params=stacked(PARAMS, 2),
        key=jnp.stack([KEY, KEY]),
        optimizer=lambda learning_rate: vp.average_params(optax.adam(learning_rate), DECAY),
        hyperparameters={"learning_rate": rates},
    )
    jax.tree.map(
        lambda several, one: np.testing.assert_allclose(several[1], one, atol=1e-5), together.params, run().params
    )
    same(jax.tree.map(np.shape, vp.averaged_params(together.state)), jax.tree.map(np.shape, together.params))


def test_half_precision_is_averaged_in_float32():
    """At a weight of 1e-3 an average in bfloat16 would stay where it is."""
    optimizer = vp.average_params(optax.sgd(0.1), 0.999)
    params = vp.VAEParams(jnp.ones(3, jnp.bfloat16), {}, {})
    state = vp.init_train_state(params, optimizer)
    gradient = vp.VAEParams(jnp.full(3, 1e-1, jnp.bfloat16), {}, {})
    for _ in range(100):
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        state = state._replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
    assert state.opt_state.average.encoder.dtype == jnp.float32
    average = vp.averaged_params(state).encoder
    assert average.dtype == jnp.bfloat16
    assert float(state.params.encoder[0]) < float(average[0]) < 0.9


def test_a_failure_leaves_a_finite_average():
    optimizer = vp.average_params(exploding(at_step=5)(jnp.float32(1)), 0.9)
    with pytest.warns(RuntimeWarning, match="frozen"), pytest.raises(vp.TrainingFailedError) as caught:
        run(optimizer=optimizer)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(caught.value.result.params))


def test_a_wrapped_optimizer_gets_the_loss():
    optimizer = vp.average_params(optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(patience=3, rtol=0.5)))
    result = run(optimizer=optimizer, num_epochs=1)
    assert float(result.state.opt_state.inner[1].scale) < 1


def test_of_a_network_with_state_the_parameters_alone_are_averaged(tmp_path):
    vae, params, _ = trainable_vae("nnx")
    result = run(vae=vae, params=params, num_epochs=2, validation=None, checkpoints=tmp_path)
    for found, raw in zip(result.params[:2], result.state.params[:2], strict=True):
        same(found.state, raw.state)
        assert not np.allclose(*(jax.tree.leaves(variables.params)[0] for variables in (found, raw)))
    same(result.params, vp.start_from(tmp_path, like=params).params)


@pytest.mark.parametrize("decay", [0, 1, 1.5, -0.1, float("nan"), True, "0.9"])
def test_a_decay_that_makes_no_sense_is_refused(decay):
    with pytest.raises(ValueError, match="`decay` to be a number between 0 and 1"):
        vp.average_params(optax.sgd(0.1), decay)


def test_what_is_not_an_average_of_all_parameters_is_refused():
    with pytest.raises(TypeError, match="Expected an optax transformation"):
        vp.average_params(0.1)
    with pytest.raises(ValueError, match="state of an optimizer such as `vp.average_params"):
        vp.averaged_params(vp.init_train_state(PARAMS, optax.sgd(0.1)))
    parts = {"networks": optax.sgd(0.1), "prior": vp.average_params(optax.sgd(0.1))}
    with pytest.raises(ValueError, match="Wrap the whole optimizer in `vp.average_params`"):
        run(optimizer=optax.partition(parts, vp.parameter_groups))
