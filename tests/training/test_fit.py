"""`fit`: training, early stopping, replicas, and replicas that fail."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, exploding, stacked
from tests.support.linear_gaussian import exact_log_marginal, linear_gaussian_vae

KEY = jax.random.key(0)
fit = functools.partial(vp.fit, progress=False)


def test_training_raises_the_elbo_to_the_exact_log_marginal():
    """A linear-Gaussian VAE that starts wrong learns a bound as high as the true model's log p(x)."""
    vae, true, _ = linear_gaussian_vae()
    _, _, x = linear_gaussian_vae(2000)
    start = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), true)
    schedule = optax.exponential_decay(2e-2, 400, 0.5)
    result = fit(vae, start, KEY, {"x": x}, optax.adam(schedule), num_epochs=80, batch_size=100)
    values = vp.evaluate_elbo(vae, result.params, jax.random.key(1), x).elbo
    exact = exact_log_marginal(true, x)
    assert values.mean() > exact.mean() - 0.05
    assert values.mean() < exact.mean() + 0.1


def test_warm_up_reaches_exactly_beta_and_validation_ignores_it():
    vae, params = bernoulli_vae()
    # beta = 0 throughout the first step: the KL term of the prior gets no gradient there.
    data = binary_data(100)
    common = {"num_epochs": 1, "batch_size": 100}
    frozen_prior = fit(
        vae, params, KEY, data, optax.sgd(1.0), objective=vp.Objective(warmup_epochs=1), **common
    ).params.prior
    jax.tree.map(np.testing.assert_array_equal, frozen_prior, params.prior)
    # After warm-up the run is that of beta = 1, step by step: same state, same keys, same result.
    run = functools.partial(fit, vae, params, KEY, data, optax.sgd(0.0), num_epochs=3, batch_size=50, validation=data)
    warm, plain = run(objective=vp.Objective(warmup_epochs=2)), run()
    np.testing.assert_array_equal(warm.history["validation_elbo"], plain.history["validation_elbo"])


@pytest.mark.filterwarnings("ignore:the KL never gets its full weight:RuntimeWarning")
@pytest.mark.parametrize(("epochs", "expected"), [(2, 0.5), (4, 1.0)])
def test_weight_of_the_kl_by_epoch(epochs, expected):
    """With sgd on a prior that only the KL moves, the last step's movement shows the weight of the KL."""
    vae, params = bernoulli_vae(vp.mixture(2, 2))
    data = binary_data(100)
    run = functools.partial(fit, vae, params, KEY, data, batch_size=100, objective=vp.Objective(warmup_epochs=2))
    freeze_networks = optax.partition({"networks": optax.set_to_zero(), "prior": optax.sgd(1e-3)}, vp.parameter_groups)
    before = run(freeze_networks, num_epochs=epochs - 1).params if epochs > 1 else params
    after = run(freeze_networks, num_epochs=epochs).params
    # The same last step by hand, at weight 1.
    key_epoch, _ = jax.random.split(KEY)
    key_shuffle, key_steps = jax.random.split(jax.random.fold_in(key_epoch, epochs))
    order = jax.random.permutation(key_shuffle, 100)
    state = vp.init_train_state(before, freeze_networks)._replace(step=jnp.int32(epochs - 1))
    whole, _ = vp.make_train_step(vae, freeze_networks)(state, key_steps, {"x": jnp.asarray(data["x"])[order]})
    moved = np.asarray(after.prior["loc"] - before.prior["loc"])
    full = np.asarray(whole.params.prior["loc"] - before.prior["loc"])
    np.testing.assert_allclose(moved, expected * full, rtol=1e-3, atol=1e-7)


def test_separate_learning_rates():
    vae, params = bernoulli_vae()
    optimizer = optax.partition({"networks": optax.set_to_zero(), "prior": optax.adam(1e-2)}, vp.parameter_groups)
    result = fit(vae, params, KEY, binary_data(), optimizer, num_epochs=2, batch_size=50)
    jax.tree.map(np.testing.assert_array_equal, result.params.encoder, params.encoder)
    assert np.abs(result.params.prior["loc"] - params.prior["loc"]).max() > 0


def test_early_stopping_keeps_the_best_parameters():
    vae, params = bernoulli_vae()
    data, validation = binary_data(), binary_data(seed=1)
    # A learning rate that grows spoils the model after a while.
    schedule = optax.linear_schedule(1e-2, 3.0, 300)
    result = fit(
        vae, params, KEY, data, optax.adam(schedule), num_epochs=300, batch_size=50, validation=validation, patience=10
    )
    scores = result.history["validation_elbo"]
    assert len(scores) < 300
    assert int(result.best_epoch) == int(np.argmax(scores)) + 1
    assert len(scores) == int(result.best_epoch) + 10
    seen = {}
    again = vp.fit(
        vae,
        params,
        KEY,
        data,
        optax.adam(schedule),
        num_epochs=int(result.best_epoch),
        batch_size=50,
        validation=validation,
        progress=False,
        callback=lambda epoch: seen.update({epoch.epoch: jax.tree.map(np.array, epoch.params)}),
    )
    assert list(seen) == list(range(1, int(result.best_epoch) + 1))
    for params in (again.params, seen[int(result.best_epoch)]):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), result.params, params)


