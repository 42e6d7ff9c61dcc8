"""Duplicate options, and numbers that a seed or float32 cannot hold, end in one clear message."""

import re
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import vaepriors_jax as vp
from experiments import (
    choose_prior,
    conditional_generation,
    generation_quality,
    prior_visualization,
    pseudo_inputs,
)
from experiments.comparison import compare
from experiments.data.dataset import load
from experiments.options import command_line
from experiments.options.checks import check_options
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.runs.folder import output_folder

DIGITS = load("digits")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            OSError(28, "No space left on device", "results.json"),
            r"\[Errno 28\] No space left on device: 'results.json'$",
        ),
        (TypeError("Expected a prior;\n  got \x1b[2J3"), r"Expected a prior; got \\x1b\[2J3$"),
        (vp.TrainingFailedError("All replicas failed", None), "All replicas failed$"),
        (ValueError(), "ValueError$"),
        (ValueError("x" * 10_000), r"x{2000} \.\.\.$"),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line(monkeypatch, raised, said):
    def fail(options):
        raise raised

    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit) as ended:
        command_line.run(fail, Seeds(0))
    assert re.match(f"error: {said}", str(ended.value.code))


@pytest.mark.parametrize("error", [KeyError, AssertionError, RuntimeError, IndexError])
def test_a_mistake_in_the_code_keeps_its_traceback(monkeypatch, error):
    def fail(options):
        raise error

    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(error):
        command_line.run(fail, Seeds(0))


@dataclass(frozen=True)
class Seeds:
    seed: int
    seeds: int = 1


@pytest.mark.parametrize("name", ["learning_rates", "betas"])
def test_values_that_float32_cannot_tell_apart_are_one(name):
    check_options(Config(**{name: (1e-3, 1.001e-3)}))
    with pytest.raises(ValueError, match=f"each value of --{name.replace('_', '-')} once; got 0.00100000000001"):
        check_options(Config(**{name: (1e-3, 2e-3, 0.00100000000001)}))


@pytest.mark.parametrize("name", ["priors", "refit"])
def test_priors_are_named_once(name):
    with pytest.raises(ValueError, match=f"Expected each value of --{name} once; got vamp more than once"):
        resolve(Config(**{name: ("vamp", "mixture", "vamp")}), DIGITS)


def test_seeds_are_those_of_32_bits():
    for good in (Seeds(0), Seeds(2**32 - 1), Seeds(2**32 - 3, 3)):
        check_options(good)
    for bad in (Seeds(-1), Seeds(2**32), Seeds(10**30)):
        with pytest.raises(ValueError, match=rf"Expected 0 <= --seed < 2\^32; got {bad.seed}"):
            check_options(bad)
    with pytest.raises(ValueError, match=r"--seed \+ --seeds <= 2\^32; got 4294967294 \+ 3"):
        check_options(Seeds(2**32 - 2, 3))


