"""Checkpoints of a training run, written by orbax."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.training.epoch import FitState
from vaepriors_jax.training.fingerprint import Fingerprint, check_fingerprint

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

    def check(self) -> None:
        """There is nothing to compare."""

    def restore(self, state: FitState) -> tuple[FitState, History]:
        """The state as it comes, and an empty history."""
        return state, []

    def after_epoch(self, state: FitState, history: History) -> None:
        """There is nothing to write."""

    def save(self, state: FitState, history: History) -> None:
        """There is nothing to write."""


class Folder:
    """The folder of checkpoints of one run."""

    def __init__(self, folder: Path, every: int, manager: Any, num_replicas: int, run: Fingerprint):
        self.folder, self.every, self.manager, self.num_replicas, self.run = folder, every, manager, num_replicas, run

    def check(self) -> None:
        """Raises ValueError if the last checkpoint is of another run. It is called before anything is compiled."""
        import orbax.checkpoint as ocp

        epoch = self.manager.latest_step()
        if epoch is None:
            return
        try:
            arguments = ocp.args.Composite(history=ocp.args.JsonRestore())
            there = self.manager.restore(epoch, args=arguments).history.get("run")
        except Exception as error:
            raise self._unreadable(epoch, error) from error
        check_fingerprint(there, self.run, f"{self.folder} (epoch {epoch})")

    def _unreadable(self, epoch: int, error: Exception) -> ValueError:
        return ValueError(
            f"Expected a checkpoint of this run, with {self.num_replicas} replicas of these parameters, in "
            f"{self.folder} (epoch {epoch}); it cannot be read: {str(error).splitlines()[0]}. Name another "
            "folder in `checkpoints`, or move this one away to start anew."
        )

    def restore(self, state: FitState) -> tuple[FitState, History]:
        """The last checkpoint; without one the state as it comes, and an empty history."""
        import orbax.checkpoint as ocp

        epoch = self.manager.latest_step()
        if epoch is None:
            return state, []
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
        return jax.tree.unflatten(jax.tree.structure(state), [jnp.array(a) for a in arrays]), history

    def after_epoch(self, state: FitState, history: History) -> None:
        """Writes the state if a checkpoint is due."""
        if len(history) % self.every == 0:
            self.save(state, history)

    def save(self, state: FitState, history: History) -> None:
        """Writes the state after `len(history)` epochs, unless it is there already."""
        import orbax.checkpoint as ocp

        if self.manager.latest_step() == len(history):
            return
        leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state))}
        rows = [{name: value.tolist() for name, value in row.items()} for row in history]
        self.manager.save(
            len(history),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(leaves), history=ocp.args.JsonSave({"epochs": rows, "run": self.run})
            ),
        )
        self.manager.wait_until_finished()


@contextmanager
def open_folder(
    checkpoints: Checkpoints | None, num_replicas: int, describe: Callable[[], Fingerprint]
) -> Iterator[NoFolder | Folder]:
    """Opens the folder of checkpoints, if any, for the run whose fingerprint `describe` gives."""
    if checkpoints is None:
        yield NoFolder()
        return
    import orbax.checkpoint as ocp  # slow to import

    path = Path(checkpoints.folder).absolute()
    with ocp.CheckpointManager(path, options=ocp.CheckpointManagerOptions(max_to_keep=1, create=True)) as manager:
        yield Folder(path, checkpoints.every, manager, num_replicas, describe())
