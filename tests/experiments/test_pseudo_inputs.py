"""The conclusion of `pseudo_inputs` follows from the distances between pseudo-inputs and data."""

import numpy as np
import pytest

from experiments import pseudo_inputs
from experiments.pseudo_inputs import Learned
from experiments.report.pseudo_inputs import SETS, answer


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
        text = answer(found)
        assert f"resemble training data? {verdict}." in text
        assert f"training moved them by {moved} the data" in text
        assert "4 of them are used" in text
    mixed = learned_at(1.5)
    mixed = mixed._replace(entropies=learned_at(9.0).entropies)
    assert "In part." in answer(pseudo_inputs.measure(mixed))


def test_distance_apart_by_hand():
    images = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 5.0]]])
    assert pseudo_inputs.mean_separation(images) == pytest.approx((5 + 1 + 1) / 3)
