"""Priors of the user's own in the programs: `--priors module:function`."""

import sys

import distrax
import jax
import numpy as np
import pytest

import vaepriors_jax as vp
from experiments import choose_prior, evaluate, prior_visualization
from experiments.comparison.compare import compare
from experiments.data.dataset import load
from experiments.models.trained import Model
from experiments.models.user_priors import make_user_prior
from experiments.models.vaes import Sizes, make_vae, prior_reads_label
from experiments.options import command_line
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.report.choice import density_of, kind_of
from tests.experiments.test_compare_priors import SMALL

MODULE = """
import jax.numpy as jnp
import vaepriors_jax as vp

@vp.factory
def learned_normal(dim):
    def init(key):
        return {"loc": jnp.zeros(dim)}
    def apply(params, **context):
        return vp.normal_diag(params["loc"], jnp.ones(dim))
    def init_from_data(key, *, z, **data):
        return {"loc": jnp.asarray(z).mean(0)}
    return vp.Prior(init, apply, {}, init_from_data)

def flow(dim, depth=1):
    return vp.transformed(vp.standard_normal(dim), vp.repeat(vp.affine_coupling(dim, hidden=(8,)), depth))

def examples(num_components, input_shape):
    return vp.vamp(num_components, input_shape)

def classes(dim, num_classes):
    return vp.conditional_normal(dim, num_classes=num_classes)

def without_factory(dim=3):
    return vp.Prior(lambda key: {}, lambda params, **context: vp.normal_diag(jnp.zeros(dim), jnp.ones(dim)), {})

def greedy(dim, temperature, *, colour):
    return vp.standard_normal(dim)

def nothing(dim):
    return None

def of_three():
    return vp.standard_normal(3)

PRIOR = 3
"""
KNOWN = {"dim": 2, "num_components": 4, "input_shape": (6,), "num_classes": None}
DIGITS = load("digits")


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """A module of the user's own that can be imported."""
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    yield "mine"
    sys.modules.pop("mine", None)


def test_a_function_gets_what_it_asks_for(user_module):
    def make(name, **sizes):
        return make_user_prior(f"mine:{name}", KNOWN | sizes)

    assert repr(make("learned_normal")) == "learned_normal(dim=2)"
    assert make("examples") == vp.vamp(4, (6,))
    assert make("classes", num_classes=3) == vp.conditional_normal(2, num_classes=3)
    assert make("flow").config["flow"]["num_layers"] == 1
    assert make_user_prior("vaepriors_jax:standard_normal", KNOWN) == vp.standard_normal(2)


def test_a_prior_without_a_configuration_gets_that_of_its_function(user_module):
    small, large = (make_user_prior("mine:without_factory", KNOWN | {"dim": dim}) for dim in (2, 4))
    assert repr(small) == "without_factory(dim=2)"
    assert small != large


def test_bad_names_end_in_one_clear_line(user_module):
    for name, message in [
        ("absent_module:prior", "Expected a module 'absent_module' that can be imported .*ModuleNotFoundError"),
        ("broken:prior", "Expected a module 'broken' that can be imported .*ZeroDivisionError"),
        (":prior", "Expected a module ''"),
        ("mine:absent", "Expected a function 'absent' in the module 'mine'.*; got nothing of that name"),
        ("mine:", "Expected a function '' in the module 'mine'"),
        ("mine:PRIOR", "; got int"),
        ("mine:greedy", "asks for temperature, colour. Give them a default"),
        ("mine:nothing", "Expected mine:nothing to return a `vp.Prior`; got NoneType"),
        ("mine:classes", "Expected data with num_classes, which mine:classes asks for; these have none"),
        (
            "mine:of_three",
            r"Expected mine:of_three to be a prior over vectors of shape \(2,\) \(--latent-dim\); got \(3,\)",
        ),
    ]:
        with pytest.raises(ValueError, match=message) as raised:
            make_user_prior(name, KNOWN)
        assert "\n" not in str(raised.value)


def test_the_command_line_says_what_is_wrong(user_module, monkeypatch, capsys):
    for option, message in [
        (
            "nonesuch",
            "error: Expected a prior among standard, mixture, vamp, flow, conditional, conditional_mixture, glow,",
        ),
        ("mine:absent", "error: Expected a function 'absent'"),
    ]:
        monkeypatch.setattr(sys, "argv", ["compare_priors", "--dataset", "digits", "--priors", option])
        with pytest.raises(SystemExit) as ended:
            command_line.run(compare, Config)
        assert str(ended.value.code).startswith(message)


