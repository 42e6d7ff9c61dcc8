"""Networks with BatchNorm and Dropout in training, on one device and on four, in each framework."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import binary_data, stacked
from tests.support.trainable_networks import DIM, FRAMEWORKS, PIXELS, linen_and_others_nightly, trainable_vae
from vaepriors_jax.parallel import make_mesh
from vaepriors_jax.training.batch import batch_elbo

KEY = jax.random.key(0)
BATCH, RATE = 20, 0.1
BATCHES = binary_data(BATCH * 8)["x"].reshape(8, BATCH, -1)

every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


def own_loop(networks, params, num_samples):
    """Training by SGD on whole batches, as a user of the framework writes it: the ELBO with a N(0, I) prior."""
    encode, decode = networks

    def loss(trained, states, noise, x):
        raw, encoder_state = encode(vp.Variables(trained[0], states[0]), x)
        loc, log_scale = raw[:, None, :DIM], raw[:, None, DIM:]
        z = loc + jnp.exp(log_scale) * noise
        logits, decoder_state = decode(vp.Variables(trained[1], states[1]), z.reshape(-1, DIM))
        logits = logits.reshape(*noise.shape[:2], -1)
        reconstruction = (x[:, None] * logits - jnp.logaddexp(logits, 0)).sum(-1).mean()
        kl = 0.5 * (loc**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1).mean()
        return kl - reconstruction, (encoder_state, decoder_state)

    @jax.jit
    def step(number, trained, states, x):
        keys = jax.random.split(jax.random.split(jax.random.fold_in(KEY, number))[1], BATCH)
        noise = jax.vmap(lambda key: jax.random.normal(key, (num_samples, DIM)))(keys)
        gradient, states = jax.grad(loss, has_aux=True)(trained, states, noise, x)
        return jax.tree.map(lambda p, g: p - RATE * g, trained, gradient), states

    trained, states = ([getattr(net, part) for net in params[:2]] for part in ("params", "state"))
    for number, x in enumerate(BATCHES):
        trained, states = step(number, trained, states, x)
    return [vp.Variables(*pair) for pair in zip(trained, states, strict=True)]


def train(vae, params, *, mesh=None, num_samples=1):
    optimizer = optax.sgd(RATE)
    step = vp.make_train_step(vae, optimizer, objective=vp.Objective(num_samples=num_samples), mesh=mesh)
    state = vp.init_train_state(params, optimizer)
    for x in BATCHES:
        state, _ = step(state, KEY, {"x": x})
    return list(state.params[:2])


def assert_close(found, expected, atol=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), found, expected)


def largest_change(tree, other):
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), tree, other)))


@every_framework
def test_parameters_and_running_statistics_are_those_of_the_frameworks_own_loop(framework):
    """With three samples an example, the decoder's batch is all of them."""
    vae, params, networks = trainable_vae(framework)
    found = train(vae, params, num_samples=3)
    assert_close(found, own_loop(networks, params, num_samples=3))
    for network, start in zip(found, params[:2], strict=True):
        assert largest_change(network.params, start.params) > 0.01
        assert largest_change(network.state, start.state) > 0.1


@pytest.mark.slow
@linen_and_others_nightly
def test_dropout_differs_by_step_and_example_and_is_off_in_evaluation(framework):
    """Of equal examples, without the noise of z, so that masks alone make a difference."""
    vae, params, _ = trainable_vae(framework, rate=0.5)
    # Away from a BatchNorm with bias 0, which turns equal examples into zeros.
    networks = [vp.Variables(jax.tree.map(lambda p: p + 0.3, net.params), net.state) for net in params[:2]]
    params = vp.VAEParams(*networks, {})
    certain = vae.encode._replace(to_distribution=lambda raw: vp.normal_diag(raw[:DIM], jnp.full(DIM, 1e-6)))

    def plain(params, inputs):
        return vae.encode.to_distribution(params @ inputs)

    one_each = [
        (vae._replace(encode=certain, decode=lambda p, z: vp.bernoulli(p @ z)), (networks[0], jnp.ones((PIXELS, DIM)))),
        (vae._replace(encode=plain), (jnp.zeros((2 * DIM, PIXELS)).at[DIM:].set(-3), networks[1])),
    ]
    x = jnp.ones((8, PIXELS))
    for one, given in one_each:
        given = vp.VAEParams(*given, {})
        terms = [batch_elbo(one, given, key, {"x": x}, vp.Objective())[0] for key in jax.random.split(KEY)]
        first, second = (np.asarray(term.reconstruction) for term in terms)
        assert len(np.unique(first.round(3))) > 4
        assert np.mean(np.abs(first - second) > 1e-3) > 0.5
        evaluated = vp.evaluate_elbo(one, given, KEY, x).reconstruction
        np.testing.assert_allclose(evaluated, evaluated[0], atol=1e-3)


