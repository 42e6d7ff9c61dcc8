"""The diffusion prior: the bound in training, the ODE's density elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.cases import ODE_STATE, perturbed
from vaepriors_jax.distributions import probability_flow
from vaepriors_jax.distributions.diffusion_sde import DiffusionSDE
from vaepriors_jax.distributions.probability_flow import ProbabilityFlow

KEY = jax.random.key(0)
PRIOR = vp.diffusion(2, hidden=(16,))
PARAMS = perturbed(PRIOR.init(KEY), jax.random.key(1))


def identity_vae(prior):
    """Encodings are the data, moved by a parameter, with a little noise."""
    return vp.VAE(
        encode=lambda params, x: vp.normal_diag(x + params["shift"], jnp.full(2, 0.1)),
        decode=lambda params, z: vp.normal_diag(z, jnp.full(2, 0.1)),
        prior=prior,
    )


def vae_params(own=PARAMS, words=0):
    state = {name: jnp.asarray(value) for name, value in ODE_STATE.items()}
    state["normalizer_key"] = jnp.full(2, words, jnp.uint32)
    return vp.VAEParams({"shift": jnp.zeros(2)}, {}, vp.Variables(own, state))


def test_an_index_chooses_the_bound():
    assert isinstance(PRIOR.apply(PARAMS, index=3, **ODE_STATE), DiffusionSDE)
    assert isinstance(PRIOR.apply(PARAMS, **ODE_STATE), ProbabilityFlow)
    start = PRIOR.init(KEY) | {"loc": jnp.ones(2), "log_scale": jnp.array([0.0, 1.0])}
    z = jnp.array([0.5, -2.0])
    expected = vp.normal_diag(jnp.ones(2), jnp.exp(jnp.array([0.0, 1.0]))).log_prob(z)
    np.testing.assert_allclose(PRIOR.apply(start, index=3, **ODE_STATE).log_prob(z), expected, rtol=1e-5)


def test_examples_samples_and_steps_have_their_own_noise():
    def at(index, state):
        return PRIOR.apply(PARAMS, index=index, **state).log_prob(jnp.zeros((3, 2)))

    later = ODE_STATE | PRIOR.update_state(ODE_STATE)
    found = np.concatenate([at(0, ODE_STATE), at(1, ODE_STATE), at(0, later)])
    assert len(np.unique(found)) == 9
    np.testing.assert_array_equal(at(0, ODE_STATE), found[:3])


@pytest.mark.slow
def test_the_bound_gives_all_parameters_and_the_encoder_a_gradient():
    """In the mean over noise that of the encoder is the one of many times at once."""
    vae, x, words = identity_vae(PRIOR), jnp.array([0.5, -1.0]), jax.random.bits(KEY, (2000, 2), jnp.uint32)

    def kl(shift, own, words):
        state = {name: jnp.asarray(value) for name, value in (ODE_STATE | {"normalizer_key": words}).items()}
        return vp.elbo(vae, vp.VAEParams({"shift": shift}, {}, vp.Variables(own, state)), KEY, x, index=0).kl

    of_encoder, of_prior = jax.jit(jax.vmap(jax.grad(kl, argnums=(0, 1)), (None, None, 0)))(jnp.zeros(2), PARAMS, words)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(of_prior))
    z = vae.posterior(vae_params(), x).sample(seed=KEY, sample_shape=1)[0]  # as `elbo` draws it
    flow = PRIOR.apply(PARAMS, **ODE_STATE)
    expected = -jax.grad(flow.sde(key=KEY, num_times=20_000).log_prob)(z)  # log q is the same for every mean
    error = np.std(of_encoder, axis=0) * np.sqrt(1 / 2000 + 8 / 20_000)
    assert np.all(np.abs(of_encoder.mean(0) - expected) < 5 * error)
    assert np.all(error < 0.1 * np.abs(expected) + 0.05)


def test_training_solves_no_ode(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(probability_flow.importlib, "import_module", missing)
    vae, optimizer = identity_vae(PRIOR), optax.adam(1e-3)
    step = vp.make_train_step(vae, optimizer)
    state = vp.init_train_state(vae_params(), optimizer)
    batch = {"x": jnp.ones((4, 2)), "index": jnp.arange(4)}
    state, metrics = step(state, KEY, batch)
    assert np.isfinite(metrics.elbo)
    with pytest.raises(ImportError, match="diffrax"):
        vp.make_train_step(vae, optimizer)(state, KEY, {"x": batch["x"]})


def weigh_in_training(vae):
    objective, optimizer = vp.Objective(bound="iwae", num_samples=2), optax.sgd(1e-3)
    step = vp.make_train_step(vae, optimizer, objective=objective)
    step(vp.init_train_state(vae_params(), optimizer), KEY, {"x": jnp.ones((4, 2)), "index": jnp.arange(4)})


def test_an_estimate_of_a_bound_is_no_term_of_a_sum_over_labels():
    labelled = vp.diffusion(2, hidden=(4,), num_classes=3)
    prior = vp.marginalize(labelled, (0.2, 0.3, 0.5))
    params = labelled.init(KEY)
    with pytest.raises(ValueError, match="a sum over labels"):
        prior.apply(params, index=0, **ODE_STATE).log_prob(jnp.zeros(2))


@pytest.mark.parametrize(
    "weigh",
    [
        lambda vae: vp.log_marginal(vae, vae_params(), KEY, jnp.ones((4, 2)), num_samples=2, index=jnp.arange(4)),
        lambda vae: vp.iwae(vae, vae_params(), KEY, jnp.ones(2), num_samples=2, index=0),
        weigh_in_training,
    ],
    ids=["log_marginal", "iwae", "training"],
)
def test_an_estimate_of_a_bound_is_no_importance_weight(weigh):
    with pytest.raises(ValueError, match="Leave `index` out of the context"):
        weigh(identity_vae(PRIOR))


@pytest.mark.slow
def test_joint_training_brings_the_density_of_the_ode_to_the_encodings():
    """Two clusters: after training by the bound, the ODE's log p at z is near that of the mixture."""
    pytest.importorskip("diffrax")
    centers = jnp.array([[-1.5, 1.0], [1.5, -1.0]])
    x = centers[jax.random.bernoulli(KEY, 0.3, (2000,)).astype(int)] + 0.5 * jax.random.normal(KEY, (2000, 2))
    prior = vp.diffusion(2, hidden=(32, 32), num_times=4, tolerance=1e-3)
    vae = identity_vae(prior)
    params = vae_params(prior.init(KEY))
    result = vp.fit(
        vae, params, KEY, {"x": x, "index": np.arange(2000)}, optax.adam(3e-3), num_epochs=20, batch_size=100,
        progress=False,
    )  # fmt: skip
    shift = result.params.encoder["shift"]
    exact = vp.DiagonalMixture(
        jnp.log(jnp.array([0.7, 0.3])), centers + shift, jnp.full((2, 2), np.sqrt(0.5**2 + 0.1**2))
    )
    z = exact.sample(seed=jax.random.key(5), sample_shape=(300,))
    gap = np.asarray(exact.log_prob(z) - jax.jit(vae.latent_prior(result.params).log_prob)(z))
    assert -0.02 < gap.mean() < 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.diffusion(0), "`dim` to be an integer >= 1; got 0"),
        (lambda: vp.diffusion(2, num_times=0), "`num_times` to be an integer >= 1; got 0"),
        (lambda: vp.diffusion(2, tolerance=-1.0), "`tolerance` to be a finite number > 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
