"""Priors over other spaces than R^n in the programs: their encoders, and what is measured and drawn of them."""

import inspect
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from experiments import evaluate
from experiments.choose_prior import measurements_of
from experiments.comparison.compare import compare
from experiments.measures import EvaluationSettings, latents, likelihood
from experiments.models.families import ALL, all_names, families
from experiments.models.posteriors import NORMAL, PAIRED, POSTERIORS, centre
from experiments.models.trained import Model, is_euclidean
from experiments.models.vaes import make_vae, num_entries
from experiments.options import config as options_module
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.report.comparison import summarize
from experiments.report.comparison_tables import tables
from experiments.report.recommendation import recommend
from experiments.report.summaries import of_comparison
from tests.experiments.test_networks import SIZES, grey
from vaepriors_jax.distributions.spaces import space_of

SPACES = {
    "spherical_uniform": "the unit sphere",
    "power_spherical_mixture": "the unit sphere",
    "dirichlet": "the simplex",
    "logistic_normal": "the simplex",
    "hyperbolic": "R^n",
}
DATA = grey(num_levels=2, shape=(4, 3))


def model_of(name):
    vae, init = make_vae(name, SIZES, DATA)
    return Model(name, 0, vae, init(jax.random.key(0)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SPACES, "standard"])
def test_the_encoder_is_over_the_space_of_the_prior(name):
    model, x = model_of(name), jnp.asarray(DATA.train["x"][0])
    prior, posterior = model.vae.latent_prior(model.params), model.vae.posterior(model.params, x)
    space, dim = SPACES.get(name, "R^n"), num_entries(name, SIZES)
    assert space_of(posterior) == space_of(prior) == model.space == space
    assert is_euclidean(model) == (space == "R^n")
    assert posterior.event_shape == prior.event_shape == centre(posterior).shape == (dim,)
    assert dim == SIZES.latent_dim + (space != "R^n")
    assert posterior.log_prob(centre(posterior)) > posterior.log_prob(prior.sample(seed=jax.random.key(1)))
    terms = vp.evaluate_elbo(model.vae, model.params, jax.random.key(2), DATA.train["x"])
    assert np.isfinite(terms.elbo).all()


def test_each_pair_is_tested_and_offered():
    assert SPACES.keys() == PAIRED.keys() <= families(SIZES, DATA).keys()
    assert {*PAIRED.values(), NORMAL} == POSTERIORS.keys()
    option = inspect.getsource(options_module).partition("priors: tuple")[2].partition("seeds: int")[0]
    assert not [
        name
        for name in families(SIZES, DATA)
        if name not in option.replace(",", " ").replace(";", " ").replace(".", " ").split()
    ]


@pytest.mark.parametrize("name", sorted(POSTERIORS))
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_posteriors_of_any_outputs_give_finite_densities_and_entries_about_one_large(name, size):
    family, num = POSTERIORS[name], 5
    raw = size * jax.random.normal(jax.random.key(3), (family.num_outputs(num),))
    if name == "wrapped_normal":
        raw = jnp.clip(raw, -100, 100)  # it is about coordinates within float32's reach, see `vp.wrapped_normal`
    posterior = family.from_outputs(raw)
    z = posterior.sample(seed=jax.random.key(4), sample_shape=50)
    assert z.shape == (50, num + family.num_more)
    assert np.isfinite(posterior.log_prob(z)).all()
    if name != NORMAL or size == 1:
        assert 0.2 < np.sqrt(np.mean(family.coordinates(z) ** 2)) < 6


@pytest.mark.parametrize("dim", [2, 11])
def test_the_mean_length_on_the_sphere_is_that_of_the_ratio_of_noise_to_signal(dim):
    """At the ratio 1 half of 1; from samples, whose mean has an error of 0.01 in each entry."""
    raw = jnp.zeros(dim + 1).at[0].set(-3.0)
    z = POSTERIORS["power_spherical"].from_outputs(raw).sample(seed=jax.random.key(5), sample_shape=10_000)
    np.testing.assert_allclose(z.mean(0), np.eye(dim)[0] * -0.5, atol=0.04)


def test_the_centre_is_where_samples_are():
    sphere = vp.power_spherical(jnp.array([3.0, 4.0, 0.0]), 1.0)
    np.testing.assert_allclose(centre(sphere), [0.6, 0.8, 0], atol=1e-6)
    np.testing.assert_allclose(centre(vp.dirichlet(jnp.array([1.0, 3.0]))), [0.25, 0.75], rtol=1e-6)
    # Of 64 samples; on a line of curvature -1 z = sinh(arsinh(loc) + v), with the mean loc exp(var(v) / 2).
    simplex = vp.logistic_normal(jnp.log(jnp.array([2.0, 1.0])), jnp.full(2, 0.01))
    np.testing.assert_allclose(centre(simplex), [0.5, 0.25, 0.25], atol=0.003)
    line = vp.wrapped_normal(jnp.array([10.0]), jnp.ones(1))
    np.testing.assert_allclose(centre(line), [10 * np.exp(0.5)], rtol=5 * np.sqrt((np.e - 1) / 64))


def test_a_distance_in_hyperbolic_space_is_that_of_its_logarithm():
    z = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(
        jnp.linalg.norm(POSTERIORS["wrapped_normal"].coordinates(z), axis=1), np.arccosh([1, 26**0.5]), rtol=1e-6
    )


