"""Each worked example runs as its users run it."""

import os
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest

import vaepriors_jax as vp

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "__init__")
# What shortens an example, beside `shorten`: warm-up is a share of the epochs.
ARGUMENTS = {
    "counts": ["--num-epochs", "2", "--num-cells", "200"],
    "colour_images": ["--num-epochs", "1", "--num-images", "200"],
    "batch_norm_linen": ["--num-epochs", "1"],
    "flow_matching_prior": ["--num-epochs", "1", "--latent-dim", "2", "--num-steps", "5", "--num-images", "2"],
    "objectives": ["--num-epochs", "1"],
    "missing_labels": ["--num-epochs", "2"],
    "vector_conditions": ["--num-epochs", "1"],
}
NIGHTLY = ("counts", "flow_matching_prior", "missing_labels", "objectives", "vector_conditions")
# Packages without which an example is skipped.
NEEDS = {"stream_torch": "torch", "flow_matching_prior": "diffrax"}


def shorten(monkeypatch):
    """One epoch, and two samples for log p(x): what an example does is tried, and not how good it becomes."""
    for name, short in (("fit", {"num_epochs": 1}), ("log_marginal", {"num_samples": 2})):
        monkeypatch.setattr(vp, name, partial(shortened, getattr(vp, name), short))


def shortened(function, short, *arguments, **options):
    (name,) = short
    assert options[name] >= short[name]
    return function(*arguments, **options | short)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if name in NIGHTLY else name for name in NAMES]
)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name == "stream_tfds" and not (Path(os.environ.get("TFDS_DATA_DIR", "/nowhere")) / "mnist").is_dir():
        pytest.skip("needs MNIST in TFDS_DATA_DIR")
    shorten(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, [])])
    runpy.run_module(f"experiments.examples.{name}", run_name="__main__")
    assert capsys.readouterr().out
