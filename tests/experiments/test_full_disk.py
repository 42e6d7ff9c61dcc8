"""Programs that cannot write say so in one line, and what was trained is saved elsewhere."""

import errno
import re
from pathlib import Path

import pytest

import vaepriors_jax as vp
from experiments.data.dataset import load
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.runs import folder
from experiments.training import kept
from experiments.training.train import train
from tests.training.test_full_disk import fill

SMALL = {
    "dataset": "digits",
    "priors": ("standard",),
    "epochs": 1,
    "warmup_epochs": 1,
    "hidden": (4,),
    "latent_dim": 2,
    "seeds": 2,
}


def train_small(output_dir):
    digits = load("digits")
    return train("standard", resolve(Config(**SMALL), digits), digits, output_dir)


def models_named_in(message):
    """The priors of both seeds in the folder that a message names."""
    place = Path(re.search(r"so far are in (\S+)/models\.$", message).group(1))
    assert place.name.startswith("vaepriors_jax-")
    return [vp.load_model(place / kept.model_folder("standard", seed))[0] for seed in (0, 1)]


@pytest.mark.slow
def test_what_was_trained_is_saved_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    fill(monkeypatch, after=1)  # checkpoints cannot be written
    with pytest.raises(OSError, match="after epoch 1 cannot be saved") as found:
        train_small(tmp_path / "run")
    assert models_named_in(str(found.value)) == [vp.standard_normal(2)] * 2
    assert not (tmp_path / "run" / "trained").exists()
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    save = vp.save_model

    def save_elsewhere(place, *arguments, **options):  # nor can models
        if (tmp_path / "run") in Path(place).parents:
            raise OSError(errno.ENOSPC, "No space left on device", str(place))
        save(place, *arguments, **options)

    monkeypatch.setattr(vp, "save_model", save_elsewhere)
    with pytest.raises(OSError, match="No space left on device: '.*run/models/standard-seed0'") as found:
        train_small(tmp_path / "run")
    assert models_named_in(str(found.value)) == [vp.standard_normal(2)] * 2
    monkeypatch.undo()
    assert train_small(tmp_path / "run").result.history["elbo"].shape == (2, 1)


@pytest.mark.parametrize("path", ["/proc/run", "/dev/full/run", "x" * 300])
def test_a_folder_that_cannot_be_written_is_found_at_once(path):
    with pytest.raises(ValueError, match="Expected an output folder that can be written"):
        folder.output_folder(path, "compare_priors", "digits")
