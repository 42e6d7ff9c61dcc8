"""The README's picture: a small run draws it, and its holes are where the prior has mass and no image is encoded."""

import json

import numpy as np
import pytest

from experiments import prior_holes
from experiments.data.dataset import load
from experiments.report import hole_figure


@pytest.mark.nightly
def test_the_picture_is_drawn(tmp_path, monkeypatch):
    planes = []
    draw = hole_figure.draw
    monkeypatch.setattr(
        hole_figure, "draw", lambda path, found, *rest: (planes.extend(found), draw(path, found, *rest))
    )
    options = prior_holes.Options(
        dataset="digits", latent_dim=3, num_images=400, epochs=2, epochs_of_plane=20, output_dir=str(tmp_path)
    )
    prior_holes.main(options)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["prior"] for row in rows] == ["standard", "standard, refit mixture"]
    assert (tmp_path / "prior_holes.png").stat().st_size > 20_000
    # The area that is drawn as a hole holds as much of the prior as was measured, up to what lies outside 99 %.
    for plane, row in zip(planes, rows, strict=True):
        log_p, log_q = np.asarray(plane.map.log_p), np.asarray(plane.map.log_q)
        area = np.diff(np.asarray(plane.map.first)[:2])[0] * np.diff(np.asarray(plane.map.second)[:2])[0]
        drawn = area * np.exp(log_p[(log_q < plane.threshold) & (log_p > plane.levels[0])]).sum()
        measured = row["hole_mass"][0]
        noise = 4 * np.sqrt(max(measured, 0.001) / 10_000)  # of 10,000 samples
        assert measured - 0.01 - noise < drawn < measured + noise


def test_data_without_labels_have_one_colour(tmp_path):
    data = load("digits", binarization="threshold")
    unlabelled = {name: {"x": getattr(data, name)["x"]} for name in ("train", "validation", "test", "fixed_train")}
    model = prior_holes.train(data._replace(num_classes=None, **unlabelled), 2, 200, 1, tmp_path)
    np.testing.assert_array_equal(model.labels, np.zeros(600))
