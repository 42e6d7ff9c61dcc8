"""`start_from`: a new run from the best parameters of another, those before a failure included."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, exploding, stacked

KEY = jax.random.key(0)
VAE, PARAMS = bernoulli_vae()
CASE = {
    "vae": VAE,
    "params": PARAMS,
    "key": KEY,
    "data": binary_data(),
    "optimizer": optax.adam(1e-2),
    "batch_size": 50,
    "validation": binary_data(60, seed=1),
    "num_epochs": 3,
    "progress": False,
}


def run(**changes):
    return vp.fit(**{**CASE, **changes})


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def too_fast(learning_rate):
    """An optimiser that breaks down in the second epoch, at a learning rate above 0.1."""
    return optax.chain(exploding(at_step=5)(learning_rate > 0.1), optax.scale(100.0))


FAST = {"optimizer": too_fast, "hyperparameters": {"learning_rate": np.float32(1.0)}}
SLOW = {"optimizer": too_fast, "hyperparameters": {"learning_rate": np.float32(0.05)}}


def fail(**options):
    with pytest.warns(RuntimeWarning, match="frozen"), pytest.raises(vp.TrainingFailedError) as caught:
        run(**{**FAST, **options})
    return caught.value


@pytest.mark.slow
def test_a_result_starts_a_run_of_its_own_that_says_where_it_started():
    first = run()
    second = run(params=vp.start_from(first), optimizer=optax.adam(1e-3))
    same(second[:4], run(params=first.params, optimizer=optax.adam(1e-3))[:4])
    origin = {"run": first.fingerprint["name"], "epoch": int(first.best_epoch)}
    assert second.fingerprint["started_from"] == origin
    assert "started_from" not in first.fingerprint
    assert second.fingerprint["name"] != first.fingerprint["name"]
    name = second.fingerprint["name"]
    assert f"run: {name}, started from run {origin['run']}, epoch {origin['epoch']}" in repr(second)


@pytest.mark.slow
def test_equal_runs_have_one_name_and_others_another():
    name = run().fingerprint["name"]
    assert run(num_epochs=1, patience=1).fingerprint["name"] == name
    names = {run(**other).fingerprint["name"] for other in ({"batch_size": 20}, {"optimizer": optax.adam(1e-3)})}
    assert len(names - {name}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("validation", [CASE["validation"], None], ids=["validation", "without"])
@pytest.mark.parametrize("replicas", [None, 2])
def test_a_folder_gives_what_the_result_gives(tmp_path, validation, replicas):
    several = {"params": stacked(PARAMS, 2), "key": jax.random.split(KEY)} if replicas else {}
    # A rate that grows: the best epoch is not the last.
    growing = optax.adam(optax.linear_schedule(0.3, 3.0, 30))
    result = run(checkpoints=tmp_path, validation=validation, optimizer=growing, num_epochs=8, **several)
    start = vp.start_from(tmp_path, like=several.get("params", PARAMS))
    same(start.params, result.params)
    assert start.origin == vp.start_from(result).origin
    assert start.origin.epoch == result.best_epoch.tolist()
    if validation is not None:
        assert np.all(result.best_epoch < 8)


@pytest.mark.slow
def test_dtypes_are_kept(tmp_path):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    result = run(params=params, checkpoints=tmp_path)
    start = vp.start_from(str(tmp_path), like=params)
    assert {leaf.dtype for leaf in jax.tree.leaves(start.params)} == {jnp.dtype(jnp.bfloat16)}
    same(start.params, result.params)


@pytest.mark.slow
@pytest.mark.parametrize("validation", [CASE["validation"], None], ids=["validation", "without"])
def test_a_lower_rate_starts_from_the_last_good_state_of_a_failed_run(tmp_path, validation):
    error = fail(checkpoints=tmp_path / "fast", validation=validation)
    assert int(error.result.best_epoch) == 1  # the failure was in the second
    start = vp.start_from(tmp_path / "fast", like=PARAMS)
    same(start.params, run(num_epochs=1, validation=validation, **FAST).params)
    same(start.params, vp.start_from(error.result).params)
    slow = run(params=start, checkpoints=tmp_path / "slow", validation=validation, **SLOW)
    assert slow.failures == ()
    assert slow.fingerprint["started_from"] == {"run": error.result.fingerprint["name"], "epoch": 1}
    # The new run resumes like any other.
    longer = {"params": start, "validation": validation, "num_epochs": 5, **SLOW}
    resumed, whole = run(checkpoints=tmp_path / "slow", **longer), run(**longer)
    same(resumed[:4], whole[:4])
    assert resumed.fingerprint == slow.fingerprint


def test_a_failed_run_that_is_resumed_or_slowed_down_in_its_folder_says_what_to_do(tmp_path):
    what_to_do = rf"pass `vp.start_from\('{tmp_path}', like=params\)` as `params`, and another folder as `checkpoints`"
    first = fail(checkpoints=tmp_path)
    again = fail(checkpoints=tmp_path)
    for error in (first, again):
        assert "replica 0 was frozen at step 6" in str(error)
        assert f"vp.start_from({str(tmp_path)!r}, like=params)" in str(error)
    same(again.result[:4], first.result[:4])
    with pytest.raises(
        ValueError, match=f"learning_rate was .* replica 0 was frozen at step 6.* is not finite. .*{what_to_do}"
    ):
        run(checkpoints=tmp_path, **SLOW)
    assert "pass `vp.start_from(error.result)`" in str(fail())


@pytest.mark.slow
def test_a_failed_replica_does_not_keep_the_others_from_going_on(tmp_path):
    rates = {"learning_rate": np.float32([1.0, 0.05])}
    options = {"params": stacked(PARAMS, 2), "key": jnp.stack([KEY, KEY]), "optimizer": too_fast}
    options |= {"hyperparameters": rates}
    folders = [(4, None), (3, tmp_path), (4, tmp_path)]
    with pytest.warns(RuntimeWarning, match="replica 0 was frozen"):
        whole, _, resumed = [run(num_epochs=epochs, checkpoints=folder, **options) for epochs, folder in folders]
    same(resumed[:4], whole[:4])
    assert vp.start_from(tmp_path, like=options["params"]).origin.epoch == [1, 4]


def test_where_a_run_started_is_not_what_tells_it_from_others(tmp_path):
    """A folder that was written for the bare parameters goes on with `start_from`, and the other way round."""
    first = run()
    bare = run(params=first.params, checkpoints=tmp_path, num_epochs=1)
    with_origin = run(params=vp.start_from(first), checkpoints=tmp_path, num_epochs=2)
    assert with_origin.fingerprint["name"] == bare.fingerprint["name"]
    assert with_origin.history["elbo"].shape == (2,)


def earlier(folder):
    run(checkpoints=folder)
    file = next(folder.glob("*/history/metadata"))
    content = json.loads(file.read_text())
    del content["best"]
    file.write_text(json.dumps(content))


def damaged(folder):
    run(checkpoints=folder)
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax's own readers, left half-way
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder.rmdir(), "there is no such folder"),
        (lambda folder: None, "it holds no checkpoint"),
        (lambda folder: (folder / "model.npz").touch(), "it holds no checkpoint"),
        (earlier, "an earlier version wrote it. Call `fit` as it was called then, and start from its result"),
        (damaged, "they cannot be read"),
    ],
    ids=["none", "empty", "other", "earlier", "damaged"],
)
def test_a_folder_that_holds_no_run_is_refused_and_left_alone(tmp_path, prepare, message):
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"Expected the checkpoints of a run in {tmp_path}; .*{message}"):
        vp.start_from(tmp_path, like=PARAMS)
    assert sorted(tmp_path.rglob("*")) == before


def test_parameters_of_another_shape_and_a_folder_alone_are_refused(tmp_path):
    run(checkpoints=tmp_path)
    with pytest.raises(ValueError, match=r"`like` with the shapes of the run in .*; got \[\[2\]\]"):
        vp.start_from(tmp_path, like=vp.VAEParams(jnp.ones(2), {}, {}))
    with pytest.raises(ValueError, match="`like` with the shapes of the run"):
        vp.start_from(tmp_path, like=stacked(PARAMS, 3))
    with pytest.raises(TypeError, match="Expected `like` with a folder"):
        vp.start_from(tmp_path)
    with pytest.raises(TypeError, match="as a `FitResult` or a folder of checkpoints; got VAEParams"):
        vp.start_from(PARAMS)
