"""Scores of samples against independent references, and the feature network that they use."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from scipy.spatial.distance import cdist

from experiments.data import load, read_tfds
from vaepriors_jax.evaluation import samples
from vaepriors_jax.evaluation.features import (
    Classifier,
    check_same_features,
    load_feature_network,
    save_feature_network,
    train_feature_network,
)
from vaepriors_jax.evaluation.quality import SCORES, sample_quality
from vaepriors_jax.evaluation.samples import (
    bootstrap,
    density_coverage,
    frechet_distance,
    kernel_distance,
    memorization,
    nearest_distances,
    precision_recall,
    squared_mmd,
)

KEY = jax.random.key(0)


def draw(seed, *shape, scale=1.0, loc=0.0):
    return (np.random.default_rng(seed).normal(loc, scale, shape)).astype(np.float32)


# Fréchet distance


@pytest.mark.parametrize("num_samples", [11, 40, 2000])
def test_frechet_distance_agrees_with_the_matrix_square_root(num_samples):
    mixing = np.random.default_rng(1).normal(size=(10, 10))
    real = draw(2, num_samples, 10).astype(np.float64) @ mixing
    generated = draw(3, num_samples, 10).astype(np.float64) * np.linspace(0.1, 3, 10) + 1
    first, second = np.cov(real.T), np.cov(generated.T)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = np.sum((real.mean(0) - generated.mean(0)) ** 2) + np.trace(first + second - 2 * root)
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(generated, real) == pytest.approx(expected, rel=1e-6)


def with_moments(seed, num_samples, mean, covariance):
    """A sample whose mean and covariance are exactly these."""
    x = np.random.default_rng(seed).normal(size=(num_samples, len(mean)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_between_gaussians_in_closed_form():
    rotation = scipy.stats.ortho_group.rvs(6, random_state=0)
    variances, others = np.array([1e-4, 0.1, 1.0, 2.0, 9.0, 30.0]), np.array([1.0, 1e-3, 1.0, 5.0, 4.0, 10.0])
    first, second = ((rotation * values) @ rotation.T for values in (variances, others))
    shift = np.arange(6.0)
    expected = np.sum(shift**2) + np.sum((np.sqrt(variances) - np.sqrt(others)) ** 2)
    # An offset of 1000 costs four digits in float32, and nothing that matters in float64.
    real, generated = with_moments(0, 500, 1000 + shift, first), with_moments(1, 300, np.full(6, 1000.0), second)
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(real, real[::-1] + 2) == pytest.approx(24, rel=1e-8)


def test_frechet_distance_of_a_collapsed_generator_and_of_one_feature():
    real = with_moments(0, 100, np.zeros(3), np.diag([1.0, 2.0, 3.0]))
    assert frechet_distance(real, np.ones((50, 3))) == pytest.approx(3 + 6)
    assert frechet_distance(real[:, :1], 3 * real[:, :1]) == pytest.approx(4)


# Kernel distance


def squared_mmd_by_loops(real, generated):
    def kernel(x, y):
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    def within(x):
        return np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])

    return within(real) + within(generated) - 2 * np.mean([kernel(a, b) for a in real for b in generated])


def test_kernel_distance_agrees_with_loops():
    real, generated = draw(0, 20, 4).astype(np.float64), draw(1, 13, 4, loc=0.5).astype(np.float64)
    expected = squared_mmd_by_loops(real, generated)
    assert squared_mmd(real, generated) == pytest.approx(expected, rel=1e-10)
    whole = kernel_distance(KEY, real[:13], generated, num_subsets=3, subset_size=13)
    assert whole.mean == pytest.approx(squared_mmd_by_loops(real[:13], generated), rel=1e-10)
    assert np.isnan(whole.standard_error)


def test_kernel_distance_uses_subsets_of_the_size_asked_for():
    """With subsets of two, every value is one of the few that two pairs can give."""
    real, generated = draw(0, 3, 2).astype(np.float64), draw(1, 3, 2).astype(np.float64)
    pairs = [[0, 1], [0, 2], [1, 2]]
    possible = [squared_mmd_by_loops(real[a], generated[b]) for a in pairs for b in pairs]
    values = [kernel_distance(jax.random.key(i), real, generated, num_subsets=1, subset_size=2).mean for i in range(60)]
    nearest = np.abs(np.subtract.outer(values, possible)).argmin(1)
    np.testing.assert_allclose(values, np.take(possible, nearest), rtol=1e-9)
    assert len(set(nearest.tolist())) == 9


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_kernel_distance_is_unbiased_and_its_error_covers_the_choice_of_examples(shift):
    runs = [
        kernel_distance(
            jax.random.key(i),
            draw(i, 400, 3),
            draw(1000 + i, 400, 3, loc=shift),
            num_subsets=20,
            subset_size=100,
        )
        for i in range(200)
    ]
    means, errors = np.array([run.mean for run in runs]), np.array([run.standard_error for run in runs])
    exact = exact_squared_mmd(shift)
    assert abs(means.mean() - exact) < 4 * means.std(ddof=1) / np.sqrt(len(means))
    if shift:
        assert 0.8 < errors.mean() / means.std(ddof=1) < 1.25
    else:  # degenerate under equality: the error is on the safe side
        assert 0.8 < errors.mean() / means.std(ddof=1) < 4


def exact_squared_mmd(shift):
    """MMD^2 of N(0, I) and N(shift, I) in 3-d, from the moments of the features of the kernel's expansion."""

    def moment(powers, loc):
        return np.prod([scipy.stats.norm(loc).moment(p) if p else 1.0 for p in powers])

    total = 0.0
    for powers in np.ndindex(4, 4, 4):
        if sum(powers) <= 3:
            counts = [*powers, 3 - sum(powers)]
            coefficient = 6 / np.prod([float(np.prod(range(1, c + 1))) for c in counts]) / 3.0 ** sum(powers)
            total += coefficient * (moment(powers, 0.0) - moment(powers, shift)) ** 2
    return total


