"""No function compiles more than once for one shape: a second call, with other parameters and data, lowers nothing."""

import gc
import inspect

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.cases import COMPOSED, FLOWS, PRIORS, params_of, perturbed
from tests.support.trainable_networks import trainable_vae
from vaepriors_jax import loops
from vaepriors_jax.distributions.posterior_mixture import EncodedMixture
from vaepriors_jax.evaluation.likelihood.annealing import annealed_importance_sampling
from vaepriors_jax.evaluation.likelihood.bidirectional import bidirectional_monte_carlo
from vaepriors_jax.evaluation.samples.bootstrap import bootstrap
from vaepriors_jax.evaluation.samples.density_coverage import density_coverage
from vaepriors_jax.evaluation.samples.features import train_feature_network
from vaepriors_jax.evaluation.samples.fid import frechet_distance
from vaepriors_jax.evaluation.samples.kid import kernel_distance, squared_mmd
from vaepriors_jax.evaluation.samples.memorization import memorization
from vaepriors_jax.evaluation.samples.neighbours import nearest_distances
from vaepriors_jax.evaluation.samples.precision_recall import precision_recall
from vaepriors_jax.evaluation.samples.quality import reference_quality, sample_quality
from vaepriors_jax.objectives import log_likelihood

LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
OPTIMIZER = optax.adam(1e-3)
AVERAGING = vp.average_params(OPTIMIZER)


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


def check_compiles_once(call, lowered, calls=3):
    """`call(seed)` for several seeds, which change values and never shapes: the first one alone may compile."""
    call(0)
    jax.jit(lambda: calls)()  # where all of the rest was compiled by tests before this one
    assert lowered, "nothing was compiled: is the event of another name in this version of jax?"
    lowered.clear()
    for seed in range(1, calls):
        call(seed)
        assert not lowered, f"{len(lowered)} programs were compiled again: {lowered}"


def encode(params, x):
    loc, log_scale = jnp.split(params["weight"] @ x, 2)
    return vp.normal_diag(loc, jnp.exp(0.1 * log_scale))


def decode(params, z):
    return vp.bernoulli(params["weight"] @ z)


def model(seed, prior=None):
    """A VAE built anew, as a loop over settings in a script does it, with parameters and data of its own."""
    keys = jax.random.split(jax.random.key(seed), 4)
    vae = vp.VAE(encode, decode, prior or vp.vamp(12, (6,)))
    encoder, decoder = (
        {"weight": 0.3 * jax.random.normal(key, shape)} for key, shape in zip(keys, ((4, 6), (6, 2)), strict=False)
    )
    x = jax.random.bernoulli(keys[3], 0.3, (20, 6)).astype(jnp.float32)
    return vae, vp.VAEParams(encoder, decoder, vae.prior.init(keys[2])), keys[3], x


def flow_prior():
    """A prior with a scan and a loop over dimensions inside."""
    layers = vp.repeat(vp.chain(vp.masked_autoregressive(2, hidden=(8,)), vp.permute(2)), 2)
    return vp.transformed(vp.standard_normal(2), layers)


def with_flow(call):
    """`call(vae, params, key, x)` with a flow prior."""
    return lambda seed: call(*model(seed, flow_prior()))


def with_vamp(call):
    """`call(vae, params, key, x)` with a VampPrior."""
    return lambda seed: call(*model(seed))


def of_prior(call):
    """`call(prior, aggregated, key)` with a flow prior and the posteriors of 20 examples."""

    def run(seed):
        vae, params, key, x = model(seed, flow_prior())
        call(vae.latent_prior(params), vp.aggregated_posterior(vae, params, x), key)

    return run


def of_points(call, dim=5, size=40):
    """`call(key, first, second)` with two sets of points."""

    def run(seed):
        keys = jax.random.split(jax.random.key(seed), 3)
        call(keys[0], *(np.asarray(jax.random.uniform(key, (size, dim))) for key in keys[1:]))

    return run


