"""The functions that `fit` was given: hashes of their programs, and what they give for one fixed example.

Hashes tell functions apart within one platform and one version of the libraries. Between others values are compared.
The objective, the loop and all that the library does between these functions is in neither.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaepriors_jax.networks.variables import BATCH_AXIS, split
from vaepriors_jax.objectives import log_likelihood
from vaepriors_jax.parallel.distributed import of_first_process
from vaepriors_jax.parallel.sharding import on_host, to_host
from vaepriors_jax.training.epoch import Options, optimizer_of
from vaepriors_jax.training.hashing import hash_program
from vaepriors_jax.training.optimizers import optimizer_update
from vaepriors_jax.training.prepare import Run
from vaepriors_jax.trees import map_arrays
from vaepriors_jax.vae import VAE, States, VAEParams, context_of, join_states, split_states

COUNTS = (0, 1, 10, 100, 1_000, 10_000, 100_000)  # steps at which optimisers and schedules are compared

Batch = Mapping[str, Any]


def hash_functions(run: Run, batch: Batch) -> dict[str, str]:
    """Hashes of the programs of one replica on one device, given a batch of data."""

    def of_replica(leaf: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)

    train, replicas = run.start.train, run.replicas
    own = jax.tree.map(of_replica, (train.params, train.opt_state, replicas.keys, replicas.hyperparameters))
    arrays = map_arrays(on_host, batch)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct((run.options.batch_size, *a.shape[1:]), a.dtype), arrays)
    leaves, structure = jax.tree.flatten((*own, shapes))
    return dict(_hash_functions(run.options._replace(patience=None, mesh=None), structure, tuple(leaves)))


@lru_cache(maxsize=32)
def _hash_functions(options: Options, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]) -> dict[str, str]:
    params, opt_state, key, hyperparameters, batch = jax.tree.unflatten(structure, leaves)
    hashes = {}
    if options.transform is not None:
        hashes["transform"] = hash_program(options.transform, key, batch)
        batch = jax.eval_shape(options.transform, key, batch)
    if callable(options.objective.beta):
        hashes["schedule of beta"] = hash_program(options.objective.beta, jax.ShapeDtypeStruct((), jnp.int32))
    trained, states = split_states(params)
    programs = NETWORKS | ({"error of the constraint": partial(_error, error)} if (error := _error_of(options)) else {})
    hashes["optimizer"] = hash_program(partial(_move, options), trained, opt_state, trained, hyperparameters)
    example = jax.tree.map(lambda value: jax.ShapeDtypeStruct(value.shape[1:], value.dtype), dict(batch))
    for name, program in programs.items():
        hashes[name] = hash_program(partial(_with_gradient, program, options.vae), trained, states, key, example)
    if states.encoder or states.decoder:
        hashes[IN_TRAINING] = hash_program(
            partial(_with_gradient, _in_training, options.vae), trained, states, key, example
        )
    return hashes


def _move(options: Options, gradient: VAEParams, opt_state: Any, params: VAEParams, hyperparameters: Any) -> Any:
    optimizer = optimizer_of(options.optimizer, hyperparameters)
    return optimizer_update(optimizer, gradient, opt_state, params, value=jnp.zeros(()), value_fn=optax.tree.sum)


def _with_gradient(
    program: Callable[..., Any], vae: VAE, trained: VAEParams, states: States, key: jax.Array, example: Batch
) -> Any:
    """The program and its gradient in the parameters, which a stopped gradient or a custom rule changes."""

    def total(trained: VAEParams) -> Any:
        z, outputs = program(vae, join_states(trained, states), key, example)
        return sum(map(jnp.sum, jax.tree.leaves((z, outputs)))), outputs

    return jax.value_and_grad(total, has_aux=True)(trained)


def _encoder(vae: VAE, params: VAEParams, key: jax.Array, example: Batch) -> Any:
    return vae.posterior(params, example["x"], **context_of(example)).sample_and_log_prob(seed=key)


def _decoder(vae: VAE, params: VAEParams, key: jax.Array, example: Batch) -> Any:
    z = _latent(vae, params, example)
    return (), log_likelihood(vae, params, z, example["x"], **context_of(example))


def _prior(vae: VAE, params: VAEParams, key: jax.Array, example: Batch) -> Any:
    z = _latent(vae, params, example)
    log_hyperprior = vae.prior.log_hyperprior
    beside = () if log_hyperprior is None else log_hyperprior(split(params.prior)[0])
    return beside, vae.latent_prior(params, **context_of(example)).log_prob(z)


def _error_of(options: Options) -> Callable[..., Any] | None:
    """The user's function in the constraint of the objective, if any."""
    return None if options.objective.constraint is None else options.objective.constraint.error


