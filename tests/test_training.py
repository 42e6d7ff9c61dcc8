"""The step and `fit`: what they train, when they stop, and that nothing is lost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.linear_gaussian import exact_log_marginal, linear_gaussian_vae
from vaepriors_jax.training import TERMS

KEY = jax.random.key(0)
fit = functools.partial(vp.fit, progress=False)


def bernoulli_vae(prior=None):
    """A linear VAE of 6 binary pixels with 2 latents."""
    prior = prior or vp.mixture(2, 3)
    vae = vp.VAE(
        encode=lambda p, x: vp.normal_diag(p["weight"] @ x, jnp.exp(p["log_scale"])),
        decode=lambda p, z: vp.bernoulli(p["weight"] @ z + p["bias"]),
        prior=prior,
    )
    keys = jax.random.split(jax.random.key(7), 3)
    params = vp.VAEParams(
        {"weight": 0.3 * jax.random.normal(keys[0], (2, 6)), "log_scale": jnp.zeros(2)},
        {"weight": 0.3 * jax.random.normal(keys[1], (6, 2)), "bias": jnp.zeros(6)},
        prior.init(keys[2]),
    )
    return vae, params


def binary_data(num=200, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, num)
    x = rng.random((num, 6)) < np.where(group[:, None], [0.9] * 3 + [0.1] * 3, [0.1] * 3 + [0.9] * 3)
    return {"x": x.astype(np.float32)}


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
    frozen_prior = fit(vae, params, KEY, data, optax.sgd(1.0), warmup_epochs=1, **common).params.prior
    jax.tree.map(np.testing.assert_array_equal, frozen_prior, params.prior)
    # After warm-up the run is that of beta = 1, step by step: same state, same keys, same result.
    warm = fit(vae, params, KEY, data, optax.sgd(0.0), num_epochs=3, batch_size=50, warmup_epochs=2, validation=data)
    plain = fit(vae, params, KEY, data, optax.sgd(0.0), num_epochs=3, batch_size=50, validation=data)
    np.testing.assert_array_equal(warm.history["validation_elbo"], plain.history["validation_elbo"])


@pytest.mark.parametrize(("epochs", "expected"), [(2, 0.5), (4, 1.0)])
def test_weight_of_the_kl_by_epoch(epochs, expected):
    """With sgd on a prior that only the KL moves, the last step's movement shows the weight of the KL."""
    vae, params = bernoulli_vae(vp.mixture(2, 2))
    data = binary_data(100)
    run = functools.partial(fit, vae, params, KEY, data, batch_size=100)
    freeze_networks = optax.partition({"networks": optax.set_to_zero(), "prior": optax.sgd(1e-3)}, vp.parameter_groups)
    before = run(freeze_networks, num_epochs=epochs - 1, warmup_epochs=2).params if epochs > 1 else params
    after = run(freeze_networks, num_epochs=epochs, warmup_epochs=2).params
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
        callback=lambda epoch, params: seen.update({epoch: jax.tree.map(np.array, params)}),
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
        warmup_epochs=7,
        patience=3,
    )
    assert len(result.history["elbo"]) == 10


def stacked(params, num):
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * num), params)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_replicas_are_what_separate_runs_are(backend, monkeypatch):
    # One after another on a CPU, to the bit; mapped elsewhere. Each is left as it was when it stopped.
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
        beta=betas,
        **common,
    )
    for i in range(2):
        alone = fit(vae, params, KEY, binary_data(), optax.adam(float(rates[i])), beta=float(betas[i]), **common)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[i], b, atol=1e-4),  # noqa: B023
            together.params,
            alone.params,
        )


def exploding(at_step):
    """An optimiser whose update is infinite at one step, where `explode` is 1."""

    def make(explode):
        def update(updates, count, params=None):
            del params
            bad = jnp.where((count == at_step) & (explode > 0), jnp.inf, 0.0)
            return jax.tree.map(lambda u: -1e-3 * u + bad, updates), count + 1

        return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)

    return make


def test_a_replica_that_goes_bad_is_frozen_reported_and_harms_no_other():
    vae, params = bernoulli_vae()
    data = binary_data()
    make = exploding(at_step=5)
    common = {"num_epochs": 4, "batch_size": 50, "validation": binary_data(seed=1)}
    with pytest.warns(RuntimeWarning, match="replica 1 was frozen at step 6: (reconstruction|kl) is not finite"):
        result = fit(
            vae,
            stacked(params, 2),
            jnp.stack([KEY, KEY]),
            data,
            make,
            hyperparameters={"explode": np.array([0.0, 1.0], np.float32)},
            **common,
        )
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


def test_resume_from_a_checkpoint_gives_the_run_without_interruption(tmp_path):
    vae, params = bernoulli_vae()
    run = functools.partial(
        fit, vae, params, KEY, binary_data(), optax.adam(1e-2), batch_size=50, validation=binary_data(seed=1)
    )
    whole = run(num_epochs=6)
    run(num_epochs=3, checkpoint_dir=tmp_path / "run", checkpoint_every=2)
    resumed = run(num_epochs=6, checkpoint_dir=tmp_path / "run")
    for name, values in whole.history.items():
        np.testing.assert_allclose(resumed.history[name], values, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    jax.tree.map(np.testing.assert_array_equal, resumed.state, whole.state)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax's own readers, left half-way
def test_a_checkpoint_that_does_not_fit_or_is_damaged_is_explained(tmp_path):
    vae, params = bernoulli_vae()
    run = functools.partial(
        fit, key=KEY, data=binary_data(), optimizer=optax.adam(1e-2), batch_size=50, checkpoint_dir=tmp_path / "run"
    )
    run(vae, params, num_epochs=1)
    other, other_params = bernoulli_vae(vp.mixture(2, 5))
    with pytest.raises(ValueError, match="Expected a checkpoint of this run"):
        run(other, other_params, num_epochs=2)
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="move this one away to start anew"):
        run(vae, params, num_epochs=2)


def test_save_and_load_a_model(tmp_path):
    vae, params = bernoulli_vae()
    vp.save_model(tmp_path / "model", vae.prior, params)
    prior, loaded = vp.load_model(tmp_path / "model")
    assert prior == vae.prior
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    (tmp_path / "model" / "prior.json").write_text("{")
    with pytest.raises(ValueError, match="Expected a model saved by `save_model`"):
        vp.load_model(tmp_path / "model")
    with pytest.raises(ValueError, match="Expected a model saved by `save_model`"):
        vp.load_model(tmp_path / "nothing")


def test_binarize_draws_each_pixel_by_its_grey_value():
    x = jnp.linspace(0, 1, 11)[None].repeat(20_000, 0)
    drawn = vp.binarize(KEY, {"x": x, "y": jnp.arange(3)})
    assert set(np.unique(drawn["x"])) == {0.0, 1.0}
    error = np.sqrt(np.asarray(x[0] * (1 - x[0])) / len(x))
    assert (np.abs(drawn["x"].mean(0) - x[0]) <= 5 * error + 1e-6).all()
    assert "y" in drawn


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
