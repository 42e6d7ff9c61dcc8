"""Estimates of log p(x), and the ELBO. Each says its error and the direction of its bias."""

from vaepriors_jax.evaluation.likelihood.annealing import AnnealedLogMarginal, annealed_importance_sampling
from vaepriors_jax.evaluation.likelihood.bidirectional import BidirectionalBounds, bidirectional_monte_carlo
from vaepriors_jax.evaluation.likelihood.elbo import evaluate_elbo
from vaepriors_jax.evaluation.likelihood.importance_sampling import LogMarginal, log_marginal, log_marginal_over_classes

__all__ = [
    "AnnealedLogMarginal",
    "BidirectionalBounds",
    "LogMarginal",
    "annealed_importance_sampling",
    "bidirectional_monte_carlo",
    "evaluate_elbo",
    "log_marginal",
    "log_marginal_over_classes",
]