def step(vae, params, key, x):
    train_step, state = vp.make_train_step(vae, OPTIMIZER), vp.init_train_state(params, OPTIMIZER)
    for _ in range(3):
        state, _ = train_step(state, key, {"x": x})


def fit(vae, params, key, x):
    options = {"num_epochs": 2, "batch_size": 10, "validation": {"x": x[:10]}, "patience": 5}
    vp.fit(vae, params, key, {"x": x}, OPTIMIZER, **options)


def labelled(seed):
    """A VAE whose prior reads a label."""
    return model(seed, vp.conditional_mixture(2, 2, num_classes=3))


def start_from_data(seed):
    _, _, key, x = model(seed)
    vp.init_from_data(vp.vamp(4, (6,)), key, x=x)
    vp.init_from_data(vp.transformed(vp.vamp(4, (6,)), vp.spline_coupling(2)), key, x=x)
    vp.init_from_data(vp.mixture(2, 3), key, z=x[:, :2] + jax.random.normal(key, (20, 2)))


def train_features(seed):
    x = np.random.default_rng(seed).uniform(size=(20, 8, 8)).astype(np.float32)
    y = np.arange(20) % 2
    network = train_feature_network(
        jax.random.key(seed), x, y, num_classes=2, validation=(x, y), num_epochs=1, batch_size=10
    )
    network.features(x)


def average(vae, params, key, x):
    state = vp.make_train_step(vae, AVERAGING)(vp.init_train_state(params, AVERAGING), key, {"x": x})[0]
    vp.averaged_params(state)


def train_network(framework):
    """A step with BatchNorm in encoder and decoder, then evaluation, with networks made anew."""

    def run(seed):
        vae, params, _ = trainable_vae(framework, seed=seed)
        key, x = jax.random.key(seed), model(seed)[3]
        state = vp.make_train_step(vae, OPTIMIZER)(vp.init_train_state(params, OPTIMIZER), key, {"x": x})[0]
        vp.evaluate_elbo(vae, state.params, key, x)

    return run


def quality(key, first, second):
    references = reference_quality(np.asarray, key, train=first, test=second, num_resamples=5)
    sample_quality(np.asarray, key, train=first, test=second, generated=first, num_resamples=5)
    return references


ANNEALING = {"num_chains": 2, "num_temperatures": 4, "num_leapfrog_steps": 2}

