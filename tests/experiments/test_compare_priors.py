"""`compare_priors`, small: what it prints and writes, and its messages for wrong options."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

import vaepriors_jax as vp
from experiments import evaluate
from experiments.comparison.compare import compare
from experiments.data.dataset import load
from experiments.options import command_line
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.options.settings import fill
from experiments.report import latent_space

SMALL = {
    "dataset": "digits",
    "epochs": 2,
    "hidden": (8,),
    "latent_dim": 2,
    "num_components": 4,
    "num_samples": 10,
    "warmup_epochs": 1,
    "annealing": (2, 4, 2),
}


def check_results(folder):
    content = json.loads((folder / "results.json").read_text())
    assert set(content) >= {"experiment", "dataset", "config", "hardware", "versions", "rows", "summary"}
    assert [(row["prior"], row["seed"]) for row in content["rows"]] == [
        (prior, seed) for prior in ("vamp", "conditional") for seed in (0, 1)
    ]
    for row in content["rows"]:
        assert set(row) >= {"prior", "seed", "num_parameters", "best_epoch", "seconds_per_epoch", "test"}
        test = row["test"]
        assert set(test) >= {
            "log_marginal",
            "log_marginal_standard_error",
            "elbo",
            "reconstruction",
            "kl",
            "active_units",
        }
        # Annealing checks the first seed, on all of these few images.
        assert ("annealed_minus_weighted" in test) == (row["seed"] == 0)
        assert test.get("num_annealed", 80) == 80
        assert "pareto_k_above_0.7" not in test  # 10 samples are too few to tell
        assert row["latents"]["collapsed"] in (0, 1, 2)
        assert ("weight_perplexity" in row["latents"]) == (row["prior"] == "vamp")
        assert ("pseudo_input_distance" in row["latents"]) == (row["prior"] == "vamp")
        assert test["elbo"] == pytest.approx(test["reconstruction"] - test["kl"], abs=1e-3)
        assert all(math.isfinite(value) for value in [*test.values(), *row["holes"].values()])
        if row["prior"] == "conditional":
            assert test["elbo"] < test["log_marginal_given_label"]
            assert "log_marginal_given_label" in test
        else:
            assert test["elbo"] < test["log_marginal"]
    by_prior = {entry["prior"]: entry for entry in content["summary"]}
    values = [row["test"]["log_marginal"] for row in content["rows"] if row["prior"] == "vamp"]
    assert by_prior["vamp"]["log_marginal"]["mean"] == pytest.approx(sum(values) / 2)
    assert by_prior["vamp"]["log_marginal"]["standard_error"] == pytest.approx(abs(values[0] - values[1]) / 2)
    assert by_prior["vamp"]["replicas_at_once"] == 2
    assert content["hardware"]["num_cores"] >= 1


def check_report_figures_and_models(folder):
    report = (folder / "report.md").read_text()
    assert report.index("## The answer") < report.index("## Pictures") < report.index("## Tables")
    drawn = ("encodings.png", "interpolations.png", "components.png", "hole_maps.png", "pseudo_inputs.png")
    for figure in ("samples.png", "reconstructions.png", "training_curves.png", *drawn):
        assert figure in report
        assert (folder / figure).stat().st_size > 5000
    for prior in ("vamp", "conditional"):
        assert f"| {prior} |" in report
    prior, params = vp.load_model(folder / "models" / "vamp-seed1")
    assert prior.config["factory"] == "vamp"
    assert vp.pseudo_inputs(prior, params.prior).shape == (4, 8, 8)


@pytest.mark.slow
def test_priors_are_trained_compared_and_reported(tmp_path):
    """With few test images; then the saved models are measured again, on all of them."""
    priors = ("vamp", "conditional")  # all five are what CI runs
    config = Config(seeds=2, num_test=80, priors=priors, output_dir=str(tmp_path), **SMALL)
    compare(config)
    check_results(tmp_path)
    check_report_figures_and_models(tmp_path)
    again = evaluate.main(evaluate.Options(tmp_path, num_samples=10, priors=("vamp",)))
    assert [row["prior"] for row in again["summary"]] == ["vamp"]
    first = {(row["prior"], row["seed"]): row for row in json.loads((tmp_path / "results.json").read_text())["rows"]}
    for row in json.loads((tmp_path / "evaluation.json").read_text())["rows"]:
        # The same model on the same training set; the divergence is of all test images now.
        before, again = (holes for holes in (first[row["prior"], row["seed"]]["holes"], row["holes"]))
        of_training = [name for name in again if name.startswith(("marginal_kl", "mutual", "hole_mass", "uncovered"))]
        assert {name: again[name] for name in of_training} == pytest.approx(
            {name: before[name] for name in of_training}, rel=1e-4
        )
        assert -0.2 < again["divergence"] < 0.694
        assert row["samples"]["floor"]["fid"] < row["samples"]["noise"]["fid"]
    with pytest.raises(ValueError, match="Expected --priors among those of the run"):
        evaluate.main(evaluate.Options(tmp_path, priors=("nonesuch",)))
    with pytest.raises(ValueError, match="Expected the output folder of compare_priors"):
        evaluate.main(evaluate.Options(tmp_path / "models"))


@pytest.mark.slow
def test_refitted_priors_are_rows_of_their_own(tmp_path):
    """With two levels of latents, and an epoch of cooldown."""
    options = {
        "levels": 2,
        "cooldown_epochs": 1,
        "checkpoints": True,
        "seeds": 1,
        "num_test": 80,
        "priors": ("standard",),
        "refit": ("mixture",),
        "metrics": "likelihood",
    }
    content = compare(Config(**options, **SMALL, output_dir=str(tmp_path)))
    standard, refitted = content["rows"]
    assert [row["prior"] for row in content["rows"]] == ["standard", "standard, refit mixture"]
    assert 1 <= standard["best_epoch"] <= SMALL["epochs"] + 1
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"standard", "standard-cooldown"}
    # The networks are the same, the prior is not.
    assert refitted["test"]["reconstruction"] == pytest.approx(standard["test"]["reconstruction"], abs=1e-4)
    assert refitted["test"]["kl"] != pytest.approx(standard["test"]["kl"], abs=1e-3)
    models = evaluate.load_models(tmp_path, content["rows"], fill(Config(**content["config"])), load("digits"))
    on_top = [model.vae.prior.config["top_prior"]["factory"] for model in models]
    assert on_top == ["standard_normal", "mixture"]


def test_umap_has_to_be_installed(monkeypatch):
    monkeypatch.setattr(latent_space, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="Expected umap-learn for --projection umap"):
        compare(Config(projection="umap"))


def test_holes_of_two_levels_are_left_out_of_large_data(capsys):
    digits = load("digits")
    large = digits._replace(train={name: np.repeat(array, 5, axis=0) for name, array in digits.train.items()})
    assert resolve(Config(dataset="digits", levels=2), digits).metrics == "all"
    assert resolve(Config(), large).metrics == "all"
    assert resolve(Config(levels=2), large).metrics == "likelihood"
    assert "up to 5,000 it is measured" in capsys.readouterr().out


def message_of(monkeypatch, capsys, *options):
    """What the program says when it exits with an error."""
    monkeypatch.setattr(sys, "argv", ["compare_priors", *options])
    with pytest.raises(SystemExit) as ended:
        command_line.run(compare, Config)
    assert ended.value.code not in (0, None)
    printed = capsys.readouterr()
    return f"{ended.value.code}{printed.out}{printed.err}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:replica 0 was frozen:RuntimeWarning")
def test_wrong_options_end_in_one_clear_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    for options, message in [
        (("--dataset", "cifar"), "cifar"),
        (("--dataset", "digits", "--priors", "gaussian"), "gaussian"),
        (("--dataset", "digits", "--seeds", "0"), "error: Expected --seeds >= 1; got 0."),
        (("--annealing", "4", "0", "5"), "error: Expected --annealing >= 1; got (4, 0, 5)."),
        (("--warmup-epochs", "-1"), "error: Expected --warmup-epochs >= 0; got -1."),
        (("--cooldown-epochs", "-1"), "error: Expected --cooldown-epochs >= 0; got -1."),
        (("--learning-rates", "1e-3", "inf"), "error: Expected --learning-rates > 0 and finite; got"),
        (
            ("--dataset", "digits", "--output-dir", str(tmp_path / "file" / "below")),
            "error: Expected an output folder that can be written",
        ),
        (
            (
                "--dataset",
                "digits",
                "--learning-rate",
                "1e30",
                "--epochs",
                "2",
                "--priors",
                "standard",
                "--metrics",
                "likelihood",
                "--seeds",
                "1",
            )
            + ("--output-dir", str(tmp_path / "run")),
            "error: No prior could be trained",
        ),
        (
            ("--dataset", "digits", "--batch-size", "5000", "--output-dir", str(tmp_path / "other")),
            "error: Expected at least one batch of 5000 examples; got 1197.",
        ),
        (("--dataset", "mnist", "--data-dir", str(tmp_path)), "error: Expected a prepared copy of 'mnist'"),
    ]:
        said = message_of(monkeypatch, capsys, *options)
        assert message in said
        assert "Traceback" not in said


@pytest.mark.parametrize("program", ["compare_priors", "configs.static_mnist_vamp"])
def test_help_is_readable(program):
    command = [sys.executable, "-m", f"experiments.{program}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    for option in ("--dataset", "--priors", "--seeds", "--preset", "--epochs", "--batch-size", "--learning-rate",
                   "--latent-dim", "--num-components", "--output-dir"):  # fmt: skip
        assert option in done.stdout


def test_the_warm_up_ends_within_a_short_run(capsys):
    digits = load("digits")
    capsys.readouterr()
    small, large = (fill(Config(dataset=name)) for name in ("digits", "mnist_5k"))
    assert (small.epochs, small.latent_dim, small.average_decay) == (150, 10, 0)
    assert (large.epochs, large.latent_dim, large.average_decay) == (40, 16, 0.99)
    assert resolve(Config(dataset="digits"), digits).warmup_epochs == 20
    assert resolve(Config(dataset="digits", epochs=30, warmup_epochs=25), digits).warmup_epochs == 25
    assert capsys.readouterr().out == ""
    assert resolve(Config(preset="paper", epochs=30), digits).warmup_epochs == 7
    assert "shortened to 7; --warmup-epochs sets it" in capsys.readouterr().out


def test_conditional_needs_labels():
    digits = load("digits")
    unlabelled = digits._replace(num_classes=None)
    assert "conditional" not in (resolve(Config(), unlabelled).priors or ())
    with pytest.raises(ValueError, match="Expected labels for the prior 'conditional'; digits has none"):
        resolve(Config(priors=("conditional",)), unlabelled)
