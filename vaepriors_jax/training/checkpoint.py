"""Checkpoints of a training run, and saved models; written by orbax."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.factories import plain_config, prior_from_config
from vaepriors_jax.priors.vamp import MAP_VERSION, from_first_map
from vaepriors_jax.training.fingerprint import Fingerprint, check_fingerprint
from vaepriors_jax.training.saved_tree import put_together, take_apart
from vaepriors_jax.vae import VAEParams

History = list[dict[str, np.ndarray]]


class _NoCheckpoints:
    """A run without a folder."""

    def check(self) -> None:
        """Nothing to compare."""

    def restore(self, state: Any) -> tuple[Any, History]:
        return state, []

    def save(self, state: Any, history: History) -> None:
        del state, history


class _Checkpoints:
    """The checkpoints of one run, of which the last is kept."""

    def __init__(self, directory: Path, manager: Any, num_replicas: int, run: Fingerprint):
        self.directory, self.manager, self.num_replicas, self.run = directory, manager, num_replicas, run

    def check(self) -> None:
        """Raises ValueError if the last checkpoint is of another run: before anything is compiled."""
        import orbax.checkpoint as ocp

        epoch = self.manager.latest_step()
        if epoch is None:
            return
        try:
            arguments = ocp.args.Composite(history=ocp.args.JsonRestore())
            there = self.manager.restore(epoch, args=arguments).history.get("run")
        except Exception as error:
            raise self._unreadable(epoch, error) from error
        check_fingerprint(there, self.run, f"{self.directory} (epoch {epoch})")

    def _unreadable(self, epoch: int, error: Exception) -> ValueError:
        return ValueError(
            f"Expected a checkpoint of this run, with {self.num_replicas} replicas of these parameters, in "
            f"{self.directory} (epoch {epoch}); it cannot be read: {str(error).splitlines()[0]}. Name another "
            "`checkpoint_dir`, or move this one away to start anew."
        )

    def restore(self, state: Any) -> tuple[Any, History]:
        """The last checkpoint, or the state that comes and an empty history."""
        import orbax.checkpoint as ocp

        epoch = self.manager.latest_step()
        if epoch is None:
            return state, []
        # Restored like `state`, leaf by leaf: other shapes are another run.
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
        # A copy: arrays that orbax made may not be given to a program that reuses their memory.
        return jax.tree.unflatten(jax.tree.structure(state), [jnp.array(a) for a in arrays]), history

    def save(self, state: Any, history: History) -> None:
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
def open_run(
    directory: str | Path | None, num_replicas: int, describe: Callable[[], Fingerprint]
) -> Iterator[_NoCheckpoints | _Checkpoints]:
    """Opens the checkpoints of the run that `describe` tells from others; without a folder, none are written."""
    if directory is None:
        yield _NoCheckpoints()
        return
    import orbax.checkpoint as ocp  # slow to import

    path = Path(directory).absolute()
    with ocp.CheckpointManager(path, options=ocp.CheckpointManagerOptions(max_to_keep=1, create=True)) as manager:
        yield _Checkpoints(path, manager, num_replicas, describe())


def save_model(directory: str | Path, prior: Prior, params: VAEParams) -> None:
    """Saves a trained model: the prior's configuration, and the parameters of encoder, decoder and prior.

    Args:
        directory: a folder; a model that is there already is replaced.
        prior: the prior. Where it holds a function or an array of yours, `load_model` needs it again.
        params: the parameters, in dicts, lists and tuples; in other containers, such as `nnx.State`, `load_model` needs
            `like=`.

    Raises:
        ValueError: parameters that are neither arrays of numbers nor numbers; nothing is written.

    Example:
        >>> import tempfile, jax.numpy as jnp, vaepriors_jax as vp
        >>> folder = tempfile.mkdtemp()
        >>> params = vp.VAEParams({"weight": jnp.ones(2)}, {"weight": jnp.ones(2)}, {})
        >>> vp.save_model(folder, vp.standard_normal(2), params)
        >>> prior, params = vp.load_model(folder)
        >>> prior
        standard_normal(dim=2)
    """
    import orbax.checkpoint as ocp

    arrays, description = take_apart(tuple(VAEParams(*params)))
    path = Path(directory).absolute()
    path.mkdir(parents=True, exist_ok=True)
    try:
        config = plain_config(prior)
    except ValueError:
        config = None
    if arrays:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path / "params", arrays, force=True)
    saved = {"prior": config, "repr": repr(prior), "pseudo_input_map": MAP_VERSION, "params": description}
    (path / "prior.json").write_text(json.dumps(saved, indent=1))


def load_model(
    directory: str | Path, prior: Prior | None = None, *, like: VAEParams | None = None
) -> tuple[Prior, VAEParams]:
    """Loads what `save_model` wrote.

    Args:
        directory: the folder.
        prior: the prior, if its configuration could not be saved.
        like: parameters of the structure and shapes that were saved, if they were in containers such as `nnx.State`.

    Returns:
        The prior and the parameters, as JAX arrays in the containers that they were in.

    Raises:
        ValueError: no model there, a damaged one, one that needs `prior=` or `like=`, or another `like`.
    """
    import orbax.checkpoint as ocp

    wanted = None if like is None else tuple(VAEParams(*like))
    path = Path(directory).absolute()
    try:
        saved = json.loads((path / "prior.json").read_text())
        description = saved.get("params")  # none in a model of an earlier format
        arrays = {}
        if description is None or any(0 not in leaf.get("shape", [0]) for leaf in description["leaves"]):
            with ocp.StandardCheckpointer() as checkpointer:
                arrays = checkpointer.restore(path / "params")
    except Exception as error:
        raise ValueError(
            f"Expected a model saved by `save_model` in {path}; it cannot be read: {str(error).splitlines()[0]}."
        ) from error
    if prior is None and saved["prior"] is None:
        raise ValueError(
            f"The prior of this model, {saved['repr']}, holds a function or an array that is not saved. Pass `prior=`."
        )
    params = VAEParams(**arrays) if description is None else VAEParams(*put_together(arrays, description, wanted))
    prior = prior or prior_from_config(saved["prior"])
    if saved.get("pseudo_input_map") != MAP_VERSION:  # a model from before there was another map
        params = params._replace(prior=from_first_map(prior, params.prior))
    return prior, params
