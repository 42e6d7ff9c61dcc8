"""The feature network: training, features, and saved files."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data.dataset import load
from vaepriors_jax.evaluation.samples import (
    load_feature_network,
    sample_quality,
    save_feature_network,
    train_feature_network,
)
from vaepriors_jax.evaluation.samples.classifier import Classifier

KEY = jax.random.key(0)


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
    with pytest.raises(ValueError, match=r"images \[N, H, W\] or \[N, H, W, C\]; got shape \(1197, 64\)"):
        train(x.reshape(-1, 64), y, validation=(x, y))
    with pytest.raises(ValueError, match=r"validation images of shape \(8, 8\)"):
        train(x, y, validation=(x[:, 1:], y))
    with pytest.raises(ValueError, match="finite values in `x`"):
        train(np.where(x > 0.5, np.nan, x), y, validation=(x, y))
    with pytest.raises(ValueError, match="at least 4x4 pixels; got 3x8"):
        train(x[:, :3], y, validation=(x[:, :3], y))
    with pytest.raises(ValueError, match="num_epochs"):
        train(x, y, validation=(x, y), num_epochs=0)
    with pytest.raises(ValueError, match=r"images \[N, 8, 8\]; got shape \(5, 7, 7\)"):
        network.features(np.zeros((5, 7, 7)))


def test_colours_alone_tell_classes_apart_and_the_network_is_saved(tmp_path):
    """Red and green images of the same luminance in 3 channels, of two sides."""
    y = jnp.arange(90) % 2
    colours = jnp.array([[0.587, 0, 0], [0, 0.299, 0]])[y]
    x = colours[:, None, None, :] * jax.random.uniform(KEY, (90, 17, 20, 1))
    network = train_feature_network(KEY, x, y, num_classes=2, validation=(x, y), num_epochs=10, batch_size=30)
    assert (network.architecture, network.image_shape, network.accuracy) == ("lenet", (17, 20, 3), 1.0)
    save_feature_network(tmp_path / "features", network)
    loaded = load_feature_network(tmp_path / "features")
    assert loaded[2:] == network[2:]
    np.testing.assert_array_equal(loaded.features(x[:5]), network.features(x[:5]))
    with pytest.raises(ValueError, match=r"images \[N, 17, 20, 3\]; got shape \(90, 17, 20\)"):
        network.features(x[..., 0])


@pytest.mark.nightly
@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="needs a prepared copy of MNIST in TFDS_DATA_DIR")
def test_mnist_is_classified_and_scored():
    data = load("mnist", binarization="none")
    x, test = data.train["x"], data.test
    network = train_feature_network(KEY, x, data.train["y"], num_classes=10, validation=(test["x"], test["y"]))
    assert network.accuracy >= 0.985
    quality = sample_quality(network.features, KEY, train=x, test=test["x"], generated=data.validation["x"])
    fid = {row: scores["fid"].estimate.mean for row, scores in quality.scores.items()}
    assert fid["generated"] < 2 * fid["floor"] < 0.1 * fid["noise"]
