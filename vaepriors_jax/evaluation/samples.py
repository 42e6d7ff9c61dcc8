"""How good samples are: all scores of two sets of features [N, F] of images, from the modules that hold them."""

from vaepriors_jax.evaluation.bootstrap import Interval, bootstrap
from vaepriors_jax.evaluation.feature_distances import KernelDistance, frechet_distance, kernel_distance, squared_mmd
from vaepriors_jax.evaluation.feature_sets import check_features
from vaepriors_jax.evaluation.memorization import Memorization, memorization
from vaepriors_jax.evaluation.neighbours import nearest_distances
from vaepriors_jax.evaluation.overlap import DensityCoverage, PrecisionRecall, density_coverage, precision_recall

__all__ = [
    "DensityCoverage",
    "Interval",
    "KernelDistance",
    "Memorization",
    "PrecisionRecall",
    "bootstrap",
    "check_features",
    "density_coverage",
    "frechet_distance",
    "kernel_distance",
    "memorization",
    "nearest_distances",
    "precision_recall",
    "squared_mmd",
]
