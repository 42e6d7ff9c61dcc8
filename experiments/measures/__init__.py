"""The measures of a trained model: each is a function (model, data, settings) -> {name: value}."""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.data.dataset import Dataset
from experiments.measures.holes import gaussian_divergence, hole_map, holes
from experiments.measures.latents import latents
from experiments.measures.likelihood import elbo, likelihood
from experiments.measures.sample_scorer import (
    SampleScorer,
    class_log_probabilities,
    describe_features,
    feature_network,
    make_sample_scorer,
)
from experiments.measures.samples import generate, samples
from experiments.measures.settings import Annealing, EvaluationSettings
from experiments.models.trained import Model, reads_label

__all__ = [
    "ALL",
    "LIKELIHOOD",
    "WITHOUT_LIKELIHOOD",
    "Annealing",
    "EvaluationSettings",
    "Measures",
    "Model",
    "SampleScorer",
    "class_log_probabilities",
    "describe_features",
    "elbo",
    "feature_network",
    "gaussian_divergence",
    "generate",
    "hole_map",
    "holes",
    "latents",
    "likelihood",
    "make_sample_scorer",
    "measure",
    "reads_label",
    "samples",
]

Measures = Mapping[str, Callable[[Model, Dataset, EvaluationSettings], dict[str, Any]]]

# By the name of their part in a row of results.json.
LIKELIHOOD: Measures = {"test": likelihood}
ALL: Measures = {"test": likelihood, "holes": holes, "latents": latents, "samples": samples}
WITHOUT_LIKELIHOOD: Measures = {"test": elbo, "holes": holes, "samples": samples}


def measure(model: Model, data: Dataset, settings: EvaluationSettings, measures: Measures) -> dict[str, Any]:
    """The parts of a model's row; a measure that has nothing to say is left out."""
    parts = {name: function(model, data, settings) for name, function in measures.items()}
    return {name: part for name, part in parts.items() if part}
