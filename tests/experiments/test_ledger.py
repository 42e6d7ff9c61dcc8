"""The ledger: its settings, what it runs, going on after it was killed, and tables from its result files."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import ledger
from experiments.data.dataset import load
from experiments.data.sources import draw_splits
from experiments.models.vaes import make_prior
from experiments.options import command_line
from experiments.options.settings import fill
from experiments.published import datasets, queue, run, stopwatch
from experiments.published.datasets import DATASETS, load_published
from experiments.published.queue import Queue, entries, locked, process_at_work, run_all
from experiments.published.recipe import RECIPE
from experiments.published.records import LEDGER, is_stale, read_record, write_record
from experiments.published.settings import MUST_HAVE, PRIORS, SETTINGS, Setting
from experiments.published.values import VALUES
from experiments.report import ledger as tables
from tests.support.toy_ledger import RECIPE as TOY_RECIPE
from tests.support.toy_ledger import TOY, toy_queue

IMAGES = SimpleNamespace(image_shape=(28, 28), num_classes=None)
FREE = {"seeds", "seed", "annealing", "output_dir", "metrics", "checkpoints"}  # of an earlier run of the same recipe


def record_of(setting, nll, made_by=RECIPE, **more):
    test = {"log_marginal": -nll, "log_marginal_standard_error": 0.2, "active_units": 39}
    annealed = {"annealed_minus_weighted": 0.9}
    row = {"seed": setting.seed, "test": test, "annealed": annealed, "holes": {"divergence": 0.1, "hole_mass": 0.02}}
    made = {"recipe": {"name": made_by.name, "version": made_by.version}, "row": row, "seconds": 3600.0, "busy": False}
    return made | more


def test_settings_are_named_once_and_the_most_wanted_come_first():
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    wanted = {Setting(data, prior) for data in ("static_mnist", "dynamic_mnist") for prior in MUST_HAVE}
    assert set(SETTINGS[:8]) == wanted
    assert SETTINGS[0] == Setting("static_mnist", "standard")
    again = {Setting(data, prior, seed=seed) for data, prior, *_ in SETTINGS[:2] for seed in (1, 2)}
    assert again <= set(SETTINGS[:16])


def test_settings_cover_data_priors_and_levels():
    seen = {(setting.data, setting.prior, setting.levels) for setting in SETTINGS}
    for data in DATASETS.keys() - {"toy"}:
        assert {(data, prior, levels) for prior in ("standard", "vamp") for levels in (1, 2)} <= seen
    assert {("static_mnist", prior, 1) for prior in PRIORS} <= seen


@pytest.mark.parametrize("prior", PRIORS)
def test_a_setting_is_the_published_one(prior):
    for levels in (1, 2):
        settings = fill(Setting("omniglot", prior, levels=levels, seed=2).config(RECIPE))
        assert (settings.hidden, settings.latent_dim, settings.num_components) == ((300, 300), 40, 500)
        assert (settings.epochs, settings.patience, settings.num_samples, settings.seed) == (2000, 50, 5000, 2)
        made = make_prior(settings.priors[0], settings.sizes, IMAGES)
        assert made.config["factory"] == ("two_level" if levels == 2 else made.config["factory"])


def test_the_other_network_has_tanh_layers_and_fifty_latents():
    settings = fill(Setting("dynamic_mnist", "flow", network="tanh").config(RECIPE))
    assert (settings.network, settings.latent_dim, settings.hidden) == ("tanh", 50, (300, 300))
    assert Setting("dynamic_mnist", "flow", network="tanh") in SETTINGS


def test_published_values_belong_to_settings_or_wait_for_them():
    for (data, levels, _), values in VALUES.items():
        assert data in DATASETS
        assert levels in (1, 2)
        assert values.keys() <= PRIORS.keys()


def test_results_are_of_settings_and_of_this_recipe():
    named = {setting.name: setting for setting in SETTINGS}
    files = sorted(LEDGER.glob("*.json"))
    assert files
    for file in files:
        setting, record = named[file.stem], json.loads(file.read_text())
        if is_stale(record, RECIPE):
            continue
        wanted = asdict(fill(setting.config(RECIPE)))
        for option, value in record["config"].items():
            if option not in FREE:
                given = tuple(value) if isinstance(value, list) else value
                assert given == wanted[option], (file.name, option)


@pytest.mark.parametrize("name", ["omniglot", "caltech101"])
def test_splits_have_the_published_sizes_and_share_no_image(name):
    sizes = DATASETS[name].sizes
    total = {"omniglot": 32_460, "caltech101": 8_671}[name]
    splits = draw_splits({"x": np.arange(total)}, sizes)
    assert tuple(len(split["x"]) for split in splits) == sizes
    assert len(np.unique(np.concatenate([split["x"] for split in splits]))) == sum(sizes)
    again = draw_splits({"x": np.arange(total)}, sizes)
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(splits, again, strict=True))


def test_more_images_than_there_are_cannot_be_drawn():
    for sizes in ((80, 20, 1), (100, 0, 0)):
        with pytest.raises(ValueError, match="100 together"):
            draw_splits({"x": np.arange(100)}, sizes)


def test_a_file_is_read_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("VAEPRIORS_DATA", raising=False)
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    data = datasets.PublishedData("Mine", "mine.npz", (60, 30, 20))
    loaded = load_published(data, str(tmp_path))
    assert [len(part["x"]) for part in (loaded.train, loaded.validation, loaded.test)] == [60, 30, 20]
    assert "$VAEPRIORS_DATA/mine.npz" in loaded.description
    with pytest.raises(ValueError, match="VAEPRIORS_DATA"):
        load_published(data)
    whole = load(str(tmp_path / "mine.npz"))
    assert len(whole.test["x"]) == 20  # a sixth, as without sizes


def test_a_list_tells_what_is_done_stale_and_missing(tmp_path):
    settings = (TOY, TOY._replace(seed=1), TOY._replace(seed=2))
    mine = toy_queue(tmp_path, settings)
    write_record(settings[0], record_of(settings[0], 88.5, TOY_RECIPE), mine.results_dir)
    write_record(settings[1], record_of(settings[1], 88.0, TOY_RECIPE._replace(version=0)), mine.results_dir)
    found = entries(mine)
    assert [entry.state for entry in found] == ["done", "stale", "missing"]
    assert mine.left() == list(settings[1:])
    shown = ledger.show(found).splitlines()
    assert shown[0].endswith("60 min  done  88.50 nats")
    assert shown[-1].startswith("1 of 3 done; about ")


def test_the_list_names_what_runs_and_what_was_stopped(tmp_path):
    settings = (TOY, TOY._replace(seed=1))
    first, second = (
        stopwatch.Stopwatch(run.folder_of(setting, TOY_RECIPE, tmp_path) / "times.json") for setting in settings
    )

    def states():
        return [entry.state for entry in entries(toy_queue(tmp_path, settings))]

    with locked(tmp_path):
        with first.running():
            first.stage("training")
            assert states() == ["running (training) after 0 min", "missing"]
        with second.running():
            second.stage("test")
            assert states() == ["stopped (training) after 0 min", "running (test) after 0 min"]
    assert states() == ["stopped (training) after 0 min", "stopped (test) after 0 min"]


def test_one_process_at_a_time(tmp_path):
    assert process_at_work(tmp_path) is None
    with locked(tmp_path):
        assert process_at_work(tmp_path) == os.getpid()
        with pytest.raises(ValueError, match="no other ledger"), locked(tmp_path):
            pass
    assert process_at_work(tmp_path) is None


def test_resume_goes_on_in_the_folder_of_a_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ledger", "--resume", str(tmp_path)])
    chosen = []
    with pytest.raises(SystemExit, match=f"--work-dir of an interrupted ledger after --resume; {tmp_path} is none"):
        command_line.run(chosen.append, ledger.Options, resumed=ledger.resumed)
    with locked(tmp_path):
        pass
    command_line.run(chosen.append, ledger.Options, resumed=ledger.resumed)
    assert chosen == [ledger.Options(work_dir=str(tmp_path))]


def test_a_pattern_chooses_settings():
    everything = Queue(SETTINGS, RECIPE)
    assert everything.matching(None).settings == SETTINGS
    static = everything.matching("static_mnist_one").settings
    assert static == tuple(s for s in SETTINGS if s.data == "static_mnist" and s.levels == 1)
    two = everything.matching("two_level*vamp_seed0").settings
    assert {(s.levels, s.prior, s.seed) for s in two} == {(2, "vamp", 0)}
    assert len(two) == len(DATASETS.keys() - {"toy"})


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match="static_minst"):
        Queue(SETTINGS, RECIPE).matching("static_minst")


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_minutes_are_more_than_none(minutes):
    with pytest.raises(ValueError, match="--max-minutes"):
        ledger._stop_after(minutes)


def test_a_stopwatch_goes_on_where_it_was(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: float(next(clock)))
    for _ in range(2):
        watch = stopwatch.Stopwatch(tmp_path / "times.json")
        watch.stage("training")
        watch.stage("test")
    times = stopwatch.read_times(tmp_path / "times.json")
    assert times["seconds"] == {"training": 40.0, "test": 20.0}
    assert stopwatch.seconds_of(times) == 60.0


def test_a_setting_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    settings = (TOY, TOY._replace(seed=1))

    def fail_first(setting, recipe, *rest):
        if setting.seed == 0:
            raise ValueError("Training failed: no luck.")
        write_record(setting, record_of(setting, 88.0, recipe), tmp_path / "results")
        return read_record(setting, tmp_path / "results")

    monkeypatch.setattr(queue, "run", fail_first)
    mine = toy_queue(tmp_path, settings)
    assert run_all(mine) == [TOY]
    assert mine.left() == [TOY]
    assert "no luck" in capsys.readouterr().err


def rows_of(folder):
    record = read_record(TOY, folder / "results")
    assert record is not None
    assert set(record["seconds_by_stage"]) == {"loading", "training", "test", "annealed", "holes"}
    return {name: value for name, value in record["row"].items() if name != "seconds_per_epoch"}


@pytest.mark.nightly
def test_a_killed_ledger_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    """Killed in training, and stopped between two measurements."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-m", "tests.support.toy_ledger", str(killed)], stderr=subprocess.PIPE)
    checkpoints = run.folder_of(TOY, TOY_RECIPE, killed) / "checkpoints" / "standard"
    while not list(checkpoints.glob("[0-9]*")) and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process_at_work(killed) is None
    assert entries(toy_queue(killed))[0].state.startswith("stopped (training)")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "annealed_importance_sampling", stop)
        with pytest.raises(KeyboardInterrupt):
            run_all(toy_queue(killed))
    with monkeypatch.context() as patched:
        patched.setattr("vaepriors_jax.log_marginal", stop)  # what was measured is not measured again
        assert run_all(toy_queue(killed)) == []
    assert run_all(toy_queue(whole)) == []
    assert rows_of(killed) == rows_of(whole)
    assert rows_of(whole)["epochs"] == 14
    assert run_all(toy_queue(whole)) == []  # nothing is left


