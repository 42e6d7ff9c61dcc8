"""`evaluate` takes a run's files as they were written, and says what is wrong with any others."""

import json
from dataclasses import asdict

import jax
import pytest

import vaepriors_jax as vp
from experiments import evaluate, measures
from experiments.options.config import Config
from experiments.options.stored import read_options
from tests.support.saved_run import write_run


class ReachedError(Exception):
    """The models are about to be measured."""


def stop(*arguments):
    raise ReachedError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return folder, json.loads((folder / "results.json").read_text())


@pytest.fixture
def run(written, monkeypatch):
    """The folder, and what its results.json holds; it is written back afterwards."""
    folder, content = written
    monkeypatch.setattr(measures, "make_sample_scorer", lambda data: None)
    monkeypatch.setattr(measures, "measure", stop)
    yield folder, json.loads(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(content))


def alter(content, path, value):
    *parents, last = path
    for name in parents:
        content = content[name]
    content[last] = value


def test_a_run_as_it_was_written_is_measured(run):
    with pytest.raises(ReachedError):
        evaluate.main(evaluate.Options(run[0]))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("experiment",), "choose_prior", "it is of the program 'choose_prior'"),
        (("config",), [], "the file has no entry 'config' of the right type"),
        (("config", "colour"), 1, r"options of Config by name; got \['colour'\]"),
        (("config", "hidden"), ["4"], r"the option 'hidden' to be of the type tuple\[int, ...\] \| None; got \['4'\]"),
        (("config", "hidden"), [5], "its networks do not take the parameters"),
        (("config", "latent_dim"), 3, "its networks do not take the parameters"),
        (("config", "seeds"), 10**30, "--seeds <= 1,000"),
        (("config", "learning_rate"), float("nan"), "--learning-rate > 0 and finite; got nan"),
        (("config", "likelihood"), "binomial", "grey values for --likelihood binomial"),
        (("config", "levels"), True, r"'levels' to be of the type Literal\[1, 2\]; got True"),
        (("rows",), {}, "the file has no entry 'rows'"),
        (("rows",), [], r"--priors among those of the run, \[\]"),
        (("rows", 0), None, "row 0 holds no entries by name"),
        (("rows", 0, "prior"), 3, "row 0 has no entry 'prior'"),
        (("rows", 0, "prior"), "../..", "Expected a model saved by `save_model` in .* holds no model.npz"),
        (("rows", 0, "prior"), "os:abort", "--priors where a run has priors of your own, .* 'os:abort'"),
        (("rows", 0, "seed"), 1, "Expected a model saved by `save_model` in .*standard-seed1"),
        (("rows", 0, "seed"), "0", "row 0 has no entry 'seed'"),
        (("seconds",), None, "the file has no entry 'seconds'"),
    ],
)
def test_altered_results_are_refused(run, path, value, message):
    folder, content = run
    alter(content, path, value)
    (folder / "results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        evaluate.main(evaluate.Options(folder))


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"rows": 1', '"text"', "\x00"])
def test_results_that_are_no_run(run, text):
    folder, _ = run
    (folder / "results.json").write_text(text)
    with pytest.raises(ValueError, match="Expected the output folder of compare_priors, with a results.json, in"):
        evaluate.main(evaluate.Options(folder))


def test_a_model_of_another_prior_is_refused(run):
    folder, content = run
    alter(content, ("rows", 0, "prior"), "vamp")
    (folder / "results.json").write_text(json.dumps(content))
    prior, params = vp.load_model(folder / "models" / "standard-seed0")
    vp.save_model(
        folder / "models" / "vamp-seed0",
        vp.mixture(5, 3),
        params._replace(prior=vp.mixture(5, 3).init(jax.random.key(0))),
    )
    with pytest.raises(ValueError, match="do not take the parameters"):
        evaluate.main(evaluate.Options(folder))


def test_options_come_back_as_they_were():
    config = Config(annealing=(4, 3, 2), learning_rates=(1e-3, 1e-2), priors=("mine:prior",), learning_rate=None)
    assert read_options(Config, json.loads(json.dumps(asdict(config)))) == config
