"""Each worked example runs as its users run it."""

import os
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "__init__")
# What shortens an example.
ARGUMENTS = {
    "counts": ["--num-epochs", "2", "--num-cells", "200"],
    "colour_images": ["--num-epochs", "1", "--num-images", "200", "--num-samples", "2"],
    "spherical_latent": ["--num-epochs", "2"],
    "objectives": ["--num-epochs", "1", "--num-samples", "2"],
    "batch_norm_linen": ["--num-epochs", "1", "--num-samples", "2"],
}
# What is in no extra of the tests.
NEEDS = {"stream_torch": "torch"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if name == "counts" else name for name in NAMES]
)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name == "stream_tfds" and not (Path(os.environ.get("TFDS_DATA_DIR", "/nowhere")) / "mnist").is_dir():
        pytest.skip("needs MNIST in TFDS_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, [])])
    runpy.run_module(f"experiments.examples.{name}", run_name="__main__")
    assert capsys.readouterr().out
