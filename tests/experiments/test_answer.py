"""The paired test over images and seeds, and the answer that a comparison makes of it."""

import numpy as np
import pytest

from experiments.report import answer as module
from experiments.report.answer import BETTER, WORSE, answer
from experiments.report.two_way import difference, is_clear


def scores(effects, num_seeds=2, num_images=100, seed_noise=0.1, image_noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(scale=20, size=num_images)  # how easy an image is: the same for all priors
    return {
        name: -100
        + effect
        + shared
        + rng.normal(scale=seed_noise, size=(num_seeds, 1))
        + rng.normal(scale=image_noise, size=num_images)
        + rng.normal(scale=image_noise, size=(num_seeds, num_images))
        for name, effect in effects.items()
    }


@pytest.mark.parametrize("seed_noise", [0.0, 0.05, 0.5])
def test_of_equal_priors_few_are_called_different(seed_noise):
    effects = dict.fromkeys("abcde", 0.0)
    p_values = [difference(scores(effects, seed_noise=seed_noise, seed=i), "a", "b").p_value for i in range(400)]
    assert 0.005 <= np.mean(np.array(p_values) < 0.05) <= 0.08


def test_a_difference_of_a_tenth_of_the_spread_of_images_is_found():
    found = difference(scores({"a": 1.0, "b": 0.0, "c": 0.0}), "a", "b")
    assert found.mean == pytest.approx(1.0, abs=4 * found.standard_error)
    assert is_clear(found, 2)
    assert not is_clear(found._replace(p_value=0.03), 2)  # at 5 % over two tests


def test_what_cannot_be_known_is_nan():
    one = {"a": np.ones((1, 1)), "b": np.zeros((1, 1))}
    assert np.isnan(difference(one, "a", "b").p_value)
    assert not is_clear(difference(one, "a", "b"), 1)
    same = {"a": np.ones((2, 3)), "b": np.ones((2, 3))}
    assert difference(same, "a", "b") == (0.0, 0.0, 1.0)


def rows_of(by_prior, fids, folder):
    rows = []
    for prior, values in by_prior.items():
        for seed, images in enumerate(values):
            path = folder / "measured" / f"{prior}-seed{seed}" / "log_marginal-0.npz"
            path.parent.mkdir(parents=True)
            np.savez(path, values=images)
            generated = {"fid": fids[prior] + 0.01 * seed * (1 + len(prior) % 2)}
            holes = {"divergence": fids[prior] / 50, "num_encodings": 300}
            test = {"log_marginal": float(images.mean())}
            rows.append(
                {"prior": prior, "seed": seed, "test": test, "samples": {"generated": generated}, "holes": holes}
            )
    return rows


def test_the_answer_names_the_best_by_how_much_and_how_sure(tmp_path):
    by_prior = scores({"standard": 0.0, "mixture": 2.0, "flow": 2.05, "vamp": 1.0, "bad": -2.0})
    fids = {"standard": 5.9, "mixture": 1.3, "flow": 1.9, "vamp": 1.7, "bad": 6.0}
    rows = rows_of(by_prior, fids, tmp_path)
    found = answer(rows, tmp_path)
    best, other = sorted(("mixture", "flow"), key=lambda name: -by_prior[name].mean())
    assert found.words.startswith(f"{best} has the highest log p(x) of the test images: -")
    for text in (
        "more than N(0, I) (p < 0.001)",
        f"From {other} it cannot be told apart.",
        "vamp is better than N(0, I), too.",
        "Worse than N(0, I): bad.",
        "Samples are better: an FID of 1.3",
        "a classifier of so few encodings shows gross differences only",
        "100 test images and 2 seeds; a difference counts at 5 %, shared by 4 comparisons.",
    ):
        assert text in found.words
    expected = {"mixture": BETTER, "flow": BETTER, "vamp": BETTER, "bad": WORSE}
    assert found.marks["log_marginal"] == expected
    assert found.differences["log_marginal"]["mixture"].mean == pytest.approx(2.0, abs=0.5)


def test_without_a_difference_the_answer_says_so(tmp_path):
    by_prior = scores({"standard": 0.0, "mixture": 0.0})
    found = answer(rows_of(by_prior, {"standard": 1.0, "mixture": 1.0}, tmp_path), tmp_path)
    assert found.words.startswith("No prior has a higher log p(x) of the test images than N(0, I) beyond the noise")
    assert "cannot be told apart" in found.words
    assert found.marks["log_marginal"] == {"mixture": ""}


def test_runs_without_values_by_image_fall_back_to_seeds_and_one_seed_says_nothing(tmp_path):
    rows = [
        {"prior": prior, "seed": 0, "test": {"log_marginal": value}}
        for prior, value in (("standard", -3.0), ("b", -2.0))
    ]
    assert set(module.scores_of(rows, tmp_path)) == {"log_marginal"}
    found = answer(rows, tmp_path)
    assert found.marks["log_marginal"] == {"b": ""}
    assert "With one seed nothing can be said of the noise." in found.words
    rows[1]["test"] = None  # training failed
    assert "no other prior was compared" in answer(rows, tmp_path).words