# Neighbours


def prdc_by_brute_force(real, generated, k):
    within_real, within_generated = cdist(real, real), cdist(generated, generated)
    np.fill_diagonal(within_real, np.inf)
    np.fill_diagonal(within_generated, np.inf)
    radii, others = np.sort(within_real, 1)[:, k - 1], np.sort(within_generated, 1)[:, k - 1]
    between = cdist(real, generated)
    precision = (between <= radii[:, None]).any(0).mean()
    recall = (between <= others[None]).any(1).mean()
    density = (between < radii[:, None]).sum(0).mean() / k
    coverage = (between.min(1) < radii).mean()
    return precision, recall, density, coverage


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("num_real", "num_generated", "entries"), [(150, 100, None), (64, 203, 1000), (50, 50, 1)])
def test_precision_recall_density_coverage_agree_with_brute_force(monkeypatch, k, num_real, num_generated, entries):
    if entries:
        monkeypatch.setattr(samples, "_CHUNK_ENTRIES", entries)
    real, generated = draw(0, num_real, 7, loc=5.0), draw(1, num_generated, 7, scale=1.2, loc=5.4)
    expected = prdc_by_brute_force(real.astype(np.float64), generated.astype(np.float64), k)
    got = (*precision_recall(real, generated, k=k), *density_coverage(real, generated, k=k))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_precision_recall_density_coverage_of_known_cases():
    grid = np.stack(np.meshgrid(*[np.arange(-2.0, 3.0)] * 2), -1).reshape(-1, 2)
    assert precision_recall(grid, grid) == (1.0, 1.0)
    rows = np.cumsum(np.arange(-10.0, 11.0) ** 2)[:, None]
    rows = rows - rows.mean().round()  # no ties between neighbours, and exact in float32
    assert density_coverage(rows, rows).coverage == 1.0
    assert precision_recall(grid, grid + 100) == (0.0, 0.0)
    assert density_coverage(grid, grid + 100) == (0.0, 0.0)
    # All samples at one real image: precise, dense, and they cover only the neighbourhoods that hold it.
    collapsed = np.zeros((10, 2))
    precise = precision_recall(grid, collapsed, k=4)
    assert (precise.precision, precise.recall) == (1.0, 1 / 25)
    # Strictly within the distance 1 to the 4th neighbour of an inner point there is the point itself; corners and
    # edges reach further, but none as far as the centre.
    assert density_coverage(grid, collapsed, k=4) == (1 / 4, 1 / 25)


def test_alike_samples_have_density_one_and_the_expected_coverage():
    """Exchangeability: density 1, and coverage 1 - P(the k nearest of 2N - 1 are all real), about 1 - 2^-k."""
    runs = [density_coverage(draw(i, 1000, 5), draw(100 + i, 1000, 5), k=5) for i in range(20)]
    for values, expected in zip(np.transpose(runs), (1.0, 1 - 2.0**-5), strict=True):
        assert abs(values.mean() - expected) < 5 * values.std(ddof=1) / np.sqrt(len(values))


