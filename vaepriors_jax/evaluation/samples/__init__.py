"""Scores of generated samples, which compare their features [N, F] with those of real images."""

from vaepriors_jax.evaluation.samples.bootstrap import Interval, bootstrap
from vaepriors_jax.evaluation.samples.density_coverage import DensityCoverage, density_coverage
from vaepriors_jax.evaluation.samples.feature_network import (
    FeatureNetwork,
    load_feature_network,
    save_feature_network,
)
from vaepriors_jax.evaluation.samples.feature_sets import check_features
from vaepriors_jax.evaluation.samples.features import train_feature_network
from vaepriors_jax.evaluation.samples.fid import frechet_distance
from vaepriors_jax.evaluation.samples.kid import kernel_distance, squared_mmd
from vaepriors_jax.evaluation.samples.memorization import Memorization, memorization
from vaepriors_jax.evaluation.samples.neighbours import nearest_distances
from vaepriors_jax.evaluation.samples.precision_recall import PrecisionRecall, precision_recall
from vaepriors_jax.evaluation.samples.quality import SampleQuality, reference_quality, sample_quality

__all__ = [
    "DensityCoverage",
    "FeatureNetwork",
    "Interval",
    "Memorization",
    "PrecisionRecall",
    "SampleQuality",
    "bootstrap",
    "check_features",
    "density_coverage",
    "frechet_distance",
    "kernel_distance",
    "load_feature_network",
    "memorization",
    "nearest_distances",
    "precision_recall",
    "reference_quality",
    "sample_quality",
    "save_feature_network",
    "squared_mmd",
    "train_feature_network",
]
