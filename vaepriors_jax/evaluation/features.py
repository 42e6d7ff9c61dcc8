"""A feature network for grey images: a small classifier, trained on the data set in hand and named by its hash."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from vaepriors_jax.checks import check_finite, check_labels, check_positive, check_positive_integer


class Convolution(NamedTuple):
    """A square convolution with a ReLU, and a 2x2 maximum pool after it."""

    channels: int
    size: int
    padding: int
    pool: bool


class Architecture(NamedTuple):
    """Convolutions, then dense layers, the last of which gives the features."""

    convolutions: tuple[Convolution, ...]
    dense: tuple[int, ...]
    least_size: int


ARCHITECTURES = {
    "lenet": Architecture((Convolution(6, 5, 2, True), Convolution(16, 5, 0, True)), (120, 84), 16),
    "small": Architecture((Convolution(16, 3, 1, False), Convolution(32, 3, 1, True)), (64, 32), 4),
}


class FeatureNetwork(NamedTuple):
    """A trained feature network.

    Attributes:
        features: `features(images)` maps images [N, H, W] to features [N, F], compiled and in chunks.
        params: parameters of the classifier.
        accuracy: share of the validation images that it classifies correctly.
        hash: names architecture and parameters; scores of different hashes cannot be compared.
        architecture: a key of `ARCHITECTURES`.
        image_shape: height and width.
        num_classes: number of classes.
    """

    features: Callable[[Any], jax.Array]
    params: Any
    accuracy: float
    hash: str
    architecture: str
    image_shape: tuple[int, int]
    num_classes: int


class Classifier(nn.Module):
    """Maps one image [H, W] to features [F] and class logits [C].

    The features are those before the last ReLU: none of them is constant, and they are nearer to the Gaussian of FID.
    """

    architecture: str
    num_classes: int

    @nn.compact
    def __call__(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Features and logits."""
        convolutions, dense, _ = ARCHITECTURES[self.architecture]
        layer = partial(nn.Dense, precision=jax.lax.Precision.HIGHEST)
        hidden = image[..., None]
        for convolution in convolutions:
            hidden = nn.relu(layer(convolution.channels)(_patches(hidden, convolution.size, convolution.padding)))
            hidden = _pool(hidden) if convolution.pool else hidden
        hidden = hidden.reshape(-1)
        for width in dense[:-1]:
            hidden = nn.relu(layer(width)(hidden))
        features = layer(dense[-1], name="features")(hidden)
        return features, layer(self.num_classes, name="logits")(nn.relu(features))


def _patches(image: jax.Array, size: int, padding: int) -> jax.Array:
    """The size x size patch around each pixel [H', W', size^2 C].

    A convolution as one product: with `_pool`, an epoch takes a sixth of the time on a CPU that XLA's own ones take.
    """
    image = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width = image.shape[0] - size + 1, image.shape[1] - size + 1
    return jnp.concatenate([image[i : i + height, j : j + width] for i in range(size) for j in range(size)], axis=-1)


def _pool(image: jax.Array) -> jax.Array:
    """The maximum of each 2x2 block; an odd last row or column is left out."""
    height, width, channels = image.shape[0] // 2, image.shape[1] // 2, image.shape[2]
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels).max((1, 3))