@pytest.mark.nightly
def test_published_check_value():
    """10,000 against 10,000 of one 1000-d Gaussian, k = 5: .4772, .4705, 1.0555, .9735 in the authors' README.

    Two pairs of samples here differ by the Gaussian's norm, by chance, as did theirs; the standard deviations are of
    five seeds: 0.009, 0.013, 0.052 and 0.005.
    """
    real, generated = np.asarray(jax.random.normal(KEY, (2, 10_000, 1000)))
    precise, dense = precision_recall(real, generated, k=5), density_coverage(real, generated, k=5)
    np.testing.assert_array_less(np.abs(np.subtract(precise, (0.4772, 0.4705))), 4 * np.array([0.009, 0.013]))
    np.testing.assert_array_less(np.abs(np.subtract(dense, (1.0555, 0.9735))), 4 * np.array([0.052, 0.005]))


def test_nearest_distances_are_exact_and_those_of_copies_are_zero():
    points, reference = draw(0, 60, 784, loc=3.0), draw(1, 90, 784, loc=3.0)
    np.testing.assert_allclose(nearest_distances(points, reference), cdist(points, reference).min(1), rtol=1e-5)
    assert (nearest_distances(reference[::2], reference) == 0).all()
    assert (nearest_distances(reference[::2] + 0.01, reference) > 0).all()


def test_memory_grows_neither_with_the_points_nor_with_the_reference():
    def temporary_bytes(num_points, num_reference):
        points, reference = (jax.ShapeDtypeStruct((n, 84), jnp.float32) for n in (num_points, num_reference))
        rows = samples._CHUNK_ENTRIES // num_reference
        return samples._nearest.lower(points, reference, 6, rows).compile().memory_analysis().temp_size_in_bytes

    small = temporary_bytes(20_000, 10_000)
    assert temporary_bytes(60_000, 10_000) < 1.2 * small + 40_000 * 84 * 4
    assert temporary_bytes(20_000, 60_000) < 1.2 * small + 2 * 50_000 * 84 * 4


def test_compiled_once_for_many_calls():
    for seed in range(3):
        precision_recall(draw(seed, 41, 3), draw(seed + 10, 41, 3))
        if seed == 0:
            sizes = samples._nearest._cache_size(), samples._count_balls._cache_size()
    assert (samples._nearest._cache_size(), samples._count_balls._cache_size()) == sizes


# Memorisation


def test_memorization_tells_copies_from_fresh_samples():
    train, test, fresh = draw(0, 2000, 4), draw(1, 1000, 4), draw(2, 4000, 4)
    fair = memorization(train, test, fresh, quantile=0.1)
    held_out, sampled = cdist(test, train).min(1), cdist(fresh, train).min(1)
    assert fair.test_distance == pytest.approx(held_out.mean(), rel=1e-5)
    assert fair.generated_distance == pytest.approx(sampled.mean(), rel=1e-5)
    assert fair.threshold == pytest.approx(np.quantile(held_out, 0.1), rel=1e-5)
    assert fair.close_share == pytest.approx(np.mean(sampled <= np.quantile(held_out, 0.1)), abs=1e-3)
    # 0.1 within 5 standard errors, of the quantile and of the share.
    assert abs(fair.close_share - 0.1) < 5 * np.sqrt(0.09 * (1 / 1000 + 1 / 4000))
    assert fair.ratio == pytest.approx(1, abs=0.05)
    half = memorization(train, test, np.concatenate([train[:500], fresh[:500]]))
    assert half.ratio == pytest.approx(0.5, abs=0.05)
    assert 0.5 <= half.close_share < 0.54


# Intervals


def test_bootstrap_error_of_a_mean_is_the_known_one():
    real, generated = draw(0, 400, 1), draw(1, 100, 1, scale=2.0)
    interval = bootstrap(KEY, lambda x, y: x.mean() - y.mean(), real, generated, num_resamples=2000)
    expected = np.sqrt(real.var(ddof=1) / 400 + generated.var(ddof=1) / 100)
    assert interval.value == pytest.approx(real.mean() - generated.mean())
    # A standard deviation from 2,000 draws has a relative standard error of 1 / sqrt(4000).
    assert interval.standard_error == pytest.approx(expected, rel=5 / np.sqrt(4000))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * expected, rel=0.15)


