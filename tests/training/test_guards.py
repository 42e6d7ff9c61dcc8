"""What `fit` warns of: each fault is built in, is found once, and names replica and epoch."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, stacked
from vaepriors_jax.training.streams import Spread

KEYS = jax.random.split(jax.random.key(0), 2)
fit = functools.partial(vp.fit, batch_size=50, num_epochs=25, progress=False)


def warned(*arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit(*arguments, **options)
    return [str(one.message) for one in caught if one.category is RuntimeWarning], result


def with_encoder_scale(scale, prior=None):
    """The VAE with another scale of its encoder."""
    vae, params = bernoulli_vae(prior)
    return vae._replace(encode=lambda p, x: vp.normal_diag(p["weight"] @ x, scale(p, x))), params


def vamp(num_components, prior=lambda vamp: vamp):
    return bernoulli_vae(prior(vp.vamp(num_components, (6,))))


def of_networks_alone(learning_rate):
    still = {"networks": optax.adam(learning_rate), "prior": optax.set_to_zero()}
    return optax.partition(still, vp.parameter_groups)


def test_ordinary_training_warns_of_nothing():
    for prior in (vp.standard_normal(2), vp.mixture(2, 3), vp.vamp(5, (6,))):
        vae, params = bernoulli_vae(prior)
        assert warned(vae, params, KEYS[0], binary_data(), optax.adam(1e-2), num_epochs=20)[0] == []


def test_a_collapsed_posterior_is_found_in_the_replica_that_has_one():
    vae, params = bernoulli_vae(vp.standard_normal(2))
    betas = np.float32([1e3, 1e-3])
    messages, result = warned(
        vae,
        stacked(params, 2),
        KEYS,
        binary_data(),
        optax.adam(0.02),
        objective=vp.Objective(beta=betas),
        num_epochs=60,
    )
    (message,) = messages
    kl = result.history["kl"]
    epoch = next(n for n in range(10, 60) if (abs(kl[0, n - 10 : n]) < 0.01).all())
    assert message.startswith(f"replica 0, epoch {epoch}: the posterior has collapsed: the KL stayed below 0.01 nats")


def test_the_warm_up_is_not_taken_for_a_collapse():
    vae, params = with_encoder_scale(lambda p, x: jnp.ones(2) + 0 * p["log_scale"], vp.standard_normal(2))
    params = params._replace(encoder=jax.tree.map(jnp.zeros_like, params.encoder))
    still = optax.set_to_zero()
    late = {"objective": vp.Objective(warmup_epochs=8)}
    assert warned(vae, params, KEYS[0], binary_data(), still, num_epochs=17, **late)[0] == []
    assert "epoch 18" in warned(vae, params, KEYS[0], binary_data(), still, num_epochs=18, **late)[0][0]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda prior: prior,
        lambda prior: vp.transformed(prior, vp.affine_coupling(2, hidden=(4,))),
        lambda prior: vp.two_level(prior, 2, 1),
    ],
)
def test_a_mixture_of_which_one_component_is_used(wrap):
    prior = wrap(vp.mixture(2, 4))
    vae, params = bernoulli_vae(prior)
    if prior.config["factory"] == "two_level":
        vae = vae._replace(
            encode=lambda p, x: vp.normal_diag(jnp.append(p["weight"] @ x, 0.0), jnp.ones(3)),
            decode=lambda p, z: vp.bernoulli(p["weight"] @ z[1:] + p["bias"]),
        )

    def one_only(path, leaf):
        return jnp.array([30.0, 0.0, 0.0, 0.0]) if "logits" in jax.tree_util.keystr(path) else leaf

    params = params._replace(prior=jax.tree_util.tree_map_with_path(one_only, params.prior))
    messages, _ = warned(vae, stacked(params, 2), KEYS, binary_data(), optax.adam(1e-3))
    assert len(messages) == 1
    assert messages[0].startswith("replicas 0, 1, epoch 10: the prior uses one of its 4 components")


@pytest.mark.slow
def test_data_sorted_by_class_use_every_component():
    prior = vp.mixture(2, 2)
    vae, params = bernoulli_vae(prior)
    vae = vae._replace(encode=lambda p, x: vp.normal_diag(10 * x[:2], jnp.ones(2)))
    params = params._replace(prior=params.prior | {"loc": jnp.array([[0.0, 0.0], [10.0, 10.0]])})
    images = np.repeat(np.array([[0] * 6, [1] * 6], np.float32), 100, axis=0)
    assert warned(vae, params, KEYS[0], {"x": images}, optax.set_to_zero())[0] == []
    (message,) = warned(vae, params, KEYS[0], {"x": images[:100]}, optax.set_to_zero())[0]
    assert "uses one of its 2 components" in message
    batches = [{"x": x} for x in np.split(images, 20)]
    assert warned(vae, params, KEYS[0], batches, optax.set_to_zero(), batch_size=None)[0] == []
    (message,) = warned(vae, params, KEYS[0], batches[:10], optax.set_to_zero(), batch_size=None)[0]
    assert "uses one of its 2 components" in message


@pytest.mark.parametrize("num_batches", [1, 3, 8, 9, 1000])
def test_examples_are_spread_over_an_epoch_of_any_length(num_batches):
    spread = Spread()
    for number in [*range(5), None, *range(num_batches)]:
        if number is None:
            spread.start()
        else:
            spread.add({"x": np.full((100, 2), number)})
    found = spread.examples()["x"][:, 0]
    assert len(found) == 64
    assert len(set(found)) >= min(num_batches, 4)
    assert found[0] == 0
    assert found[-1] >= 3 * (num_batches - 1) / 4


def test_pseudo_inputs_that_do_not_move():
    vae, params = vamp(5, lambda prior: vp.transformed(prior, vp.affine_coupling(2, hidden=(4,))))
    messages, _ = warned(vae, params, KEYS[0], binary_data(), of_networks_alone(1e-2))
    assert [message.split(". ")[0] for message in messages] == ["replica 0, epoch 10: the pseudo-inputs have not moved"]
    vae, params = vamp(5, vp.stop_gradient)
    assert warned(vae, params, KEYS[0], binary_data(), optax.adam(1e-2))[0] == []


def test_pseudo_inputs_that_coincide():
    vae, params = vamp(5)
    inputs = params.prior["pseudo_inputs"]
    for num_same, found in ((2, 0), (3, 1), (5, 1)):
        same = params._replace(prior={"pseudo_inputs": inputs.at[:num_same].set(inputs[0])})
        messages, _ = warned(vae, same, KEYS[0], binary_data(), optax.adam(1e-3), num_epochs=10)
        assert ["most pseudo-inputs coincide" in message for message in messages] == [True] * found


def test_streams_are_looked_at_too():
    vae, params = vamp(5)
    batches = [{"x": x} for x in np.split(binary_data()["x"], 4)]
    messages, _ = warned(vae, params, KEYS[0], vp.Stream(batches), of_networks_alone(1e-2), batch_size=None)
    assert "replica 0, epoch 10: the pseudo-inputs have not moved" in messages[0]


@pytest.mark.parametrize("network", ["encoder", "decoder"])
def test_a_scale_that_is_not_positive_is_the_cause_of_a_failure(network):
    vae, params = with_encoder_scale(lambda p, x: p["log_scale"] - 0.3 if network == "encoder" else jnp.ones(2))
    if network == "decoder":
        vae = vae._replace(decode=lambda p, z: vp.normal_diag(p["weight"] @ z, p["bias"] - 0.3))
    with (
        pytest.warns(RuntimeWarning, match=f"replica 0 was frozen at step 0: .*; the {network}'s scale is -0.3, and"),
        pytest.raises(vp.TrainingFailedError) as failed,
    ):
        fit(vae, params, KEYS[0], binary_data(), optax.adam(1e-2))
    assert f"the {network}'s scale is -0.3" in str(failed.value)
    assert "learning rate" not in str(failed.value)
    assert failed.value.result.failures[0].cause.startswith(f"the {network}'s scale is -0.3")


def test_a_warm_up_that_is_longer_than_the_run():
    vae, params = bernoulli_vae()
    for warmup, found in (
        (3, []),
        (4, ["the KL never gets its full weight: the warm-up lasts 4 epochs, and the run 3"]),
    ):
        objective = vp.Objective(warmup_epochs=warmup)
        messages, _ = warned(vae, params, KEYS[0], binary_data(), optax.adam(1e-3), num_epochs=3, objective=objective)
        assert [message.split(". ")[0] for message in messages] == found
