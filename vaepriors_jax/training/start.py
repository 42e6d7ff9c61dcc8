"""A start from another run: its best parameters, and which run they are of."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.training.checkpoint import read_best
from vaepriors_jax.training.result import FitResult
from vaepriors_jax.vae import VAEParams, check_params


class Origin(NamedTuple):
    """Where parameters come from.

    Attributes:
        run: the name of the run, or None where it has none.
        epoch: the epoch that they are of, or one for each replica.
    """

    run: str | None
    epoch: int | list[int]


class Start(NamedTuple):
    """What `start_from` returns, for `fit` to take as `params`.

    Attributes:
        params: the parameters.
        origin: the run and the epoch that they are of.
    """

    params: VAEParams
    origin: Origin


def start_from(run: FitResult | str | Path, like: VAEParams | None = None) -> Start:
    """Starts a new run from the best parameters of another one, given its result or its folder of checkpoints.

    Those of a run that failed are the last good ones: with validation data of the best epoch, and else of the last
    epoch without a failure. The new run has an optimiser, a key, a folder and a name of its own; its fingerprint says
    where it started. A cooldown is such a run, and so is a lower learning rate after a failure.

    Args:
        run: a `FitResult`, that of a `TrainingFailedError` too, or a folder of checkpoints.
        like: for a folder, parameters in the structure of that run, such as those that it was started with.

    Returns:
        A `Start`, which `fit` takes as `params`.

    Raises:
        TypeError: `run` is neither, or a folder without `like`.
        ValueError: the folder holds no checkpoint, or one of other parameters, or it cannot be read.

    Example:
        >>> import jax, jax.numpy as jnp, optax, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(params @ x, jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(params @ z),
        ...     prior=vp.standard_normal(2))
        >>> params = vp.VAEParams(jnp.ones((2, 3)), jnp.ones((3, 2)), {})
        >>> key, data = jax.random.key(0), {"x": jnp.ones((200, 3))}
        >>> first = vp.fit(vae, params, key, data, optax.adam(1e-2), num_epochs=3, progress=False)
        >>> start = vp.start_from(first)
        >>> second = vp.fit(vae, start, key, data, optax.adam(1e-3), num_epochs=2, progress=False)
        >>> second.fingerprint["started_from"]["epoch"]
        3
    """
    if isinstance(run, FitResult):
        name = None if run.fingerprint is None else run.fingerprint["name"]
        return Start(run.params, Origin(name, np.asarray(run.best_epoch).tolist()))
    if not isinstance(run, (str, Path)):
        raise TypeError(f"Expected `run` as a `FitResult` or a folder of checkpoints; got {type(run).__name__}.")
    if like is None:
        raise TypeError(
            "Expected `like` with a folder: parameters in the structure of its run, such as its first ones."
        )
    wanted = check_params(like)
    arrays, epochs, name = read_best(Path(run).absolute())
    single = len(epochs) == 1 and [array.shape[1:] for array in arrays] == _shapes(wanted)
    arrays = [array[0] for array in arrays] if single else arrays
    if [array.shape for array in arrays] != _shapes(wanted):
        raise ValueError(
            f"Expected parameters in `like` with the shapes of the run in {run}, "
            f"{[list(array.shape) for array in arrays]}; got {[list(shape) for shape in _shapes(wanted)]}."
        )
    params = jax.tree.unflatten(jax.tree.structure(wanted), [jnp.asarray(array) for array in arrays])
    return Start(params, Origin(name, epochs[0] if single else epochs))


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
