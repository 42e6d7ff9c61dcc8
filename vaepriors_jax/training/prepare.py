"""Before the first epoch of `fit`: check what was passed, stack the replicas, and put everything on the devices."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data, check_model
from vaepriors_jax.objective_options import Objective, check_objective, with_python_numbers
from vaepriors_jax.parallel.distributed import check_same
from vaepriors_jax.parallel.sharding import Data, check_mesh, load, num_examples, replicate, to_one_device
from vaepriors_jax.training.batch_checks import check_batches
from vaepriors_jax.training.checks import (
    check_hyperparameters,
    check_optimizer,
    check_per_replica,
    check_replicas,
    check_schedule,
    check_trainable,
)
from vaepriors_jax.training.epoch import FitState, Optimizer, Options
from vaepriors_jax.training.placed_stream import PlacedStream, open_stream, place_stream, size_of_batches
from vaepriors_jax.training.programs import keys_program, start_program
from vaepriors_jax.training.streams import Batches
from vaepriors_jax.training.transforms import Transform
from vaepriors_jax.trees import named_arrays
from vaepriors_jax.vae import VAE, VAEParams, check_prior_state, split_states

DEFAULT_BATCH_SIZE = 100


class Replicas(NamedTuple):
    """What differs from replica to replica, with a leading axis [R].

    Attributes:
        params: initial parameters.
        keys: random keys.
        betas: weights of the KL; a schedule multiplies them.
        hyperparameters: arguments of the function that makes the optimiser, by name.
        single: `fit` was given one replica, without a leading axis.
    """

    params: VAEParams
    keys: jax.Array
    betas: jax.Array
    hyperparameters: dict[str, jax.Array]
    single: bool


class Run(NamedTuple):
    """A run that is ready to be compiled.

    Attributes:
        options: what is compiled into the program.
        start: the state before the first epoch.
        replicas: what else differs between replicas.
        train: the training data.
        validation: the validation data, or None.
    """

    options: Options
    start: FitState
    replicas: Replicas
    train: Data | PlacedStream
    validation: Data | PlacedStream | None

    def arguments(self, state: FitState, epoch: int) -> tuple[Any, ...]:
        """The arguments of the compiled epoch. Epochs count from 1."""
        _, keys, betas, hyperparameters, _ = self.replicas
        keys = keys_program(self.options.mesh)(keys, np.int32(epoch))
        return state, keys, betas, hyperparameters, np.int32(epoch), self.train, self.validation

    def unstack(self, array: Any) -> Any:
        """An array [R, ...], without the axis where `fit` was given one replica."""
        return array[0] if self.replicas.single else array

    def as_given(self, tree: Any) -> Any:
        """Arrays of the run as the caller knows them: on one device, and unstacked."""
        return jax.tree.map(self.unstack, to_one_device(self.options.mesh, tree))


def check_epochs(num_epochs: int, patience: int | None, validation: Any) -> None:
    """Raises ValueError unless the number of epochs and the patience make sense."""
    check_positive_integer(num_epochs=num_epochs)
    if patience is not None:
        check_positive_integer(patience=patience)
        if validation is None:
            raise ValueError("Expected `validation` data with `patience`: the validation ELBO tells when to stop.")


def open_data(
    data: Any, validation: Any, batch_size: int | None, num_epochs: int, mesh: Mesh | None
) -> tuple[Mapping[str, Any] | Batches, Mapping[str, Any] | Batches | None, int]:
    """Opens what streams, and returns training data, validation data and the number of examples in a batch."""
    if batch_size is not None:
        check_positive_integer(batch_size=batch_size)
    data = open_stream(data, "the data", mesh)
    validation = open_stream(validation, "the validation data", mesh)
    if num_epochs > 1:
        for batches in (data, validation):
            if isinstance(batches, Batches):
                batches.check_can_be_read_again()
    if not isinstance(data, Batches):
        return data, validation, batch_size or DEFAULT_BATCH_SIZE
    size = size_of_batches(data, mesh)
    if batch_size not in (None, size):
        raise ValueError(
            f"Expected batches of `batch_size`={batch_size} examples; the first of the data has {size}. Leave "
            "`batch_size` out."
        )
    return data, validation, size


def check_run(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    optimizer: Optimizer,
    objective: Objective,
    batch_size: int,
    *,
    patience: int | None,
    transform: Transform | None,
    hyperparameters: Mapping[str, Any] | None,
    mesh: Mesh | None,
) -> tuple[Options, Replicas]:
    """Checks arguments of `fit`, and sorts them into what is compiled and what differs from replica to replica."""
    params, key = check_model(vae, params, key)
    check_prior_state(vae, params)
    hyperparameters = check_hyperparameters(hyperparameters)
    check_optimizer(optimizer, hyperparameters)
    check_objective(objective)
    objective, beta = _split_beta(objective)
    replicas = _stack_replicas(params, key, beta, hyperparameters)
    num_replicas = len(replicas.keys)
    mesh = check_mesh(mesh, batch_size, num_replicas)
    return Options(vae, optimizer, objective, num_replicas, batch_size, patience, transform, mesh), replicas


def _split_beta(objective: Objective) -> tuple[Objective, Any]:
    """Splits an objective into what is compiled, with a schedule or 1 as `beta`, and the weights of the replicas."""
    objective = with_python_numbers(objective)
    if callable(objective.beta):
        check_schedule(objective.beta)
        return objective, 1.0
    return replace(objective, beta=1.0), objective.beta


def _stack_replicas(params: VAEParams, key: jax.Array, beta: Any, hyperparameters: Mapping[str, Any]) -> Replicas:
    """Checks what differs from replica to replica, and gives a single replica an axis of one."""
    check_trainable(split_states(params)[0])
    single = key.ndim == 0
    keys = key[None] if single else key
    if not single:
        check_replicas(params, len(keys))
    hyper = {name: check_per_replica(name, value, len(keys)) for name, value in hyperparameters.items()}
    betas = check_per_replica("beta", beta, len(keys), jnp.float32)
    stacked = jax.tree.map(jnp.asarray, params)
    stacked = _with_replica_axis(stacked) if single else stacked
    return Replicas(stacked, keys, betas, hyper, single)


@jax.jit
def _with_replica_axis(params: VAEParams) -> VAEParams:
    return jax.tree.map(lambda leaf: leaf[None], params)


def place_run(
    options: Options,
    replicas: Replicas,
    num_epochs: int,
    data: Mapping[str, Any] | Batches,
    validation: Mapping[str, Any] | Batches | None,
) -> Run:
    """Checks the data, and puts data and replicas on the devices."""
    mesh = options.mesh
    if mesh is not None:
        _check_same_everywhere(options, num_epochs, data, validation)
    train = _place_data(options, replicas, data, options.transform)
    valid = None if validation is None else _place_data(options, replicas, validation, None, "the validation data")
    if not isinstance(train, PlacedStream) and num_examples(train) < options.batch_size:
        raise ValueError(
            f"Expected at least one batch of {options.batch_size} examples; got {num_examples(train)}. Use a smaller "
            "`batch_size`."
        )
    *arrays, single = replicas
    replicas = Replicas(*replicate(mesh, arrays, replicas=True), single=single)
    start = start_program(options.optimizer, options.objective, mesh)(replicas.params, replicas.hyperparameters)
    return Run(options, start, replicas, train, valid)


def _place_data(
    options: Options,
    replicas: Replicas,
    data: Mapping[str, Any] | Batches,
    transform: Transform | None,
    name: str = "the data",
) -> Data | PlacedStream:
    """Checks data, and puts arrays on the devices."""
    about = {"key": replicas.keys, "transform": transform}
    if isinstance(data, Batches):
        return place_stream(options.mesh, data, partial(check_batches, options.vae, replicas.params, **about))
    return load(options.mesh, data, partial(check_data, options.vae, replicas.params, **about), name)


def _check_same_everywhere(
    options: Options, num_epochs: int, data: Mapping[str, Any] | Batches, validation: Mapping[str, Any] | Batches | None
) -> None:
    """Raises ValueError unless all processes were given the same arguments."""

    def shapes(data: Mapping[str, Any] | Batches) -> dict[str, Any]:
        arrays = data.first if isinstance(data, Batches) else data
        return {name: np.shape(value)[1:] for name, value in sorted(named_arrays(arrays), key=lambda item: item[0])}

    check_same(
        f"num_epochs={num_epochs}, batch_size={options.batch_size}, replicas={options.num_replicas}, "
        f"warmup_epochs={options.objective.warmup_epochs}, patience={options.patience}, examples of shape "
        f"{shapes(data)}, for validation {validation and shapes(validation)}"
    )
