"""A disk without space is found before training; one that fills up loses nothing that was trained."""

import errno
import os
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data
from vaepriors_jax.training.checkpoint import Folder


def fit(folder, num_epochs=4, **options):
    vae, params = bernoulli_vae()
    options = {"batch_size": 50, "progress": False, "num_epochs": num_epochs, "validation": binary_data()} | options
    checkpoints = folder and vp.Checkpoints(folder, every=1)
    return vp.fit(vae, params, jax.random.key(0), binary_data(), optax.adam(1e-2), checkpoints=checkpoints, **options)


def fill(monkeypatch, after):
    """A disk that is full after so many questions for its free space."""
    asked = []

    def disk_usage(path):
        asked.append(path)
        return SimpleNamespace(free=2**30 if len(asked) <= after else 100)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)


def test_a_full_disk_is_found_before_training(tmp_path, monkeypatch):
    fill(monkeypatch, after=0)
    epochs = []
    with pytest.raises(
        OSError, match=r"No space left on device \(a checkpoint takes [\d,]+ bytes, 100 are free"
    ) as found:
        fit(tmp_path, callback=lambda epoch: epochs.append(epoch.epoch))
    assert found.value.errno == errno.ENOSPC
    assert str(tmp_path) in str(found.value)
    assert epochs == []


def test_a_disk_that_fills_up_gives_the_result_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    fill(monkeypatch, after=3)  # before training, and for two checkpoints
    with pytest.raises(vp.CheckpointError, match="after epoch 3 cannot be saved in .*: .*No space left") as found:
        fit(tmp_path / "run")
    assert isinstance(found.value, OSError)
    whole = fit(None, num_epochs=3)
    jax.tree.map(np.testing.assert_array_equal, found.value.result.params, whole.params)
    assert found.value.result.history["elbo"].shape == (3,)
    assert [name for name in os.listdir(tmp_path / "run") if name.isdigit()] == ["2"]
    monkeypatch.undo()
    jax.tree.map(np.testing.assert_array_equal, fit(tmp_path / "run").params, fit(None).params)


@pytest.mark.parametrize("error", [ValueError("RESOURCE_EXHAUSTED: No space left on device\nmore"), OSError(5, "I/O")])
def test_what_orbax_raises_is_told_in_one_line(tmp_path, monkeypatch, error):
    def save(*_, **__):
        raise error

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", save)
    with pytest.raises(vp.CheckpointError) as found:
        fit(tmp_path)
    assert len(str(found.value).splitlines()) == 1
    assert found.value.result.history["elbo"].shape == (1,)


def test_a_run_that_was_finished_before_knows_its_seconds(tmp_path):
    first = fit(tmp_path)
    again = fit(tmp_path)
    assert first.seconds_per_epoch == again.seconds_per_epoch > 0


def test_checkpoints_of_an_earlier_version_have_no_seconds(tmp_path, monkeypatch):
    save = Folder.save
    monkeypatch.setattr(Folder, "save", lambda self, state, history, seconds: save(self, state, history, []))
    fit(tmp_path)
    monkeypatch.undo()
    assert np.isnan(fit(tmp_path).seconds_per_epoch)
