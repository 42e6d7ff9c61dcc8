"""Trains a feature network: a small classifier of the data set in hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaepriors_jax.checks import check_key, check_labels, check_positive, check_positive_integer
from vaepriors_jax.evaluation.samples.classifier import Classifier, choose_architecture
from vaepriors_jax.evaluation.samples.feature_network import (
    FeatureNetwork,
    apply_in_chunks,
    check_images,
    make_network,
)


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
    """Trains a classifier on grey or colour images and returns its last hidden layer as features.

    Images of at least 16x16 pixels are classified by a LeNet with 84 features, smaller ones, down to 4x4, by a smaller
    network with 32. All epochs of Adam, with a cosine decay of the learning rate, run on the device as one compiled
    program. FID and KID depend on the scale of the features: these are scaled so that their mean variance over the
    training images is 1.

    Args:
        key: a random key.
        x: training images [N, H, W] or, in colour, [N, H, W, C], from about 0 to 1; grey, binary or in colour like the
            images that will be scored.
        y: their labels [N], integers.
        num_classes: number of classes.
        validation: images and labels from which the accuracy is computed.
        num_epochs: passes over the training images; by default enough for 300,000 images, between 5 and 30.
        batch_size: images in a step; an incomplete last batch of an epoch is dropped.
        learning_rate: the initial learning rate of Adam.
        chunk_size: images that `features` maps at a time.

    Returns:
        A `FeatureNetwork`.

    Raises:
        ValueError: labels are missing or outside the classes; images are of another shape, too small, or not finite.
        TypeError: `key` is not a random key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from vaepriors_jax.evaluation.samples import train_feature_network
        >>> y = jnp.arange(200) % 2
        >>> x = jnp.ones((200, 8, 8)) * y[:, None, None]
        >>> network = train_feature_network(jax.random.key(0), x, y, num_classes=2, validation=(x, y), num_epochs=5)
        >>> network.features(x).shape, network.accuracy, len(network.hash)
        ((200, 32), 1.0, 12)

    References:
        LeCun et al. (1998), Gradient-based learning applied to document recognition, section II; here with maximum
        pools, ReLUs and a linear output.
    """
    key = check_key(key)
    check_positive_integer(num_classes=num_classes, batch_size=batch_size, chunk_size=chunk_size)
    check_positive(learning_rate=learning_rate)
    x, y = check_images("x", x), _check_targets("y", y, num_classes, len(x))
    if len(validation) != 2:
        raise ValueError(f"Expected `validation` to be (images, labels); got {len(validation)} elements.")
    held_out = check_images("validation images", validation[0])
    labels = _check_targets("validation labels", validation[1], num_classes, len(held_out))
    shape = x.shape[1:]
    if held_out.shape[1:] != shape:
        raise ValueError(f"Expected validation images of shape {shape}, as those in `x`; got {held_out.shape[1:]}.")
    if num_epochs is None:
        num_epochs = min(max(300_000 // len(x), 5), 30)
    check_positive_integer(num_epochs=num_epochs)
    model = Classifier(choose_architecture(shape), num_classes)
    params = _train(model, num_epochs, min(batch_size, len(x)), float(learning_rate), key, x, y)
    params = _rescale(params, apply_in_chunks(model, chunk_size, params, x)[0])
    _, logits = apply_in_chunks(model, chunk_size, params, held_out)
    accuracy = float(np.asarray(jnp.argmax(logits, axis=-1) == labels).mean())
    return make_network(model, params, accuracy, shape, chunk_size)


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
    """Divides the features by their root mean variance; the logits do not change, since max(a v, 0) = a max(v, 0)."""
    scale = jnp.sqrt(jnp.mean(jnp.var(features, axis=0)))
    layers = dict(params["params"])
    layers["features"] = jax.tree.map(lambda array: array / scale, layers["features"])
    layers["logits"] = {**layers["logits"], "kernel": layers["logits"]["kernel"] * scale}
    return {"params": layers}
