"""What is measured of one trained model, gathered from `experiments.measures`."""

from experiments.measures.holes import blind_spot, hole_map, holes, shape
from experiments.measures.judge import Judge, class_log_probabilities, describe, feature_network, make_judge
from experiments.measures.latents import latents
from experiments.measures.likelihood import Annealing, elbo, likelihood
from experiments.measures.samples import generate, samples
from experiments.models.trained import Model, reads_label

__all__ = [
    "Annealing",
    "Judge",
    "Model",
    "blind_spot",
    "class_log_probabilities",
    "describe",
    "elbo",
    "feature_network",
    "generate",
    "hole_map",
    "holes",
    "latents",
    "likelihood",
    "make_judge",
    "reads_label",
    "samples",
    "shape",
]