@pytest.mark.slow
def test_measures_without_a_meaning_are_left_out():
    settings = EvaluationSettings(num_samples=2, annealing=None)
    on_sphere, hyperbolic = model_of("power_spherical_mixture"), model_of("hyperbolic")
    assert "active_units" not in likelihood(on_sphere, DATA, settings)
    assert "active_units" in likelihood(hyperbolic, DATA, settings)
    used = latents(on_sphere, DATA, settings)
    assert used.keys() == {"weight_perplexity", "responsibility_perplexity", "num_unused"}
    assert latents(hyperbolic, DATA, settings) == {}


def test_priors_whose_encoder_is_no_gaussian_are_refused_where_it_has_to_be(capsys):
    config = Config(priors=(ALL,), num_components=4, batch_size=10)
    others = tuple(name for name in all_names(SIZES, DATA) if name not in PAIRED)
    assert resolve(replace(config, levels=2), DATA).priors == others
    assert (
        "Encoders have Gaussian posteriors with --levels 2: left out are spherical_uniform" in capsys.readouterr().out
    )
    assert set(resolve(config, DATA, gaussian=True).priors) == set(others)
    named = replace(config, priors=("standard", "dirichlet"))
    with pytest.raises(ValueError, match=r"go with a Gaussian posterior with --levels 2; got dirichlet"):
        resolve(replace(named, levels=2), DATA)
    with pytest.raises(ValueError, match=r"in this program; got dirichlet\. Leave it out, or use compare_priors"):
        resolve(named, DATA, gaussian=True)
    with pytest.raises(ValueError, match=r"Expected priors over R\^n as --refit.*got dirichlet"):
        resolve(replace(config, priors=("standard",), refit=("dirichlet",)), DATA)
    assert resolve(replace(config, priors=("standard",), refit=("hyperbolic",)), DATA).refit == ("hyperbolic",)


def row_of(prior, space, **parts):
    cost = {"num_parameters": 10, "seconds_per_epoch": 1.0, "replicas_at_once": 1}
    test = {"elbo": -2.0, "log_marginal": -1.5, "log_marginal_standard_error": 0.1}
    return {"prior": prior, "seed": 0, "space": space, **cost, "test": test | parts.pop("test", {}), **parts}


def test_tables_have_dashes_for_what_was_not_measured():
    measured = {"active_units": 7, "annealed_minus_weighted": 0.01}
    rows = [
        row_of("standard", "R^n", test=measured, latents={"collapsed": 3}),
        row_of("dirichlet", "the simplex"),
    ]
    first, second = tables(summarize(rows))
    assert first.rows[1][first.header.index("AIS - IW")] == "–"
    assert first.rows[0][first.header.index("AIS - IW")] == "0.01"
    assert "there are none for dirichlet (on the simplex)" in " ".join(first.notes)
    assert [list(row) for row in second.rows] == [["standard", "7.0", "3.0"], ["dirichlet", "–", "–"]]
    assert "none are counted for dirichlet (on the simplex)" in " ".join(second.notes)
    assert "not for dirichlet" in " ".join(second.notes)
    assert [table.title for table in tables(summarize(rows[1:]))] == ["Likelihood of the test images"]
    assert not [note for table in tables(summarize(rows[:1])) for note in table.notes if "none" in note]


def test_a_prior_is_recommended_where_rows_lack_measures():
    rows = [row_of("standard", "R^n", holes={"divergence": 0.1, "accuracy": 0.6}), row_of("dirichlet", "the simplex")]
    rows[1]["test"]["elbo"] = -1.0
    measured = measurements_of(rows)
    assert "divergence" not in measured["dirichlet"]
    assert recommend(measured).prior == "dirichlet"


def test_marks_say_which_prior_is_the_baseline():
    rows = [row_of(name, "the simplex") for name in ("dirichlet", "logistic_normal")]
    marks = {"log_marginal": {"logistic_normal": "▲"}}
    assert "▼ worse than dirichlet beyond" in of_comparison(summarize(rows), marks).notes[-1]
    assert (
        "▼ worse than N(0, I) beyond" in of_comparison(summarize([*rows, row_of("standard", "R^n")]), marks).notes[-1]
    )


@pytest.mark.nightly
def test_a_prior_on_the_sphere_is_compared_drawn_and_measured_again(tmp_path):
    small = {"epochs": 2, "hidden": (8,), "latent_dim": 3, "num_components": 4, "num_samples": 10, "warmup_epochs": 1}
    priors = ("standard", "spherical_uniform")
    config = Config(dataset="digits", priors=priors, seeds=1, annealing=(2, 4, 2), output_dir=str(tmp_path), **small)
    content = compare(config)
    standard, sphere = content["rows"]
    assert "annealed_minus_weighted" in standard["test"]
    assert not {"annealed_minus_weighted", "active_units"} & sphere["test"].keys()
    assert "latents" not in sphere
    assert standard["holes"].keys() == sphere["holes"].keys()
    assert all(np.isfinite(value) for value in sphere["holes"].values())
    assert sphere["samples"]["generated"]["fid"] > 0
    report = (tmp_path / "report.md").read_text()
    assert report.count("Left out are priors over other spaces than R^n: spherical_uniform.") == 3
    again = evaluate.main(evaluate.Options(tmp_path))
    assert [row["prior"] for row in again["summary"]] == ["standard", "spherical_uniform"]
    rows = json.loads((tmp_path / "evaluation.json").read_text())["rows"]
    assert rows[1]["test"]["elbo"] == pytest.approx(sphere["test"]["elbo"], abs=1e-4)
