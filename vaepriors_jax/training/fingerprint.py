"""The fingerprint of a training run, which its checkpoints, its result and its saved models carry.

Short values are stored as they are, arrays as hashes, and functions as hashes of their programs (see `user_functions`).
What the text of a program depends on, the platform and the versions of the libraries, stands beside them.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

from vaepriors_jax.objective_options import Objective
from vaepriors_jax.parallel.sharding import to_host
from vaepriors_jax.training.hashing import hash_arrays, hash_examples
from vaepriors_jax.training.prepare import Run
from vaepriors_jax.training.streams import Batches
from vaepriors_jax.training.user_functions import hash_functions
from vaepriors_jax.trees import named_arrays
from vaepriors_jax.vae import VAEParams
from vaepriors_jax.version import __version__

Fingerprint = dict[str, Any]

FORMAT = 2  # in format 1 the networks, the likelihood and the prior were one function, together with the objective


def fingerprint(
    run: Run,
    data: Mapping[str, Any] | Batches,
    validation: Mapping[str, Any] | Batches | None,
    started_from: dict[str, Any] | None = None,
) -> Fingerprint:
    """What tells this run from others. Patience and devices may change when it is resumed.

    Args:
        run: the run.
        data: {"x": [N, ...], ...}, or the batches of a stream; with several processes the part of this one.
        validation: like `data`.
        started_from: the run and the epoch that the initial parameters are of, or None.

    Returns:
        {"format": 2, "name": a short hash of the rest, "run": what must be the same anywhere, "functions": what must be
        the same in the same "environment", "started_from": the argument, if any}.
    """
    options, params, keys = run.options, run.start.train.params, run.replicas.keys
    several = options.mesh is not None and jax.process_count() > 1
    hyperparameters = run.replicas.hyperparameters
    # A repr may hold addresses in memory, which are those of one process.
    prior = re.sub(r" at 0x[0-9a-f]+", "", repr(options.vae.prior))
    values = {
        "prior": prior,
        "key": hash_arrays(to_host(jax.random.key_data(keys))) + f" ({jax.random.key_impl(keys)})",
        **_describe_objective(options.objective),
        "beta": to_host(run.replicas.betas).tolist(),
        "batch_size": options.batch_size,
        **{f"hyperparameter {name}": to_host(value).tolist() for name, value in sorted(hyperparameters.items())},
        **_shapes(params),
        **_describe_data("data", data, several),
        **_describe_data("validation data", validation or {}, several),
    }
    functions = hash_functions(run, batch_of(data)) | {
        "initial parameters": hash_arrays(*map(to_host, jax.tree.leaves(params))),
        "initial state of the optimizer": hash_arrays(*map(to_host, jax.tree.leaves(run.start.train.opt_state))),
    }
    digest = hashlib.sha256(json.dumps([values, functions], sort_keys=True).encode()).hexdigest()
    made = {"format": FORMAT, "name": digest[:8], "run": values, "functions": functions}
    made |= {"environment": _environment()}
    return made | ({"started_from": started_from} if started_from else {})


def batch_of(data: Mapping[str, Any] | Batches) -> Mapping[str, Any]:
    """Examples of the data: arrays themselves, or the first batch of a stream."""
    return data.first if isinstance(data, Batches) else data


def in_words(fingerprint: Fingerprint) -> str:
    """The name of a run, and where it started."""
    origin = fingerprint.get("started_from")
    return fingerprint["name"] + (f", started from run {origin['run']}, epoch {origin['epoch']}" if origin else "")


def _describe_objective(objective: Objective) -> dict[str, Any]:
    """The options of an objective, as JSON has them."""
    sizes, constraint = objective.group_sizes, objective.constraint
    described: dict[str, Any] = {"group_sizes": None if sizes is None else list(sizes)}
    if constraint is not None:  # its function is in a hash
        numbers = {name: value for name, value in vars(constraint).items() if name != "error"}
        described["constraint"] = {name: float(value) for name, value in numbers.items()}
    return vars(objective) | described


def _describe_data(kind: str, data: Mapping[str, Any] | Batches, several: bool) -> dict[str, str]:
    """A hash of each array; of a stream the form of its first batch."""
    if isinstance(data, Batches):
        forms = {name: f"{value.dtype}{list(value.shape)}" for name, value in named_arrays(data.first)}
        return {f"{kind} '{name}'": f"batches of {form}" for name, form in sorted(forms.items())}
    return {
        f"{kind} '{name}'": hash_examples(value, several)
        for name, value in sorted(named_arrays(data), key=lambda item: item[0])
    }


def _shapes(params: VAEParams) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {f"params{jax.tree_util.keystr(path)}": f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _environment() -> dict[str, str]:
    """What the text of a program depends on: the platform and the versions of the libraries."""
    versions = {"vaepriors_jax": __version__, "platform": jax.default_backend()}
    for package in ("jax", "optax", "flax", "distrax"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return versions
