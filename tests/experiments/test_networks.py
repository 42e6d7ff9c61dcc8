"""Networks of the programs, likelihoods on the command line, what a step costs, and the grid of settings."""

from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.signal import correlate2d

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.data.dataset import Dataset
from experiments.models.families import ALL, NEED_LABELS, PRIORS, SOLVE_ODE, all_names, families
from experiments.models.image_networks import patches, spread
from experiments.models.likelihoods import KINDS, Likelihood, check_likelihood, choose_likelihood
from experiments.models.trained import training_data
from experiments.models.vaes import Sizes, make_prior, make_vae, num_entries, prior_solves_ode
from experiments.options.config import Config, LikelihoodName
from experiments.options.resolve import resolve
from experiments.training import cost, grid
from experiments.training.optimizers import optimizer_factory

SIZES = Sizes(
    latent_dim=2,
    hidden=(6, 5),
    num_components=4,
    flow_layers=3,
    flow_hidden=(4,),
    pseudo_inputs="random",
    channels=(2, 3),
)


def grey(num_levels=17, shape=(9, 14), binarization="none"):
    rng = np.random.default_rng(0)
    x = rng.random((20, *shape)) if num_levels is None else rng.integers(0, num_levels, (20, *shape)) / (num_levels - 1)
    part = {"x": x.astype(np.float32), "y": (np.arange(20) % 3).astype(np.int32)}
    return Dataset("mine", binarization, part, part, part, part, None, 3, num_levels)


@pytest.mark.parametrize(("stride", "shape"), [(1, (5, 6)), (2, (5, 6)), (2, (7, 8))])
def test_patches_are_a_convolution(stride, shape):
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(*shape, 2)), rng.normal(size=(3, 3, 2))
    found = np.asarray(patches(jnp.asarray(image), stride)) @ kernel.reshape(-1)
    expected = sum(correlate2d(image[..., c], kernel[..., c], mode="same") for c in range(2))
    np.testing.assert_allclose(found, expected[::stride, ::stride], atol=1e-5)


@pytest.mark.parametrize("name", sorted({*families(SIZES, grey())} - {*PRIORS, "conditional_mixture"}))
def test_priors_beside_the_five_are_over_the_latents(name):
    if name in SOLVE_ODE:
        pytest.importorskip("diffrax")
    prior = make_prior(name, SIZES, grey())
    params = prior.init(jax.random.key(0))

    def encode(x, y=None):
        return vp.normal_diag(jnp.zeros(SIZES.latent_dim), jnp.ones(SIZES.latent_dim))

    state = {}
    if prior.init_state:
        state = prior.init_state(params=params, num_draws=100, encode=encode, **grey().train)

    assert prior.apply(params, encode=encode, y=1, **state).event_shape == (num_entries(name, SIZES),)


def test_all_priors_are_those_that_the_data_allow():
    data, config = grey(num_levels=2), Config(priors=(ALL,), num_components=4, batch_size=10)
    every = all_names(SIZES, data)
    assert set(families(SIZES, data)) - set(every) <= {*SOLVE_ODE}
    assert resolve(config, data).priors == every
    without_labels = tuple(name for name in every if name not in NEED_LABELS)
    assert resolve(config, data._replace(num_classes=None)).priors == without_labels
    assert resolve(config, data, conditional=False).priors == without_labels
    with pytest.raises(ValueError, match="--priors all alone"):
        resolve(replace(config, priors=(ALL, "vamp")), data)


def test_training_batches_hold_what_the_prior_reads():
    data = grey(num_levels=2)
    entries = {
        name: {*training_data(make_vae(name, SIZES, data)[0], data)}
        for name in ("vamp", "conditional", "exemplar", "conditional_exemplar", "diffusion")
    }
    assert entries == {
        "vamp": {"x"},
        "conditional": {"x", "y"},
        "exemplar": {"x", "index"},
        "conditional_exemplar": {"x", "y", "index"},
        "diffusion": {"x", "index"},
    }
    index = training_data(make_vae("exemplar", SIZES, data)[0], data)["index"]
    np.testing.assert_array_equal(index, range(len(data.train["x"])))


def test_priors_whose_density_solves_an_ode_are_known_also_where_they_are_wrapped():
    ode = vp.flow_matching(2)
    for prior in (ode, vp.diffusion(2), vp.transformed(ode, vp.affine_coupling(2)), vp.two_level(ode, 2, 1)):
        assert prior_solves_ode(prior)
    assert {name for name, make in families(SIZES, grey()).items() if prior_solves_ode(make())} == {*SOLVE_ODE}


