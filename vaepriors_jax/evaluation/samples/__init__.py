"""How good samples are: all scores of two sets of features [N, F] of images, from the modules that hold them."""

from vaepriors_jax.evaluation.samples.bootstrap import Interval, bootstrap
from vaepriors_jax.evaluation.samples.density_coverage import DensityCoverage, density_coverage
from vaepriors_jax.evaluation.samples.feature_sets import check_features
from vaepriors_jax.evaluation.samples.fid import frechet_distance
from vaepriors_jax.evaluation.samples.kid import KernelDistance, kernel_distance, squared_mmd
from vaepriors_jax.evaluation.samples.memorization import Memorization, memorization
from vaepriors_jax.evaluation.samples.neighbours import nearest_distances
from vaepriors_jax.evaluation.samples.precision_recall import PrecisionRecall, precision_recall

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