@pytest.mark.parametrize(
    ("program", "options", "repeated"),
    [
        (compare, Config, "--priors"),
        (choose_prior, choose_prior.Options, "--priors"),
        (generation_quality, generation_quality.Options, "--refit"),
        (prior_visualization, prior_visualization.Options, "--priors"),
        (conditional_generation, conditional_generation.Options, None),
        (pseudo_inputs, pseudo_inputs.Options, "--starts"),
    ],
)
def test_each_program_checks_seeds_and_repeats(program, options, repeated, monkeypatch):
    """Before anything is read or trained."""
    monkeypatch.setattr(program, "load", None)
    value = "data" if repeated == "--starts" else "mixture"
    given = [["--seed", str(2**32)]] + ([[repeated, value, value]] if repeated else [])
    for arguments in given:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        with pytest.raises(SystemExit, match="^error: Expected (0 <= --seed|each value of)"):
            command_line.run(program.compare if program is compare else program.main, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 1e-50}, r"--learning-rate from 1.18e-38 to 3.4e\+38; got 1e-50"),
        ({"average_decay": 1.0}, r"--average-decay from 0, for no average, to below 1, such as 0.99; got 1.0"),
        ({"average_decay": float("nan")}, r"--average-decay from 0, .*; got nan"),
        ({"learning_rate": 1e39}, r"--learning-rate from .*; got 1e\+39"),
        ({"learning_rates": (1e-3, 1e-45)}, r"--learning-rates from .*; got \(0.001, 1e-45\)"),
        ({"betas": (1e-45,)}, r"--betas from .*; got \(1e-45,\)"),
        ({"learning_rate": 1e-3, "learning_rates": (1e-3,)}, r"--learning-rate or --learning-rates; got both"),
        ({"warmup_epochs": 1000}, r"--warmup-epochs <= --epochs; got 1000 of 150"),
        ({"learning_rate": 10**400}, r"--learning-rate from .*; got 1000"),
        ({"learning_rate": float("nan")}, r"--learning-rate > 0 and finite; got nan"),
        ({"epochs": 10**30}, r"--epochs <= 1,000,000; got 1000"),
        ({"hidden": (8, 10**6)}, r"--hidden <= 100,000; got \(8, 1000000\)"),
        ({"hidden": (8,) * 65}, r"at most 64 values of --hidden; got 65"),
        ({"priors": ()}, r"at least one value of --priors; got none"),
        ({"batch_size": 1198}, r"at least one batch of 1198 examples; got 1197. Lower --batch-size"),
        (
            {"priors": ("vamp",), "num_components": 1198},
            r"--num-components <= 1197, .* to start vamp at data; got 1198",
        ),
        ({"hidden": (30_000, 30_000)}, r"at most 268,435,456 parameters in all models .*; the prior standard"),
        ({"seeds": 1000, "hidden": (300, 300)}, r"at most 268,435,456 parameters .* 1000 times"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=f"Expected {message}"):
        resolve(Config(dataset="digits", **options), DIGITS)


def test_several_learning_rates_stand_for_the_presets_and_stay_when_resolved_again():
    config = resolve(Config(learning_rates=(1e-3, 1e-2)), DIGITS)
    assert config.learning_rate is None
    assert config.all_learning_rates == (1e-3, 1e-2)
    assert resolve(Config(dataset="digits"), DIGITS).all_learning_rates == (2e-3,)
    assert resolve(config, DIGITS) == config


def test_data_without_variation_or_without_a_class(capsys):
    constant = DIGITS._replace(train={**DIGITS.train, "x": np.ones_like(DIGITS.train["x"])})
    with pytest.raises(ValueError, match="training images that differ; those of digits are all the same"):
        resolve(Config(), constant)
    kept = DIGITS.train["y"] != 3
    lacking = DIGITS._replace(train={name: array[kept] for name, array in DIGITS.train.items()})
    with pytest.raises(ValueError, match="each class for the prior 'conditional'; digits has none of class 3"):
        resolve(Config(priors=("conditional",)), lacking)
    assert "conditional" not in (resolve(Config(), lacking).priors or ())
    assert "no training images of class 3: the prior 'conditional' is left out" in capsys.readouterr().out


def test_bytes_of_another_scale_are_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 3, (120, 8, 8), np.uint8)
    np.savez(tmp_path / "levels.npz", images=images)
    with pytest.raises(ValueError, match="bytes from 0 to 255, or zeros and ones, .* got values up to 2"):
        load(str(tmp_path / "levels.npz"))
    np.savez(tmp_path / "scaled.npz", images=images / images.max())
    assert load(str(tmp_path / "scaled.npz"), binarization="none").train["x"].max() == 1


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_folder("~/results", "program", "digits") == tmp_path / "results"
    with pytest.raises(ValueError, match="an output folder that can be written"):
        output_folder("~no-such-user/results", "program", "digits")
