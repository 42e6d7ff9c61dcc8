"""Estimates of log p(x), and the ELBO. Each estimate comes with a standard error and says whether it is a bound."""

from vaepriors_jax.evaluation.likelihood.annealing import AnnealedLogMarginal, annealed_importance_sampling
from vaepriors_jax.evaluation.likelihood.bidirectional import BidirectionalBounds, bidirectional_monte_carlo
from vaepriors_jax.evaluation.likelihood.class_marginal import log_marginal_over_classes
from vaepriors_jax.evaluation.likelihood.elbo import evaluate_elbo
from vaepriors_jax.evaluation.likelihood.importance_sampling import LogMarginal, log_marginal

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
