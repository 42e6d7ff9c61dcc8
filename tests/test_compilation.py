"""No function compiles more than once for one shape: a second call, with other parameters and data, lowers nothing."""

import jax
import jax.numpy as jnp
import optax
import pytest

import vaepriors_jax as vp
from vaepriors_jax.evaluation.annealing import annealed_importance_sampling
from vaepriors_jax.evaluation.components import mixture_usage
from vaepriors_jax.evaluation.latents import latent_dimensions

LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
OPTIMIZER = optax.adam(1e-3)


@pytest.fixture
def lowered():
    """One entry for each program that is lowered for the compiler."""
    found = []

    def listen(event, seconds, **kwargs):
        del seconds
        if event == LOWERED:
            found.append(kwargs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def encode(params, x):
    loc, log_scale = jnp.split(params["weight"] @ x, 2)
    return vp.normal_diag(loc, jnp.exp(0.1 * log_scale))


def decode(params, z):
    return vp.bernoulli(params["weight"] @ z)


def model(seed):
    """A VAE built anew, as a loop over settings in a script does it, with parameters and data of its own."""
    keys = jax.random.split(jax.random.key(seed), 4)
    vae = vp.VAE(encode, decode, vp.vamp(12, (6,)))
    encoder, decoder = (
        {"weight": 0.3 * jax.random.normal(key, shape)} for key, shape in zip(keys, ((4, 6), (6, 2)), strict=False)
    )
    x = jax.random.bernoulli(keys[3], 0.3, (20, 6)).astype(jnp.float32)
    return vae, vp.VAEParams(encoder, decoder, vae.prior.init(keys[2])), keys[3], x


def step(vae, params, key, x):
    train_step, state = vp.make_train_step(vae, OPTIMIZER), vp.init_train_state(params, OPTIMIZER)
    for _ in range(3):
        state, _ = train_step(state, key, {"x": x})


CALLS = {
    "make_train_step": step,
    "fit": lambda vae, params, key, x: vp.fit(
        vae, params, key, {"x": x}, OPTIMIZER, num_epochs=2, batch_size=10, validation={"x": x[:10]}, patience=5
    ),
    "log_marginal": lambda *model: vp.log_marginal(*model, num_samples=30, chunk_size=12),
    "evaluate_elbo": vp.evaluate_elbo,
    "elbo_surgery": vp.elbo_surgery,
    "latent_dimensions": latent_dimensions,
    "mixture_usage": mixture_usage,
    "annealed_importance_sampling": lambda *model: annealed_importance_sampling(
        *model, num_chains=2, num_temperatures=4, num_leapfrog_steps=2
    ),
    "generate": lambda vae, params, key, x: vp.generate(vae, params, key, 5),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_second_call_compiles_nothing(name, lowered):
    first, second = model(0), model(1)
    CALLS[name](*first)
    assert lowered, "nothing was compiled: is the event of another name in this version of jax?"
    lowered.clear()
    CALLS[name](*second)
    assert not lowered, f"{len(lowered)} programs were compiled again"
