"""A save that is interrupted at any moment leaves the old model or the new one."""

import errno
import itertools
import multiprocessing
import os
import time

import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.saving import PRIOR, assert_same, model, other_model, save_for_ever, small_model
from vaepriors_jax.training import atomic_write


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    (tmp_path / "model.npz.0123abcd.partial").write_bytes(b"left")
    with atomic_write.replace_file(tmp_path / "model.npz") as file:
        file.write(b"slower")
        vp.save_model(tmp_path, *small_model())
        assert sorted(os.listdir(tmp_path)) == ["model.npz", os.path.basename(file.name)]
        assert_same(vp.load_model(tmp_path)[1], small_model()[1])
    assert (tmp_path / "model.npz").read_bytes() == b"slower"


def test_a_file_that_is_taken_for_left_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, locked = atomic_write.fcntl.flock, []

    def remove_first(file, operation):
        if not locked:
            os.unlink(file.name)
        locked.append(file.name)
        lock(file, operation)

    monkeypatch.setattr(atomic_write.fcntl, "flock", remove_first)
    vp.save_model(tmp_path, *small_model())
    assert len(locked) == 2
    assert os.listdir(tmp_path) == ["model.npz"]


def try_to_save_another(folder):
    """Returns the error of a save over the small model, after a look at what it left, or None."""
    try:
        vp.save_model(folder, *other_model())
    except OSError as error:
        assert os.listdir(folder) == ["model.npz"]
        assert_same(vp.load_model(folder)[1], small_model()[1])
        return error
    assert_same(vp.load_model(folder)[1], other_model()[1])
    return None


def test_an_error_at_any_step_leaves_the_old_model(tmp_path, monkeypatch):
    """At the opening of the file, every write, the flush to the disk, and the renaming."""

    def stop_after(steps):
        left = iter(range(steps))

        def counted(function):
            def step(*arguments):
                if next(left, None) is None:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return function(*arguments)

            return step

        def open_counted(path, mode):
            file = counted(open)(path, mode)
            file.write = counted(file.write)
            return file

        monkeypatch.setattr(atomic_write, "open", open_counted, raising=False)
        monkeypatch.setattr(os, "fsync", counted(fsync))
        monkeypatch.setattr(os, "replace", counted(replace))

    fsync, replace = os.fsync, os.replace
    vp.save_model(tmp_path, *small_model())
    errors = []
    for steps in itertools.count():
        stop_after(steps)
        error = try_to_save_another(tmp_path)
        if error is None:
            break
        errors.append(str(error))
    assert len(errors) > 20
    assert set(errors[1:]) == {f"[Errno 28] No space left on device: '{tmp_path}/model.npz'"}


def test_a_full_disk_at_any_size_leaves_the_old_model(tmp_path):
    resource = pytest.importorskip("resource")
    vp.save_model(tmp_path, *small_model())
    size = (tmp_path / "model.npz").stat().st_size
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in [*range(0, size, 37), size - 1, size]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            error = try_to_save_another(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert (error is None) == (limit == size)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.nightly)])
def test_a_killed_process_leaves_the_old_model_or_the_new_one(tmp_path, kills):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.saving"])
    random, num_partial = np.random.default_rng(0), 0
    for _ in range(kills):
        saving = context.Event()
        process = context.Process(target=save_for_ever, args=(tmp_path, saving))
        process.start()
        assert saving.wait(120)
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.join()
        params = vp.load_model(tmp_path)[1]
        assert_same(params, model(params.encoder[0]))
        left = [name for name in os.listdir(tmp_path) if name != "model.npz"]
        assert len(left) <= 1
        num_partial += len(left)
    assert num_partial >= kills // 10  # killed while they wrote
    vp.save_model(tmp_path, PRIOR, model(0))
    assert os.listdir(tmp_path) == ["model.npz"]