def test_pseudo_inputs_that_do_not_learn_start_from_images_whatever_the_option_says():
    data = grey(num_levels=2)
    images, inputs = data.train["x"], {}
    for name in ("vamp_data", "vamp_kmeans", "weighted_coreset", "vamp"):
        vae, init = make_vae(name, SIZES, data)
        inputs[name] = np.asarray(vp.pseudo_inputs(vae.prior, init(jax.random.key(0)).prior))
    distances = {name: np.abs(u[:, None] - images).max(axis=(2, 3)).min(axis=1) for name, u in inputs.items()}
    np.testing.assert_array_equal(distances["vamp_data"], 0)
    assert distances["vamp"].min() > 0.5  # at random: SIZES says so
    assert distances["weighted_coreset"].min() > 0.5
    # Centres are within the images' range, and a cluster of all images but three has none of them as its centre.
    assert inputs["vamp_kmeans"].min() >= 0
    assert inputs["vamp_kmeans"].max() <= 1
    assert distances["vamp_kmeans"].max() > 0.1


def test_a_mixture_of_encodings_knows_the_number_of_images():
    prior = make_prior("vamp_mixture", SIZES, grey())
    assert (prior.config["dim"], prior.config["num_components"], prior.config["num_examples"]) == (2, 4, 20)


def test_channels_are_spread_over_pixels():
    image = jnp.arange(8).reshape(1, 2, 4)  # one row of two pixels, four channels each
    np.testing.assert_array_equal(spread(image, 2, 3)[..., 0], [[0, 1, 4], [2, 3, 6]])


@pytest.mark.parametrize(
    ("network", "levels", "data"),
    [
        ("tanh", 1, grey(num_levels=2)),
        ("conv", 2, grey(num_levels=2)),
        ("resnet", 1, grey(num_levels=2)),
        ("conv", 1, grey(shape=(9, 14, 3))),
    ],
    ids=["tanh", "conv", "resnet", "conv-colour"],
)
def test_networks_take_any_size_read_the_label_and_learn(network, levels, data):
    """One compiled call: the ELBO and its gradient; every parameter is reached, and the label changes both networks."""
    sizes = SIZES._replace(network=network, levels=levels, likelihood=choose_likelihood(data))
    vae, init = make_vae("conditional", sizes, data)
    # Not as `init` makes them: residual branches start at zero, where not everything has a gradient.
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32)

    params = jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0)))
    xs, ys = jnp.asarray(data.train["x"][:3]), jnp.asarray(data.train["y"][:3])

    def loss(params, y):
        elbos = jax.vmap(lambda x, y: vp.elbo(vae, params, jax.random.key(2), x, y=y).elbo)(xs, y)
        z = jnp.ones(2 * levels)
        return jnp.mean(elbos), (vae.posterior(params, xs[0], y=y[0]).mean(), vae.likelihood(params, z, y=y[0]).mean())

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, first), gradient = run(params, ys)
    (_, second), _ = run(params, (ys + 1) % 3)
    assert np.isfinite(value)
    assert first[1].shape == data.image_shape
    for one, other in zip(first, second, strict=True):
        assert np.abs(one - other).max() > 1e-4
    unreached = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(gradient) if not np.any(leaf)]
    assert unreached == []


def test_layers_in_bfloat16_and_the_rest_in_float32():
    data = grey(num_levels=2)
    halves, init = make_vae("standard", SIZES._replace(precision="bfloat16"), data)
    full = make_vae("standard", SIZES, data)[0]
    params, x = init(jax.random.key(0)), data.train["x"][0]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    (rounded, exact) = (vae.posterior(params, x).mean() for vae in (halves, full))
    assert rounded.dtype == jnp.float32
    difference = np.abs(rounded - exact).max()
    assert 1e-6 < difference < 0.03 * np.abs(exact).max()
    assert halves.likelihood(params, jnp.ones(2)).log_prob(x).dtype == jnp.float32


