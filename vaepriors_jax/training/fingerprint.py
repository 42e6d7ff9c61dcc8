"""The fingerprint of a training run, by which a folder of checkpoints tells whether it belongs to a run.

Short values are stored as they are, arrays as hashes. A function is stored as a hash of the text of the program that it
lowers to, constants included. That text depends on the platform and on the versions of the libraries, so these are
stored too; where they differ, functions are not compared.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaepriors_jax.objectives import Objective
from vaepriors_jax.parallel.distributed import gather
from vaepriors_jax.parallel.sharding import on_host, to_host
from vaepriors_jax.training.batch import batch_elbo
from vaepriors_jax.training.epoch import optimizer_of
from vaepriors_jax.training.prepare import Run
from vaepriors_jax.training.streams import Batches
from vaepriors_jax.vae import States, VAEParams, join_states, split_states
from vaepriors_jax.version import __version__

Fingerprint = dict[str, Any]

MAX_NAMED = 6  # differences that a message lists
LONGEST = 60  # characters of a value in a message
CALLER = 5  # frames from a warning to the line that called `fit`: check_fingerprint, check, fit and its decorator


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
        {"name": a short hash of the rest, "run": what must be the same anywhere, "functions": what must be the same in
        the same "environment"}.
    """
    options, params, keys = run.options, run.start.train.params, run.replicas.keys
    several = options.mesh is not None and jax.process_count() > 1
    hyperparameters = run.replicas.hyperparameters
    # A repr may hold addresses in memory, which are those of one process.
    prior = re.sub(r" at 0x[0-9a-f]+", "", repr(options.vae.prior))
    values = {
        "prior": prior,
        "key": _hash(to_host(jax.random.key_data(keys))) + f" ({jax.random.key_impl(keys)})",
        **vars(options.objective),
        "beta": to_host(run.replicas.betas).tolist(),
        "batch_size": options.batch_size,
        **{f"hyperparameter {name}": to_host(value).tolist() for name, value in sorted(hyperparameters.items())},
        **_shapes(params),
        **_describe_data("data", data, several),
        **_describe_data("validation data", validation or {}, several),
    }
    functions = _functions(run, data) | {
        "initial parameters": _hash(*map(to_host, jax.tree.leaves(params))),
        "initial state of the optimizer": _hash(*map(to_host, jax.tree.leaves(run.start.train.opt_state))),
    }
    digest = hashlib.sha256(json.dumps([values, functions], sort_keys=True).encode()).hexdigest()
    made = {"name": digest[:8], "run": values, "functions": functions, "environment": _environment()}
    return made | ({"started_from": started_from} if started_from else {})


def in_words(fingerprint: Fingerprint) -> str:
    """The name of a run, and where it started."""
    origin = fingerprint.get("started_from")
    return fingerprint["name"] + (f", started from run {origin['run']}, epoch {origin['epoch']}" if origin else "")