@pytest.mark.nightly
def test_bootstrap_intervals_hold_the_expectation():
    """Precision, recall, density and coverage: at most 5 % of intervals miss, up to 4 standard deviations of that."""

    def metric(real, generated):
        return (*precision_recall(real, generated), *density_coverage(real, generated))

    pairs = [(draw(i, 100, 4), draw(1000 + i, 100, 4, scale=0.8)) for i in range(50)]
    intervals = [bootstrap(jax.random.key(i), metric, *pair, num_resamples=50) for i, pair in enumerate(pairs)]
    values = np.array([interval.value for interval in intervals])
    expected = values.mean(0)
    held = np.mean([(interval.low <= expected) & (expected <= interval.high) for interval in intervals], axis=0)
    assert (held > 0.95 - 4 * np.sqrt(0.05 * 0.95 / len(pairs)) - 0.02).all()
    errors = np.mean([interval.standard_error for interval in intervals], axis=0)
    ratio = errors / values.std(0, ddof=1)
    assert (ratio > 0.65).all()  # 3.5 standard errors of a standard deviation from 50 draws
    assert (ratio < 2).all()  # half as many samples overlap less: wide, where precision is near 1


# What is refused


def two_sets(num_real=20, num_generated=20, features=3):
    return draw(0, num_real, features), draw(1, num_generated, features)


PAIRED = {
    "frechet_distance": frechet_distance,
    "squared_mmd": squared_mmd,
    "kernel_distance": partial(kernel_distance, KEY, num_subsets=2, subset_size=10),
    "precision_recall": precision_recall,
    "density_coverage": density_coverage,
    "bootstrap": partial(bootstrap, KEY, frechet_distance, num_resamples=2),
}


@pytest.mark.parametrize("metric", PAIRED.values(), ids=PAIRED)
def test_bad_features_are_refused(metric):
    real, generated = two_sets()
    metric(real, generated)
    with pytest.raises(ValueError, match=r"features \[N, F\]; got shape \(20, 3, 1\).*Flatten"):
        metric(real[..., None], generated)
    with pytest.raises(ValueError, match=r"`generated` to be features"):
        metric(real, generated[:, 0])
    with pytest.raises(ValueError, match=r"at least 1 samples in `generated`.*got 0"):
        metric(real, generated[:0])
    with pytest.raises(ValueError, match=r"`real`.*got 0"):
        metric(real[:0], generated)
    with pytest.raises(ValueError, match="same features.*got 3 and 2"):
        metric(real, generated[:, :2])
    for value in (np.nan, np.inf):
        broken = generated.copy()
        broken[4, 1] = value
        with pytest.raises(ValueError, match=r"finite values in `generated`.*index \(4, 1\)"):
            metric(real, broken)
    constant = real.copy()
    constant[:, [0, 2]] = 7.0
    with pytest.raises(ValueError, match=r"zero variance in 2 of 3: 0, 2\."):
        metric(constant, generated)
    with pytest.raises(ValueError, match="at least"):
        metric(real, generated[:1])


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match=r"at least 4 samples in `real` \(3 features\); got 3"):
        frechet_distance(*two_sets(3, 20))
    with pytest.raises(ValueError, match="at least 4 samples in `generated`"):
        frechet_distance(*two_sets(20, 3))
    with pytest.raises(ValueError, match="at least 6 samples in `generated`"):
        density_coverage(*two_sets(20, 5))
    with pytest.raises(ValueError, match="at least 4 samples in `real`"):
        precision_recall(*two_sets(3, 20))
    with pytest.raises(ValueError, match="at least 1000 samples in `real`"):
        kernel_distance(KEY, *two_sets())
    with pytest.raises(ValueError, match="`subset_size` >= 2"):
        kernel_distance(KEY, *two_sets(), subset_size=1)
    with pytest.raises(ValueError, match="num_subsets"):
        kernel_distance(KEY, *two_sets(), num_subsets=0)
    with pytest.raises(ValueError, match="`k`"):
        precision_recall(*two_sets(), k=0)
    with pytest.raises(ValueError, match="num_resamples"):
        bootstrap(KEY, frechet_distance, *two_sets(), num_resamples=1)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap(KEY, frechet_distance, *two_sets(), confidence=95)