def test_priors_that_read_the_label(user_module):
    assert prior_reads_label(vp.conditional_normal(2, num_classes=3))
    assert prior_reads_label(vp.transformed(vp.conditional_normal(2, condition_dim=3), vp.affine_coupling(2)))
    assert prior_reads_label(vp.vamp(3, (2,), num_classes=3))
    assert prior_reads_label(vp.transformed(vp.standard_normal(2), vp.affine_coupling(2, num_classes=3)))
    assert not prior_reads_label(vp.marginalize(vp.conditional_normal(2, num_classes=2), (0.5, 0.5)))
    assert not prior_reads_label(vp.mixture(2, 3))
    for program, option in ((choose_prior, "priors"), (prior_visualization, "priors"), (choose_prior, "refit")):
        options = program.Options(dataset="digits", **{"priors": ("standard",), option: ("standard", "mine:classes")})
        with pytest.raises(
            ValueError, match=f"Expected priors that read no label as --{option} here; got mine:classes"
        ):
            program.main(options)
    with pytest.raises(ValueError, match="Expected data with num_classes, which mine:classes asks for"):
        resolve(Config(priors=("mine:classes",)), DIGITS._replace(num_classes=None))


def test_a_prior_starts_from_images_if_it_can(user_module):
    sizes, key = Sizes(2, (8,), 4, 1, (8,), "data"), jax.random.key(0)
    vae, init = make_vae("mine:examples", sizes, DIGITS)
    expected = vp.init_from_data(vae.prior, jax.random.split(key, 3)[2], x=DIGITS.train["x"])
    np.testing.assert_array_equal(init(key).prior["pseudo_inputs"], expected["pseudo_inputs"])
    assert (vae.prior.init(key)["pseudo_inputs"] != expected["pseudo_inputs"]).any()
    # Encodings are there only after training, for --refit.
    _, init = make_vae("mine:learned_normal", sizes, DIGITS)
    np.testing.assert_array_equal(init(key).prior["loc"], 0)


def test_a_prior_that_reads_the_label_makes_a_conditional_vae(user_module):
    vae, _ = make_vae("mine:classes", Sizes(2, (8,), 4, 1, (8,), "data"), DIGITS)
    assert vae.encoder_context == vae.decoder_context == ("y",)


@pytest.mark.nightly
def test_they_are_trained_refitted_and_loaded_again(user_module, tmp_path):
    options = {"priors": ("standard", "mine:learned_normal"), "refit": ("mine:flow",), "metrics": "likelihood"}
    config = Config(seeds=1, num_test=80, output_dir=str(tmp_path), **options, **SMALL)
    content = compare(config)
    names = ["standard", "standard, refit mine:flow", "mine:learned_normal"]
    assert [row["prior"] for row in content["rows"]] == names
    assert all(np.isfinite(row["test"]["elbo"]) for row in content["rows"])

    models = evaluate.load_models(tmp_path, content["rows"], evaluate.read_run(tmp_path)[1], DIGITS)
    assert [model.prior for model in models] == names
    for model, name in zip(models[1:], ("mine:flow", "mine:learned_normal"), strict=True):
        assert model.vae.prior == make_user_prior(name, KNOWN)
    assert repr(vp.load_model(tmp_path / "models/mine.learned_normal-seed0")[0]) == "learned_normal(dim=2)"


def test_how_density_and_kl_are_computed_is_asked_of_the_distribution():
    key, normal = jax.random.key(0), vp.standard_normal(2)

    def over(prior):
        return vp.transformed(prior, vp.affine_coupling(2))

    def distribution(prior):
        return prior.apply(prior.init(key))

    gumbel = vp.from_distribution(distrax.Independent(distrax.Gumbel(np.zeros(2), np.ones(2)), 1))
    for prior, density in [
        (normal, "exact"),
        (vp.mixture(2, 3), "exact"),
        (vp.two_level(vp.mixture(1, 3), 1, 1), "exact"),
        (over(vp.mixture(2, 3)), "exact, by change of variables"),
        (over(over(normal)), "exact, by change of variables"),
        (gumbel, "that of its own code"),
        (over(gumbel), "that of its own code"),
    ]:
        assert density_of(distribution(prior)) == density
    kinds = {}
    for name in ("standard", "mixture", "conditional"):
        vae, init = make_vae(name, Sizes(2, (8,), 4, 1, (8,), "data"), DIGITS)
        kinds[name] = kind_of(Model(name, 0, vae, init(key)), DIGITS)
    assert kinds["standard"] == kinds["conditional"] == ("exact", "closed form")
    assert kinds["mixture"] == ("exact", "Monte Carlo estimate")