def table(tmp_path, *records):
    mine = Queue(SETTINGS, RECIPE, tmp_path, results_dir=tmp_path)
    for setting, nll, more in records:
        write_record(setting, record_of(setting, nll, **more), tmp_path)
    return tables.describe(mine)


def test_tables_put_ours_beside_published_values(tmp_path):
    standard, vamp = Setting("static_mnist", "standard"), Setting("static_mnist", "vamp")
    busy = {"busy": True, "note": "Paused."}
    page = table(tmp_path, (standard, 88.0, {}), (standard._replace(seed=1), 88.4, {}), (vamp, 85.5, busy))
    assert "**Static MNIST, one level of latents**" in page
    assert "| 88.20\u00a0±\u00a00.20 (2 seeds) | – | 0.90 | 39 | 0.100 | 0.020 | 60 |" in page
    assert "| 85.50\u00a0±\u00a00.20 ¹ | 2.70 | 0.90 | 39 | 0.100 | 0.020 | – |" in page
    assert "| VampPrior-data, K = 500 | 88.23 (rerun of TW's code) | – | – | – | – | – | – | – |" in page
    assert "\nPaused.\n" in page
    assert f"{len(SETTINGS) - 3} of {len(SETTINGS)} settings are missing" in page
    assert "| `static_mnist_one_level_vamp_seed0` |" not in page
    assert "| `static_mnist_one_level_vamp_seed1` | 80 |" in page
    assert "Dynamic MNIST" not in page


def test_tables_say_how_other_data_differ(tmp_path):
    page = table(tmp_path, (Setting("omniglot", "vamp"), 104.0, {}))
    assert "compare differences to N(0, I), not absolute values" in page
    assert "| 104.0\u00a0±\u00a00.2 ¹ | – |" in page.replace("104.00\u00a0±\u00a00.20", "104.0\u00a0±\u00a00.2")


def test_a_stale_result_is_in_no_table(tmp_path):
    older = {"recipe": {"name": RECIPE.name, "version": RECIPE.version - 1}}
    page = table(tmp_path, (Setting("static_mnist", "standard"), 88.0, older))
    assert "**Static MNIST" not in page
    assert f"{len(SETTINGS)} of {len(SETTINGS)} settings are missing" in page