def test_bad_input_of_memorization_is_refused():
    train, test = two_sets()
    with pytest.raises(ValueError, match="quantile"):
        memorization(train, test, test, quantile=1)
    with pytest.raises(ValueError, match="copies"):
        memorization(train, train[:5], test)
    with pytest.raises(ValueError, match="zero variance in 3 of 3"):
        memorization(np.ones((5, 3)), test, test)
    with pytest.raises(ValueError, match="got 2 and 3"):
        memorization(train, test, test[:, :2])
    with pytest.raises(ValueError, match="`generated`"):
        memorization(train, test, test[:0])


# The feature network


@pytest.fixture(scope="module")
def digits():
    data = load("digits", binarization="threshold")
    network = train_feature_network(
        KEY, data.train["x"], data.train["y"], num_classes=10, validation=(data.validation["x"], data.validation["y"])
    )
    return data, network


def test_digits_are_classified(digits):
    data, network = digits
    assert network.accuracy >= 0.95
    assert (network.architecture, network.image_shape, network.num_classes) == ("small", (8, 8), 10)
    features = network.features(data.train["x"])
    assert features.shape == (1197, 32)
    assert np.var(features, axis=0).mean() == pytest.approx(1, rel=1e-3)
    assert np.var(features, axis=0).min() > 0
    np.testing.assert_allclose(network.features(data.train["x"][7:8])[0], features[7], atol=1e-4)


def test_training_is_a_function_of_its_key():
    x, y = jax.random.uniform(KEY, (60, 28, 28)), jnp.arange(60) % 3
    train = partial(train_feature_network, x=x, y=y, num_classes=3, validation=(x, y), num_epochs=1, batch_size=20)
    first, again, other = train(KEY), train(KEY), train(jax.random.key(1))
    assert first.hash == again.hash != other.hash
    assert (first.architecture, first.features(x).shape) == ("lenet", (60, 84))
    assert len(first.hash) == 12
    assert set(first.hash) <= set("0123456789abcdef")


