"""Training: `fit` does the whole of it; `make_train_step` is one step for a loop of your own."""

from vaepriors_jax.training.checkpoint import load_model, save_model
from vaepriors_jax.training.fit import Failure, FitResult, TrainingFailedError, fit
from vaepriors_jax.training.optimizers import normalize_per_tensor, parameter_groups
from vaepriors_jax.training.state import TrainState, init_train_state
from vaepriors_jax.training.step import make_train_step
from vaepriors_jax.training.transforms import binarize

__all__ = [
    "Failure",
    "FitResult",
    "TrainState",
    "TrainingFailedError",
    "binarize",
    "fit",
    "init_train_state",
    "load_model",
    "make_train_step",
    "normalize_per_tensor",
    "parameter_groups",
    "save_model",
]
