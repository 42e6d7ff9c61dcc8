"""Results of each example of a data set, of arrays at once or of a stream batch by batch."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaepriors_jax.data_checks import check_data, check_model
from vaepriors_jax.parallel.sharding import Data, load, replicate, to_host, to_one_device
from vaepriors_jax.training.batch_checks import check_batches
from vaepriors_jax.training.placed_stream import Part, PlacedStream, open_stream, place_stream
from vaepriors_jax.training.streams import Batches, is_stream
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams

# `program(params, key, data, places)` gives results [B, ...] of data [B, ...] at `places` among all examples [B]; None
# stands for a whole data set.
Program = Callable[[VAEParams, jax.Array, Data, np.ndarray | None], Any]


def map_data(
    program: Program,
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    context: Mapping[str, Any],
    mesh: Mesh | None = None,
) -> Any:
    """Checks the data, and returns the results of all examples [N, ...] on one device."""
    if is_stream(x):
        stream = open_examples(vae, params, key, x, context, mesh)
        return concatenate(map_stream(program, params, key, stream))
    data = load(mesh, {"x": x, **context}, partial(check_data, vae, params, key=key))
    params, key = replicate(mesh, (params, key))
    return to_one_device(mesh, program(params, key, data, None))


def open_examples(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    context: Mapping[str, Any] | None = None,
    mesh: Mesh | None = None,
) -> PlacedStream:
    """Opens a stream, and checks its first batch."""
    params, key = check_model(vae, params, key)
    if context:
        raise ValueError(
            f"Expected the context of batches in the batches, as entries beside 'x'; got {', '.join(context)} as an "
            "argument."
        )
    batches = open_stream(x, "the data", mesh)
    return place_stream(mesh, batches, partial(check_batches, vae, params, key=key))


def refuse_weights(entries: Iterable[str], function: str) -> None:
    """Raises ValueError for weights of examples, which a function does not read."""
    if "weight" in entries:
        raise ValueError(
            f"Expected no 'weight' beside x in `{function}`, which does not weigh examples. Leave it out, and those of "
            "weight 0 with it."
        )


def map_stream(program: Program, params: VAEParams, key: jax.Array, stream: PlacedStream) -> Generator[Any, None, None]:
    """Yields the results of the examples of each batch, as NumPy arrays."""
    params, key = replicate(stream.mesh, (params, key))

    def read(part: Part, results: Any) -> Any:
        return jax.tree.map(lambda leaf: part.select(to_host(leaf)), results)

    under_way = None
    with closing(stream.parts()) as parts:
        for part in parts:
            # The next batch is under way while the results of the last one are read.
            before, under_way = under_way, (part, program(params, key, part.arrays, part.places))
            if before is not None:
                yield read(*before)
    if under_way is not None:
        yield read(*under_way)


def concatenate(results: Iterator[Any]) -> Any:
    """The results of all batches, as one array each."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *results)


def pick_examples(batches: Batches, rows: np.ndarray) -> dict[str, jax.Array]:
    """The examples in given places of a stream, in the order of `rows`; reads the stream once more."""
    ascending, found, start = np.sort(rows), [], 0
    for batch in batches.epoch(1):
        size = num_rows(batch)
        here = ascending[(ascending >= start) & (ascending < start + size)] - start
        found.append(take_rows(batch, here))
        start += size
    places = np.searchsorted(ascending, rows)
    return jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts)[places]), *found)
