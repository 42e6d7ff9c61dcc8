"""A trained feature network: its features, its hash, and how it is saved and loaded."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vaepriors_jax.checks import check_finite, check_positive_integer
from vaepriors_jax.evaluation.samples.classifier import Classifier
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.training.streams import is_stream


class FeatureNetwork(NamedTuple):
    """A trained feature network.

    Attributes:
        features: `features(images)` maps images [N, H, W] or [N, H, W, C] to features [N, F], compiled and in chunks.
        params: parameters of the classifier.
        accuracy: share of the validation images that it classifies correctly.
        hash: a hash of architecture and parameters; scores can be compared only if their networks have the same hash.
        architecture: "lenet" or "small", a key of `ARCHITECTURES`.
        image_shape: height and width, and the number of channels of colour images.
        num_classes: number of classes.
    """

    features: Callable[[Any], jax.Array]
    params: Any
    accuracy: float
    hash: str
    architecture: str
    image_shape: tuple[int, ...]
    num_classes: int


def check_images(name: str, images: Any, shape: tuple[int, ...] | None = None) -> jax.Array:
    """Returns images [N, H, W] or [N, H, W, C] as float32, or raises ValueError."""
    if is_stream(images):
        raise ValueError(f"Expected images as an array in `{name}`; got batches. Concatenate them.")
    got = np.shape(images)
    if len(got) not in (3, 4) or 0 in got or got[1:] != (shape or got[1:]):
        wanted = "[N, H, W] or [N, H, W, C]" if shape is None else f"[N, {', '.join(map(str, shape))}]"
        raise ValueError(f"Expected `{name}` to be images {wanted}; got shape {got}. Reshape them.")
    check_finite(name, images)
    return jnp.asarray(images, jnp.float32)


@partial(jax.jit, static_argnums=(0, 1))
def apply_in_chunks(model: Classifier, chunk_size: int, params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features [N, F] and class logits of images [N, H, W] or [N, H, W, C]."""
    return map_chunks(partial(model.apply, params), images, min(chunk_size, len(images)))


def make_network(
    model: Classifier, params: Any, accuracy: float, shape: tuple[int, ...], chunk_size: int
) -> FeatureNetwork:
    """A `FeatureNetwork` of trained parameters."""

    def features(images: Any) -> jax.Array:
        return apply_in_chunks(model, chunk_size, params, check_images("images", images, shape))[0]

    digest = _hash(model.architecture, params)
    return FeatureNetwork(features, params, accuracy, digest, model.architecture, tuple(shape), model.num_classes)


def _hash(architecture: str, params: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of the architecture's name and of all parameters as float32."""
    digest = hashlib.sha256(architecture.encode())
    for _, array in sorted(flatten_dict(params, sep="/").items()):
        digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()[:12]


def save_feature_network(path: str | Path, network: FeatureNetwork) -> None:
    """Saves a feature network as an npz file of plain arrays, under exactly the name `path`.

    Args:
        path: the file, which is replaced if it exists.
        network: the network, from `train_feature_network`.
    """
    params = {f"params/{name}": np.asarray(array) for name, array in flatten_dict(network.params, sep="/").items()}
    names = ("accuracy", "hash", "architecture", "image_shape", "num_classes")
    rest = {name: np.asarray(getattr(network, name)) for name in names}
    partial_path = Path(path).with_name(Path(path).name + ".partial")
    with open(partial_path, "wb") as file:
        np.savez(file, allow_pickle=False, **params, **rest)
    partial_path.replace(path)


def load_feature_network(path: str | Path, *, chunk_size: int = 500) -> FeatureNetwork:
    """Loads a feature network that `save_feature_network` wrote, and checks its hash.

    Args:
        path: the file.
        chunk_size: images that `features` maps at a time.

    Returns:
        The `FeatureNetwork`.

    Raises:
        ValueError: the file is missing or damaged, or its parameters do not have the hash that is stored with them.
    """
    check_positive_integer(chunk_size=chunk_size)
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        named = {name.removeprefix("params/"): jnp.asarray(stored[name]) for name in stored if "/" in name}
        params = unflatten_dict(named, sep="/")
        model = Classifier(str(stored["architecture"]), int(stored["num_classes"]))
        shape = tuple(int(n) for n in stored["image_shape"])
        jax.eval_shape(model.apply, params, jax.ShapeDtypeStruct(shape, jnp.float32))
        network = make_network(model, params, float(stored["accuracy"]), shape, chunk_size)
        expected = str(stored["hash"])
    except Exception as error:
        raise ValueError(
            f"Expected a feature network saved by `save_feature_network` in {path}; it cannot be read: "
            f"{(str(error) or type(error).__name__).splitlines()[0]}. Train and save it again."
        ) from error
    if network.hash != expected:
        raise ValueError(
            f"Expected parameters with the hash {expected} in {path}; they have {network.hash}: the file was changed. "
            "Train and save it again."
        )
    return network