def train_feature_network(
    key: jax.Array,
    x: Any,
    y: Any,
    *,
    num_classes: int,
    validation: tuple[Any, Any],
    num_epochs: int | None = None,
    batch_size: int = 100,
    learning_rate: float = 2e-3,
    chunk_size: int = 500,
) -> FeatureNetwork:
    """Trains a classifier on grey images and gives back its last hidden layer as features.

    Images of at least 16x16 get a LeNet with 84 features, smaller ones, down to 4x4, a relative with 32. All epochs run
    on the device as one compiled program: Adam, its learning rate falling to 0 along a cosine. Features are scaled so
    that their mean variance over the training images is 1: FID and KID have units.

    Args:
        key: a random key.
        x: training images [N, H, W], about 0 to 1; grey or binary as those that will be scored.
        y: their labels [N], integers.
        num_classes: number of classes.
        validation: images and labels for the accuracy.
        num_epochs: passes over the training images; by default enough for 300,000 images, between 5 and 30.
        batch_size: images a step; what is left of an epoch is dropped.
        learning_rate: Adam's first.
        chunk_size: images at a time that `features` maps.

    Returns:
        A `FeatureNetwork`.

    Raises:
        ValueError: no labels, labels outside the classes, images that are not [N, H, W], too small, or not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from vaepriors_jax.evaluation.features import train_feature_network
        >>> y = jnp.arange(200) % 2
        >>> x = jnp.ones((200, 8, 8)) * y[:, None, None]
        >>> network = train_feature_network(jax.random.key(0), x, y, num_classes=2, validation=(x, y), num_epochs=5)
        >>> network.features(x).shape, network.accuracy, len(network.hash)
        ((200, 32), 1.0, 12)

    References:
        LeCun et al. (1998), Gradient-based learning applied to document recognition, section II; maximum pools, ReLUs
        and a linear output in place of the paper's.
    """
    check_positive_integer(num_classes=num_classes, batch_size=batch_size, chunk_size=chunk_size)
    check_positive(learning_rate=learning_rate)
    x, y = _check_images("x", x), _check_targets("y", y, num_classes, len(x))
    if len(validation) != 2:
        raise ValueError(f"Expected `validation` to be (images, labels); got {len(validation)} elements.")
    held_out = _check_images("validation images", validation[0])
    labels = _check_targets("validation labels", validation[1], num_classes, len(held_out))
    shape = x.shape[1:]
    if held_out.shape[1:] != shape:
        raise ValueError(f"Expected validation images of shape {shape}, as those in `x`; got {held_out.shape[1:]}.")
    if num_epochs is None:
        num_epochs = min(max(300_000 // len(x), 5), 30)
    check_positive_integer(num_epochs=num_epochs)
    model = Classifier(_choose_architecture(shape), num_classes)
    params = _train(model, num_epochs, min(batch_size, len(x)), float(learning_rate), key, x, y)
    params = _rescale(params, _apply(model, chunk_size, params, x)[0])
    _, logits = _apply(model, chunk_size, params, held_out)
    accuracy = float(np.asarray(jnp.argmax(logits, axis=-1) == labels).mean())
    return _network(model, params, accuracy, shape, chunk_size)


def _check_images(name: str, images: Any, shape: tuple[int, ...] | None = None) -> jax.Array:
    if np.ndim(images) != 3 or 0 in np.shape(images) or np.shape(images)[1:] != (shape or np.shape(images)[1:]):
        wanted = "[N, H, W]" if shape is None else f"[N, {shape[0]}, {shape[1]}]"
        raise ValueError(f"Expected `{name}` to be grey images {wanted}; got shape {np.shape(images)}. Reshape them.")
    check_finite(name, images)
    return jnp.asarray(images, jnp.float32)


def _check_targets(name: str, y: Any, num_classes: int, number: int) -> jax.Array:
    if y is None:
        raise ValueError(
            f"Expected integer labels in `{name}`; got None. Without labels, use features of your own, any function "
            "from images [N, ...] to [N, F], or a feature network trained on a labelled data set of the same kind."
        )
    if np.shape(y) != (number,):
        raise ValueError(f"Expected one label an image, shape ({number},), in `{name}`; got shape {np.shape(y)}.")
    check_labels(y, num_classes, name)
    return jnp.asarray(y)


def _choose_architecture(shape: tuple[int, ...]) -> str:
    for name, architecture in ARCHITECTURES.items():
        if min(shape) >= architecture.least_size:
            return name
    raise ValueError(f"Expected images of at least 4x4 pixels; got {shape[0]}x{shape[1]}.")


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _train(
    model: Classifier,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
) -> Any:
    num_steps = len(x) // batch_size
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_epochs * num_steps))
    key_init, key_epochs = jax.random.split(key)
    params = model.init(key_init, x[0])

    def loss(params: Any, rows: jax.Array) -> jax.Array:
        _, logits = jax.vmap(model.apply, (None, 0))(params, x[rows])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]))

    def step(state: Any, rows: jax.Array) -> tuple[Any, None]:
        params, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(loss)(params, rows), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def epoch(state: Any, key: jax.Array) -> tuple[Any, None]:
        order = jax.random.permutation(key, len(x))[: num_steps * batch_size]
        return jax.lax.scan(step, state, order.reshape(num_steps, batch_size))

    state, _ = jax.lax.scan(epoch, (params, optimizer.init(params)), jax.random.split(key_epochs, num_epochs))
    return state[0]