def check_fingerprint(there: Fingerprint | None, here: Fingerprint, where: str) -> None:
    """Raises ValueError if a checkpoint is of another run, and names what differs. Warns where it cannot compare.

    Args:
        there: the fingerprint in the checkpoint, or None where it has none.
        here: the fingerprint of this run.
        where: the checkpoint, for messages.
    """
    if there is None:
        warnings.warn(
            f"The checkpoint in {where} does not tell which run it is of. Training resumes from it unchecked.",
            RuntimeWarning,
            stacklevel=CALLER,
        )
        return
    differences = _differences(there["run"], here["run"])
    environment = _differences(there["environment"], here["environment"])
    if not differences and environment:
        warnings.warn(
            f"The checkpoint in {where} was written elsewhere: {'; '.join(environment)}. Whether the networks, the "
            "likelihood, the optimizer and the transform are the same is not checked.",
            RuntimeWarning,
            stacklevel=CALLER,
        )
        return
    # Other sizes give other programs, so functions are compared only where nothing else differs.
    differences = differences or _differences(there["functions"], here["functions"])
    if differences:
        more = f"; and {len(differences) - MAX_NAMED} more" if len(differences) > MAX_NAMED else ""
        raise ValueError(
            f"Expected a checkpoint of this run in {where}; it is of another run: "
            f"{'; '.join(differences[:MAX_NAMED])}{more}. Repeat the arguments of that run, name another folder in "
            "`checkpoints`, or move this one away to start anew."
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs, each in words."""
    names = [*there, *(name for name in here if name not in there)]
    return [_difference(name, there, here) for name in names if there.get(name) != here.get(name)]


def _difference(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    if name not in here:
        return f"{name} was there and is left out"
    if name not in there:
        return f"{name} is added"
    values = [str(side[name]) for side in (there, here)]
    if any(value.startswith("#") or len(value) > LONGEST for value in values):
        return f"{name} differs"
    return f"{name} was {values[0]}, and is {values[1]}"


def _hash(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return f"#{digest.hexdigest()[:16]}"


def _describe_data(kind: str, data: Mapping[str, Any] | Batches, several: bool) -> dict[str, str]:
    """A hash of each array; of a stream the form of its first batch."""
    if isinstance(data, Batches):
        forms = {name: f"{value.dtype}{list(value.shape)}" for name, value in data.first.items()}
        return {f"{kind} '{name}'": f"batches of {form}" for name, form in sorted(forms.items())}
    return {f"{kind} '{name}'": _hash_examples(value, several) for name, value in sorted(data.items())}


def _hash_examples(value: Any, several: bool = False) -> str:
    """The hash of an array [N, ...], the same however several processes share it: a sum over examples and places."""
    array = on_host(value)
    sizes = gather(len(array)) if several else np.array([len(array)])
    first = int(sizes[: jax.process_index()].sum()) if several else 0
    rows = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in array)
    places = np.arange(first, first + len(array), dtype=np.uint64)
    mixed = _mix(np.frombuffer(b"".join(rows), "<u8").astype(np.uint64) ^ _mix(places))
    total = int(mixed.sum(dtype=np.uint64))
    if several:  # 16 bits at a time, since processes exchange integers of 32 bits
        parts = [gather(total >> shift & 0xFFFF).astype(object).sum() << shift for shift in (0, 16, 32, 48)]
        total = sum(parts) % 2**64
    return f"#{total:016x} ({array.dtype}{[int(sizes.sum()), *array.shape[1:]]})"


def _mix(values: np.ndarray) -> np.ndarray:
    """A permutation of 64 bits (the finaliser of splitmix64) that makes neighbours unlike."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _shapes(params: VAEParams) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {f"params{jax.tree_util.keystr(path)}": f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _functions(run: Run, data: Mapping[str, Any] | Batches) -> dict[str, str]:
    """Hashes of the programs of one replica, on one device."""

    def of_replica(leaf: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)

    options, train = run.options, jax.tree.map(of_replica, run.start.train)
    (params, states), opt_state = split_states(train.params), train.opt_state
    key, hyper = jax.tree.map(of_replica, (run.replicas.keys, run.replicas.hyperparameters))
    given = data.first if isinstance(data, Batches) else data
    arrays = {name: on_host(value) for name, value in given.items()}
    batch: Any = {k: jax.ShapeDtypeStruct((options.batch_size, *a.shape[1:]), a.dtype) for k, a in arrays.items()}
    texts = {}
    if options.transform is not None:
        texts["transform"] = _lower(options.transform, key, batch)
        batch = jax.eval_shape(options.transform, key, batch)
    if callable(options.objective.beta):
        texts["schedule of beta"] = _lower(options.objective.beta, jax.ShapeDtypeStruct((), jnp.int32))

    objective = Objective(kl_method="monte_carlo")  # reads the densities of posterior and prior

    def loss(params: VAEParams, states: States, key: jax.Array, batch: Any) -> jax.Array:
        terms, _ = batch_elbo(options.vae, join_states(params, states), key, batch, objective)
        return -jnp.mean(terms.objective)

    def move(gradient: VAEParams, opt_state: Any, params: VAEParams, hyper: Any) -> Any:
        extra = {"value": jnp.zeros(()), "grad": gradient, "value_fn": optax.tree.sum}
        optimizer = optax.with_extra_args_support(optimizer_of(options.optimizer, hyper))
        return optimizer.update(gradient, opt_state, params, **extra)

    texts["networks, likelihood or prior"] = _lower(jax.grad(loss), params, states, key, batch)
    texts["optimizer"] = _lower(move, params, opt_state, params, hyper)
    return texts


def _lower(function: Callable[..., Any], *arguments: Any) -> str:
    """The hash of the program of a function; its constants are in the text."""
    text = jax.jit(lambda *given: function(*given)).lower(*arguments).as_text()
    return f"#{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _environment() -> dict[str, str]:
    """What the text of a program depends on: the platform and the versions of the libraries."""
    versions = {"vaepriors_jax": __version__, "platform": jax.default_backend()}
    for package in ("jax", "optax", "flax", "distrax"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return versions
