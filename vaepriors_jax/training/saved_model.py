"""Trained models on disk: the prior's configuration and all parameters."""

import json
from pathlib import Path

from vaepriors_jax.base import Prior
from vaepriors_jax.factories import plain_config, prior_from_config
from vaepriors_jax.priors.bounds import MAP_VERSION
from vaepriors_jax.priors.vamp import convert_from_first_map
from vaepriors_jax.training.saved_tree import put_together, take_apart
from vaepriors_jax.vae import VAEParams


def save_model(directory: str | Path, prior: Prior, params: VAEParams) -> None:
    """Saves a trained model: the prior's configuration, and the parameters of encoder, decoder and prior.

    Args:
        directory: a folder. A model that is there already is replaced.
        prior: the prior. If it holds a function or an array of yours, `load_model` needs it again.
        params: the parameters, in dicts, lists and tuples. For other containers, such as `nnx.State`, `load_model`
            needs `like=`.

    Raises:
        ValueError: parameters that are neither arrays of numbers nor numbers. Nothing is written then.

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
        like: parameters in the structure and shapes that were saved, needed for containers such as `nnx.State`.

    Returns:
        The prior, and the parameters as JAX arrays in the containers in which they were saved.

    Raises:
        ValueError: there is no model or a damaged one; it needs `prior=` or `like=`; or `like` does not fit.
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
    if saved.get("pseudo_input_map") != MAP_VERSION:  # saved when `vamp` mapped pseudo-inputs differently
        params = params._replace(prior=convert_from_first_map(prior, params.prior))
    return prior, params
