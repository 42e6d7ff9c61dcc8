"""`sample_quality` and `reference_quality`: all scores of generated images at once."""

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
    sample_quality,
    squared_mmd,
)
from vaepriors_jax.evaluation.samples.scores import SCORES

KEY = jax.random.key(0)


@pytest.mark.slow
def test_sample_quality_of_digits(digits):
    data, network = digits
    images = {"train": data.train["x"], "test": data.test["x"], "generated": data.validation["x"]}
    quality = sample_quality(
        network.features, KEY, **images, reconstructions=np.clip(data.test["x"], 0.1, 0.9), num_resamples=20
    )
    scores = quality.scores
    assert list(scores) == ["generated", "reconstructions", "floor", "noise"]
    assert all(tuple(row) == SCORES for row in scores.values())
    intervals = [interval for row in scores.values() for interval in row.values()]
    assert all(type(number) is float for number in jax.tree.leaves(intervals))
    assert all(interval.low <= interval.high for interval in intervals)
    assert all(interval.estimate.standard_error >= 0 for interval in intervals)
    # Held-out digits score as training digits do; noise is far away.
    generated, floor, noise = (
        {name: interval.estimate for name, interval in scores[row].items()} for row in ("generated", "floor", "noise")
    )
    assert abs(generated["fid"].mean - floor["fid"].mean) < 4 * floor["fid"].standard_error
    assert noise["fid"].mean > 10 * floor["fid"].mean
    assert noise["coverage"].mean < 0.2 < 0.9 < floor["coverage"].mean
    real, sampled = network.features(images["test"]), network.features(images["generated"])
    assert generated["fid"].mean == pytest.approx(frechet_distance(real, sampled))
    assert generated["kid"].mean == pytest.approx(squared_mmd(real, sampled))
    assert generated["recall"].mean == precision_recall(real, sampled, k=3).recall
    assert generated["density"].mean == density_coverage(real, sampled, k=5).density
    assert quality.memorization == memorization(network.features(images["train"]), real, sampled)
    # Rows that were made before are taken as they are.
    references = {name: scores[name] for name in ("floor", "noise")}
    again = sample_quality(network.features, KEY, **images, references=references, num_resamples=20)
    assert again.scores == {name: scores[name] for name in ("generated", "floor", "noise")}


@pytest.mark.slow
def test_sample_quality_of_many_images():
    """With 2,000 test images or more: no intervals, KID from subsets, and training images as many as generated."""
    train, test, generated = (draw(seed, n, 2, 2) for seed, n in enumerate((5000, 2000, 2500)))
    counts = []

    def features(images):
        counts.append(len(images))
        return np.asarray(images).reshape(len(images), -1)

    scores = sample_quality(features, KEY, train=train, test=test, generated=generated + 1).scores
    assert list(scores) == ["generated", "floor", "noise"]
    assert sorted(counts) == [2000, 2000, 2500, 2500, 2500, 5000]
    for row in scores.values():
        assert tuple(row) == SCORES
        assert all(np.isnan([interval.low, interval.high]).all() for interval in row.values())
        assert [name for name in row if not np.isnan(row[name].estimate.standard_error)] == ["kid"]
    assert scores["generated"]["fid"].estimate.mean == pytest.approx(4, rel=0.1)
    assert scores["floor"]["fid"].estimate.mean < 0.05


def test_bad_images_are_refused():
    images = draw(0, 50, 3, 3)
    score = partial(sample_quality, lambda x: np.asarray(x).reshape(len(x), -1), KEY, num_resamples=2)
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