CALLS = {
    "make_train_step": with_vamp(step),
    "average_params and averaged_params": with_vamp(average),
    **{f"{framework}_network": train_network(framework) for framework in ("linen", "nnx", "equinox")},
    "init_train_state": with_vamp(lambda vae, params, key, x: vp.init_train_state(params, OPTIMIZER)),
    "fit": with_flow(fit),
    "generate": with_flow(lambda vae, params, key, x: vp.generate(vae, params, key, 5, mean=False)),
    "elbo": with_flow(
        lambda vae, params, key, x: vp.elbo(vae, params, key, x[0], objective=vp.Objective(num_samples=3))
    ),
    "iwae": with_flow(lambda vae, params, key, x: vp.iwae(vae, params, key, x[0], num_samples=3)),
    "kl_divergence": with_flow(
        lambda vae, params, key, x: vp.kl_divergence(
            vae.posterior(params, x[0]), vae.latent_prior(params), key=key, num_samples=4
        )
    ),
    "log_likelihood": with_vamp(lambda vae, params, key, x: log_likelihood(vae, params, jnp.ones(2), x[0])),
    "log_marginal": with_flow(lambda *model: vp.log_marginal(*model, num_samples=30, chunk_size=12)),
    "log_marginal_over_classes": lambda seed: vp.log_marginal_over_classes(
        *labelled(seed), class_probabilities=(0.2, 0.3, 0.5), num_samples=10
    ),
    "evaluate_elbo": with_flow(vp.evaluate_elbo),
    "elbo_surgery": with_flow(vp.elbo_surgery),
    "latent_dimensions": with_vamp(vp.latent_dimensions),
    "posterior_means": with_vamp(lambda vae, params, key, x: vp.posterior_means(vae, params, x)),
    "active_units": with_vamp(lambda vae, params, key, x: vp.active_units(vae, params, x)),
    "mixture_assignments": with_vamp(vp.mixture_assignments),
    "clustering_scores": lambda seed: vp.clustering_scores(np.arange(20) % 3, np.arange(seed, seed + 20) % 4),
    "mixture_usage": with_vamp(vp.mixture_usage),
    "pseudo_input_distances": with_vamp(
        lambda vae, params, key, x: vp.pseudo_input_distances(vae.prior, params.prior, x)
    ),
    "low_frequencies": with_vamp(lambda vae, params, key, x: vp.low_frequencies(x[0], (2,))),
    "pseudo_inputs": with_vamp(lambda vae, params, key, x: vp.pseudo_inputs(vae.prior, params.prior)),
    "pseudo_covariates": with_vamp(lambda vae, params, key, x: vp.pseudo_covariates(vae.prior, params.prior)),
    "init_prior_state": with_vamp(
        lambda vae, params, key, x: vp.init_prior_state(
            vae._replace(prior=vp.exemplar(2, num_neighbors=3)),
            params._replace(prior={"log_scale": jnp.zeros(())}),
            x=x,
        )
    ),
    "fit_prior": with_vamp(
        lambda vae, params, key, x: vp.fit_prior(flow_prior(), vae, params, key, x, num_steps=3, batch_size=10)
    ),
    "boost_prior": with_vamp(
        lambda vae, params, key, x: vp.boost_prior(
            vp.vamp(2, x.shape[1:], weights="learned"),
            vae,
            params,
            key,
            x,
            num_steps=2,
            num_references=10,
            batch_size=8,
        )
    ),
    "reweight_prior": with_vamp(
        lambda vae, params, key, x: vp.reweight_prior(
            vp.reweighted(vae.prior, 2, hidden=(4,)), vae, params, key, x, num_steps=2, batch_size=8
        )
    ),
    "init_from_data": start_from_data,
    "freeze": with_vamp(
        lambda vae, params, key, x: vp.freeze(vae.prior, params.prior, encode=lambda u: encode(params.encoder, u))
    ),
    "aggregated_posterior": of_prior(lambda prior, aggregated, key: aggregated.log_prob(jnp.ones((3, 2)))),
    "log_prob_in_chunks": of_prior(
        lambda prior, aggregated, key: [
            vp.log_prob_in_chunks(d, jax.random.normal(key, (25, 2)), chunk_size=10) for d in (prior, aggregated)
        ]
    ),
    "hole_mass": of_prior(lambda *both: vp.hole_mass(*both, num_samples=50, chunk_size=20)),
    "hole_map": of_prior(lambda prior, aggregated, key: vp.hole_map(prior, aggregated, num_points=5, chunk_size=10)),
    "classifier_divergence": of_points(
        lambda key, q, p: vp.classifier_divergence(key, q, p, q, p, num_steps=3, batch_size=8)
    ),
    "density_ratio": of_points(lambda *sets: vp.density_ratio(*sets, num_steps=3, batch_size=8)),
    "two_sample_test": of_points(lambda *sets: vp.two_sample_test(*sets, num_steps=3, batch_size=8)),
    "maximum_mean_discrepancy": of_points(lambda *sets: vp.maximum_mean_discrepancy(*sets, num_permutations=20)),
    "binarize": of_points(lambda key, x, _: vp.binarize(key, {"x": jnp.asarray(x)})),
    "bits_per_dim": of_points(lambda key, x, _: vp.bits_per_dim(jnp.asarray(x[0]), 6)),
    "annealed_importance_sampling": with_flow(lambda *model: annealed_importance_sampling(*model, **ANNEALING)),
    "bidirectional_monte_carlo": with_flow(
        lambda vae, params, key, x: bidirectional_monte_carlo(vae, params, key, num_examples=5, **ANNEALING)
    ),
    "bootstrap": of_points(lambda *sets: bootstrap(precision_recall, *sets, num_resamples=3)),
    "frechet_distance": of_points(lambda _, *sets: frechet_distance(*sets)),
    "squared_mmd": of_points(lambda _, *sets: squared_mmd(*sets)),
    "kernel_distance": of_points(lambda *sets: kernel_distance(*sets), size=1000),
    "memorization": of_points(lambda _, *sets: memorization(*sets, sets[0])),
    "nearest_distances": of_points(lambda _, *sets: nearest_distances(*sets)),
    "precision_recall": of_points(lambda _, *sets: precision_recall(*sets)),
    "density_coverage": of_points(lambda _, *sets: density_coverage(*sets)),
    "reference_quality and sample_quality": of_points(quality),
    "train_feature_network": train_features,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_second_call_compiles_nothing(name, lowered):
    check_compiles_once(CALLS[name], lowered)


def test_what_reads_no_prior_is_one_program_for_all_priors(lowered):
    models = [model(seed, prior) for seed, prior in enumerate((vp.standard_normal(2), vp.mixture(2, 3)))]
    for vae, params, _, x in models:
        vp.active_units(vae, params, x)
        vp.aggregated_posterior(vae, params, x)
        if vae is models[0][0]:
            lowered.clear()
    assert not lowered


# Types, factories of priors and flows, configurations and files: no arrays go in, or others above call them.
WITHOUT_ARRAYS = {
    *("__version__", "factory", "flow_from_config", "prior_from_config", "plain_config"),
    *("load_model", "load_fingerprint", "save_model", "start_from"),
    *("normalize_per_tensor", "parameter_groups", "frozen"),
}
BY_ROW = {  # of the tables below and of tests/cases.py
    *("bernoulli", "normal_diag", "binomial_levels", "categorical_levels", "continuous_bernoulli", "student_t"),
    *("discretized_logistic", "discretized_logistic_mixture", "two_level_posterior", "power_spherical"),
    *("dirichlet", "logistic_normal", "wrapped_normal", "committed_rate"),
    *("poisson", "negative_binomial", "zero_inflated", "joint", "masked"),
}


def public_functions():
    """Functions in `vaepriors_jax.__all__` that are not factories of priors or flows."""
    for name in vp.__all__:
        value = getattr(vp, name)
        if not (inspect.isclass(value) or inspect.ismodule(value) or hasattr(value, "is_factory")):
            yield name


def test_every_public_function_is_tried():
    tried = {part for name in CALLS for part in name.split(" and ")}
    missing = set(public_functions()) - tried - WITHOUT_ARRAYS - BY_ROW
    assert not missing, f"give these functions a row in CALLS: {sorted(missing)}"


moved = jax.jit(perturbed)
REBUILT = 2  # the seed whose prior is made anew


def use_prior(case):
    """Density, samples and gradient of a row of tests/cases.py, outside `jit`."""
    start, made = params_of(case), case.make()

    def run(seed):
        key = jax.random.key(seed)
        prior, params, z = (
            case.make() if seed == REBUILT else made,
            moved(start, key),
            jax.random.normal(key, (5, 2)),
        )
        distribution = prior.apply(params, **case.context)
        distribution.log_prob(z)
        distribution.sample(seed=key, sample_shape=4)
        distribution.sample_and_log_prob(seed=key, sample_shape=4)
        jax.grad(lambda params: prior.apply(params, **case.context).log_prob(z[0]))(params)

    return run


@pytest.mark.parametrize("case", PRIORS, ids=repr)
def test_a_prior_compiles_once(case, lowered):
    check_compiles_once(use_prior(case), lowered, calls=REBUILT + 1)


@pytest.mark.parametrize("case", [case for case in FLOWS if case.name not in COMPOSED], ids=repr)
def test_a_flow_compiles_once(case, lowered):
    start, flow = params_of(case), case.make()

    def run(seed):
        key = jax.random.key(seed)
        params, value = moved(start, key), jax.random.normal(key, (5, case.dim))
        flow.init(key)
        flow.apply(params, **case.context).forward_and_log_det(value)
        flow.apply(params, **case.context).inverse_and_log_det(value)
        jax.grad(lambda params: jnp.sum(flow.apply(params, **case.context).forward(value)))(params)

    check_compiles_once(run, lowered, calls=2)


LIKELIHOODS = {
    "bernoulli": vp.bernoulli,
    "normal_diag": lambda a: vp.normal_diag(a, jnp.exp(a)),
    "continuous_bernoulli": vp.continuous_bernoulli,
    "binomial_levels": lambda a: vp.binomial_levels(a, 5),
    "categorical_levels": lambda a: vp.categorical_levels(jnp.stack([a, -a, 2 * a, a + 1], axis=-1)),
    "student_t": lambda a: vp.student_t(a, jnp.exp(a), 3 + jnp.exp(a)),
    "discretized_logistic": lambda a: vp.discretized_logistic(a, 0.1 * jnp.exp(a), num_levels=5),
    "discretized_logistic_mixture": lambda a: vp.discretized_logistic_mixture(
        *(jnp.stack([sign * a, a + 1], axis=-1) for sign in (1, -1)), jnp.exp(jnp.stack([a, a], axis=-1)), num_levels=5
    ),
}


def use_distribution(make, value_of, shape):
    """What a distribution made of random arrays of a shape can do, and its gradient."""

    def run(seed):
        key = jax.random.key(seed)
        array = jax.random.normal(key, shape)
        distribution, value = make(array), value_of(key)
        distribution.log_prob(value)
        distribution.sample(seed=key, sample_shape=3)
        distribution.mean(), distribution.variance()
        jax.grad(lambda array: jnp.sum(make(array).log_prob(value)))(array)

    return run


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_compiles_once(name, lowered):
    def pixels(key):
        return jax.random.bernoulli(key, 0.5, (6,)).astype(jnp.float32)

    check_compiles_once(use_distribution(LIKELIHOODS[name], pixels, (6,)), lowered, calls=2)


def test_a_posterior_with_a_committed_rate_compiles_once(lowered):
    def points(key):
        return jax.random.normal(key, (4, 3))

    make = use_distribution(lambda loc: vp.committed_rate(loc, jnp.exp(loc), 2.0), points, (3,))
    check_compiles_once(make, lowered, calls=2)


# On both sides of each switch of the fast mixture.
@pytest.mark.parametrize(("components", "dim"), [(32, 3), (33, 2), (33, 3), (4097, 2), (4097, 3)])
def test_a_mixture_compiles_once(components, dim, lowered):
    log_weights = jnp.full(components, -jnp.log(components))

    def make(loc):
        return vp.DiagonalMixture(log_weights, loc, jnp.exp(0.1 * loc))

    def points(key):
        return jax.random.normal(key, (4, dim))

    check_compiles_once(use_distribution(make, points, (components, dim)), lowered, calls=2)


def laplace(loc):
    return distrax.Independent(distrax.Laplace(loc, jnp.ones_like(loc)), 1)


def two_level(features):
    return vp.two_level_posterior(
        vp.normal_diag(features[:1], jnp.ones(1)), lambda z2: vp.normal_diag(features[1:] * z2, jnp.ones(1))
    )


# More components than are encoded at a time, and a remainder.
@pytest.mark.parametrize("encoder", [laplace, two_level])
def test_a_mixture_of_posteriors_compiles_once(encoder, lowered):
    log_weights = jnp.full(150, -jnp.log(150.0))

    def make(inputs):
        return EncodedMixture(log_weights, inputs, lambda one: encoder(one))

    def points(key):
        return jax.random.normal(key, (4, 2))

    check_compiles_once(use_distribution(make, points, (150, 2)), lowered, calls=2)


def encode_laplace(params, x):
    return laplace(jnp.split(params["weight"] @ x, 2)[0])


@pytest.mark.parametrize("encoder", [encode, encode_laplace])
def test_an_aggregated_posterior_is_an_argument_of_jit(encoder, lowered):
    log_prob = jax.jit(lambda aggregated, z: aggregated.log_prob(z))

    def run(seed):
        vae, params, _, x = model(seed)
        aggregated = vp.aggregated_posterior(vae._replace(encode=encoder), params, x)
        found, expected = log_prob(aggregated, jnp.ones(2)), aggregated.log_prob(jnp.ones(2))
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    check_compiles_once(run, lowered)


def test_loops_outside_jit_are_those_inside():
    def add(total, number):
        return total + number["a"], total * number["b"][0]

    inputs = {"a": jnp.arange(7.0), "b": jnp.arange(14.0).reshape(7, 2)}
    for reverse in (False, True):
        expected = jax.lax.scan(add, jnp.ones(()), inputs, reverse=reverse)
        outside = loops.scan(add, jnp.ones(()), inputs, 7, reverse=reverse)
        inside = jax.jit(lambda inputs, reverse=reverse: loops.scan(add, jnp.ones(()), inputs, 7, reverse=reverse))(
            inputs
        )
        for found in (outside, inside):
            jax.tree.map(np.testing.assert_array_equal, found, expected)

    def square(one):
        return {"square": one["a"] ** 2, "sum": jnp.sum(one["b"])}

    expected = {"square": np.arange(7.0) ** 2, "sum": 4 * np.arange(7.0) + 1}
    for chunk_size in (1, 3, 7, 10):
        jax.tree.map(np.testing.assert_allclose, loops.map_chunks(square, inputs, chunk_size), expected)
        inside = jax.jit(lambda inputs, size=chunk_size: loops.map_chunks(square, inputs, size))(inputs)
        jax.tree.map(np.testing.assert_allclose, inside, expected)


@pytest.mark.parametrize("transform", [jax.vmap, jax.grad], ids=["vmap", "grad"])
def test_what_is_compiling(transform):
    seen = []

    def note(x):
        seen.append(loops.is_compiling())
        return x

    argument = jnp.ones(2) if transform is jax.vmap else 1.0
    transform(note)(argument)
    jax.jit(transform(note))(argument)
    assert seen == [False, True]


def test_programs_under_jit_are_compiled_once(lowered):
    vae, params, key, x = model(0, flow_prior())
    jitted = jax.jit(
        lambda params, key, x: (
            vp.elbo(vae, params, key, x[0]).elbo,
            vp.iwae(vae, params, key, x[0], num_samples=3),
            vp.generate(vae, params, key, 5),
            vp.log_prob_in_chunks(vae.latent_prior(params), x[:, :2], chunk_size=6),
        )
    )

    def run(seed):
        _, params, key, x = model(seed, flow_prior())
        jitted(params, key, x)

    check_compiles_once(run, lowered)


def test_calls_leave_no_arrays_and_no_programs_behind(lowered):
    vae, params, key, x = model(0, flow_prior())
    aggregated = vp.DiagonalMixture(jnp.full(4097, -jnp.log(4097.0)), jnp.zeros((4097, 2)), jnp.ones((4097, 2)))

    def run(key):
        vp.elbo(vae, params, key, x[0])
        prior = vae.latent_prior(params)
        vp.log_prob_in_chunks(prior, prior.sample(seed=key, sample_shape=10), chunk_size=4)
        aggregated.log_prob(x[0, :2])

    def count():
        gc.collect()
        return len(jax.live_arrays()), len(jax.devices()[0].client.live_executables())

    keys = list(jax.random.split(key, 20))
    for key in keys[:2]:
        run(key)
    before = count()
    lowered.clear()
    for key in keys:
        run(key)
    assert not lowered
    assert count() == before
