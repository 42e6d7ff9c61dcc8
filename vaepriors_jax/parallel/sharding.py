"""Places examples and replicas on the devices of a mesh, and reads them from there."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vaepriors_jax.parallel.distributed import explain_lost_process, gather, of_first_process, together
from vaepriors_jax.trees import named_arrays, num_rows

DATA, REPLICAS = "data", "replicas"


class Sharded(NamedTuple):
    """A data set on the devices of a mesh.

    Attributes:
        arrays: the data [rows, ...], with the same number of rows on each device: the shares of the processes one after
            another, each padded with copies of its last example.
        positions: the row of each example [N].
    """

    arrays: dict[str, jax.Array]
    positions: jax.Array


Data = dict[str, jax.Array] | Sharded


def make_mesh(num_replicas: int = 1) -> Mesh:
    """Creates a mesh of all devices of all processes, for `fit` and `log_marginal`.

    Args:
        num_replicas: size of the axis "replicas", over which `fit` distributes replicas; the axis "data", for the
            examples, has the rest. It must divide the number of devices of each process.

    Example:
        >>> from vaepriors_jax.parallel import make_mesh
        >>> make_mesh().axis_names
        ('replicas', 'data')
    """
    if num_replicas < 1 or jax.local_device_count() % num_replicas:
        raise ValueError(
            f"Expected `num_replicas` to divide the {jax.local_device_count()} devices of a process; got "
            f"{num_replicas}."
        )
    devices = np.array(jax.devices()).reshape(-1, num_replicas).T
    return Mesh(devices, (REPLICAS, DATA), axis_types=(AxisType.Auto, AxisType.Auto))


def check_mesh(mesh: Mesh | None, batch_size: int | None = None, num_replicas: int = 1) -> Mesh | None:
    """Returns the mesh in the form that the compiled programs use; raises an error if it does not fit."""
    if mesh is None:
        return None
    if not isinstance(mesh, Mesh):
        raise TypeError(
            "Expected `mesh` as a `jax.sharding.Mesh`, such as `vaepriors_jax.parallel.make_mesh()`; got "
            f"{type(mesh).__name__}."
        )
    names = mesh.axis_names
    if DATA not in names or set(names) - {DATA, REPLICAS}:
        raise ValueError(
            f"Expected a mesh with an axis '{DATA}', and '{REPLICAS}' for replicas; got the axes {names}. Use "
            "`vaepriors_jax.parallel.make_mesh()`."
        )
    if batch_size is not None:
        _check_divides(mesh, batch_size)
    if num_replicas % mesh.shape.get(REPLICAS, 1):
        raise ValueError(
            f"Expected replicas that the {mesh.shape[REPLICAS]} devices of the mesh's axis '{REPLICAS}' divide; got "
            f"{num_replicas}."
        )
    _devices_of_processes(mesh)
    return Mesh(mesh.devices, names, axis_types=(AxisType.Auto,) * len(names))


def _check_divides(mesh: Mesh, batch_size: int) -> None:
    size, rest = mesh.shape[DATA], batch_size % mesh.shape[DATA]
    if rest:
        better = sorted({batch_size - rest, batch_size - rest + size} - {0})
        raise ValueError(
            f"Expected a batch that the {size} devices of the mesh's axis '{DATA}' divide; got {batch_size} examples. "
            f"Use {' or '.join(map(str, better))}."
        )


def _devices_of_processes(mesh: Mesh) -> np.ndarray:
    """Counts the devices of the axis "data" that belong to each process [num_processes]."""
    owners = np.vectorize(lambda device: device.process_index)(mesh.devices)
    owners = np.moveaxis(owners, mesh.axis_names.index(DATA), 0).reshape(mesh.shape[DATA], -1)
    first = owners[:, 0]
    counts = np.bincount(first, minlength=jax.process_count())
    if (owners != first[:, None]).any() or (np.diff(first) < 0).any() or 0 in counts:
        raise ValueError(
            f"Expected a mesh whose axis '{DATA}' runs through the devices of all {jax.process_count()} processes in "
            f"their order, and whose axis '{REPLICAS}' stays within a process; got devices of the processes "
            f"{owners.tolist()}. Use `vaepriors_jax.parallel.make_mesh()`."
        )
    return counts


def load(
    mesh: Mesh | None, data: Mapping[str, Any], check: Callable[..., dict[str, Any]], name: str = "the data"
) -> Data:
    """Checks data with `check(data, place=...)` and puts them on the device, or on the devices of the mesh.

    With several processes, `data` is the share of this process; the data set consists of all shares in the order of the
    processes.
    """
    if mesh is None:
        return check(data)
    first: Any = next((value for _, value in named_arrays(data)), 0) if isinstance(data, Mapping) else 0
    size = np.shape(first)[0] if np.ndim(first) else 1
    shares = gather(size)
    if 0 in shares:
        raise ValueError(
            f"Expected at least one example for each of the {len(shares)} processes; got shares of "
            f"{shares.tolist()} examples of {name}. Use fewer processes, or divide the examples evenly."
        )
    arrays = together(lambda: check(data, place=on_host))
    devices = _devices_of_processes(mesh)
    rows = int(np.max(-(-shares // devices)))  # of each device
    starts = rows * (np.cumsum(devices) - devices)
    positions = np.concatenate([start + np.arange(n) for start, n in zip(starts, shares, strict=True)])
    missing = rows * devices[jax.process_index()] - num_rows(arrays)
    sharding = NamedSharding(mesh, P(DATA))

    def place(array: np.ndarray) -> jax.Array:
        padded = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
        shape = (rows * mesh.shape[DATA], *array.shape[1:])
        return jax.make_array_from_process_local_data(sharding, padded, shape)

    return Sharded(jax.tree.map(place, arrays), replicate(mesh, positions.astype(np.int32)))


def place_batch(mesh: Mesh | None, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts a batch on the device, or on the devices of the mesh; with several processes, the part of this one.

    The arrays are copies: whoever made the batch may use its memory again.
    """
    if mesh is None:
        return jax.tree.map(lambda value: jnp.asarray(np.array(value)), dict(batch))
    sharding = NamedSharding(mesh, P(DATA))
    devices = _devices_of_processes(mesh)[jax.process_index()]

    def place(array: np.ndarray) -> jax.Array:
        shape = (len(array) * mesh.shape[DATA] // int(devices), *array.shape[1:])
        return jax.make_array_from_process_local_data(sharding, np.array(array), shape)

    return jax.tree.map(place, dict(batch))


def on_host(value: Any) -> np.ndarray:
    """Returns a NumPy array with the dtype that JAX would give it."""
    array = np.asarray(value)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)


