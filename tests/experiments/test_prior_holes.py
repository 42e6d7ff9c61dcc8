"""The README's picture: a small run draws it, and its holes are where the prior has mass and no image is encoded."""

import json

import jax
import numpy as np
import pytest

from experiments import prior_holes
from experiments.data.dataset import load
from experiments.models.trained import Model
from experiments.models.vaes import make_vae
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.report import hole_figure
from vaepriors_jax.evaluation.latents.plane_marginals import log_density


@pytest.mark.nightly
def test_the_picture_is_drawn(tmp_path, monkeypatch):
    planes = []
    draw = hole_figure.draw
    monkeypatch.setattr(
        hole_figure, "draw", lambda path, found, *rest: (planes.extend(found), draw(path, found, *rest))
    )
    options = prior_holes.Options(
        dataset="digits", latent_dim=3, epochs=20, num_components=10, output_dir=str(tmp_path)
    )
    prior_holes.main(options)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["prior"] for row in rows] == ["standard", "standard, refit mixture"]
    assert (tmp_path / "prior_holes.png").stat().st_size > 20_000
    # The area that is drawn as a hole holds as much of the prior as was measured, up to what lies outside 99 %.
    for plane, row in zip(planes, rows, strict=True):
        log_p, log_q = np.asarray(plane.map.log_p), np.asarray(plane.map.log_q)
        area = np.diff(np.asarray(plane.map.first)[:2])[0] * np.diff(np.asarray(plane.map.second)[:2])[0]
        drawn = area * np.exp(log_p[(log_p - log_q > hole_figure.EXCESS) & (log_p > plane.levels[0])]).sum()
        measured = row["hole_mass"][0]
        noise = 4 * np.sqrt(max(measured, 0.001) / 20_000)  # of 20,000 samples
        assert measured - 0.01 - noise < drawn < measured + noise


@pytest.mark.slow
def test_data_without_labels_have_one_colour():
    data = load("digits", binarization="threshold")
    unlabelled = {name: {"x": getattr(data, name)["x"]} for name in ("train", "validation", "test", "fixed_train")}
    data = data._replace(num_classes=None, **unlabelled)
    vae, init = make_vae("standard", resolve(Config(dataset="digits"), data).sizes, data)
    view = prior_holes.view_of(Model("standard", 0, vae, init(jax.random.key(0))), data)
    np.testing.assert_array_equal(view.labels, np.zeros(600))
    # q(z) in the plane is the average of the encodings of the same images: these lie where it has mass.
    at_encodings = log_density(view.encoded, view.encodings, 500)
    assert np.quantile(at_encodings, 0.01) > np.max(at_encodings) - 12