def test_tanh_layers_are_those_by_hand():
    vae, init = make_vae("standard", SIZES._replace(network="tanh"), grey(num_levels=2))
    params = init(jax.random.key(0))
    x = np.random.default_rng(0).random((9, 14), np.float32)
    layers = params.encoder["params"]
    first, second, last = (layers[name] for name in ("TanhDense_0", "TanhDense_1", "Dense_0"))
    hidden = x.reshape(-1)
    for layer in (first["Dense_0"], second["Dense_0"]):
        hidden = np.tanh(hidden @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
    expected = (hidden @ np.asarray(last["kernel"]) + np.asarray(last["bias"]))[:2]
    np.testing.assert_allclose(vae.posterior(params, x).mean(), expected, atol=1e-5)


def test_two_levels_are_the_networks_of_the_paper():
    """Numbers of parameters by hand; a gated layer is two linear ones. Of p(z1|z2) the layers are not gated."""

    def gated(inputs, outputs):
        return 2 * (inputs + 1) * outputs

    def linear(inputs, outputs):
        return (inputs + 1) * outputs

    expected = {
        "q(z2|x)": gated(784, 300) + gated(300, 300) + linear(300, 80),
        "q(z1|x, z2)": gated(784, 300) + gated(40, 300) + gated(600, 300) + linear(300, 80),
        "p(x|z1, z2)": 2 * gated(40, 300) + gated(600, 300) + linear(300, 784),
        "p(z1|z2)": linear(40, 300) + linear(300, 300) + linear(300, 80),
    }
    sizes = SIZES._replace(latent_dim=40, hidden=(300, 300), levels=2)
    _, init = make_vae("standard", sizes, grey(num_levels=2, shape=(28, 28)))
    params = jax.eval_shape(init, jax.random.key(0))

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    found = (params.encoder["top"], params.encoder["bottom"], params.decoder, params.prior)
    assert list(map(count, found)) == list(expected.values())


def test_normalized_gradients_forget_the_scale_of_the_loss():
    gradient = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([2.0])}
    plain, normalized = (optimizer_factory(name, 1.0)(0.1) for name in ("plain", "normalized"))

    def second_step(optimizer, scale):  # Adam's first step forgets the scale as well
        _, state = optimizer.update(gradient, optimizer.init(gradient))
        return optimizer.update(jax.tree.map(lambda leaf: scale * leaf, gradient), state)[0]["a"]

    np.testing.assert_allclose(second_step(normalized, 100.0), second_step(normalized, 1.0), rtol=1e-5)
    assert np.abs(second_step(plain, 100.0) - second_step(plain, 1.0)).max() > 0.01


@pytest.mark.parametrize("gradients", ["plain", "normalized"])
def test_the_prior_learns_at_a_rate_of_its_own(gradients):
    params = vp.VAEParams(*({"a": jnp.ones(2)} for _ in range(3)))
    optimizer = optimizer_factory(gradients, 10.0)(0.1)
    moved, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(moved.encoder["a"], -0.1, rtol=1e-5)  # Adam's first step is the learning rate
    np.testing.assert_allclose(moved.decoder["a"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(moved.prior["a"], -1.0, rtol=1e-5)
    assert optimizer_factory(gradients, 10.0) is optimizer_factory(gradients, 10.0)


def test_the_parameters_that_are_kept_are_an_average():
    params = gradient = vp.VAEParams(*({"a": jnp.ones(2)} for _ in range(3)))
    averaging, plain = (optimizer_factory("plain", 1.0, decay)(0.1) for decay in (0.5, 0.0))
    state = averaging.init(params)
    for _ in range(2):  # to 0.9 and to 0.8
        moved, state = averaging.update(gradient, state, params)
        params = optax.apply_updates(params, moved)
    np.testing.assert_allclose(state.average.prior["a"], (0.5 * 0.9 + 0.8) / 1.5, rtol=1e-4)
    assert not hasattr(plain.init(params), "average")


def test_operations_of_a_step_agree_with_the_count_by_hand():
    """The count by hand knows the products of networks and mixtures; a flow's layers are a scan."""
    data = grey(num_levels=2, shape=(28, 28))

    def counted(name, **changes):
        vae, init = make_vae(name, SIZES._replace(**changes), data)
        return cost.step_operations(vae, jax.eval_shape(init, jax.random.key(0)), data, batch_size=20)

    for name in ("standard", "vamp"):
        by_hand = 20 * paper.training_operations(name, SIZES._replace(hidden=(40, 40)), 20)
        assert counted(name, hidden=(40, 40)) == pytest.approx(by_hand, rel=0.05)
    one, two, three = (counted("flow", flow_layers=n) for n in (1, 2, 3))
    assert three - two == two - one > 0


def test_operations_where_the_prior_alone_reads_the_label():
    data = grey(num_levels=2)
    vae, init = make_vae("standard", SIZES, data)
    params = jax.eval_shape(init, jax.random.key(0))
    expected = cost.step_operations(vae, params, data, batch_size=20)
    prior = vp.conditional_normal(2, num_classes=3)
    params = params._replace(prior=jax.eval_shape(prior.init, jax.random.key(0)))
    # Its 12 parameters are looked up; the norm of their gradient is an inner product.
    assert cost.step_operations(vae._replace(prior=prior), params, data, batch_size=20) == expected + 2 * 12


@pytest.mark.parametrize("shape", [(9, 14), (9, 14, 3)], ids=["grey", "colour"])
def test_each_likelihood_is_over_the_image_and_fits_its_data(shape):
    """Traced, not run: shapes of samples, means and log-probabilities, and the check of the data."""
    assert get_args(LikelihoodName) == tuple(KINDS)
    for name, kind in KINDS.items():
        data = grey(2 if kind.data == "binary" else None if kind.data == "density" else 17, shape)
        check_likelihood(name, data)
        vae, init = make_vae("standard", SIZES._replace(likelihood=name, hidden=(3,)), data)
        x = jnp.asarray(data.train["x"][0])

        def of(params, x, vae=vae):
            likelihood = vae.likelihood(params, jnp.ones(2))
            likelihood.check_support(data.train["x"]) if hasattr(likelihood, "check_support") else None  # noqa: B023
            return likelihood.log_prob(x), likelihood.mean(), likelihood.sample(seed=jax.random.key(0))

        log_prob, mean, sample = jax.eval_shape(of, jax.eval_shape(init, jax.random.key(0)), x)
        assert (log_prob.shape, mean.shape, sample.shape) == ((), x.shape, x.shape)


def test_colours_are_coupled_and_the_raw_outputs_are_those_of_the_paper():
    """Ten numbers a component: a weight, three locations, three scales, three coefficients; for each pixel."""
    coupled = Likelihood("discretized_logistic_mixture", 256, 5, channels=(3,))
    assert coupled.num_outputs == 50
    raw = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, 50)), jnp.float32)
    made = coupled.distribution(raw, jnp.zeros(()))
    corners = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]])[:, None, None]
    low, high = np.diff(np.asarray(made.log_prob(corners)).reshape(2, 2))
    assert np.abs(low - high) > 1e-3  # what green adds depends on red
    assert Likelihood("discretized_logistic", 256, channels=(3,)).num_outputs == 6
    assert Likelihood("discretized_logistic_mixture", 256, 5).num_outputs == 15


