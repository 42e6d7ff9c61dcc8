"""Linen, NNX and plain functions give the same number; compiled for other platforms; no leaked tracers."""

import functools

import diffrax
import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

import vaepriors_jax as vp
from tests.cases import PRIORS
from vaepriors_jax.training.step import update

KEY = jax.random.key(0)
X = jax.random.bernoulli(jax.random.key(1), 0.5, (16, 6)).astype(jnp.float32)


class LinenEncoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        loc, log_scale = jnp.split(nn.Dense(4, name="out")(x), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class LinenDecoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return vp.bernoulli(nn.Dense(6, name="out")(z))


def three_ways(prior):
    """The same VAE with Linen modules, NNX modules and plain functions, and the same parameters."""
    encoder, decoder = LinenEncoder(), LinenDecoder()
    linen_params = (encoder.init(KEY, X[0]), decoder.init(KEY, jnp.zeros(2)))
    linen = vp.VAE(encoder.apply, decoder.apply, prior), linen_params

    def nnx_linear(params):
        module = nnx.Linear(*params["kernel"].shape, rngs=nnx.Rngs(0))
        module.kernel.set_value(params["kernel"])
        module.bias.set_value(params["bias"])
        return nnx.split(module)

    graphs, states = zip(*(nnx_linear(p["params"]["out"]) for p in linen_params), strict=True)

    def gaussian(raw):
        return vp.normal_diag(raw[:2], jnp.exp(raw[2:]))

    through_nnx = (
        vp.VAE(
            lambda state, x: gaussian(nnx.merge(graphs[0], state)(x)),
            lambda state, z: vp.bernoulli(nnx.merge(graphs[1], state)(z)),
            prior,
        ),
        states,
    )
    plain_params = [p["params"]["out"] for p in linen_params]
    plain = (
        vp.VAE(
            lambda p, x: gaussian(x @ p["kernel"] + p["bias"]),
            lambda p, z: vp.bernoulli(z @ p["kernel"] + p["bias"]),
            prior,
        ),
        plain_params,
    )
    return {"linen": linen, "nnx": through_nnx, "plain": plain}


@pytest.mark.parametrize(
    "make", [lambda: vp.standard_normal(2), lambda: vp.vamp(3, (6,))], ids=["standard_normal", "vamp"]
)
def test_linen_nnx_and_plain_functions_train_to_the_same_number(make):
    prior = make()
    optimizer = optax.adam(1e-2)
    found = {}
    for name, (vae, (encoder, decoder)) in three_ways(prior).items():
        state = vp.init_train_state(vp.VAEParams(encoder, decoder, prior.init(KEY)), optimizer)
        step = vp.make_train_step(vae, optimizer)
        for _ in range(3):
            state, metrics = step(state, KEY, {"x": X})
        found[name] = float(metrics.elbo)
    assert found["linen"] == pytest.approx(found["plain"], rel=1e-5)
    assert found["nnx"] == pytest.approx(found["plain"], rel=1e-5)


def test_a_posterior_that_is_not_gaussian_trains_with_every_kind_of_prior():
    def encode(params, x):
        raw = x @ params["kernel"] + params["bias"]
        return distrax.Independent(distrax.Laplace(raw[:2], jnp.exp(raw[2:])), 1)

    plain, params = three_ways(vp.standard_normal(2))["plain"]
    for prior in (vp.standard_normal(2), vp.mixture(2, 3), vp.vamp(3, (6,))):
        vae = plain._replace(encode=encode, prior=prior)
        all_params = vp.VAEParams(*params, prior.init(KEY))
        gradient = jax.jit(jax.grad(lambda p: vp.elbo(vae, p, KEY, X[0]).objective))(all_params)  # noqa: B023
        assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("case", [c for c in PRIORS if c.dtype_follows], ids=repr)
def test_the_training_step_lowers_for_other_platforms(case):
    prior = case.make()
    vae, networks = three_ways(prior)["plain"]
    optimizer = optax.adam(1e-3)
    context = {name: jnp.stack([jnp.asarray(v)] * len(X)) for name, v in case.context.items() if name in ("y", "age")}
    if "encoder_reads_class" in case.name:
        encode = vae.encode
        vae = vae._replace(encode=lambda p, x, y: encode(p, x + 0 * y), encoder_context=("y",))
    if not case.space.is_euclidean:
        raw = lambda p, x: jnp.split(x @ p["kernel"] + p["bias"], 2)  # noqa: E731
        vae = vae._replace(encode=lambda p, x: case.space.posterior(raw(p, x)[0], jnp.exp(raw(p, x)[1])))

    def step(params, x, context):
        state, terms = update(vae, optimizer, vp.init_train_state(params, optimizer), KEY, {"x": x, **context})
        return state.params, terms.elbo

    params = vp.VAEParams(*networks, case.variables(prior.init(KEY)))
    exported = jax.export.export(jax.jit(step), platforms=["tpu", "cuda"])(params, X, context)
    assert exported.platforms == ("tpu", "cuda")


@pytest.mark.parametrize("case", PRIORS, ids=repr)
def test_no_tracer_leaks(case, monkeypatch):
    # The default adjoint of diffrax keeps tracers of its own with JAX 0.12, which the check takes for leaks.
    monkeypatch.setattr(diffrax, "diffeqsolve", functools.partial(diffrax.diffeqsolve, adjoint=diffrax.DirectAdjoint()))
    params = case.make().init(KEY)
    with jax.checking_leaks():
        value = jax.jit(lambda params, z: case.make().apply(params, **case.context).log_prob(z))(params, jnp.zeros(2))
    assert np.isfinite(value)


def test_a_vae_stays_usable_as_a_static_argument():
    """Equal configurations are one compiled program."""
    traces = []

    def log_prob(prior, params, z):
        traces.append(1)
        return prior.apply(params).log_prob(z)

    compiled = jax.jit(log_prob, static_argnums=0)
    for _ in range(2):
        prior = vp.mixture(2, 3)
        compiled(prior, prior.init(KEY), jnp.zeros(2))
    assert len(traces) == 1


class Network(nn.Module):
    """Dense layers that compute in `dtype`, with parameters in float32."""

    num_out: int
    dtype: type

    @nn.compact
    def __call__(self, inputs):
        hidden = nn.tanh(nn.Dense(64, dtype=self.dtype)(inputs.reshape(-1)))
        return nn.Dense(self.num_out, dtype=self.dtype)(hidden)


def digits_vae(dtype):
    encoder, decoder = Network(8, dtype), Network(64, dtype)

    def encode(params, x):
        loc, log_scale = jnp.split(encoder.apply(params, x), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))

    vae = vp.VAE(encode, lambda params, z: vp.bernoulli(decoder.apply(params, z)), vp.mixture(4, 5))
    keys = jax.random.split(KEY, 3)
    return vae, vp.VAEParams(
        encoder.init(keys[0], jnp.zeros(64)), decoder.init(keys[1], jnp.zeros(4)), vae.prior.init(keys[2])
    )


@pytest.mark.slow
def test_networks_in_bfloat16():
    """Densities and parameters stay float32, and log p(x) of a trained model hardly changes."""
    x = (load_digits().data > 8).astype(np.float32)
    values = {}
    half, params = digits_vae(jnp.bfloat16)
    result = vp.fit(half, params, KEY, {"x": x[:1500]}, optax.adam(3e-3), num_epochs=30, progress=False)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.params)} == {jnp.dtype("float32")}
    for dtype in (jnp.bfloat16, jnp.float32):
        vae, _ = digits_vae(dtype)
        estimate = vp.log_marginal(vae, result.params, KEY, x[1500:], num_samples=100)
        assert estimate.values.dtype == jnp.float32
        values[dtype] = estimate.values
    assert values[jnp.float32].mean() > -25  # it has learned: independent pixels give -31
    assert abs(values[jnp.bfloat16].mean() - values[jnp.float32].mean()) < 0.05