@jax.jit
def _rescale(params: Any, features: jax.Array) -> Any:
    """Divides the features by their root mean variance; max(a v, 0) = a max(v, 0), so the logits stay as they are."""
    scale = jnp.sqrt(jnp.mean(jnp.var(features, axis=0)))
    layers = dict(params["params"])
    layers["features"] = jax.tree.map(lambda array: array / scale, layers["features"])
    layers["logits"] = {**layers["logits"], "kernel": layers["logits"]["kernel"] * scale}
    return {"params": layers}


@partial(jax.jit, static_argnums=(0, 1))
def _apply(model: Classifier, chunk_size: int, params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.lax.map(partial(model.apply, params), images, batch_size=min(chunk_size, len(images)))


def _network(
    model: Classifier, params: Any, accuracy: float, shape: tuple[int, ...], chunk_size: int
) -> FeatureNetwork:
    def features(images: Any) -> jax.Array:
        return _apply(model, chunk_size, params, _check_images("images", images, shape))[0]

    height, width = shape
    digest = _hash(model.architecture, params)
    return FeatureNetwork(features, params, accuracy, digest, model.architecture, (height, width), model.num_classes)


def _hash(architecture: str, params: Any) -> str:
    """First 12 hexadecimal digits of SHA-256: the architecture's name, then float32 bytes in the order of the names."""
    digest = hashlib.sha256(architecture.encode())
    for _, array in sorted(flatten_dict(params, sep="/").items()):
        digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()[:12]


def save_feature_network(path: str | Path, network: FeatureNetwork) -> None:
    """Saves a feature network as an npz file of plain arrays, at exactly `path`.

    Args:
        path: the file; what it held is replaced.
        network: what `train_feature_network` gave.
    """
    params = {f"params/{name}": np.asarray(array) for name, array in flatten_dict(network.params, sep="/").items()}
    names = ("accuracy", "hash", "architecture", "image_shape", "num_classes")
    rest = {name: np.asarray(getattr(network, name)) for name in names}
    partial_path = Path(path).with_name(Path(path).name + ".partial")
    with open(partial_path, "wb") as file:
        np.savez(file, allow_pickle=False, **params, **rest)
    partial_path.replace(path)


def load_feature_network(path: str | Path, *, chunk_size: int = 500) -> FeatureNetwork:
    """Loads what `save_feature_network` wrote, and checks its hash.

    Args:
        path: the file.
        chunk_size: images at a time that `features` maps.

    Raises:
        ValueError: no such file, a damaged one, or one whose parameters do not have the hash that it names.
    """
    check_positive_integer(chunk_size=chunk_size)
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        named = {name.removeprefix("params/"): jnp.asarray(stored[name]) for name in stored if "/" in name}
        params = unflatten_dict(named, sep="/")
        model = Classifier(str(stored["architecture"]), int(stored["num_classes"]))
        height, width = (int(n) for n in stored["image_shape"])
        jax.eval_shape(model.apply, params, jax.ShapeDtypeStruct((height, width), jnp.float32))
        network = _network(model, params, float(stored["accuracy"]), (height, width), chunk_size)
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


def check_same_features(first: str, second: str) -> None:
    """Raises ValueError unless two hashes agree: scores from different features cannot be compared.

    Example:
        >>> from vaepriors_jax.evaluation.features import check_same_features
        >>> check_same_features("0123456789ab", "0123456789ab")
    """
    if first != second:
        raise ValueError(
            f"Expected scores from the same feature network; got the hashes {first} and {second}. Compute both again "
            "with one network: save it, and load it for every score."
        )
