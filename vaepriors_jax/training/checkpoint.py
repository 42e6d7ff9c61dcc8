"""Checkpoints of a training run, written by orbax."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.parallel.sharding import to_host
from vaepriors_jax.training.epoch import FitState
from vaepriors_jax.training.failures import failures_of
from vaepriors_jax.training.fingerprint import Fingerprint
from vaepriors_jax.training.result import CheckpointError
from vaepriors_jax.training.same_run import Values, check_fingerprint

History = list[dict[str, np.ndarray]]


class Checkpoints(NamedTuple):
    """Where `fit` writes checkpoints, and how often.

    Attributes:
        folder: a folder for this run alone. The last checkpoint is kept.
        every: epochs from one checkpoint to the next. There is another one at the end.

    Example:
        >>> import vaepriors_jax as vp
        >>> vp.Checkpoints("runs/vamp", every=1)
        Checkpoints(folder='runs/vamp', every=1)
    """

    folder: str | Path
    every: int = 10


def check_checkpoints(given: str | Path | Checkpoints | None) -> Checkpoints | None:
    """Returns what `fit` was given as `Checkpoints`, or raises TypeError or ValueError."""
    if given is None:
        return None
    if not isinstance(given, Checkpoints):
        given = Checkpoints(given)
    if not isinstance(given.folder, (str, Path)):
        raise TypeError(f"Expected a folder in `checkpoints`, as text or a path; got {given.folder!r}.")
    check_positive_integer(every=given.every)
    return given


class NoFolder:
    """A run that writes no checkpoints."""

    def check(self, run: Fingerprint, measure: Callable[[], Values]) -> Fingerprint:
        """There is nothing to compare."""
        del measure
        return run

    def as_start(self) -> str:
        """How to start another run from the parameters of this one."""
        return "vp.start_from(error.result)"

    def check_space(self, state: FitState) -> None:
        """There is nothing to write."""

    def restore(self, state: FitState) -> tuple[FitState, History, list[float]]:
        """The state as it comes, and no history."""
        return state, [], []

    def after_epoch(self, state: FitState, history: History, seconds: list[float]) -> CheckpointError | None:
        """There is nothing to write."""

    def save(self, state: FitState, history: History, seconds: list[float]) -> CheckpointError | None:
        """There is nothing to write."""


class Folder:
    """The folder of checkpoints of one run."""

    def __init__(self, folder: Path, every: int, manager: Any, num_replicas: int):
        self.folder, self.every, self.manager, self.num_replicas = folder, every, manager, num_replicas
        self.run: Fingerprint = {}

    def check(self, run: Fingerprint, measure: Callable[[], Values]) -> Fingerprint:
        """Returns the fingerprint that checkpoints get, which keeps the name and the origin of a run that is resumed.

        It is called before the epoch is compiled; `measure` returns the values that the functions of the run give.

        Raises:
            ValueError: the last checkpoint is of another run.
        """
        epoch = self.manager.latest_step()
        if epoch is None:
            self.run = run | {"values": measure()}
            return self.run
        try:
            description = _read_description(self.manager, epoch)
        except Exception as error:
            raise self._unreadable(epoch, error) from error
        there, failures = description.get("run"), description.get("failures", [])
        try:
            check_fingerprint(there, run, f"{self.folder} (epoch {epoch})", measure)
        except ValueError as error:
            if not failures:
                raise
            raise ValueError(
                f"{error} In the run that is there {'; '.join(failures)}. To start a new run from its last good "
                f"parameters, pass `{self.as_start()}` as `params`, and another folder as `checkpoints`."
            ) from None
        kept = {name: there[name] for name in ("name", "started_from", "values") if there and name in there}
        self.run = run | ({} if "values" in kept else {"values": measure()}) | kept
        return self.run

    def as_start(self) -> str:
        """How to start another run from the parameters of this one."""
        return f"vp.start_from({str(self.folder)!r}, like=params)"

    def _unreadable(self, epoch: int, error: Exception) -> ValueError:
        return ValueError(
            f"Expected a checkpoint of this run, with {self.num_replicas} replicas of these parameters, in "
            f"{self.folder} (epoch {epoch}); it cannot be read: {str(error).splitlines()[0]}. Name another "
            "folder in `checkpoints`, or move this one away to start anew."
        )

    def check_space(self, state: FitState) -> None:
        """Raises OSError if the disk has no space for a checkpoint."""
        needed, free = sum(leaf.nbytes for leaf in jax.tree.leaves(state)), shutil.disk_usage(self.folder).free
        if needed > free:
            reason = f"{os.strerror(errno.ENOSPC)} (a checkpoint takes {needed:,} bytes, {free:,} are free)"
            raise OSError(errno.ENOSPC, reason, str(self.folder))

    def restore(self, state: FitState) -> tuple[FitState, History, list[float]]:
        """The state of the last checkpoint, with its history and the seconds of each epoch; `state` if there is none.

        An earlier version wrote no seconds.
        """
        import orbax.checkpoint as ocp

        epoch = self.manager.latest_step()
        if epoch is None:
            return state, [], []
        # Leaf by leaf, in the shapes of `state`. Other shapes belong to another run.
        leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state))}
        expected = jax.tree.map(ocp.utils.to_shape_dtype_struct, leaves)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(expected), history=ocp.args.JsonRestore())
        try:
            restored = self.manager.restore(epoch, args=arguments)
            arrays = [restored.state[str(i)] for i in range(len(leaves))]
            if any(a.shape != b.shape for a, b in zip(arrays, leaves.values(), strict=True)):
                raise ValueError("its arrays have other shapes")
        except Exception as error:
            raise self._unreadable(epoch, error) from error
        history = [{name: np.asarray(v, np.float32) for name, v in row.items()} for row in restored.history["epochs"]]
        # Copies: a program that reuses memory must not be given the arrays of orbax.
        state = jax.tree.unflatten(jax.tree.structure(state), [jnp.array(a) for a in arrays])
        return state, history, restored.history.get("seconds", [])

    def after_epoch(self, state: FitState, history: History, seconds: list[float]) -> CheckpointError | None:
        """Writes the state if a checkpoint is due; returns why it cannot."""
        return self.save(state, history, seconds) if len(history) % self.every == 0 else None

    def save(self, state: FitState, history: History, seconds: list[float]) -> CheckpointError | None:
        """Writes the state after `len(history)` epochs, unless it is there already; returns why it cannot."""
        import orbax.checkpoint as ocp

        if self.manager.latest_step() == len(history):
            return None
        leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state))}
        description = {
            "epochs": [{name: value.tolist() for name, value in row.items()} for row in history],
            "seconds": seconds,
            "run": self.run,
            "failures": list(map(str, failures_of(state))),
            "best": _describe_best(state),
        }
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(leaves), history=ocp.args.JsonSave(description))
        try:
            self.check_space(state)
            self.manager.save(len(history), args=arguments)
            self.manager.wait_until_finished()
        except (OSError, ValueError) as error:  # the latter is how orbax says that a disk is full
            unsaved = CheckpointError(
                f"The state after epoch {len(history)} cannot be saved in {self.folder}: {str(error).splitlines()[0]}. "
                "Make space, and start again from the last checkpoint; what was trained is in the `result` of this "
                "exception."
            )
            unsaved.__cause__ = error
            return unsaved
        return None


def _read_description(manager: Any, epoch: int) -> dict[str, Any]:
    """What lies beside the arrays of a checkpoint: the history of the run, and what tells it from others."""
    import orbax.checkpoint as ocp

    return manager.restore(epoch, args=ocp.args.Composite(history=ocp.args.JsonRestore())).history


def _describe_best(state: FitState) -> dict[str, list[int]]:
    """Which leaves of a checkpoint are the best parameters, and the epoch of each replica that they are of."""
    places = FitState(*jax.tree.unflatten(jax.tree.structure(state), range(len(jax.tree.leaves(state)))))
    return {"leaves": jax.tree.leaves(places.best_params), "epochs": to_host(state.best_epoch).tolist()}


def read_best(folder: Path) -> tuple[list[np.ndarray], list[int], str]:
    """Reads the best parameters of a run from its checkpoints: leaves [R, ...], epochs [R], and the name of the run.

    Raises:
        ValueError: there is no checkpoint, or it cannot be read.
    """
    import orbax.checkpoint as ocp

    try:
        if not folder.is_dir():
            raise ValueError("there is no such folder")
        with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(create=False)) as manager:
            epoch = manager.latest_step()
            if epoch is None:
                raise ValueError("it holds no checkpoint")
            description = _read_description(manager, epoch)
            if "best" not in description:
                raise ValueError(
                    "an earlier version wrote it. Call `fit` as it was called then, and start from its result"
                )
            leaves = [str(i) for i in description["best"]["leaves"]]
            as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
            arguments = ocp.args.PyTreeRestore(
                dict.fromkeys(leaves, 0), restore_args=dict.fromkeys(leaves, as_numpy), partial_restore=True
            )
            arrays = manager.restore(epoch, args=ocp.args.Composite(state=arguments)).state
        return [arrays[i] for i in leaves], description["best"]["epochs"], description["run"]["name"]
    except Exception as error:
        raise ValueError(
            f"Expected the checkpoints of a run in {folder}; they cannot be read: {str(error).splitlines()[0]}."
        ) from error


@contextmanager
def open_folder(checkpoints: Checkpoints | None, num_replicas: int) -> Iterator[NoFolder | Folder]:
    """Opens the folder of checkpoints, if any."""
    if checkpoints is None:
        yield NoFolder()
        return
    import orbax.checkpoint as ocp  # slow to import

    path = Path(checkpoints.folder).absolute()
    with ocp.CheckpointManager(path, options=ocp.CheckpointManagerOptions(max_to_keep=1, create=True)) as manager:
        yield Folder(path, checkpoints.every, manager, num_replicas)
