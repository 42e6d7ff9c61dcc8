"""Trained models on disk: the prior's configuration and all parameters.

Format 2 is one file, `model.npz`, in a folder of the model's own. It is an .npz archive, which `numpy.load` reads:

- `model.json` describes the model, in JSON without NaN and infinities:
    - "format": 2; "vaepriors_jax": the version of the library that wrote it;
    - "prior": the prior's configuration, as `plain_config` gives it, or null if it is not plain data;
    - "repr": the prior as text;
    - "fingerprint": that of the run that trained the model, or null or nothing if it is not known;
    - "pseudo_input_map": the version of the map that bounds pseudo-inputs;
    - "params": {"leaves": ..., "paths": ..., "tree": ...}. A leaf is {"array": dtype, "shape": [...]}, or
      {"number": value} for a Python number, with infinities and NaN as text. A path names a leaf. In the tree a
      container is [kind, content], with the kinds "dict", "list", "tuple", "variables" (of a network with state: its
      parameters and its state), "none" and "other", and a leaf is its index.
- `0.npy`, `1.npy` and so on are the arrays, by the index of the leaf, in C order and little-endian. Members are not
  compressed.
- The file ends with the comment of the archive: the SHA-256 of all bytes before it, in 64 hexadecimal digits.

Format 1 is a file `prior.json` and a folder `params`. `load_model` reads it where there is no `model.npz`.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from vaepriors_jax.base import Prior
from vaepriors_jax.configuration import prior_from_config
from vaepriors_jax.factories import check_is
from vaepriors_jax.networks.variables import join, split
from vaepriors_jax.parallel.distributed import explain_lost_process, together
from vaepriors_jax.priors.bounds import MAP_VERSION
from vaepriors_jax.priors.vamp import convert_from_first_map
from vaepriors_jax.training import saved_earlier
from vaepriors_jax.training.fingerprint import Fingerprint
from vaepriors_jax.training.saved_archive import read_archive, write_archive
from vaepriors_jax.training.saved_prior import check_prior_params, saved_config
from vaepriors_jax.training.saved_tree import put_together, take_apart
from vaepriors_jax.vae import VAEParams
from vaepriors_jax.version import __version__

FILE = "model.npz"
FORMAT = 2


def save_model(
    directory: str | Path, prior: Prior, params: VAEParams, *, fingerprint: Fingerprint | None = None
) -> None:
    """Saves a trained model: the prior's configuration, and the parameters of encoder, decoder and prior.

    The model is one file, `model.npz`, in the folder. One that is there already is replaced as a whole: if the process
    is killed or the disk is full, the folder holds the old model or the new one. Other files in the folder are left
    alone, those of a model that an earlier version saved among them.

    With several processes, all of them call this, and process 0 writes.

    Args:
        directory: a folder.
        prior: the prior. If it holds a function, an array or a number that is not finite, `load_model` needs it again.
        params: the parameters, in dicts, lists and tuples. For other containers, such as `nnx.State`, `load_model`
            needs `like=`.
        fingerprint: that of the run that trained the model, which the result of `fit` holds. `load_fingerprint` reads
            it.

    Raises:
        TypeError: `prior` is not a prior. Nothing is written then.
        ValueError: parameters that are neither arrays of numbers nor numbers. Nothing is written then.
        OSError: the file cannot be written. A model that was there is as it was.

    Example:
        >>> import tempfile, jax.numpy as jnp, vaepriors_jax as vp
        >>> folder = tempfile.mkdtemp()
        >>> params = vp.VAEParams({"weight": jnp.ones(2)}, {"weight": jnp.ones(2)}, {})
        >>> vp.save_model(folder, vp.standard_normal(2), params)
        >>> prior, params = vp.load_model(folder)
        >>> prior
        standard_normal(dim=2)
    """
    check_is(Prior, prior)
    arrays, described = take_apart(tuple(VAEParams(*params)))
    description = {
        "format": FORMAT,
        "vaepriors_jax": __version__,
        "prior": saved_config(prior),
        "repr": repr(prior),
        "fingerprint": fingerprint,
        "pseudo_input_map": MAP_VERSION,
        "params": described,
    }
    whole = {name: _whole(array) for name, array in arrays.items()}
    path = Path(directory).absolute()

    def write() -> None:
        if jax.process_index() == 0:
            path.mkdir(parents=True, exist_ok=True)
            write_archive(path / FILE, description, whole)

    together(write)


def load_model(
    directory: str | Path, prior: Prior | None = None, *, like: VAEParams | None = None
) -> tuple[Prior, VAEParams]:
    """Loads what `save_model` wrote.

    The file is compared with its SHA-256, and the prior's parameters with those that the prior's `init` makes: they
    have the same names, shapes and kinds of number.

    Args:
        directory: the folder.
        prior: the prior, if its configuration could not be saved.
        like: parameters in the structure and shapes that were saved, needed for containers such as `nnx.State`.

    Returns:
        The prior, and the parameters as JAX arrays in the containers in which they were saved.

    Raises:
        TypeError: `prior` is not a prior.
        ValueError: there is no model or a damaged one; it needs `prior=` or `like=`; or one of these does not fit.
    """
    wanted = None if like is None else tuple(VAEParams(*like))
    path = Path(directory).absolute()
    saved, arrays = _read(path)
    if prior is None:
        prior = _rebuild(saved)
    check_is(Prior, prior)
    params = _params(path, saved.get("params"), arrays, wanted)
    check_prior_params(prior, params)
    if saved.get("pseudo_input_map") != MAP_VERSION:  # saved when `vamp` mapped pseudo-inputs differently
        raw, state = split(params.prior)
        params = params._replace(prior=join(convert_from_first_map(prior, raw), state))
    return prior, params


def load_fingerprint(directory: str | Path) -> Fingerprint | None:
    """Reads the fingerprint of the run that trained a saved model, or None if it was saved without one.

    Raises:
        ValueError: there is no model, or a damaged one.

    Example:
        >>> import tempfile, vaepriors_jax as vp
        >>> folder = tempfile.mkdtemp()
        >>> params = vp.VAEParams({}, {}, {})
        >>> vp.save_model(folder, vp.standard_normal(2), params, fingerprint={"name": "3f25270e"})
        >>> vp.load_fingerprint(folder)
        {'name': '3f25270e'}
    """
    path = Path(directory).absolute()
    fingerprint = _read(path)[0].get("fingerprint")
    if not (fingerprint is None or isinstance(fingerprint, dict)):
        raise _unreadable(path, ValueError(f"its fingerprint is {type(fingerprint).__name__}"))
    return fingerprint


def _whole(array: Any) -> np.ndarray:
    """Copies an array to the host; the parts of one that several processes share are gathered."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        with explain_lost_process():
            return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a model of any format."""
    try:
        if (path / FILE).exists():
            saved, arrays = read_archive(path / FILE)
            if saved["format"] != FORMAT:
                raise ValueError(
                    f"it is of format {saved['format']}, which vaepriors_jax {saved['vaepriors_jax']} wrote; this is "
                    f"version {__version__}, which reads formats 1 and {FORMAT}"
                )
        elif (path / saved_earlier.DESCRIPTION).exists():
            saved, arrays = saved_earlier.read_earlier(path)
        else:
            raise ValueError(f"it holds no {FILE}")
        if not {"prior", "repr"} <= saved.keys():
            raise ValueError("it does not name its prior")
    except Exception as error:
        raise _unreadable(path, error) from error
    return saved, arrays


def _rebuild(saved: dict[str, Any]) -> Prior:
    if saved["prior"] is None:
        raise ValueError(
            f"The prior of this model, {saved['repr']!r}, holds a function, an array or a number that is not finite, "
            "which are not saved. Pass `prior=`."
        )
    return prior_from_config(saved["prior"])


def _params(path: Path, described: Any, arrays: dict[str, Any], like: Any) -> VAEParams:
    try:
        arrays = jax.tree.map(jnp.array, arrays)
        return VAEParams(**arrays) if described is None else VAEParams(*put_together(arrays, described, like))
    except ValueError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(f"Expected a model saved by `save_model` in {path}; it cannot be read: {reason}.")
