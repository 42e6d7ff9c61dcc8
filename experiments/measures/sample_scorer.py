"""The scorer of samples: a classifier of the data set gives features, reference scores tell what to compare with."""

import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.data.dataset import Dataset
from experiments.data.sources import cache_folder
from experiments.measures.keys import KEYS
from vaepriors_jax.evaluation.samples import (
    FeatureNetwork,
    Interval,
    load_feature_network,
    reference_quality,
    save_feature_network,
    train_feature_network,
)
from vaepriors_jax.evaluation.samples.classifier import Classifier
from vaepriors_jax.loops import map_chunks

NUM_RESAMPLES = 10


class SampleScorer(NamedTuple):
    """Scores the samples of one data set.

    Attributes:
        network: the feature network, a classifier of the data set.
        references: scores of training images and of noise, by name, to compare with.
    """

    network: FeatureNetwork
    references: dict[str, dict[str, Interval]]


def make_sample_scorer(data: Dataset) -> SampleScorer | None:
    """Makes the scorer of a data set; None without labels, from which features are learned, or with few test images."""
    network = feature_network(data)
    if network is None:
        return None
    train, test = data.fixed_train["x"], data.test["x"]
    least = 2 * (jax.eval_shape(network.features, test[:1]).shape[1] + 1)
    if len(test) < least:
        print(f"Samples are not scored: that takes at least {least} test images; {data.name} has {len(test)}.")
        return None
    key = sample_keys()[2]
    references = reference_quality(network.features, key, train=train, test=test, num_resamples=NUM_RESAMPLES)
    return SampleScorer(network, references)


def describe_features(network: FeatureNetwork | None) -> dict[str, Any] | None:
    """Identifies the features in a report: scores by different features cannot be compared."""
    return network and {name: getattr(network, name) for name in ("hash", "accuracy", "architecture")}


def sample_keys() -> jax.Array:
    """Keys to draw, to reconstruct and to score, the same for all models."""
    return jax.random.split(KEYS["samples"], 3)


def feature_network(data: Dataset) -> FeatureNetwork | None:
    """The classifier of this data set whose features score samples; kept in the cache. None without labels."""
    if data.num_classes is None:
        return None
    x, y = data.fixed_train["x"], data.fixed_train["y"]
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()  # files of the user's may share name and size
    path = cache_folder() / f"features-{data.name}-{data.binarization}-{digest[:12]}.npz"
    try:
        return load_feature_network(path)
    except (OSError, ValueError):
        pass  # none yet, or damaged: made again
    network = train_feature_network(
        jax.random.key(7),
        x,
        y,
        num_classes=data.num_classes,
        validation=(data.test["x"], data.test["y"]),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_feature_network(path, network)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return network


def class_log_probabilities(network: FeatureNetwork, images: Any) -> jax.Array:
    """Log-probabilities [N, classes] that the feature network gives to images [N, ...]."""
    classifier = Classifier(network.architecture, network.num_classes)
    logits = map_chunks(lambda image: classifier.apply(network.params, image)[1], jnp.asarray(images), 500)
    return jax.nn.log_softmax(logits)
