"""Data sets: the embedded digits, TFDS's format read without tensorflow, and what is said where a copy is missing."""

import importlib.util
import io
import json
import os

import jax
import numpy as np
import pytest
from PIL import Image

import vaepriors_jax as vp
from experiments import data

NEEDS_TFDS = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_tfds(folder, name, version, splits, labels=True):
    """Writes images as a prepared TFDS data set: array_record files of tf.train.Example, and two JSON files."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    path = folder / name / version
    path.mkdir(parents=True)
    features = {
        "image": {
            "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
            "image": {"dtype": "uint8", "shape": {"dimensions": ["28", "28", "1"]}},
        },
        "label": {
            "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "10"},
        },
    }
    if not labels:
        del features["label"]
    info = []
    for split, (images, targets) in splits.items():
        writer = ArrayRecordWriter(str(path / f"{name}-{split}.array_record-00000-of-00001"), "group_size:1")
        for image, target in zip(images, targets, strict=True):
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, "PNG")
            record = {"image": tf_feature_pb2.Feature(bytes_list={"value": [encoded.getvalue()]})}
            if labels:
                record["label"] = tf_feature_pb2.Feature(int64_list={"value": [int(target)]})
            example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=record))
            writer.write(example.SerializeToString())
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        info.append({"filepathTemplate": template, "name": split, "numBytes": "1", "shardLengths": [str(len(images))]})
    (path / "features.json").write_text(
        json.dumps(
            {
                "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
                "featuresDict": {"features": features},
            }
        )
    )
    (path / "dataset_info.json").write_text(
        json.dumps({"fileFormat": "array_record", "name": name, "version": version, "splits": info})
    )


def images_and_labels(num, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, 28, 28), dtype=np.uint8), rng.integers(0, 10, num)


def test_digits_are_split_with_a_fixed_key_and_validation_is_binary():
    first, second = data.load("digits"), data.load("digits")
    assert [len(split["x"]) for split in first[2:5]] == [1197, 300, 300]
    assert first.image_shape == (8, 8)
    assert first.num_classes == 10
    assert len(np.unique(first.train["x"])) == 17
    assert first.transform is vp.binarize
    for name in ("validation", "test"):
        assert set(np.unique(getattr(first, name)["x"])) == {0.0, 1.0}
    for one, other in zip(first[2:5], second[2:5], strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    assert len({image.tobytes() for image in first.train["x"]}) > 1100


@pytest.mark.parametrize("binarization", ["static", "threshold"])
def test_binarisation_once(binarization):
    digits = data.load("digits", binarization=binarization)
    assert digits.transform is None
    assert set(np.unique(digits.train["x"])) == {0.0, 1.0}
    grey = data.load("digits").train["x"]
    agrees = (digits.train["x"] == (grey > 0.5)).mean()
    assert agrees == 1.0 if binarization == "threshold" else 0.7 < agrees < 0.99


def test_reads_tfds_format_without_tensorflow_and_keeps_a_cache(tmp_path):
    assert importlib.util.find_spec("tensorflow") is None
    splits = {"train": images_and_labels(60, 0), "test": images_and_labels(20, 1)}
    write_tfds(tmp_path, "mnist", "3.0.1", splits)
    first = data.load("mnist", data_dir=str(tmp_path))
    np.testing.assert_allclose(first.train["x"], splits["train"][0][:50] / 255, atol=1e-6)
    np.testing.assert_array_equal(first.train["y"], splits["train"][1][:50])
    assert [len(split["x"]) for split in first[2:5]] == [50, 10, 20]
    cached = sorted(data.cache_folder().glob("*.npz"))
    assert len(cached) == 2
    cached[0].write_bytes(b"damaged")
    again = data.load("mnist", data_dir=str(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, again.train, first.train)


def test_binary_images_without_labels_stay_as_they_are(tmp_path):
    binary = {name: ((images_and_labels(n, n)[0] > 127).astype(np.uint8), [0] * n) for name, n in
              (("train", 30), ("validation", 10), ("test", 10))}  # fmt: skip
    write_tfds(tmp_path, "binarized_mnist", "1.0.0", binary, labels=False)
    loaded = data.load("binarized_mnist", data_dir=str(tmp_path))
    np.testing.assert_array_equal(loaded.train["x"], binary["train"][0])
    assert loaded.transform is None
    assert loaded.num_classes is None


def test_a_missing_copy_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="pip install tensorflow") as caught:
        data.load("fashion_mnist", data_dir=str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "tfds.data_source('fashion_mnist')" in str(caught.value)


def test_unknown_names_are_explained():
    with pytest.raises(ValueError, match="one of digits, mnist, fashion_mnist, binarized_mnist; got 'cifar'"):
        data.load("cifar")
    with pytest.raises(ValueError, match="one of dynamic, static, threshold; got 'none'"):
        data.load("digits", binarization="none")


@NEEDS_TFDS
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.nightly) for name in data.DATASETS[1:]])
def test_prepared_copies(name):
    loaded = data.load(name)
    assert [split["x"].shape for split in loaded[2:5]] == [(50_000, 28, 28), (10_000, 28, 28), (10_000, 28, 28)]
    assert loaded.train["x"].max() == 1
    if name == "binarized_mnist":
        assert set(np.unique(loaded.train["x"])) == {0.0, 1.0}
    else:
        assert set(np.unique(loaded.train["y"])) == set(range(10))


@NEEDS_TFDS
@pytest.mark.slow
def test_one_split_of_each_kind_is_read():
    grey, binary = (data.read_tfds(name, "test") for name in ("mnist", "binarized_mnist"))
    assert grey["x"].shape == binary["x"].shape == (10_000, 28, 28)
    assert (grey["x"].min(), grey["x"].max()) == (0, 1)
    assert len(np.unique(grey["x"])) == 256
    assert set(np.unique(grey["y"])) == set(range(10))
    assert set(np.unique(binary["x"])) == {0, 1}
    assert "y" not in binary
