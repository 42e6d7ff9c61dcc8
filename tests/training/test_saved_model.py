"""Saved models: whole after any interruption, checked on loading, and read in every format."""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import pickle
import time
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, stacked
from tests.support.first_format import save_in_first_format
from tests.support.saving import PRIOR, model, save_for_ever
from vaepriors_jax.training import atomic_write
from vaepriors_jax.training.saved_archive import read_archive, write_archive

UNREADABLE = "Expected a model saved by `save_model`"


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def small_model():
    vae, params = bernoulli_vae()
    return vae.prior, params


def other_model():
    prior, params = small_model()
    return prior, jax.tree.map(lambda leaf: leaf + 1, params)


def write_changed(folder, change):
    """Writes the small model with another description, and the SHA-256 of what is written."""
    vp.save_model(folder, *small_model())
    description, arrays = read_archive(folder / "model.npz")
    write_archive(folder / "model.npz", change(description), arrays)


def test_save_and_load(tmp_path):
    prior, params = small_model()
    vp.save_model(tmp_path / "model", prior, params)
    loaded_prior, loaded = vp.load_model(tmp_path / "model")
    assert loaded_prior == prior
    assert_same(loaded, params)
    assert os.listdir(tmp_path / "model") == ["model.npz"]


def test_the_file_is_as_documented(tmp_path):
    prior, params = small_model()
    vp.save_model(tmp_path, prior, params)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        description = json.loads(archive["model.json"])
        arrays = [archive[str(i)] for i in range(len(description["params"]["leaves"]))]
    assert_same(arrays, jax.tree.leaves(tuple(params)))
    assert description["format"] == 2
    assert description["vaepriors_jax"] == vp.__version__
    assert description["prior"] == vp.plain_config(prior)
    again = tmp_path / "again"
    vp.save_model(again, prior, params)
    assert (again / "model.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()


def test_other_files_of_the_folder_stay(tmp_path):
    names = ["params/notes.txt", "prior.json", "model.npz.partial", "model.npz.mine.partial", "other.npz"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for save in (small_model, other_model):
        vp.save_model(tmp_path, *save())
    assert_same(vp.load_model(tmp_path)[1], other_model()[1])
    assert all((tmp_path / name).read_text() == "mine" for name in names)


# Interruptions


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


# Damage


def test_every_flipped_bit_is_noticed(tmp_path):
    vp.save_model(tmp_path, *small_model())
    file = tmp_path / "model.npz"
    content, random = file.read_bytes(), np.random.default_rng(0)
    size = 8 * len(content)
    ends = [0, size - 1, size - 8 * 64, size - 8 * 64 - 1]
    for bit in [*ends, *random.choice(size, 196, replace=False)]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{UNREADABLE}.*model.npz is damaged"):
            vp.load_model(tmp_path)


def test_a_cut_file_is_noticed(tmp_path):
    vp.save_model(tmp_path, *small_model())
    file = tmp_path / "model.npz"
    content = file.read_bytes()
    for size in [0, 1, 63, 64, 65, len(content) // 2, len(content) - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="model.npz is damaged"):
            vp.load_model(tmp_path)
    file.write_bytes(content + b"0")
    with pytest.raises(ValueError, match="model.npz is damaged"):
        vp.load_model(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"{UNREADABLE}.*holds no model.npz"):
        vp.load_model(tmp_path / "nothing")


def replaced(**entries):
    return lambda description: description | entries


def in_params(**entries):
    return lambda description: description | {"params": description["params"] | entries}


ARRAY = {"array": "float32", "shape": [3, 2]}
DEEP: list = []
for _ in range(900):  # JSON reads it, and recursion over it may fail
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "change",
    [
        replaced(format=3),
        replaced(format=None),
        replaced(params=None),
        replaced(params=[]),
        replaced(prior=3),
        replaced(prior={"factory": "nothing"}),
        replaced(prior={"factory": ["mixture"]}),
        replaced(prior={"factory": "mixture", "dim": 2, "components": 3}),
        replaced(prior={"factory": "mixture", "dim": 2, "num_components": 10**30}),
        replaced(prior={"factory": "transformed", "base": {"factory": "standard_normal", "dim": 2}, "flow": None}),
        replaced(prior={"factory": "mixture", "dim": DEEP}),
        in_params(leaves=None),
        in_params(leaves=[ARRAY]),
        in_params(leaves=[ARRAY] * 100),
        in_params(leaves=[{"array": "object", "shape": [1]}] * 7),
        in_params(leaves=[{"array": "float32", "shape": [10**12]}] * 7),
        in_params(leaves=[{"array": "float32", "shape": [-1, 0]}] * 7),
        in_params(leaves=[{"number": []}] * 7),
        in_params(tree=None),
        in_params(tree=["set", []]),
        in_params(tree=[]),
        in_params(tree=["tuple"]),
        in_params(tree=["tuple", [0, 1, 100]]),
        in_params(tree=["dict", [[[], 0]]]),
        in_params(tree=DEEP),
        lambda description: [description],
        lambda description: {"format": 2},
    ],
)
def test_an_odd_description_is_refused(tmp_path, change):
    write_changed(tmp_path, change)
    with pytest.raises(ValueError, match="^Expected"):
        vp.load_model(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 10_000 + "]" * 10_000, "NaN", "3", "null", '"text"', "{", "", '{"format": NaN}']
)
def test_odd_json_is_refused(tmp_path, text):
    prior, params = small_model()
    save_in_first_format(tmp_path / "first", prior, params)
    (tmp_path / "first" / "prior.json").write_text(text)
    with pytest.raises(ValueError, match=UNREADABLE):
        vp.load_model(tmp_path / "first")
    vp.save_model(tmp_path, prior, params)
    rewrite(tmp_path / "model.npz", {"model.json": text.encode()})
    with pytest.raises(ValueError, match=UNREADABLE):
        vp.load_model(tmp_path)


def rewrite(file, changes, compression=zipfile.ZIP_STORED):
    """Writes an archive with other members, and the SHA-256 of what is written."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in (members | changes).items():
            archive.writestr(name, content)
        archive.comment = b"0" * 64
    content = file.read_bytes()[:-64]
    file.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vp.save_model(tmp_path, *small_model())
    crafted = io.BytesIO()
    np.lib.format.write_array(crafted, np.array([Harmful()] * 6, object))
    rewrite(tmp_path / "model.npz", {"0.npy": crafted.getvalue(), "1.npy": pickle.dumps(Harmful())})
    with contextlib.suppress(ValueError):
        vp.load_model(tmp_path)
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    vp.save_model(tmp_path, *small_model())
    rewrite(tmp_path / "model.npz", {"0.npy": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="model.npz is compressed"):
        vp.load_model(tmp_path)


# The prior


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (vp.mixture(2, 5), r"'loc' the model holds floating-point numbers \[3, 2\], and .* numbers \[5, 2\]"),
        (vp.mixture(3, 3), r"'loc' the model holds floating-point numbers \[3, 2\], and .* numbers \[3, 3\]"),
        (vp.standard_normal(2), "'loc' the model holds floating-point numbers .* makes nothing"),
        (vp.transformed(vp.mixture(2, 3), vp.permute(2)), "'base.loc' the model holds nothing"),
    ],
)
def test_another_prior_is_refused(tmp_path, prior, message):
    vp.save_model(tmp_path, *small_model())
    with pytest.raises(ValueError, match=message):
        vp.load_model(tmp_path, prior)


@pytest.mark.parametrize("prior", [0, 3, vp.standard_normal, {"factory": "standard_normal", "dim": 2}])
def test_what_is_no_prior_is_refused(tmp_path, prior):
    vp.save_model(tmp_path / "model", *small_model())
    with pytest.raises(TypeError, match="Expected a prior"):
        vp.load_model(tmp_path / "model", prior)
    with pytest.raises(TypeError, match="Expected a prior"):
        vp.save_model(tmp_path / "other", prior, small_model()[1])
    assert os.listdir(tmp_path) == ["model"]


def test_integers_for_floating_point_numbers_are_refused(tmp_path):
    prior, params = small_model()
    whole = params._replace(prior=jax.tree.map(lambda leaf: leaf.astype(jnp.int32), params.prior))
    vp.save_model(tmp_path, prior, whole)
    with pytest.raises(ValueError, match="holds integers"):
        vp.load_model(tmp_path)


def test_replicas_and_another_precision_are_accepted(tmp_path):
    prior, params = small_model()
    for changed in (stacked(params, 4), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)):
        vp.save_model(tmp_path, prior, changed)
        assert_same(vp.load_model(tmp_path)[1], changed)
    vp.save_model(tmp_path, prior, params._replace(prior=stacked(params.prior, 4)))
    with pytest.raises(ValueError, match=r"numbers \[4, 3, 2\]"):
        vp.load_model(tmp_path)


def test_a_prior_with_an_array_of_the_users_is_passed_again(tmp_path):
    prior = vp.from_distribution(vp.normal_diag(jnp.zeros(2), jnp.ones(2)))
    params = vp.VAEParams({"weight": jnp.ones(2)}, {}, prior.init(jax.random.key(0)))
    vp.save_model(tmp_path, prior, params)
    with pytest.raises(ValueError, match="holds a function, an array or a number that .* cannot hold. Pass `prior=`"):
        vp.load_model(tmp_path)
    loaded, found = vp.load_model(tmp_path, prior)
    assert loaded is prior
    assert_same(found, params)


def test_a_prior_with_an_infinite_number_is_passed_again(tmp_path):
    prior = vp.standard_normal(2)
    prior = prior._replace(config=prior.config | {"limit": float("inf")})
    vp.save_model(tmp_path, prior, vp.VAEParams({}, {}, {}))
    with pytest.raises(ValueError, match="number that is not finite"):
        vp.load_model(tmp_path)
    assert vp.load_model(tmp_path, prior)[0] is prior


def test_an_init_that_computes_with_numpy_is_compared_too(tmp_path):
    def init(key):
        return {"loc": np.asarray(jax.random.normal(key, (2,)))}

    prior = vp.standard_normal(2)._replace(init=init)
    vp.save_model(tmp_path, prior, vp.VAEParams({}, {}, {"loc": jnp.ones(2)}))
    assert_same(vp.load_model(tmp_path, prior)[1].prior, {"loc": jnp.ones(2)})
    with pytest.raises(ValueError, match="'loc' the model holds .* makes nothing"):
        vp.load_model(tmp_path)


# The first format


@pytest.mark.parametrize("describe", [True, False])
def test_models_of_the_first_format_are_read_and_replaced(tmp_path, describe):
    prior, params = small_model()
    save_in_first_format(tmp_path, prior, params, describe=describe)
    loaded_prior, loaded = vp.load_model(tmp_path)
    assert loaded_prior == prior
    assert_same(loaded, params)
    with pytest.raises(ValueError, match="for 'loc'"):
        vp.load_model(tmp_path, vp.mixture(2, 5))
    vp.save_model(tmp_path, *other_model())
    assert_same(vp.load_model(tmp_path)[1], other_model()[1])


def test_the_first_format_keeps_numbers_and_arrays_without_elements(tmp_path):
    encoder = {"none": jnp.zeros((0, 3)), "scale": 0.5, "pair": (jnp.ones(2), jnp.zeros(0))}
    for name, params in (("some", vp.VAEParams(encoder, {}, {})), ("all", vp.VAEParams(jnp.zeros(0), {}, {}))):
        save_in_first_format(tmp_path / name, vp.standard_normal(2), params)
        assert_same(vp.load_model(tmp_path / name)[1], params)


def test_the_first_format_without_its_arrays_is_refused(tmp_path):
    prior, params = small_model()
    save_in_first_format(tmp_path, prior, params)
    (tmp_path / "params").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=UNREADABLE):
        vp.load_model(tmp_path)
