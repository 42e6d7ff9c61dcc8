"""The exercises, small: what they draw and write, and that the answers follow from the numbers."""

import json

import numpy as np
import pytest

from experiments import prior_visualization, pseudo_inputs
from experiments.pseudo_inputs import SETS, Learned


@pytest.mark.slow
def test_the_latent_plane_is_drawn(tmp_path, capsys):
    options = prior_visualization.Options(priors=("mixture",), epochs=1, num_points=100, output_dir=str(tmp_path))
    prior_visualization.main(options)
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["prior"] == "mixture"
    assert 0 <= row["hole_mass"][0] <= 1
    assert row["marginal_kl"][1] > 0
    assert (tmp_path / "latent_plane.png").stat().st_size > 50_000
    assert "hole mass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [({"latent_dim": 1}, "--latent-dim >= 2 for a picture of the plane; got 1"), ({"num_points": 0}, "--num-points")],
)
def test_a_plane_needs_two_dimensions(options, message):
    with pytest.raises(ValueError, match=message):
        prior_visualization.main(prior_visualization.Options(**options))


@pytest.mark.slow
def test_pseudo_inputs_are_followed_and_measured(tmp_path, capsys):
    options = pseudo_inputs.Options(num_components=6, starts=("data",), epochs=2, output_dir=str(tmp_path))
    pseudo_inputs.main(options)
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    distance = row["distance"]
    # They start at training images, up to the map into (0, 1), and have hardly left them.
    assert distance["their start"][0] < 0.1 < distance["held-out images"][0] < distance["uniform noise"][0]
    assert row["share_within_pixels"] == 1
    for name in ("evolution_data", "neighbours_data", "distances"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert "Do the pseudo-inputs resemble training data?" in printed


def learned_at(distance):
    """Pseudo-inputs at some distance from the data, where held-out images are at 1 to 2 and noise is at 10."""
    rng = np.random.default_rng(0)
    values = dict(
        zip(SETS, (np.full(5, distance), np.full(5, 8.0), rng.uniform(1, 2, 100), np.full(5, 10.0)), strict=True)
    )
    images = rng.uniform(size=(5, 3, 3))
    usage = {"responsibility_perplexity": 4.0, "num_unused": 1}
    return Learned("random", {0: images, 7: images + 1}, images, images, values, values, values, usage)


def test_the_answer_follows_from_the_numbers():
    for distance, verdict, moved in ((1.5, "Yes", "6.50 nearer to"), (9.0, "No", "1.00 away from")):
        found = pseudo_inputs.measure(learned_at(distance))
        text = pseudo_inputs.answer(found)
        assert f"resemble training data? {verdict}." in text
        assert f"training moved them by {moved} the data" in text
        assert "4 of them are used" in text
    mixed = learned_at(1.5)
    mixed = mixed._replace(entropies=learned_at(9.0).entropies)
    assert "In part." in pseudo_inputs.answer(pseudo_inputs.measure(mixed))


def test_distance_apart_by_hand():
    images = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 5.0]]])
    assert pseudo_inputs.apart(images) == pytest.approx((5 + 1 + 1) / 3)
