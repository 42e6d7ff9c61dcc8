"""Training: `fit` does all of it; `make_train_step` makes one step for a loop of your own."""

from vaepriors_jax.training.averaging import average_params, averaged_params
from vaepriors_jax.training.callback import Callback, Epoch
from vaepriors_jax.training.checkpoint import Checkpoints
from vaepriors_jax.training.failures import Failure
from vaepriors_jax.training.fit import fit
from vaepriors_jax.training.optimizers import normalize_per_tensor, parameter_groups
from vaepriors_jax.training.result import CheckpointError, FitResult, TrainingFailedError
from vaepriors_jax.training.saved_model import load_fingerprint, load_model, save_model
from vaepriors_jax.training.start import Origin, Start, start_from
from vaepriors_jax.training.state import TrainState, init_train_state
from vaepriors_jax.training.step import make_train_step
from vaepriors_jax.training.streams import Stream
from vaepriors_jax.training.transforms import binarize

__all__ = [
    "Callback",
    "CheckpointError",
    "Checkpoints",
    "Epoch",
    "Failure",
    "FitResult",
    "Origin",
    "Start",
    "Stream",
    "TrainState",
    "TrainingFailedError",
    "average_params",
    "averaged_params",
    "binarize",
    "fit",
    "init_train_state",
    "load_fingerprint",
    "load_model",
    "make_train_step",
    "normalize_per_tensor",
    "parameter_groups",
    "save_model",
    "start_from",
]
