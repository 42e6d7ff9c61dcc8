"""Data of mixed types and with missing values, through training, checks and evaluations."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from tensorflow_probability.substrates.jax import distributions as tfd

import vaepriors_jax as vp
from vaepriors_jax.evaluation.latents import hole_mass
from vaepriors_jax.evaluation.likelihood import annealed_importance_sampling, bidirectional_monte_carlo

N, KEY = 24, jax.random.key(0)
RNG = np.random.default_rng(0)
X = {
    "age": RNG.normal(size=(N, 1)).astype(np.float32),
    "answers": RNG.integers(0, 2, (N, 3)).astype(np.uint8),
    "visits": RNG.poisson(3.0, (N, 2)),
}
MASK = {"age": RNG.random((N, 1)) < 0.7, "visits": RNG.random((N, 2)) < 0.7}


def fill(x, mask):
    return {name: jnp.where(mask[name], part, 0) if name in mask else part for name, part in x.items()}


def encode(params, x, mask=None):
    x = fill(x, mask or {})
    return vp.normal_diag(params @ jnp.concatenate([part.astype(float) for part in x.values()]), jnp.ones(2))


def decode(params, z, mask=None):
    h = params @ z
    likelihood = vp.joint(
        {
            "age": vp.normal_diag(h[:1], jnp.ones(1)),
            "answers": tfd.Independent(tfd.Bernoulli(logits=h[1:4]), 1),
            "visits": vp.poisson(jnp.exp(h[4:])),
        }
    )
    return likelihood if mask is None else vp.masked(likelihood, mask)


VAE = vp.VAE(encode, decode, vp.mixture(2, 3))
MASKED = VAE._replace(encoder_context=("mask",), decoder_context=("mask",))
PARAMS = vp.VAEParams(
    *(jnp.asarray(RNG.normal(size=s) * 0.3, jnp.float32) for s in ((2, 6), (6, 2))), VAE.prior.init(KEY)
)


def with_missing(value):
    """The data with `value` at the entries that are not observed; counts become floats."""
    return X | {name: np.where(mask, X[name], np.float32(value)).astype(np.float32) for name, mask in MASK.items()}


def fit(vae, data, **options):
    options = {"num_epochs": 2, "batch_size": 8, "progress": False} | options
    return vp.fit(vae, PARAMS, KEY, data, optax.adam(1e-2), **options)


def test_the_joint_density_is_the_sum_of_its_parts():
    likelihood, z = decode(PARAMS.decoder, jnp.ones(2)), np.ones(2)
    example = {name: part[0] for name, part in X.items()}
    h = np.asarray(PARAMS.decoder) @ z
    expected = scipy.stats.norm(h[:1]).logpdf(example["age"]).sum()
    expected += scipy.stats.bernoulli(1 / (1 + np.exp(-h[1:4]))).logpmf(example["answers"]).sum()
    expected += scipy.stats.poisson(np.exp(h[4:])).logpmf(example["visits"]).sum()
    assert float(likelihood.log_prob(example)) == pytest.approx(expected, rel=1e-5)
    assert {name: part.shape for name, part in likelihood.mean().items()} == {
        "age": (1,),
        "answers": (3,),
        "visits": (2,),
    }
    mask = {"age": np.array([False]), "visits": np.array([True, False])}
    less = scipy.stats.norm(h[:1]).logpdf(example["age"]).sum() + scipy.stats.poisson(np.exp(h[5])).logpmf(
        example["visits"][1]
    )
    assert float(vp.masked(likelihood, mask).log_prob(example)) == pytest.approx(expected - less, rel=1e-5)


@pytest.mark.slow
def test_a_dict_goes_through_training_streams_checkpoints_and_evaluations(tmp_path):
    arrays = fit(VAE, {"x": X}, validation={"x": X}, checkpoints=tmp_path)
    resumed = fit(VAE, {"x": X}, validation={"x": X}, checkpoints=tmp_path, num_epochs=3)
    assert resumed.history["elbo"][:2].tolist() == arrays.history["elbo"].tolist()
    other = {"x": X | {"age": X["age"] + 1}}
    with pytest.raises(ValueError, match=r"data 'x\['age'\]'"):
        fit(VAE, other, validation={"x": X}, checkpoints=tmp_path)
    batches = [{"x": {name: part[i : i + 8] for name, part in X.items()}} for i in range(0, N, 8)]
    assert fit(VAE, batches).history["elbo"].shape == (2,)
    params = arrays.params
    streamed = [{"x": {name: part[i : i + 10] for name, part in X.items()}} for i in range(0, N, 10)]
    for evaluate in (vp.evaluate_elbo, lambda *given: vp.log_marginal(*given, num_samples=5).values):
        # Keys of a batch's examples are others than those of arrays.
        assert jax.tree.leaves(evaluate(VAE, params, KEY, X))[0].shape == (N,)
        assert jax.tree.leaves(evaluate(VAE, params, KEY, streamed))[0].shape == (N,)
    surgery = vp.elbo_surgery(VAE, params, KEY, X)
    assert np.isfinite(jax.tree.leaves(surgery)).all()
    aggregated = vp.aggregated_posterior(VAE, params, X)
    assert np.isfinite(jax.tree.leaves(hole_mass(VAE.latent_prior(params), aggregated, KEY, num_samples=200))[0])
    assert vp.latent_dimensions(VAE, params, KEY, X) is not None
    refitted = vp.fit_prior(vp.mixture(2, 2), VAE, params, KEY, X, num_steps=3)
    assert refitted.prior["loc"].shape == (2, 2)
    annealed = annealed_importance_sampling(
        VAE, params, KEY, {n: p[:2] for n, p in X.items()}, num_chains=2, num_temperatures=3
    )
    assert np.isfinite(annealed.values).all()
    assert {name: part.shape for name, part in vp.generate(VAE, params, KEY, 5).items()} == {
        name: (5, *part.shape[1:]) for name, part in X.items()
    }


@pytest.mark.slow
def test_what_stands_at_missing_entries_changes_nothing():
    results = [fit(MASKED, {"x": with_missing(value), "mask": MASK}) for value in (np.nan, 7.0)]
    jax.tree.map(np.testing.assert_array_equal, *(result.params for result in results))
    assert np.isfinite(results[0].params.encoder).all()
    estimates = [
        vp.log_marginal(MASKED, PARAMS, KEY, with_missing(v), num_samples=5, mask=MASK).values for v in (np.nan, -1.5)
    ]
    np.testing.assert_array_equal(*estimates)
    ones = {name: np.ones_like(mask) for name, mask in MASK.items()}
    full = vp.log_marginal(MASKED, PARAMS, KEY, X, num_samples=5, mask=ones).values
    np.testing.assert_allclose(full, vp.log_marginal(VAE, PARAMS, KEY, X, num_samples=5).values, rtol=1e-5)


def test_missing_values_in_a_stream():
    x = with_missing(np.nan)
    batches = [jax.tree.map(lambda a, i=i: a[i : i + 8], {"x": x, "mask": MASK}) for i in range(0, N, 8)]
    assert np.isfinite(fit(MASKED, batches).history["elbo"]).all()
    batches[1]["x"]["age"][0], batches[1]["mask"]["age"][0] = np.nan, True
    with pytest.raises(ValueError, match=r"Expected finite values in `x\['age'\]`"):
        fit(MASKED, batches)


def test_observed_entries_are_checked():
    x = with_missing(np.nan)
    x["visits"][np.argwhere(MASK["visits"])[0][0], np.argwhere(MASK["visits"])[0][1]] = 0.5
    with pytest.raises(ValueError, match=r"Expected counts .*got 0.5") as error:
        fit(MASKED, {"x": x, "mask": MASK})
    assert "x['visits']" in error.value.__notes__[0]
    with pytest.raises(ValueError, match="Expected finite values in `x") as error:
        fit(VAE, {"x": with_missing(np.nan)})
    assert any("vp.masked" in note for note in error.value.__notes__)


LIKELIHOODS = {
    "bernoulli": (lambda p: vp.bernoulli(p), [1.0, 0.0, 1.0]),
    "normal_diag": (lambda p: vp.normal_diag(p, jnp.ones(3)), [0.3, -1.0, 2.0]),
    "levels": (lambda p: vp.discretized_logistic(p, jnp.ones(3)), [0.0, 1.0, 1.0]),
    "negative_binomial": (lambda p: vp.negative_binomial(jnp.exp(p), 2.0), [3, 0, 8]),
    "tfp_lognormal": (lambda p: tfd.Independent(tfd.LogNormal(p, 1.0), 1), [0.3, 1.0, 2.0]),
    "distrax_gamma": (lambda p: distrax.Gamma(jnp.exp(p), jnp.ones(3)), [0.3, 1.0, 2.0]),
    "distrax_categorical": (lambda p: distrax.Categorical(logits=p[:, None] * jnp.arange(4.0)), [0, 3, 1]),
    "tfp_dirichlet": (lambda p: tfd.Dirichlet(jnp.exp(p)[:, None] * jnp.ones(2)), [[0.3, 0.7], [0.5, 0.5], [0.1, 0.9]]),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_masked_values_and_gradients_are_those_of_the_observed_entries(name):
    make, x = LIKELIHOODS[name]
    x, params, mask = jnp.asarray(x), jnp.array([0.2, -0.4, 0.7]), jnp.array([True, False, True])

    def entry(params, x, i):  # the log-density of one entry, by itself: all others are removed by a difference
        likelihood = vp.masked(make(params), jnp.arange(3) == i)
        return likelihood.log_prob(x)

    whole = make(params)
    total = whole.log_prob(x) if whole.batch_shape == () else whole.log_prob(x).sum()
    np.testing.assert_allclose(sum(entry(params, x, i) for i in range(3)), total, rtol=1e-5)
    broken = x.at[1].set(jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x.at[1].set(-3)

    def observed(params):
        return vp.masked(make(params), mask).log_prob(broken)

    value, gradient = jax.jit(jax.value_and_grad(observed))(params)
    np.testing.assert_allclose(value, entry(params, x, 0) + entry(params, x, 2), rtol=1e-5)
    expected = jax.grad(lambda p: entry(p, x, 0) + entry(p, x, 2))(params)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    assert gradient[1] == 0


def test_a_mask_that_is_neither_zero_nor_one_is_refused():
    likelihood = vp.normal_diag(jnp.zeros(2), jnp.ones(2))
    for mask in ([0.5, 1.0], [2, 0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="Expected a mask of zeros and ones; got other numbers"):
            vp.masked(likelihood, np.array(mask))
    for dtype in (bool, np.int8, np.float16):
        assert vp.masked(likelihood, np.array([1, 0], dtype)).observed.tolist() == [True, False]


@pytest.mark.slow
def test_odd_masks_and_dicts():
    """All missing, half precision as a mask, another order of the parts, and samples with a mask each."""
    nothing = {name: np.zeros_like(mask) for name, mask in MASK.items()}
    alone = {"answers": X["answers"]}
    found = vp.log_marginal(MASKED, PARAMS, KEY, with_missing(np.nan), num_samples=5, mask=nothing).values
    assert np.isfinite(found).all()
    halves = {name: mask.astype(np.float16) for name, mask in MASK.items()}
    x, options = with_missing(np.nan), {"num_samples": 5}
    values = [vp.log_marginal(MASKED, PARAMS, KEY, x, mask=mask, **options).values for mask in (MASK, halves)]
    np.testing.assert_allclose(*values, rtol=1e-6)
    backwards = {name: x[name] for name in reversed(x)}
    found = vp.log_marginal(MASKED, PARAMS, KEY, backwards, mask=MASK, **options).values
    np.testing.assert_allclose(found, values[0], rtol=1e-6)
    one = VAE._replace(
        encode=lambda params, x: vp.normal_diag(params[:, :3] @ x["answers"].astype(float), jnp.ones(2)),
        decode=lambda params, z: vp.joint({"answers": vp.bernoulli(params[:3] @ z)}),
    )
    assert np.isfinite(vp.log_marginal(one, PARAMS, KEY, alone, **options).values).all()
    masks = {name: np.ones((3, *mask.shape[1:]), bool) for name, mask in MASK.items()}
    assert vp.generate(MASKED, PARAMS, KEY, 3, mask=masks)["visits"].shape == (3, 2)
    bounds = bidirectional_monte_carlo(
        MASKED, PARAMS, KEY, num_examples=3, num_chains=2, num_temperatures=2, mask=masks
    )
    assert bounds.x["age"].shape == (3, 1)


def test_messages():
    with pytest.raises(TypeError, match=r"got a dict of \['a'\].*vp.joint"):
        VAE._replace(decode=lambda params, z: {"a": vp.bernoulli(z)}).likelihood(PARAMS, jnp.ones(2))
    with pytest.raises(ValueError, match=r"dict of the parts of the joint likelihood, \['age', .*got \['age'\]"):
        decode(PARAMS.decoder, jnp.ones(2)).log_prob({"age": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"over the whole of x\['a'\]; got batch_shape \(2,\).*distrax.Independent"):
        vp.joint({"a": distrax.Normal(jnp.zeros(2), 1.0)})
    with pytest.raises(TypeError, match="Expected a dict of distributions"):
        vp.joint(vp.bernoulli(jnp.zeros(2)))
    with pytest.raises(TypeError, match="independent entries.*one distribution over"):
        vp.masked(distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"mask of the shape \[3\] .*got \[2\]"):
        vp.masked(vp.bernoulli(jnp.zeros(3)), jnp.ones(2))
    with pytest.raises(ValueError, match="Expected a dict of masks"):
        vp.masked(decode(PARAMS.decoder, jnp.ones(2)), {"agee": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"one example of shape {'age': \(1,\).*got event_shape"):
        vp.elbo(
            VAE._replace(encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2))),
            PARAMS,
            KEY,
            {"age": jnp.ones(1)},
        )
