"""What tells one training run from another, so that a folder of checkpoints knows its run.

Values are kept as they are where they are short, and as hashes where not. A function is told by the text of the program
that it lowers to, with the constants in it; since that text is of one version of the libraries and one platform, these
are kept beside it, and where they differ functions are not compared.
"""

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaepriors_jax.parallel.distributed import gather
from vaepriors_jax.parallel.sharding import on_host, to_host
from vaepriors_jax.training.epoch import Options, Progress, optimizer_of
from vaepriors_jax.training.step import batch_elbo
from vaepriors_jax.vae import VAEParams
from vaepriors_jax.version import __version__

Fingerprint = dict[str, dict[str, Any]]

MAX_NAMED = 6  # differences that a message lists
LONGEST = 60  # of a value in a message


def fingerprint(
    options: Options,
    start: Progress,
    keys: jax.Array,
    betas: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
    data: Mapping[str, Any],
    validation: Mapping[str, Any] | None,
) -> Fingerprint:
    """What a run of `fit` is told by.

    Args:
        options: of the run. Patience and devices may change from one part of a run to the next.
        start: what its first epoch starts from.
        keys: a key for each replica [R].
        betas: weight of the KL of each replica [R].
        hyperparameters: one value for each replica [R], by name.
        data: {"x": [N, ...], ...}; of several processes the share of this one.
        validation: like `data`.

    Returns:
        {"run": what must be the same anywhere, "functions": what must be the same where "environment" is}.
    """
    # Addresses in the names of objects are those of one process.
    prior = re.sub(r" at 0x[0-9a-f]+", "", repr(options.vae.prior))
    run = {
        "prior": prior,
        "key": _hash(to_host(jax.random.key_data(keys))) + f" ({jax.random.key_impl(keys)})",
        "beta": to_host(betas).tolist(),
        **{name: getattr(options, name) for name in ("batch_size", "warmup_epochs", "free_bits")},
        **{name: getattr(options, name) for name in ("num_samples", "kl_method")},
        **{f"hyperparameter {name}": to_host(value).tolist() for name, value in sorted(hyperparameters.items())},
        **_shapes(start.train.params),
        **{f"data '{name}'": _hash_examples(value) for name, value in sorted(data.items())},
        **{f"validation data '{name}'": _hash_examples(value) for name, value in sorted((validation or {}).items())},
    }
    functions = _functions(options, start, keys, hyperparameters, data) | {
        "initial parameters": _hash(*map(to_host, jax.tree.leaves(start.train.params))),
        "initial state of the optimizer": _hash(*map(to_host, jax.tree.leaves(start.train.opt_state))),
    }
    return {"run": run, "functions": functions, "environment": _environment()}


def check_fingerprint(there: Fingerprint | None, here: Fingerprint, where: str) -> None:
    """Raises ValueError if a checkpoint is of another run, and names what differs; warns where that can't be told.

    Args:
        there: the fingerprint in the checkpoint, or None where it has none.
        here: that of this run.
        where: the checkpoint, for messages.
    """
    if there is None:
        warnings.warn(
            f"The checkpoint in {where} does not tell which run it is of. Training goes on from it, unchecked.",
            RuntimeWarning,
            stacklevel=4,
        )
        return
    differences = _differences(there["run"], here["run"])
    environment = _differences(there["environment"], here["environment"])
    if not differences and environment:
        warnings.warn(
            f"The checkpoint in {where} was written elsewhere: {'; '.join(environment)}. That the networks, the "
            "likelihood, the optimizer and the transform are the same is not checked.",
            RuntimeWarning,
            stacklevel=4,
        )
        return
    # Other sizes lower to other programs: functions are named only where nothing else differs.
    differences = differences or _differences(there["functions"], here["functions"])
    if differences:
        more = f"; and {len(differences) - MAX_NAMED} more" if len(differences) > MAX_NAMED else ""
        raise ValueError(
            f"Expected a checkpoint of this run in {where}; it is of another run: "
            f"{'; '.join(differences[:MAX_NAMED])}{more}. Repeat the arguments of that run, name another "
            "`checkpoint_dir`, or move this one away to start anew."
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
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


def _hash_examples(value: Any) -> str:
    """The hash of an array [N, ...] of all processes, whatever their shares: a sum over examples and their places."""
    array = on_host(value)
    several = jax.process_count() > 1
    sizes = gather(len(array)) if several else np.array([len(array)])
    first = int(sizes[: jax.process_index()].sum()) if several else 0
    rows = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in array)
    places = np.arange(first, first + len(array), dtype=np.uint64)
    mixed = _mix(np.frombuffer(b"".join(rows), "<u8").astype(np.uint64) ^ _mix(places))
    total = int(mixed.sum(dtype=np.uint64))
    if several:  # 16 bits at a time: what is gathered is of 32
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


def _functions(
    options: Options,
    start: Progress,
    keys: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
    data: Mapping[str, Any],
) -> dict[str, str]:
    """Hashes of the programs of one replica, on one device."""
    of_replica = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
    params, key, hyper = jax.tree.map(of_replica, (start.train.params, keys, dict(hyperparameters)))
    arrays = {name: on_host(value) for name, value in data.items()}
    batch: Any = {k: jax.ShapeDtypeStruct((options.batch_size, *a.shape[1:]), a.dtype) for k, a in arrays.items()}
    texts = {}
    if options.transform is not None:
        texts["transform"] = _lower(options.transform, key, batch)
        batch = jax.eval_shape(options.transform, key, batch)
    if options.beta is not None:
        texts["schedule of beta"] = _lower(options.beta, jax.ShapeDtypeStruct((), jnp.int32))

    def loss(params: VAEParams, key: jax.Array, batch: Any) -> jax.Array:
        return -jnp.mean(batch_elbo(options.vae, params, key, batch, beta=1.0, kl_method="monte_carlo").objective)

    def move(gradient: VAEParams, opt_state: Any, params: VAEParams, hyper: Any) -> Any:
        extra = {"value": jnp.zeros(()), "grad": gradient, "value_fn": optax.tree.sum}
        optimizer = optax.with_extra_args_support(optimizer_of(options.optimizer, hyper))
        return optimizer.update(gradient, opt_state, params, **extra)

    opt_state = jax.tree.map(of_replica, start.train.opt_state)
    texts["networks, likelihood or prior"] = _lower(jax.grad(loss), params, key, batch)
    texts["optimizer"] = _lower(move, params, opt_state, params, hyper)
    return texts


def _lower(function: Callable[..., Any], *arguments: Any) -> str:
    """The hash of the program of a function; its constants are in the text."""
    text = jax.jit(lambda *given: function(*given)).lower(*arguments).as_text()
    return f"#{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _environment() -> dict[str, str]:
    """The versions that a program's text depends on."""
    versions = {"vaepriors_jax": __version__, "platform": jax.default_backend()}
    for package in ("jax", "optax", "flax", "distrax"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return versions
