"""Several devices or processes give the result of one device; if a process is lost, the others end.

The tests start programs of their own, since the test process has one device; each runs one of the jobs below.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, exploding, stacked
from vaepriors_jax.parallel import distributed, sharding

KEY = jax.random.key(0)
EPOCHS, BATCH = 4, 40  # of 203 examples: 20 steps
# Processes join before anything of JAX's runs, and so before the rest is imported.
PROGRAM = """
import os, sys
from vaepriors_jax.parallel import distributed
if "PROCESS" in os.environ:
    address, process, heartbeat = os.environ["COORDINATOR"], int(os.environ["PROCESS"]), int(os.environ["HEARTBEAT"])
    distributed.initialize(address, 2, process, heartbeat_timeout_seconds=heartbeat)
from tests.parallel.test_distributed import run_job
run_job(*sys.argv[1:])
"""
SHARES = {"train": 150, "validation": 7}  # of process 0; process 1 has the rest
OPTIMIZER, PLAIN = optax.adam(1e-2), vp.Objective()


def data_sets():
    """Numbers of examples that neither two processes nor eight devices divide."""
    labels = {name: {"y": np.arange(size) % 3} for name, size in (("train", 203), ("validation", 37))}
    return binary_data(203) | labels["train"], binary_data(37, seed=1) | labels["validation"]


def run_fit(vae, params, key, train, validation, *, mesh=None, **options):
    """20 steps, with dynamic binarisation, warm-up and early stopping."""
    objective = vp.Objective(warmup_epochs=1)
    options = {"num_epochs": EPOCHS, "objective": objective, "patience": 3, "transform": vp.binarize} | options
    return vp.fit(
        vae,
        params,
        key,
        train,
        OPTIMIZER,
        validation=validation,
        mesh=mesh,
        progress=False,
        **{"batch_size": BATCH} | options,
    )


def values_of(result):
    return jax.tree.map(np.asarray, (result.params, result.state, result.best_epoch, result.history))


def log_marginal(vae, params, data, mesh=None):
    estimate = vp.log_marginal(vae, params, KEY, data["x"], y=data["y"], num_samples=30, chunk_size=20, mesh=mesh)
    return jax.tree.map(np.asarray, estimate)


def elbo(vae, params, data, mesh=None):
    terms = vp.evaluate_elbo(vae, params, KEY, data["x"], y=data["y"], chunk_size=3, mesh=mesh)
    return jax.tree.map(np.asarray, terms)


def replicas(mesh=None):
    (vae, params), (train, validation) = bernoulli_vae(), data_sets()
    return run_fit(vae, stacked(params, 4), jax.random.split(KEY, 4), train, validation, mesh=mesh)


def one_step(mesh, num, objective=PLAIN):
    (vae, params), (train, _) = bernoulli_vae(), data_sets()
    step = vp.make_train_step(vae, OPTIMIZER, mesh=mesh, objective=objective)
    batch = jax.tree.map(lambda array: array[:num], train)
    state = vp.init_train_state(params, OPTIMIZER, objective=objective)
    return jax.tree.map(np.asarray, step(state, KEY, batch))


def objectives_of_batches(mesh):
    """Of which each compares the mean over the whole batch with a limit close to it."""
    _, terms = one_step(None, BATCH)
    floor, error = 0.99 * float(terms.kl), -0.99 * float(terms.reconstruction)
    free_bits = vp.Objective(free_bits_per_group=floor, group_sizes=(2,))
    constraint = vp.Objective(constraint=vp.ReconstructionConstraint(error, rate=1.0))
    return [one_step(mesh, BATCH, objective) for objective in (free_bits, constraint)]


def in_batches(data, size):
    """Batches of a size in all processes together; of each, the part of this process."""
    several, process = jax.process_count(), jax.process_index()
    for start in range(0, len(data["x"]), size):
        batch = {name: value[start : start + size] for name, value in data.items()}
        yield {name: np.array_split(value, several)[process] for name, value in batch.items()}


def stream(mesh=None):
    """A run and an evaluation of batches, of which the last is smaller: its parts of two processes are too."""
    (vae, params), (train, validation) = bernoulli_vae(), data_sets()
    result = run_fit(
        vae,
        params,
        KEY,
        vp.Stream(lambda epoch: in_batches(train, BATCH), batches_per_epoch=5),
        list(in_batches(validation, 16)),
        mesh=mesh,
        batch_size=None,
    )
    estimate = vp.log_marginal(vae, params, KEY, list(in_batches(validation, 16)), num_samples=30, mesh=mesh)
    return values_of(result), jax.tree.map(np.asarray, estimate)


def weighted(mesh=None):
    """A run and an evaluation of an x that is a dict, with weights and a transform: of arrays and of batches."""
    rng = np.random.default_rng(0)
    parts = {"size": rng.normal(size=(203, 2)).astype(np.float32), "visits": rng.poisson(2.0, (203, 3))}
    data = {"x": parts, "weight": rng.integers(0, 3, 203)}
    vae = vp.VAE(
        lambda params, x: vp.normal_diag(params["encoder"] @ jnp.concatenate([*x.values()]), jnp.ones(2)),
        lambda params, z: vp.joint(
            {
                "size": vp.normal_diag(params["size"] @ z, jnp.ones(2)),
                "visits": vp.poisson(jnp.exp(params["visits"] @ z)),
            }
        ),
        vp.mixture(2, 3),
    )
    own = {name: jnp.asarray(0.3 * rng.normal(size=(n, 2)), jnp.float32) for name, n in (("size", 2), ("visits", 3))}
    encoder = {"encoder": jnp.asarray(0.1 * rng.normal(size=(2, 5)), jnp.float32)}
    params = vp.VAEParams(encoder, own, vae.prior.init(KEY))
    batches = [jax.tree.map(lambda array, i=i: array[i : i + BATCH], data) for i in range(0, 203, BATCH)]
    options = {"num_epochs": 2, "mesh": mesh, "progress": False, "validation": data}
    runs = [
        vp.fit(vae, params, KEY, given, OPTIMIZER, transform=add_noise, **options | more)
        for given, more in ((data, {"batch_size": BATCH}), (vp.Stream(batches), {"validation": batches}))
    ]
    estimates = [
        vp.log_marginal(vae, params, KEY, *given, num_samples=10, mesh=mesh, **more)
        for given, more in (((parts,), {"weight": data["weight"]}), ((batches,), {}))
    ]
    return jax.tree.map(np.asarray, ([(run.params, run.history) for run in runs], estimates))


def add_noise(key, batch):
    noise = 0.1 * jax.random.normal(key, batch["x"]["size"].shape)
    return {**batch, "x": {**batch["x"], "size": batch["x"]["size"] + noise}}


def mixed(mesh):
    """A run on arrays, of which each process has a share, with validation on batches."""
    (vae, params), (train, validation) = bernoulli_vae(), data_sets()
    train = share(train, "train") if jax.process_count() > 1 else train
    return values_of(run_fit(vae, params, KEY, train, list(in_batches(validation, 16)), mesh=mesh))


def odd_streams(mesh):
    """Messages for batches that the processes do not have alike."""
    (vae, params), (train, _) = bernoulli_vae(), data_sets()
    whole, process = list(in_batches(train, BATCH)), jax.process_index()

    def broken(epoch):
        yield whole[0]
        if process == 1:
            raise OSError("the disk is gone")
        yield whole[1]

    def fit(batches):
        return vp.fit(vae, params, KEY, batches, OPTIMIZER, num_epochs=1, mesh=mesh, progress=False)

    return {
        "fewer batches": message_of(lambda: fit(whole[: 3 - process])),
        "other sizes": message_of(lambda: fit([jax.tree.map(lambda array: array[: 20 - 4 * process], whole[0])])),
        "broken": message_of(lambda: fit(broken)),
        "fewer to evaluate": message_of(
            lambda: vp.evaluate_elbo(vae, params, KEY, whole[: 3 - process], mesh=mesh, chunk_size=3)
        ),
    }


def message_of(function):
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


# Jobs: each runs in a program of its own, and returns what the test looks at.


def eight_devices():
    (vae, params), (train, validation) = bernoulli_vae(), data_sets()
    mesh = sharding.make_mesh()
    fit = partial(run_fit, vae, params, KEY, train, validation)
    return {
        "fit": values_of(fit(mesh=mesh)),
        "replicas": values_of(replicas(sharding.make_mesh(4))),
        "log_marginal": log_marginal(vae, params, validation, mesh),
        "elbo": elbo(vae, params, validation, mesh),
        "stream": stream(mesh),
        "mixed": mixed(mesh),
        "weighted": weighted(mesh),
        "step": one_step(mesh, BATCH),
        "objectives of batches": objectives_of_batches(mesh),
        "batch": message_of(lambda: one_step(mesh, 30)),
        "fit batch": message_of(
            lambda: vp.fit(vae, params, KEY, train, OPTIMIZER, num_epochs=1, batch_size=30, mesh=mesh)
        ),
        "axis": message_of(lambda: fit(mesh=jax.make_mesh((8,), ("batch",)))),
        "axis of replicas": message_of(lambda: fit(mesh=sharding.make_mesh(2))),
    }


def share(data, name):
    half = slice(None, SHARES[name]) if jax.process_index() == 0 else slice(SHARES[name], None)
    return jax.tree.map(lambda array: array[half], data)


def saved_model(folder, mesh):
    """A model with an array of which each process has a part, as it is loaded; and the error of a save that fails."""
    rows = np.arange(2.0, dtype=np.float32) + 2 * jax.process_index()
    shared = jax.make_array_from_process_local_data(jax.NamedSharding(mesh, jax.P("data")), rows)
    params = vp.VAEParams(shared, {"weight": jnp.ones(2)}, {})
    vp.save_model(folder / "model", vp.standard_normal(2), params)
    loaded = jax.tree.map(np.asarray, vp.load_model(folder / "model")[1])
    return loaded, message_of(lambda: vp.save_model(folder / "model/model.npz", vp.standard_normal(2), params))


def two_processes(folder):
    (vae, params), (train, validation) = bernoulli_vae(), data_sets()
    train, validation = share(train, "train"), share(validation, "validation")
    mesh = sharding.make_mesh()
    if jax.process_index() == 1:  # all start from what process 0 has
        params = jax.tree.map(jnp.zeros_like, params)
    fit = partial(run_fit, vae, params, KEY, train, validation, mesh=mesh)
    fit(num_epochs=2, checkpoints=Path(folder) / "run")
    bad = jax.tree.map(lambda array: np.where(jax.process_index() == 1, np.nan, array).astype(np.float32), train["x"])
    none = jax.tree.map(lambda array: array[: 0 if jax.process_index() else None], train)
    backwards = jax.devices()[::-1]
    common = {"num_epochs": 1, "mesh": mesh, "progress": False}
    of_process_1 = (lambda epoch: epoch.epoch == 2) if jax.process_index() == 1 else None
    found = {
        "fit": values_of(fit(checkpoints=Path(folder) / "run")),
        "stopped": len(fit(num_epochs=9, callback=of_process_1).history["elbo"]),
        "log_marginal": log_marginal(vae, params, validation, mesh),
        "stream": stream(mesh),
        "mixed": mixed(mesh),
        **odd_streams(mesh),
        "saved model": saved_model(Path(folder), mesh),
        "bad data": message_of(lambda: vp.fit(vae, params, KEY, {"x": bad}, OPTIMIZER, **common)),
        "mesh": message_of(
            lambda: run_fit(vae, params, KEY, train, validation, mesh=jax.make_mesh((4,), ("data",), devices=backwards))
        ),
        "no data": message_of(lambda: vp.fit(vae, params, KEY, none, OPTIMIZER, **common)),
        "arguments": message_of(
            lambda: vp.fit(vae, params, KEY, train, OPTIMIZER, batch_size=20 + 20 * jax.process_index(), **common)
        ),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bad_optimizer = exploding(at_step=5)(jnp.float32(1))
        found["failure"] = message_of(
            lambda: vp.fit(vae, params, KEY, train, bad_optimizer, batch_size=BATCH, **common | {"num_epochs": 9})
        )
    found["warnings"] = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
    return found


def lose_a_process(process, how):
    """Trains without end, until one process goes."""
    (vae, params), (train, _) = bernoulli_vae(), data_sets()
    mesh = sharding.make_mesh()
    run = partial(vp.fit, vae, params, KEY, train, OPTIMIZER, batch_size=BATCH, mesh=mesh, progress=False)
    run(num_epochs=1)
    if jax.process_index() == int(process):
        if how == "error":
            raise OSError("the disk is full")
        threading.Timer(2.0, lambda: os.kill(os.getpid(), getattr(signal, how))).start()
    run(num_epochs=10**6)


def run_job(job, output, *arguments):
    Path(output).write_bytes(pickle.dumps(globals()[job](*arguments)))


# Tests.


def start(tmp_path, job, *arguments, devices, number=0, **environment):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"} | environment
    arguments = [job, str(tmp_path / str(number)), *map(str, arguments)]
    with printed_by(tmp_path, number).open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def printed_by(tmp_path, number):
    return tmp_path / f"{number}.txt"


def start_two(tmp_path, job, *arguments, heartbeat=50):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = {"devices": 2, "COORDINATOR": address, "HEARTBEAT": str(heartbeat)}
    return [start(tmp_path, job, *arguments, number=i, PROCESS=str(i), **common) for i in range(2)]


def results_of(processes, tmp_path):
    for number, process in enumerate(processes):
        assert process.wait(timeout=300) == 0, printed_by(tmp_path, number).read_text()
    return [pickle.loads((tmp_path / str(number)).read_bytes()) for number in range(len(processes))]


def assert_close(found, expected, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), found, expected)


@pytest.fixture(scope="module")
def expected():
    """What one device and one process give."""
    (vae, params), (train, validation) = bernoulli_vae(), data_sets()
    result = run_fit(vae, params, KEY, train, validation)
    assert int(result.state.step) == 20
    found = values_of(result)
    estimate = log_marginal(vae, params, validation)
    return {"fit": found, "mixed": found, "log_marginal": estimate, "stream": stream()}


@pytest.mark.slow
def test_eight_devices_give_what_one_gives(expected, tmp_path):
    program = start(tmp_path, "eight_devices", devices=8)
    (vae, params), (_, validation) = bernoulli_vae(), data_sets()
    of_one = {"replicas": values_of(replicas()), "step": one_step(None, BATCH), "elbo": elbo(vae, params, validation)}
    of_one |= {"weighted": weighted(), "objectives of batches": objectives_of_batches(None)}
    (found,) = results_of([program], tmp_path)
    for name, value in (expected | of_one).items():
        assert_close(found[name], value)
    for name in ("batch", "fit batch"):
        assert "Expected a batch that the 8 devices of the mesh's axis 'data' divide; got 30 examples" in found[name]
    assert "Expected a mesh with an axis 'data'" in found["axis"]
    assert "Expected replicas that the 2 devices" in found["axis of replicas"]


@pytest.mark.nightly
def test_two_processes_with_unequal_shares_give_what_one_gives(expected, tmp_path):
    """With early stopping, a checkpoint to resume from, and errors that all processes hear of."""
    first, second = results_of(start_two(tmp_path, "two_processes", tmp_path), tmp_path)
    for name, value in expected.items():
        assert_close(first[name], value)
        jax.tree.map(np.testing.assert_array_equal, first[name], second[name])
    assert (first["stopped"], second["stopped"]) == (2, 2)
    assert "Process 1 found an error" in first["bad data"]
    assert "Expected finite values in `x`" in second["bad data"]
    for found in (first, second):
        assert "Expected at least one example for each of the 2 processes; got shares of [150, 0]" in found["no data"]
        assert (
            "Expected equally many batches of the data in every process, of one size; as batch 3"
            in (found["fewer batches"])
        )
        assert "the processes have [20, 0] examples" in found["fewer batches"]
        assert "the processes have [20, 0] examples" in found["fewer to evaluate"]
        assert "Expected batches of one size in every process" in found["other sizes"]
        assert "runs through the devices of all 2 processes in their order" in found["mesh"]
        assert "Expected the same arguments in every process; processes [1] differ" in found["arguments"]
        assert "TrainingFailedError: Training stopped: replica 0 was frozen at step 6" in found["failure"]
        np.testing.assert_array_equal(found["saved model"][0].encoder, np.arange(4))
    assert "Process 1 found an error" in first["broken"]
    assert "OSError: the disk is gone" in second["broken"]
    assert "FileExistsError" in first["saved model"][1]
    assert "Process 0 found an error" in second["saved model"][1]
    assert len(first["warnings"]) == 1
    assert not second["warnings"]


def survivor_of_a_loss(tmp_path, process, how):
    """Its exit status, and how long after the other had gone (or both had started) it went."""
    both = start_two(tmp_path, "lose_a_process", process, how, heartbeat=10)
    began = time.monotonic()
    try:
        if how != "SIGSTOP":
            both[process].wait(timeout=300)
            began = time.monotonic()
        return both[1 - process].wait(timeout=300), time.monotonic() - began
    finally:
        for one in both:
            one.kill()
            one.wait()


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_other_with_a_message(tmp_path):
    status, seconds = survivor_of_a_loss(tmp_path, 1, "SIGKILL")
    assert status == 1
    assert seconds < 60
    last_line = printed_by(tmp_path, 0).read_text().splitlines()[-1]
    assert "ProcessLostError: Process 0 of 2 cannot go on: another one was lost" in last_line


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("process", "how"), [(0, "SIGKILL"), (0, "SIGSTOP"), (1, "SIGSTOP"), (1, "SIGTERM"), (0, "error"), (1, "error")]
)
def test_a_process_that_is_lost_in_another_way_ends_the_other_within_a_minute(tmp_path, process, how):
    """Where process 0 is lost, or a heartbeat, JAX aborts the others with a stack; the last line is ours."""
    status, seconds = survivor_of_a_loss(tmp_path, process, how)
    assert status == 1
    assert seconds < 60
    printed = printed_by(tmp_path, 1 - process).read_text().splitlines()
    assert "cannot go on: another one was lost" in printed[-1]
    if how == "error":
        assert "OSError: the disk is full" in printed_by(tmp_path, process).read_text().splitlines()[-1]


def test_what_a_mesh_must_be():
    one = jax.make_mesh((1,), ("data",))
    assert sharding.check_mesh(None) is None
    assert sharding.check_mesh(one, 7).axis_types == (jax.sharding.AxisType.Auto,)
    with pytest.raises(ValueError, match="divide the 1 devices"):
        sharding.make_mesh(2)
    with pytest.raises(ValueError, match="heartbeat_timeout_seconds"):
        distributed.initialize("127.0.0.1:1", 2, 0, heartbeat_timeout_seconds=60)
