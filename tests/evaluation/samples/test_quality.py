"""All scores of generated images, and of what they are read against."""

from functools import partial

import jax
import numpy as np
import pytest

from tests.support.feature_sets import draw
from vaepriors_jax.evaluation.samples import (
    density_coverage,
    frechet_distance,
    memorization,
    precision_recall,
    squared_mmd,
)
from vaepriors_jax.evaluation.samples.quality import SCORES, sample_quality

KEY = jax.random.key(0)


def test_sample_quality_of_digits(digits):
    data, network = digits
    scores = sample_quality(
        KEY,
        network.features,
        train=data.train["x"],
        test=data.test["x"],
        generated=data.validation["x"],
        reconstructions=np.clip(data.test["x"], 0.1, 0.9),
        num_resamples=20,
    )
    assert list(scores) == ["generated", "reconstructions", "floor", "noise"]
    names = {f"{name}{end}" for name in SCORES for end in ("", "_low", "_high", "_standard_error")}
    copies = {"memorization_ratio", "memorization_close_share"}
    assert all(set(row) - copies == names for row in scores.values())
    assert all(type(value) is float for row in scores.values() for value in row.values())
    for row in scores.values():
        assert all(row[f"{name}_low"] <= row[f"{name}_high"] for name in SCORES)
    # Held-out digits score as training digits do; noise is far away.
    assert abs(scores["generated"]["fid"] - scores["floor"]["fid"]) < 4 * scores["floor"]["fid_standard_error"]
    assert scores["noise"]["fid"] > 10 * scores["floor"]["fid"]
    assert scores["noise"]["coverage"] < 0.2 < 0.9 < scores["floor"]["coverage"]
    real, generated = network.features(data.test["x"]), network.features(data.validation["x"])
    assert scores["generated"]["fid"] == pytest.approx(frechet_distance(real, generated))
    assert scores["generated"]["kid"] == pytest.approx(squared_mmd(real, generated))
    assert scores["generated"]["recall"] == precision_recall(real, generated, k=3).recall
    assert scores["generated"]["density"] == density_coverage(real, generated, k=5).density
    copied = memorization(network.features(data.train["x"]), real, generated)
    assert scores["generated"]["memorization_close_share"] == copied.close_share
    assert scores["generated"]["memorization_ratio"] == copied.ratio
    # Rows that were made before are taken as they are.
    references = {name: scores[name] for name in ("floor", "noise")}
    again = sample_quality(
        KEY,
        network.features,
        train=data.train["x"],
        test=data.test["x"],
        generated=data.validation["x"],
        references=references,
        num_resamples=20,
    )
    assert again == {name: scores[name] for name in ("generated", "floor", "noise")}


def test_sample_quality_of_many_images():
    """With 2,000 test images or more: no intervals, KID from subsets, and training images as many as generated."""
    train, test, generated = (draw(seed, n, 2, 2) for seed, n in enumerate((5000, 2000, 2500)))
    counts = []

    def features(images):
        counts.append(len(images))
        return np.asarray(images).reshape(len(images), -1)

    scores = sample_quality(KEY, features, train=train, test=test, generated=generated + 1)
    assert list(scores) == ["generated", "floor", "noise"]
    assert sorted(counts) == [2000, 2000, 2500, 2500, 2500, 5000]
    copies = {"memorization_ratio", "memorization_close_share"}
    assert all(set(row) - copies == {*SCORES, "kid_standard_error"} for row in scores.values())
    assert set(scores["generated"]) >= copies
    assert scores["generated"]["fid"] == pytest.approx(4, rel=0.1)
    assert scores["floor"]["fid"] < 0.05


def test_bad_images_are_refused():
    images = draw(0, 50, 3, 3)
    score = partial(sample_quality, KEY, lambda x: np.asarray(x).reshape(len(x), -1), num_resamples=2)
    with pytest.raises(ValueError, match=r"of one shape; got \(50, 3, 3\) in `test`, \(50, 2, 3\) in `generated`"):
        score(train=images, test=images, generated=images[:, :2])
    with pytest.raises(ValueError, match="finite values in `reconstructions`"):
        score(train=images, test=images, generated=images, reconstructions=np.full_like(images, np.nan))
    with pytest.raises(ValueError, match=r"at least 20 samples in `features\(test\)` \(9 features\); got 10"):
        score(train=images, test=images[:10], generated=images)
    with pytest.raises(ValueError, match="at least 20 samples in `features of the row 'generated'`"):
        score(train=images, test=images, generated=images[:10])
    with pytest.raises(ValueError, match="zero variance in 9 of 9"):
        score(train=images, test=np.ones_like(images), generated=images)