def num_examples(data: Data) -> int:
    """Number of examples N of all processes together."""
    return data.positions.shape[0] if isinstance(data, Sharded) else num_rows(data)


def take(mesh: Mesh | None, data: Data, rows: jax.Array) -> dict[str, jax.Array]:
    """Reads a batch of examples by their indices [B], distributed over the devices.

    Each device picks the examples that it holds, and a sum over devices combines them. [B, ...] is communicated once a
    step, and no device holds more than its rows and one batch. The sum is exact, since only one term is not 0. Each
    device then keeps its part of the sum. (`psum_scatter` would do both at once, but its CPU implementation has
    returned wrong values, see jax-ml/jax#40830; XLA makes the same of this where it can.)
    """
    if mesh is None or not isinstance(data, Sharded):
        return jax.tree.map(lambda array: array[rows], data)

    def read(arrays: dict[str, jax.Array], places: jax.Array) -> dict[str, jax.Array]:
        device = jax.lax.axis_index(DATA)

        def take_rows(array: jax.Array) -> jax.Array:
            local = places - device * array.shape[0]
            here = (local >= 0) & (local < array.shape[0])
            rows_here = array[jnp.where(here, local, 0)]
            rows_here = jnp.where(here.reshape(-1, *[1] * (rows_here.ndim - 1)), rows_here, jnp.zeros_like(rows_here))
            whole = jax.lax.psum(rows_here, DATA).astype(array.dtype)
            size = rows.shape[0] // mesh.shape[DATA]
            return jax.lax.dynamic_slice_in_dim(whole, device * size, size)

        return jax.tree.map(take_rows, arrays)

    read_all = jax.shard_map(read, mesh=mesh, in_specs=(P(DATA), P()), out_specs=P(DATA), check_vma=False)
    return read_all(data.arrays, data.positions[rows])


