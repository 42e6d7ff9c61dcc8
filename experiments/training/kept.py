"""Trained models that are kept in the folder of a run."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.models.trained import Trained
from experiments.options.stored import has_type
from experiments.runs.files import REMOVE, TRAINED, file_name, keep, read_kept
from experiments.runs.signals import epochs

LONG_EPOCH = 5e10  # operations, about half a second on two cores; a checkpoint takes a fifth of a second

HISTORY = tuple[tuple[float, ...], ...]
ABOUT = {
    "seeds": tuple[int, ...],
    "best_epoch": tuple[int, ...],
    "history": dict,
    "failures": tuple[dict, ...],
    "seconds_per_epoch": float,
    "compile_seconds": float,
    "fingerprint": dict | None,
    "grid": tuple[dict, ...],
    "operations": float,
}


def model_folder(prior: str, seed: int) -> str:
    """Where a trained model lies within the output folder."""
    return f"models/{file_name(prior)}-seed{seed}"


def checkpoints(folder: Path, name: str, operations: float = 0.0) -> vp.Checkpoints:
    """Where the state of what is trained in the folder of a run is saved, and how often.

    `operations` are the floating-point operations of an epoch. One that takes long is saved, of others every tenth.
    """
    return vp.Checkpoints(folder / "checkpoints" / file_name(name), every=1 if operations > LONG_EPOCH else 10)


def params(folder: Path, prior: vp.Prior, make: Callable[[], vp.VAEParams]) -> vp.VAEParams:
    """The parameters of the model in a folder; those that `make` gives, and kept there, if there is none."""
    if not (folder / "model.npz").exists():
        vp.save_model(folder, prior, make())
    return vp.load_model(folder, prior)[1]


def train_one(name: str, vae: vp.VAE, seed: int, folder: Path, fit: Callable[[], vp.FitResult]) -> Trained:
    """What `fit` trains without an axis of replicas, which then has one; it is not trained again."""
    found = read(name, vae, (seed,), folder)
    if found is not None:
        return found
    unsaved = None
    try:
        with epochs(name):
            result = fit()
    except vp.CheckpointError as error:
        result, unsaved = result_of(error), error
    one: dict[str, Any] = jax.tree.map(
        lambda leaf: leaf[None],
        {"params": result.params, "best_epoch": np.asarray(result.best_epoch), "history": result.history},
    )
    return write(Trained(name, vae, result._replace(**one), (seed,)), folder, unsaved)


def result_of(error: vp.CheckpointError) -> vp.FitResult:
    """What was trained until a checkpoint could not be written."""
    if error.result is None:
        raise error
    return error.result


def write(trained: Trained, folder: Path, unsaved: OSError | None = None) -> Trained:
    """Keeps a prior with its seeds; in a temporary folder where that of the run cannot be written, or could not.

    Raises:
        OSError: which says where the models are.
    """
    try:
        if unsaved is not None:
            raise unsaved
        _write(trained, folder)
    except OSError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="vaepriors_jax-"))
        try:
            _write(trained, elsewhere)
        except OSError:
            raise error from None
        raise OSError(f"{error} The best parameters of {trained.name!r} so far are in {elsewhere}/models.") from error
    return trained


def _write(trained: Trained, folder: Path) -> None:
    """Writes the models, and last of all what shows that they are complete."""
    for replica in range(len(trained.seeds)):
        model = trained.model(replica)
        path, fingerprint = folder / model_folder(model.prior, model.seed), trained.result.fingerprint
        vp.save_model(path, model.vae.prior, model.params, fingerprint=fingerprint)
    result = trained.result
    about = {
        "seeds": trained.seeds,
        "best_epoch": np.asarray(result.best_epoch).tolist(),
        "history": {name: np.asarray(values).tolist() for name, values in result.history.items()},
        "failures": [failure._asdict() for failure in result.failures],
        "seconds_per_epoch": result.seconds_per_epoch,
        "compile_seconds": result.compile_seconds,
        "fingerprint": result.fingerprint,
        "grid": trained.grid,
        "operations": trained.operations,
    }
    keep(_about(trained.name, folder), lambda: about)


def read(name: str, vae: vp.VAE, seeds: tuple[int, ...], folder: Path) -> Trained | None:
    """A prior that `write` kept; None if there is none. The train state is not kept."""
    path = _about(name, folder)
    if not path.exists():
        return None
    about = read_kept(path)
    if not _is_about_training(about):
        raise ValueError(f"Expected what training gave in {path}; it is something else. {REMOVE}")
    if about["seeds"] != list(seeds):
        raise ValueError(
            f"Expected the seeds {list(seeds)} of {name!r} in {path}; it is of another run, with the seeds "
            f"{about['seeds']}. Choose another --output-dir."
        )
    models = [vp.load_model(folder / model_folder(name, seed), vae.prior)[1] for seed in seeds]
    state: Any = None
    result = vp.FitResult(
        params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *models),
        state=state,
        best_epoch=np.asarray(about["best_epoch"]),
        history={name: np.asarray(values, np.float32) for name, values in about["history"].items()},
        failures=tuple(vp.Failure(**failure) for failure in about["failures"]),
        seconds_per_epoch=about["seconds_per_epoch"],
        compile_seconds=about["compile_seconds"],
        fingerprint=about["fingerprint"],
    )
    return Trained(name, vae, result, seeds, tuple(about["grid"]), about["operations"])


def _is_about_training(about: Any) -> bool:
    """Whether plain data are what `_write` wrote."""
    if not isinstance(about, dict) or not _has_entries(about, ABOUT):
        return False
    histories, num_seeds = list(about["history"].values()), len(about["seeds"])
    if not all(has_type(values, HISTORY) for values in histories):
        return False
    num_epochs = {len(row) for values in histories for row in values}
    one_each = all(len(values) == num_seeds for values in (about["best_epoch"], *histories))
    kinds, optional = get_type_hints(vp.Failure), {"cause": ""}  # of which runs of earlier versions have none
    known = all(_has_entries(optional | one, kinds) and one.keys() <= kinds.keys() for one in about["failures"])
    return known and one_each and len(num_epochs) <= 1


def _has_entries(found: dict[str, Any], kinds: dict[str, Any]) -> bool:
    return all(name in found and has_type(found[name], kind) for name, kind in kinds.items())


def _about(name: str, folder: Path) -> Path:
    return folder / TRAINED / f"{file_name(name)}.json"