def _error(error: Callable[..., Any], vae: VAE, params: VAEParams, key: jax.Array, example: Batch) -> Any:
    z = _latent(vae, params, example)
    return (), error(vae.likelihood(params, z, **context_of(example)), example["x"])


def _in_training(vae: VAE, params: VAEParams, key: jax.Array, example: Batch) -> Any:
    """Networks with state and noise, on a batch of one."""
    context, z = context_of(example), _latent(vae, params, example)

    def of_example(x: jax.Array, context: dict[str, Any]) -> Any:
        posterior, encoder_state = vae.train_posterior(params, key, x, **context)
        likelihood, decoder_state = vae.train_likelihood(params, key, z, **context)
        return (posterior.log_prob(z), likelihood.log_prob(x)), (encoder_state, decoder_state)

    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (example["x"], context))
    outputs, states = jax.vmap(of_example, axis_name=BATCH_AXIS, out_axes=(0, None))(*batch)
    return outputs, states


IN_TRAINING = "networks in training"
NETWORKS = {"encoder": _encoder, "decoder or likelihood": _decoder, "prior": _prior}


def _latent(vae: VAE, params: VAEParams, example: Batch) -> jax.Array:
    """A fixed z of the right shape."""
    posterior = partial(vae.posterior, params)
    shape = jax.eval_shape(
        lambda x, context: posterior(x, **context).sample(seed=jax.random.key(0)), example["x"], context_of(example)
    )
    return jnp.cos(jnp.arange(shape.size, dtype=shape.dtype)).reshape(shape.shape)


def measure_functions(run: Run, batch: Batch) -> dict[str, list[float | None]]:
    """What the functions give for the first example, at the initial parameters of the first replica."""
    options = run.options
    params, hyperparameters = jax.tree.map(
        lambda leaf: to_host(leaf)[0], (run.replicas.params, run.replicas.hyperparameters)
    )
    first = map_arrays(lambda value: on_host(value[:1]), batch)
    first = first if options.mesh is None else of_first_process(first)
    key, found = jax.random.key(0), {}
    if options.transform is not None:
        first = options.transform(key, jax.tree.map(jnp.asarray, first))
        found["transform"] = [jnp.sum(leaf) for leaf in jax.tree.leaves(dict(first))]
    example = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], dict(first))
    found |= _compiled(_measure_networks, options.vae)(params, example)
    if error := _error_of(options):
        found["error of the constraint"] = _compiled(partial(_error, error), options.vae)(params, key, example)[1]
    move = _compiled(_measure_optimizer, options)
    trained = split_states(params)[0]
    for count in COUNTS:
        found[f"optimizer at step {count}"] = move(jnp.int32(count), trained, hyperparameters)
        if callable(options.objective.beta):
            found[f"schedule of beta at step {count}"] = options.objective.beta(jnp.int32(count))
    return {name: _as_numbers(value) for name, value in found.items()}


def _compiled(function: Callable[..., Any], first: Any) -> Callable[..., Any]:
    """A function of the other arguments, compiled in little time, since it runs a few times only."""
    return jax.jit(partial(function, first), compiler_options={"xla_backend_optimization_level": 0})


def _as_numbers(value: Any) -> list[float | None]:
    """Numbers for JSON, which has no name for those that are not finite."""
    flat = np.asarray(value, np.float64).reshape(-1)
    return [number if np.isfinite(number) else None for number in flat.tolist()]


def _measure_networks(vae: VAE, params: VAEParams, example: Batch) -> dict[str, jax.Array]:
    x, context, z = example["x"], context_of(example), _latent(vae, params, example)
    return {
        "encoder": vae.posterior(params, x, **context).log_prob(z),
        "decoder or likelihood": log_likelihood(vae, params, z, x, **context),
        "prior": vae.latent_prior(params, **context).log_prob(z),
    }


def _measure_optimizer(options: Options, count: jax.Array, params: VAEParams, hyperparameters: Any) -> jax.Array:
    """The sum and the norm of an update by a fixed gradient, with `count` in place of the counts of the state."""
    optimizer = optimizer_of(options.optimizer, hyperparameters)

    def at_count(leaf: jax.Array) -> jax.Array:
        return count if leaf.dtype == count.dtype and leaf.ndim == 0 else leaf

    def value_fn(params: VAEParams) -> jax.Array:
        return optax.tree.norm(params, squared=True) / 2

    opt_state = jax.tree.map(at_count, optimizer.init(params))
    updates, _ = optimizer_update(optimizer, params, opt_state, params, value=value_fn(params), value_fn=value_fn)
    return jnp.stack([optax.tree.sum(updates), optax.tree.norm(updates)])