def over_devices(mesh: Mesh | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes each device call `function(keys, examples, *shared)` with its own keys and examples.

    Without this, the compiler would gather all examples on every device for operations that it cannot partition, such
    as a sort.
    """
    if mesh is None:
        return function

    def call(keys: jax.Array, examples: Any, *shared: Any) -> Any:
        _check_divides(mesh, len(keys))
        specs = (P(DATA), P(DATA), *(P() for _ in shared))
        mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P(DATA), check_vma=False)
        return mapped(keys, examples, *shared)

    return call


def share_batch(mesh: Mesh | None, batch: Any) -> Any:
    """Divides arrays [B, ...] among the devices; the compiler then divides what is computed from them.

    Unlike within `over_devices`, an operation over the batch, such as a mean, is over the whole of it.
    """
    if mesh is None:
        return batch
    _check_divides(mesh, jax.tree.leaves(batch)[0].shape[0])
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, P(DATA)))


def map_examples(
    mesh: Mesh | None,
    function: Callable[..., Any],
    key: jax.Array,
    data: Data,
    *shared: Any,
    places: jax.Array | None = None,
) -> Any:
    """Applies `function(keys, data, *shared)` to all examples; results [N, ...] are on all devices.

    Each device has its own rows. Every example has its own key, which does not depend on the number of devices. A batch
    of a stream comes with the `places` of its examples among all [B].
    """
    keys = example_keys(key, num_examples(data), places)
    if mesh is None:
        return function(keys, data, *shared)
    if not isinstance(data, Sharded):
        results = over_devices(mesh, function)(keys, data, *shared)
        return jax.lax.with_sharding_constraint(results, NamedSharding(mesh, P()))
    examples = (
        jnp.zeros(num_rows(data.arrays), jnp.int32).at[data.positions].set(jnp.arange(len(keys), dtype=jnp.int32))
    )
    results = over_devices(mesh, function)(keys[examples], data.arrays, *shared)
    results = jax.lax.with_sharding_constraint(results, NamedSharding(mesh, P()))
    return jax.tree.map(lambda array: array[data.positions], results)


def example_keys(key: jax.Array, count: int, places: jax.Array | None = None) -> jax.Array:
    """A key for each of `count` examples; those of a batch depend on their `places` among all alone."""
    if places is None:
        return jax.random.split(key, count)
    return jax.vmap(partial(jax.random.fold_in, key))(places)


def over_replicas(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays with a leading axis of replicas."""
    return NamedSharding(mesh, P(REPLICAS) if REPLICAS in mesh.axis_names else P())


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def replicate(mesh: Mesh | None, tree: Any, *, replicas: bool = False) -> Any:
    """Puts the arrays of process 0 on all devices, or distributes their leading axis of replicas over them."""
    if mesh is None:
        return tree
    sharding = over_replicas(mesh) if replicas else NamedSharding(mesh, P())
    plain = of_first_process(jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree))

    def place(leaf: Any, plain: Any) -> jax.Array:
        plain = on_host(plain)
        array = jax.make_array_from_process_local_data(sharding, plain, plain.shape)
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array

    return jax.tree.map(place, tree, plain)


def to_host(array: jax.Array) -> np.ndarray:
    """Copies an array on any mesh to a NumPy array."""
    with explain_lost_process():
        if array.is_fully_addressable or array.is_fully_replicated:
            return np.asarray(array)
        blocks = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
        return np.concatenate([np.asarray(blocks[start]) for start in sorted(blocks)])


def to_one_device(mesh: Mesh | None, tree: Any) -> Any:
    """Copies arrays on a mesh to one device, in every process."""
    return tree if mesh is None else jax.tree.map(lambda leaf: jnp.asarray(to_host(leaf)), tree)
