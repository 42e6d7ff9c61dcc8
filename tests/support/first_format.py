"""Writes a model as the library did before format 2, which is still read."""

import json

import orbax.checkpoint as ocp

import vaepriors_jax as vp
from vaepriors_jax.priors.bounds import MAP_VERSION
from vaepriors_jax.training.saved_tree import take_apart


def save_in_first_format(folder, prior, params, *, describe=True, pseudo_input_map=MAP_VERSION):
    """Writes `params` and `prior.json`; the oldest models describe no parameters and name no map of pseudo-inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays, description = take_apart(tuple(params))
    written = {name: array for name, array in arrays.items() if array.size} if describe else params._asdict()
    if written:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / "params", written)
    saved = {"prior": vp.plain_config(prior), "repr": repr(prior)}
    saved |= {"params": description} if describe else {}
    saved |= {} if pseudo_input_map is None else {"pseudo_input_map": pseudo_input_map}
    (folder / "prior.json").write_text(json.dumps(saved, indent=1))
