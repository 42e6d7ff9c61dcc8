"""The writers of metrics among the examples write what `fit` measured, once an epoch."""

import csv
import runpy
import struct

import numpy as np
import pytest

import vaepriors_jax as vp

pytestmark = pytest.mark.slow


@pytest.fixture
def history(tmp_path, monkeypatch):
    """Runs an example in a folder of its own, and returns the history of its run."""
    results = []

    def run(name):
        fit = vp.fit
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(vp, "fit", lambda *args, **kwargs: results.append(fit(*args, **kwargs)))
        runpy.run_module(f"experiments.examples.{name}", run_name="__main__")
        return results[0].history

    return run


def test_a_csv_file_has_a_row_for_each_epoch(history, tmp_path):
    expected = history("metrics_csv")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].keys() == {"epoch", *expected}
    for name, values in expected.items():
        np.testing.assert_array_equal([np.float32(row[name]) for row in rows], values)


def test_tensorboard_gets_a_value_of_each_metric_for_each_epoch(history, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    expected = history("metrics_tensorboard")
    (file,) = (tmp_path / "runs" / "mixture").iterdir()
    content, found = file.read_bytes(), {}
    while content:  # of each record: its length, a checksum, the record, a checksum
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = np.float32(value.simple_value)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == dict(enumerate(values, start=1))