def test_patience_counts_from_the_end_of_warm_up():
    vae, params = bernoulli_vae()
    data = binary_data()
    result = fit(
        vae,
        params,
        KEY,
        data,
        optax.sgd(0.0),
        num_epochs=50,
        batch_size=100,
        validation=data,
        objective=vp.Objective(warmup_epochs=7),
        patience=3,
    )
    assert len(result.history["elbo"]) == 10


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_replicas_are_what_separate_runs_are(backend, monkeypatch):
    # A CPU runs replicas one after another, and the results are equal; elsewhere they are mapped, and agree up to float
    # error. A replica that has stopped does not change any more.
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    vae, params = bernoulli_vae()
    keys = jax.random.split(KEY, 3)
    options = {"num_epochs": 12, "batch_size": 50, "patience": 2, "validation": binary_data(40, seed=1)}
    run = functools.partial(fit, vae, data=binary_data(), optimizer=optax.adam(0.1), **options)
    together = run(stacked(params, 3), keys)
    alone = [run(params, key) for key in keys]
    lengths = [len(result.history["elbo"]) for result in alone]
    assert len(set(lengths)) > 1  # or nothing would be seen of those that stop first
    assert together.history["elbo"].shape == (3, max(lengths))
    for i, (result, length) in enumerate(zip(alone, lengths, strict=True)):
        for name, values in together.history.items():
            np.testing.assert_allclose(values[i, :length], result.history[name], rtol=0 if backend == "cpu" else 1e-4)
            assert np.isnan(values[i, length:]).all()
        of_replica = jax.tree.map(lambda leaf: leaf[i], together[:3])  # noqa: B023
        tolerance = 0 if backend == "cpu" else 1e-4
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), of_replica, alone[i][:3])  # noqa: B023


def test_learning_rates_and_betas_as_replicas():
    vae, params = bernoulli_vae()
    rates, betas = np.array([1e-3, 1e-2], np.float32), jnp.array([1.0, 0.5])
    keys = jnp.stack([KEY, KEY])
    common = {"num_epochs": 3, "batch_size": 50}
    together = fit(
        vae,
        stacked(params, 2),
        keys,
        binary_data(),
        lambda learning_rate: optax.adam(learning_rate),
        hyperparameters={"learning_rate": rates},
        objective=vp.Objective(beta=betas),
        **common,
    )
    for i in range(2):
        objective = vp.Objective(beta=float(betas[i]))
        alone = fit(vae, params, KEY, binary_data(), optax.adam(float(rates[i])), objective=objective, **common)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[i], b, atol=1e-4),  # noqa: B023
            together.params,
            alone.params,
        )


def test_a_replica_that_goes_bad_is_frozen_reported_and_harms_no_other():
    vae, params = bernoulli_vae()
    data = binary_data()
    make = exploding(at_step=5)
    common = {"num_epochs": 4, "batch_size": 50, "validation": binary_data(seed=1)}
    with pytest.warns(
        RuntimeWarning, match="replica 1 was frozen at step 6: (reconstruction|kl) is not finite"
    ) as seen:
        result = fit(
            vae,
            stacked(params, 2),
            jnp.stack([KEY, KEY]),
            data,
            make,
            hyperparameters={"explode": np.array([0.0, 1.0], np.float32)},
            **common,
        )
    assert [warning.filename for warning in seen] == [__file__]  # where `fit` was called
    assert [(f.replica, f.step) for f in result.failures] == [(1, 6)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
    assert int(result.best_epoch[1]) == 1
    alone = fit(vae, params, KEY, data, make(jnp.float32(0)), **common)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-5), result.params, alone.params)


def test_the_run_stops_when_no_replica_is_left_and_keeps_the_last_good_parameters():
    vae, params = bernoulli_vae()
    make = exploding(at_step=5)
    run = functools.partial(fit, vae, params, KEY, binary_data(), make(jnp.float32(1)), batch_size=50)
    with (
        pytest.warns(RuntimeWarning, match="frozen"),
        pytest.raises(vp.TrainingFailedError, match="Lower the learning rate") as caught,
    ):
        run(num_epochs=10)
    result = caught.value.result
    assert len(result.history["elbo"]) == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