def test_what_is_chosen_for_colours():
    colours = resolve(Config(batch_size=10, num_components=4), grey(256, (9, 14, 3)))
    assert (colours.binarization, colours.likelihood) == ("none", "discretized_logistic_mixture")
    assert resolve(Config(batch_size=10, num_components=4), grey(None, (9, 14, 3))).likelihood == "gaussian_pixel"
    binary = resolve(Config(batch_size=10, num_components=4), grey(2))
    assert (binary.binarization, binary.likelihood) == ("dynamic", "bernoulli")


@pytest.mark.parametrize(
    ("name", "levels", "binarization", "message"),
    [
        (
            "bernoulli",
            17,
            "none",
            "zeros and ones .*mine has grey values. Use --binarization dynamic, or .*categorical",
        ),
        ("bernoulli", None, "none", "or one of --likelihood gaussian, "),
        ("categorical", 2, "dynamic", "grey values by --binarization none, or use --likelihood bernoulli"),
        ("gaussian", 2, "none", "no likelihood: use --likelihood bernoulli"),
        ("binomial", None, "none", "Save the images as uint8, or use one of --likelihood gaussian, "),
    ],
)
def test_what_is_no_likelihood_is_refused(name, levels, binarization, message):
    with pytest.raises(ValueError, match=message):
        resolve(Config(likelihood=name, batch_size=10), grey(levels, binarization=binarization))


def test_the_grid_is_chosen_on_validation_at_the_best_epoch():
    """Two seeds and three settings; the third would be best, but one of its seeds failed."""
    settings = grid.settings((0.1, 0.2, 0.3), (1.0,))
    assert settings == [(0.1, 1.0), (0.2, 1.0), (0.3, 1.0)]
    elbo = np.array([[-9, -8], [-9, -6], [-5, -99], [-6, -7], [-1, -1], [np.nan, np.nan]], float)
    best = np.array([2, 2, 1, 1, 2, 0])
    result = vp.FitResult(
        params={"w": np.arange(6)},
        state=np.arange(6),
        best_epoch=best,
        history={"validation_elbo": elbo},
        failures=(SimpleNamespace(replica=5),),
        seconds_per_epoch=1.0,
        compile_seconds=1.0,
    )
    chosen, rows = grid.choose(result, settings, num_seeds=2)
    assert [row["validation_elbo"]["mean"] for row in rows] == [-7.0, -5.5, -1.0]
    assert [row["num_failed"] for row in rows] == [0, 0, 1]
    assert [row["chosen"] for row in rows] == [False, True, False]
    np.testing.assert_array_equal(chosen.params["w"], [2, 3])
    np.testing.assert_array_equal(chosen.history["validation_elbo"], elbo[2:4])
    assert chosen.failures == ()


def test_networks_of_all_priors_are_equal_but_those_that_read_the_label():
    data = grey(num_levels=2)._replace(num_classes=10)
    vaes = {name: make_vae(name, SIZES, data)[0] for name in ("standard", "vamp", "flow", "conditional")}
    networks = {name: (vae.encode, vae.decode) for name, vae in vaes.items()}
    assert networks["standard"] == networks["vamp"] == networks["flow"] != networks["conditional"]
    assert hash(networks["standard"]) == hash(networks["flow"])