def test_a_network_without_state_is_the_plain_function_of_the_same_parameters():
    """Also where only one of the two has state."""
    vae, params, _ = trainable_vae("linen")
    decoder = {"weight": jax.random.normal(KEY, (PIXELS, DIM))}

    class Decoder(vp.networks.linen.nn.Module):
        @vp.networks.linen.nn.compact
        def __call__(self, z, train):
            return vp.bernoulli(self.param("weight", lambda _: decoder["weight"]) @ z)

    network = vp.linen_network(Decoder())
    variables = network.init(KEY, jnp.zeros(DIM))
    assert variables.state == {}
    plain = vae._replace(decode=lambda p, z: vp.bernoulli(p["weight"] @ z))
    terms = [
        batch_elbo(one, params._replace(decoder=given), KEY, {"x": BATCHES[0]}, vp.Objective(num_samples=2))[0]
        for one, given in ((plain, decoder), (vae._replace(decode=network), variables))
    ]
    assert_close(*terms)


def run_on_mesh(path, *parts):
    """What `test_four_devices_give_what_one_gives` looks at; it runs in a process with four devices."""
    found = {}
    for part in parts:
        if part == "replicas":
            found[part] = fit_replicas(make_mesh(2))
            continue
        vae, params, _ = trainable_vae(part)
        found[f"collectives of {part}"] = collectives(part)
        found[part] = train(vae, params, mesh=make_mesh(), num_samples=3)
    Path(path).write_bytes(pickle.dumps(jax.tree.map(np.asarray, found)))


COLLECTIVE = re.compile(r"= .+? (all-gather|all-reduce|all-to-all|collective-[a-z]+|reduce-scatter)(?:-start)?\(")


def collectives(framework):
    """The kinds of communication in the compiled step with BatchNorm, Dropout and a VampPrior."""
    vae, params, _ = trainable_vae(framework, prior=vp.vamp(500, (PIXELS,)), rate=0.2)
    optimizer, batch = optax.adam(RATE), {"x": jnp.ones((40, PIXELS))}
    step = vp.make_train_step(vae, optimizer, objective=vp.Objective(num_samples=2), mesh=make_mesh())
    text = step.lower(vp.init_train_state(params, optimizer), KEY, batch).compile().as_text()
    return " ".join(sorted(set(COLLECTIVE.findall(text))))


def test_collectives_are_found_in_the_text_of_a_program():
    lines = ["  %a = (f32[2]{0}, f32[]) all-reduce-start(f32[2] %b)", "  ROOT %c = f32[8]{0} all-gather(f32[2] %d)"]
    assert COLLECTIVE.findall("\n".join(lines)) == ["all-reduce", "all-gather"]


def fit_replicas(mesh=None):
    """Two replicas with Dropout and a VampPrior."""
    vae, params, _ = trainable_vae("linen", prior=vp.vamp(3, (PIXELS,)), rate=0.2)
    keys, data = jax.random.split(KEY), binary_data(45)
    result = vp.fit(
        vae,
        stacked(params, 2),
        keys,
        data,
        optax.sgd(RATE),
        num_epochs=3,
        batch_size=20,
        validation=data,
        mesh=mesh,
        progress=False,
    )
    return result.params, result.history


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts", [("linen",), pytest.param(("nnx", "equinox", "replicas"), marks=pytest.mark.nightly)], ids=repr
)
def test_four_devices_give_what_one_gives(parts, tmp_path):
    """Statistics are over the whole batch, of which each device has a part."""
    given = (str(tmp_path / "found"), *parts)
    program = f"from tests.networks.test_training import run_on_mesh; run_on_mesh(*{given!r})"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True)
    expected = {}
    for part in parts:
        if part == "replicas":
            expected[part] = fit_replicas()
            continue
        _, params, networks = trainable_vae(part)
        expected[part] = own_loop(networks, params, num_samples=3)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    found = pickle.loads((tmp_path / "found").read_bytes())
    for name, value in expected.items():
        assert_close(found[name], value)
    # Devices communicate sums alone: none gathers the batch, or what is computed from it.
    assert {str(found[f"collectives of {part}"]) for part in parts if part != "replicas"} == {"all-reduce"}
