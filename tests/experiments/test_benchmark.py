"""Each part of the benchmark program runs on tiny sizes; the timings are not tested."""

import importlib.util
import json
import math

import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarks import (
    accelerator,
    common,
    evaluation,
    growth,
    mixture,
    paper,
    priors,
    profile,
    replicas,
    startup,
    streams,
    training,
)

TINY = paper.SIZES._replace(latent_dim=2, hidden=(4,), num_components=10, flow_layers=1, flow_hidden=(4,))


@pytest.fixture(autouse=True)
def _random_images(monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


def check(part):
    """Every table is whole, and what was measured can be written."""
    for table in part.tables:
        assert table.title
        assert all(len(row) == len(table.header) for row in table.rows)
        assert all(isinstance(cell, str) for row in table.rows for cell in row)
    json.dumps(part.measured)


def test_program_writes_what_it_measured(tmp_path, capsys):
    content = benchmark.main(benchmark.Options(parts=("mixture",), small=True, output_dir=str(tmp_path)))
    written = json.loads((tmp_path / "results.json").read_text())
    assert set(written) >= {"command", "hardware", "versions", "parts"}
    assert {"jax", "torch", "pythae"} <= set(written["versions"])
    errors = content["parts"]["mixture"]["measured"]["errors"]
    assert all(found["ours"]["nats"] < 1e-4 and found["ours"]["gradient"] < 1e-3 for found in errors.values())
    assert "distrax.MixtureSameFamily" in capsys.readouterr().out


def test_options_choose_the_sizes():
    options = benchmark.Options(small=True)
    assert all(benchmark.settings_of(name, options) == module.SMALL for name, module in benchmark.MODULES.items())
    assert benchmark.settings_of("evaluation", benchmark.Options(full=True)).num_test == evaluation.NUM_TEST
    assert benchmark.settings_of("training", benchmark.Options()).sizes == paper.SIZES


def test_mixture_reference_is_the_gradient_of_the_density():
    parameters, z = mixture._inputs(mixture.SMALL)
    wide = tuple(array.astype(np.float64) for array in parameters)
    density, to_z, to_parameters = mixture._reference(wide, z.astype(np.float64))
    step = 1e-4
    for index, gradient in enumerate(to_parameters):
        moved = [array.copy() for array in wide]
        moved[index].flat[0] += step * np.abs(moved[index]).flat[0]
        change = (mixture._reference(tuple(moved), z)[0].sum() - density.sum()) / (moved[index] - wide[index]).flat[0]
        assert change == pytest.approx(gradient.flat[0], rel=0.02, abs=0.02)
    assert to_z.shape == z.shape


def test_operations_are_those_of_the_design():
    standard = paper.training_operations("standard", paper.SIZES, 100)
    vamp = paper.training_operations("vamp", paper.SIZES, 100)
    assert standard / 1e6 == pytest.approx(5.74, abs=0.01)
    assert vamp / 1e6 == pytest.approx(26.3, abs=0.2)


@pytest.mark.slow
def test_training_without_the_others(monkeypatch):
    """Where PyTorch is not installed its rows say so."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    settings = training.SMALL._replace(sizes=TINY, num_images=200, num_samples=20, product_size=32)
    part = training.run(settings)
    check(part)
    assert "torch is not installed" in part.tables[0].notes[-1]
    assert 0 < part.measured["ours"]["vamp"]["fraction_of_peak"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pythae") is None, reason="needs the extra `benchmark`")
def test_torch_and_pythae_run():
    sizes = {"num_pixels": 784, "hidden": [4], "latent_dim": 2, "num_components": 5}
    steps = {"batch_size": 5, "blocks": 1, "block_steps": 1}
    for target, arguments in [
        ("torch_timing:train", {"prior": "vamp", **steps}),
        ("torch_timing:train_pythae", steps),
        ("torch_timing:log_marginal", {"prior": "standard", "num_images": 1, "num_samples": 10}),
    ]:
        found = common.call_in_child(target, sizes | arguments, training.TORCH_ENVIRONMENT)
        assert "unavailable" not in found


@pytest.mark.nightly
def test_profile():
    settings = profile.SMALL._replace(sizes=TINY, num_images=40)
    seconds = profile.profile("standard", settings, paper.load_images(40, 1))
    assert all(value > 0 for value in seconds.values())
    check(common.Part([profile.tabulate({"standard": seconds}, "")], seconds))


def test_evaluation(monkeypatch):
    """The functions in this process, instead of one for each."""

    def call(target, arguments, environment=None):
        return getattr(evaluation, target.split(":")[1])(**arguments) | {"peak_bytes": 10**9}

    monkeypatch.setattr(evaluation, "call_in_child", call)
    part = evaluation.run(evaluation.SMALL._replace(sizes=TINY, num_test=2, num_samples=5))
    check(part)
    assert "extrapolated from 2" in part.tables[0].notes[-1]


def test_child_processes_report_their_own_peak_and_their_failure():
    ballast = np.ones(50_000_000)  # the child must not begin with its parent's peak
    found = common.call_in_child("evaluation:frechet", {"num_points": 100, "num_features": 3})
    assert 0 < found["peak_bytes"] < ballast.nbytes * 2
    assert found["seconds"] > 0
    failed = common.call_in_child("evaluation:frechet", {"num_points": 2, "num_features": 3})
    assert "at least 4" in failed["unavailable"]


def test_the_step_of_each_prior_is_timed_and_its_memory_grows_with_the_components():
    settings = priors.SMALL._replace(priors=("standard", "vamp"))
    measured = priors.run(settings).measured
    assert measured["standard"]["ratio"] == 1
    assert all(of["seconds"] > 0 for of in measured.values())
    data = paper.load_images(400, 1)
    few, many = (
        priors.compile_step("vamp", settings._replace(sizes=settings.sizes._replace(num_components=num)), data)
        for num in (20, 200)
    )
    assert many.temporary_bytes > 3 * few.temporary_bytes  # the networks take some as well
    assert all(np.isfinite(few.call().elbo) for _ in range(2))  # the state is donated, and goes on


@pytest.mark.slow
def test_replicas_and_growth_read_the_times(tmp_path, monkeypatch):
    """With times that are known: the exponents of power laws, and a ratio of one."""

    def seconds(name, sizes, data, *, num_images, batch_size=100, num_replicas=None, **options):
        del name, data, num_images, options
        return 0.1 * sizes.num_components**1.5 / batch_size * (num_replicas or 1)

    monkeypatch.setattr(paper, "seconds_per_epoch", seconds)
    part = replicas.run(replicas.SMALL)
    check(part)
    assert {row[-2] for row in part.tables[0].rows} == {"1.0x"}
    mapped = [seconds["mapped"] for prior in part.measured["seconds_per_epoch"].values() for seconds in prior.values()]
    assert min(mapped) > 0
    values = replicas.SMALL.num_images
    result = type("Result", (), {"seconds_per_epoch": 1.0})
    monkeypatch.setattr(paper, "fit", lambda *args, num_images, **options: result)
    part = growth.run(growth.SMALL._replace(num_images=(values, 2 * values)), tmp_path)
    check(part)
    exponents = {axis: curves[next(iter(curves))]["exponent"] for axis, curves in part.measured.items()}
    assert exponents["num_components"] == pytest.approx(1.5)
    assert exponents["batch_size"] == pytest.approx(-1.0)
    assert exponents["num_images"] == pytest.approx(0.0, abs=1e-9)
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_startup(monkeypatch):
    monkeypatch.setattr(startup, "first_epoch_seconds", lambda cache_dir, options: None)
    monkeypatch.setattr(startup, "call_in_child", lambda *args: {"unavailable": "why"})
    part = startup.run(startup.SMALL)
    check(part)
    assert part.measured["import"] > 0
    assert part.tables[0].notes[-1].endswith("why")
    assert startup.FIRST_EPOCH.search("standard:   1%|  | 1/150 [00:00<00:12, 12.1epoch/s, elbo=-1]")
    assert not startup.FIRST_EPOCH.search("standard:   0%|  | 0/150 [00:00<?, ?epoch/s]")


@pytest.mark.nightly
def test_accelerator():
    settings = accelerator.SMALL._replace(sizes=TINY, priors=("conditional",), batch_sizes=(50,), replicas=(2,))
    part = accelerator.run(settings)
    check(part)
    assert all(math.isfinite(value) for value in part.measured["priors"]["conditional"]["by_replicas"].values())


@pytest.mark.nightly
def test_streams_beside_arrays_and_from_files():
    part = streams.run(streams.SMALL._replace(sizes=TINY))
    check(part)
    assert all(found["steps"] == int(count) // 100 for count, found in part.measured["files"].items())


def memory_of_training(path, num_images, shape=(64, 64, 3)):
    """The median and the peak of the bytes that a fresh process holds, pages of the file apart."""
    arguments = {"path": str(path), "num_images": num_images, "shape": shape, "batch_size": 100}
    # Memory that is freed is returned: otherwise glibc keeps up to 64 MB of it for each thread.
    found = common.call_in_child("streams:train_on_file", arguments, {"MALLOC_MMAP_THRESHOLD_": "65536"})
    assert found["steps"] == num_images // 100, found
    return np.array([found["median_own_bytes"], found["peak_own_bytes"]])


@pytest.mark.parametrize(
    "num_images",
    [pytest.param(8000, marks=pytest.mark.slow), pytest.param(200_000, marks=pytest.mark.nightly)],
)
def test_images_in_a_file_take_the_memory_of_a_few_batches(num_images, tmp_path):
    """All of them would take 98 MB, or 2.4 GB; a batch takes 1.2 MB, and 5 MB as numbers."""
    streams.write_images(tmp_path / "images.npy", num_images, (64, 64, 3))
    few, all_of_them = (memory_of_training(tmp_path / "images.npy", number) for number in (1000, num_images))
    assert (all_of_them - few < 60e6).all(), (few, all_of_them)