@pytest.mark.parametrize(("architecture", "size"), [("lenet", 28), ("small", 5)])
def test_network_is_the_one_that_convolutions_and_pools_give(architecture, size):
    """The same parameters through XLA's convolution and reduction."""
    model = Classifier(architecture, 3)
    image = jax.random.uniform(KEY, (size, size))
    params = jax.jit(model.init)(KEY, image)
    plan = [(5, 2, True), (5, 0, True)] if architecture == "lenet" else [(3, 1, False), (3, 1, True)]

    @jax.jit
    def reference(layers):
        hidden = image[None, :, :, None]
        for index, (width, padding, pool) in enumerate(plan):
            layer = layers[f"Dense_{index}"]
            kernel = layer["kernel"].reshape(width, width, hidden.shape[-1], -1)
            names = ("NHWC", "HWIO", "NHWC")
            hidden = jax.lax.conv_general_dilated(hidden, kernel, (1, 1), [(padding,) * 2] * 2, dimension_numbers=names)
            hidden = jax.nn.relu(hidden + layer["bias"])
            if pool:
                hidden = jax.lax.reduce_window(hidden, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        hidden = jax.nn.relu(hidden.reshape(-1) @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"])
        features = hidden @ layers["features"]["kernel"] + layers["features"]["bias"]
        return features, jax.nn.relu(features) @ layers["logits"]["kernel"] + layers["logits"]["bias"]

    got, expected = jax.jit(model.apply)(params, image), reference(params["params"])
    np.testing.assert_allclose(got[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-4)
    assert (got[0].shape, got[1].shape) == ((84 if architecture == "lenet" else 32,), (3,))


def test_saved_network_is_the_same(digits, tmp_path):
    data, network = digits
    path = tmp_path / "features"
    save_feature_network(path, network)
    loaded = load_feature_network(path)
    assert loaded[2:] == network[2:]
    np.testing.assert_array_equal(loaded.features(data.test["x"]), network.features(data.test["x"]))
    assert [file.name for file in tmp_path.iterdir()] == ["features"]


def test_damaged_files_are_refused(digits, tmp_path):
    _, network = digits
    path = tmp_path / "features.npz"
    with pytest.raises(ValueError, match="cannot be read"):
        load_feature_network(path)
    save_feature_network(path, network)
    whole = path.read_bytes()
    for damaged in (b"", b"not an archive", whole[: len(whole) // 2], whole[:3000] + b"\0" * 100 + whole[3100:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="Expected a feature network.*Train and save it again"):
            load_feature_network(path)
    np.savez(path, weights=np.ones(3), allow_pickle=False)
    with pytest.raises(ValueError, match="cannot be read"):
        load_feature_network(path)
    np.savez(path, weights=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        load_feature_network(path)


def test_changed_parameters_are_refused(digits, tmp_path):
    _, network = digits
    path = tmp_path / "features.npz"
    save_feature_network(path, network)
    with np.load(path) as file:
        stored = dict(file)
    name = next(name for name in stored if name.endswith("features/bias"))
    np.savez(path, allow_pickle=False, **{**stored, name: stored[name] + np.float32(1e-3)})
    with pytest.raises(ValueError, match=f"hash {network.hash}.*was changed"):
        load_feature_network(path)


def test_scores_of_other_features_are_not_compared():
    check_same_features("0123456789ab", "0123456789ab")
    with pytest.raises(ValueError, match="same feature network; got the hashes 0123456789ab and ba9876543210"):
        check_same_features("0123456789ab", "ba9876543210")


def test_bad_training_data_are_refused(digits):
    data, network = digits
    x, y = data.train["x"], data.train["y"]
    train = partial(train_feature_network, KEY, num_classes=10)
    with pytest.raises(ValueError, match="integer labels in `y`; got None.*features of your own"):
        train(x, None, validation=(x, y))
    with pytest.raises(ValueError, match="integer labels in `validation labels`; got None"):
        train(x, y, validation=(x, None))
    with pytest.raises(ValueError, match=r"one label an image, shape \(1197,\)"):
        train(x, y[:-1], validation=(x, y))
    with pytest.raises(ValueError, match="labels in `y` from 0 to 4"):
        train(x, y, num_classes=5, validation=(x, y))
    with pytest.raises(ValueError, match=r"grey images \[N, H, W\]; got shape \(1197, 64\)"):
        train(x.reshape(-1, 64), y, validation=(x, y))
    with pytest.raises(ValueError, match=r"validation images of shape \(8, 8\)"):
        train(x, y, validation=(x[:, 1:], y))
    with pytest.raises(ValueError, match="finite values in `x`"):
        train(np.where(x > 0.5, np.nan, x), y, validation=(x, y))
    with pytest.raises(ValueError, match="at least 4x4 pixels; got 3x8"):
        train(x[:, :3], y, validation=(x[:, :3], y))
    with pytest.raises(ValueError, match="num_epochs"):
        train(x, y, validation=(x, y), num_epochs=0)
    with pytest.raises(ValueError, match=r"grey images \[N, 8, 8\]; got shape \(5, 7, 7\)"):
        network.features(np.zeros((5, 7, 7)))


@pytest.mark.nightly
@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="needs a prepared copy of MNIST in TFDS_DATA_DIR")
def test_mnist_is_classified_and_scored():
    data_dir = os.environ["TFDS_DATA_DIR"]
    train, test = (read_tfds("mnist", split, data_dir) for split in ("train", "test"))
    network = train_feature_network(
        KEY, train["x"][:50_000], train["y"][:50_000], num_classes=10, validation=(test["x"], test["y"])
    )
    assert network.accuracy >= 0.985
    scores = sample_quality(
        KEY, network.features, train=train["x"][:50_000], test=test["x"], generated=train["x"][50_000:]
    )
    assert scores["generated"]["fid"] < 2 * scores["floor"]["fid"] < 0.1 * scores["noise"]["fid"]


# Other people's code


def test_values_of_torchmetrics_and_prdc():
    """torchmetrics 1.9.0 (float64; its KID takes sets of one size) and the authors' prdc 0.2, on the same arrays."""
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(500, 16)), 1.2 * rng.normal(size=(400, 16)) + 0.3
    assert frechet_distance(real, generated) == pytest.approx(2.6482739210319863, rel=1e-9)
    assert squared_mmd(real[:400], generated) == pytest.approx(0.44342967293155056, rel=1e-9)
    assert precision_recall(real, generated, k=3) == pytest.approx((0.4575, 0.924))
    assert precision_recall(real, generated, k=5) == pytest.approx((0.575, 0.962))
    assert density_coverage(real, generated, k=3) == pytest.approx((0.355, 0.49))
    assert density_coverage(real, generated, k=5) == pytest.approx((0.361, 0.664))


# All scores


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
