"""The state of networks beside their parameters: in `fit`, in files, in replicas and in evaluation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import vaepriors_jax as vp
from tests.support.bernoulli_vae import binary_data, stacked
from tests.support.trainable_networks import (
    DIM,
    FRAMEWORKS,
    PIXELS,
    EquinoxNet,
    LinenNet,
    NNXNet,
    linen_and_others_nightly,
    trainable_vae,
)
from vaepriors_jax.training.batch import batch_elbo
from vaepriors_jax.training.programs import _compile

KEY = jax.random.key(0)
DATA, VALIDATION = binary_data(100), binary_data(40, seed=1)
OPTIMIZER = optax.adam(1e-2)
fit = functools.partial(
    vp.fit, data=DATA, optimizer=OPTIMIZER, num_epochs=3, batch_size=25, validation=VALIDATION, progress=False
)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def states(params):
    return [params.encoder.state, params.decoder.state]


def test_the_state_kept_is_that_of_the_best_epoch():
    vae, params, _ = trainable_vae("linen", rate=0.1)
    seen = {}

    def keep(epoch):
        seen[epoch.epoch] = jax.tree.map(np.array, epoch.params)

    spoiling = optax.adam(optax.linear_schedule(0.01, 2.0, 40))  # a learning rate that grows
    result = fit(vae, params, KEY, optimizer=spoiling, num_epochs=10, callback=keep)
    assert 1 <= result.best_epoch < 10
    assert_equal(result.params, seen[int(result.best_epoch)])
    assert_equal(result.state.params, seen[10])
    changes = jax.tree.map(lambda a, b: np.abs(a - b).max(), states(result.params), states(result.state.params))
    assert min(jax.tree.leaves(changes)) > 0.01


def test_a_run_that_is_resumed_is_the_run_that_goes_on(tmp_path):
    vae, params, _ = trainable_vae("linen", rate=0.1)
    whole = fit(vae, params, KEY, num_epochs=4)
    fit(vae, params, KEY, num_epochs=2, checkpoints=tmp_path)
    resumed = fit(vae, params, KEY, num_epochs=4, checkpoints=tmp_path)
    assert_equal((resumed.params, resumed.state), (whole.params, whole.state))
    other, _, _ = trainable_vae("linen", rate=0.2)
    with pytest.raises(ValueError, match="networks in training differs"):
        fit(other, params, KEY, checkpoints=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_trained_model_is_saved_loaded_and_evaluated(framework, tmp_path):
    vae, params, _ = trainable_vae(framework, prior=vp.mixture(DIM, 2), rate=0.1)
    trained = fit(vae, params, KEY, num_epochs=1).params
    assert isinstance(trained.encoder, vp.Variables)
    vp.save_model(tmp_path, vae.prior, trained)
    prior, loaded = vp.load_model(tmp_path)
    assert_equal(loaded, trained)
    again, _, _ = trainable_vae(framework, prior=prior, rate=0.1, seed=5)
    assert_equal(vp.generate(again, loaded, KEY, 3), vp.generate(vae, trained, KEY, 3))


@pytest.mark.slow
def test_replicas_are_what_separate_runs_are(monkeypatch):
    """One after another, as on a CPU, and mapped, as elsewhere."""
    vae, params, _ = trainable_vae("nnx", rate=0.1)
    keys = jax.random.split(KEY)
    run = functools.partial(fit, vae, optimizer=optax.sgd(0.1))
    alone = [run(params, key).params for key in keys]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)  # noqa: B023
        together = run(stacked(params, 2), keys).params
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), together, expected)


@linen_and_others_nightly
def test_equal_networks_are_one_compiled_program(framework):
    found = [trainable_vae(framework, seed=seed)[:2] for seed in (0, 1)]
    assert found[0][0] == found[1][0]
    fit(*found[0], KEY, num_epochs=1)
    misses = _compile.cache_info().misses
    fit(*found[1], KEY, num_epochs=1)
    assert _compile.cache_info().misses == misses
    assert trainable_vae(framework, rate=0.3)[0] != found[0][0]


@pytest.mark.slow
def test_evaluation_uses_running_statistics_and_no_noise():
    """The value of an example does not depend on others, and changes with the statistics alone."""
    vae, params, _ = trainable_vae("linen", prior=vp.vamp(3, (PIXELS,)), rate=0.5)
    shifted = jax.tree.map(lambda leaf: leaf + 1.0, states(params))
    other = params._replace(
        encoder=vp.Variables(params.encoder.params, shifted[0]), decoder=vp.Variables(params.decoder.params, shifted[1])
    )
    x, z = VALIDATION["x"], jnp.ones((4, DIM))
    for evaluate in (
        lambda params, x: vp.evaluate_elbo(vae, params, KEY, x).elbo,
        lambda params, x: vp.log_marginal(vae, params, KEY, x, num_samples=5).values,
        lambda params, x: vp.aggregated_posterior(vae, params, x).log_prob(z)[: len(x)] + 0 * len(x),
        lambda params, x: vae.latent_prior(params).log_prob(z),
        lambda params, x: vp.generate(vae, params, KEY, 4),
    ):
        value, changed = evaluate(params, x), evaluate(other, x)
        assert np.abs(value - changed).min() > 1e-4
        assert_equal(evaluate(params, x), value)
    whole = jax.vmap(lambda x: vae.posterior(params, x).mean())(x)
    np.testing.assert_allclose(whole[3], vae.posterior(params, x[3]).mean(), atol=1e-6)
    fitted = vp.fit_prior(vp.mixture(DIM, 2), vae, params, KEY, x, num_steps=2)
    assert_equal(states(fitted), states(params))


@pytest.mark.slow
def test_pseudo_inputs_are_encoded_in_evaluation_mode():
    """The KL of a batch is to the mixture of posteriors with running statistics."""
    vae, params, _ = trainable_vae("linen", prior=vp.vamp(3, (PIXELS,)))
    x = DATA["x"][:10]
    terms, _ = batch_elbo(vae, params, KEY, {"x": x}, vp.Objective())
    encode = functools.partial(vae.encode.train, params.encoder, key=KEY)

    def kl(x, key):
        posterior, _ = encode(x)
        z = posterior.sample(seed=key)
        return posterior.log_prob(z) - vae.latent_prior(params).log_prob(z)

    expected = jax.vmap(kl, axis_name="batch")(x, jax.random.split(KEY, 10))
    np.testing.assert_allclose(terms.kl, expected, atol=1e-4)


def test_the_average_of_parameters_comes_with_the_state():
    vae, params, _ = trainable_vae("linen")
    result = fit(vae, params, KEY, optimizer=vp.average_params(OPTIMIZER, 0.9), validation=None)
    assert_equal(states(result.params), states(result.state.params))
    assert_equal(vp.averaged_params(result.state), result.params)


@pytest.mark.slow
def test_labels_reach_the_module_in_training_and_evaluation():
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x, y, train):
            x = nn.BatchNorm(not train, axis_name="batch")(nn.Dense(2 * DIM)(x))
            loc, log_scale = jnp.split(x + y, 2)
            return vp.normal_diag(loc, jnp.exp(log_scale))

    vae, params, _ = trainable_vae("linen")
    encoder = vp.linen_network(Encoder())
    variables = encoder.init(KEY, jnp.zeros(PIXELS), y=jnp.int32(0))
    vae, params = vae._replace(encode=encoder, encoder_context=("y",)), params._replace(encoder=variables)
    data = {**DATA, "y": np.arange(100) % 3}
    result = fit(vae, params, KEY, data=data, validation=data, num_epochs=1)
    assert np.isfinite(result.history["validation_elbo"]).all()


def test_parameter_groups_and_partitions_leave_the_state_alone():
    vae, params, _ = trainable_vae("linen", prior=vp.mixture(DIM, 2))
    labels = vp.parameter_groups(params)
    optimizer = optax.partition({"networks": optax.set_to_zero(), "prior": optax.sgd(0.1)}, labels)
    result = fit(vae, params, KEY, optimizer=optimizer, validation=None)
    assert_equal(result.params.encoder.params, params.encoder.params)
    assert np.abs(result.params.prior["loc"] - params.prior["loc"]).max() > 0
    assert np.abs(result.params.encoder.state["batch_stats"]["BatchNorm_0"]["mean"]).max() > 0


class Untrained(nn.Module):
    @nn.compact
    def __call__(self, x):
        return vp.normal_diag(nn.Dense(2)(x), jnp.ones(2))


class Counting(nn.Module):
    """A state that differs between the examples of a batch."""

    @nn.compact
    def __call__(self, x, train):
        last = self.variable("last", "x", lambda: x)
        if train:
            last.value = x
        return vp.normal_diag(nn.Dense(2)(x), jnp.ones(2))


X = jnp.ones(PIXELS)
OF_LINEN = LinenNet(2 * DIM, 0.1).init(KEY, X, train=False)
OF_NNX = nnx.split(NNXNet(PIXELS, 2 * DIM, 0.1, nnx.Rngs(0)))[1]


def fit_linen(encoder, variables=None):
    vae, params, _ = trainable_vae("linen")
    variables = encoder.init(KEY, X) if variables is None else variables
    return fit(vae._replace(encode=encoder), params._replace(encoder=variables), KEY)


def without_axis(axis_name):
    return vp.linen_network(LinenNet(2 * DIM, 0.1, axis_name), trainable_vae("linen")[0].encode.to_distribution)


MISTAKES = [
    (
        lambda: fit_linen(trainable_vae("linen")[0].encode, OF_LINEN),
        TypeError,
        r"\['mean'\] is state. .* `vp.linen_net",
    ),
    (lambda: fit_linen(trainable_vae("nnx")[0].encode, OF_NNX), TypeError, r"Make the encoder by `vp.nnx_network\(mod"),
    (
        lambda: vp.init_train_state(vp.VAEParams({}, nnx.to_pure_dict(OF_NNX), {}), OPTIMIZER),
        TypeError,
        r"Expected parameters of floats; .*\['count'\] is of uint32. .* see `vaepriors_jax.networks`",
    ),
    (
        lambda: fit_linen(without_axis(None)),
        ValueError,
        r'`nn.BatchNorm\(..., axis_name="batch"\)`; got axis_name=None',
    ),
    (lambda: fit_linen(without_axis("data")), ValueError, r"got axis_name='data'"),
    (
        lambda: vp.nnx_network(NNXNet(PIXELS, 4, 0.1, nnx.Rngs(0), axis_name=None)),
        ValueError,
        r'`nnx.BatchNorm\(..., axis_name="batch"\)`; got axis_name=None',
    ),
    (lambda: fit_linen(vp.linen_network(Counting())), ValueError, "out_axes is None"),
    (lambda: fit_linen(trainable_vae("linen")[0].encode, OF_LINEN["params"]), TypeError, r"`vp.Variables` .* got dict"),
    (lambda: vp.linen_network(LinenNet), TypeError, r"a module of Flax Linen, such as `Encoder\(\)`"),
    (
        lambda: vp.linen_network(Untrained()),
        TypeError,
        r"takes `train`, as in `def __call__\(self, x, train\)`; got Untr",
    ),
    (lambda: vp.nnx_network(NNXNet), TypeError, r"an `nnx.Module`, such as `Encoder\(nnx.Rngs\(0\)\)`"),
    (lambda: vp.equinox_network(EquinoxNet), TypeError, r"an `eqx.Module`, such as `Encoder\(key\)`"),
    (
        lambda: vp.equinox_network(EquinoxNet(PIXELS, 4, 0.1, KEY)),
        ValueError,
        r"the state of a module .* Make both by `module, state = eqx.nn.make_with_state\(Encoder\)\(key\)`",
    ),
]


@pytest.mark.parametrize(("run", "error", "message"), MISTAKES)
def test_a_mistake_is_refused_with_the_way_to_do_it(run, error, message):
    with pytest.raises(error, match=message):
        run()


def test_variables_need_a_network_that_trains():
    vae, params, _ = trainable_vae("linen")
    wrapped = vae._replace(encode=lambda variables, x: vae.encode(variables, x))
    with pytest.raises(TypeError, match="a network with a method `train`, as `vp.linen_network"):
        fit(wrapped, params, KEY)
