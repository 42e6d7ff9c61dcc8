"""Batches of a stream on the devices, placed there ahead of the step that uses them."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vaepriors_jax.parallel.distributed import gather, together
from vaepriors_jax.parallel.sharding import DATA, place_batch
from vaepriors_jax.training.prefetch import read_ahead
from vaepriors_jax.training.streams import Batches, HostBatch, is_stream
from vaepriors_jax.trees import num_rows

Batch = dict[str, jax.Array]


class Part(NamedTuple):
    """A batch of a stream for evaluation, filled up to the size of the first with copies of its last example.

    Attributes:
        places: the place of each example among all, in the order in which they come: of each batch, process by
            process [B].
        counts: the number of its examples that each process has [num_processes].
        is_example: which of its rows are examples, and no copies [B].
        arrays: the batch.
    """

    places: np.ndarray
    counts: np.ndarray
    is_example: jax.Array
    arrays: Batch

    def select(self, rows: np.ndarray) -> np.ndarray:
        """The results [B, ...] of the examples alone."""
        of_processes = np.split(rows, len(self.counts))
        return np.concatenate([part[:n] for part, n in zip(of_processes, self.counts, strict=True)])


class PlacedStream(NamedTuple):
    """A stream on the devices of a mesh, or on one device."""

    batches: Batches
    mesh: Mesh | None

    def of_epoch(self, epoch: int) -> Generator[tuple[int, Batch], None, None]:
        """The batches that are trained on, each with its number of examples in all processes together."""
        with closing(self._in_step(self._for_training(epoch), of_one_size=True)) as batches:
            for counts, batch in batches:
                yield int(counts.sum()), batch

    def parts(self) -> Generator[Part, None, None]:
        """All examples, for evaluation."""
        first = 0
        with closing(self._in_step(self._for_evaluation(), of_one_size=False)) as batches:
            for counts, (is_example, batch) in batches:
                before = first + np.cumsum(counts) - counts  # the examples before those of each process
                rows = np.arange(num_rows(batch) // len(counts))
                yield Part((before[:, None] + rows).astype(np.int32).reshape(-1), counts, is_example, batch)
                first += int(counts.sum())

    def _for_training(self, epoch: int) -> Iterator[tuple[int, Batch]]:
        self.batches.spread.start()
        for batch in self.batches.epoch(epoch):
            size = num_rows(batch)
            self.batches.spread.add(batch)
            if size == self.batches.size or not self.batches.stream.drop_remainder:
                yield size, place_batch(self.mesh, batch)

    def _for_evaluation(self) -> Iterator[tuple[int, tuple[jax.Array, Batch]]]:
        devices = 1 if self.mesh is None else self.mesh.shape[DATA] // jax.process_count()
        rows = -(-self.batches.size // devices) * devices
        for batch in self.batches.epoch(1):
            size = num_rows(batch)
            filled = jax.tree.map(partial(_filled, rows=rows), batch)
            placed = place_batch(self.mesh, filled | {"is_example": np.arange(rows) < size})
            yield size, (placed.pop("is_example"), placed)

    def _in_step(
        self, batches: Iterator[tuple[int, Any]], *, of_one_size: bool
    ) -> Generator[tuple[np.ndarray, Any], None, None]:
        """Reads ahead. Raises an error in all processes where they have no equal batches."""
        with closing(read_ahead(batches)) as ahead:
            if self.mesh is None or jax.process_count() == 1:
                for size, batch in ahead:
                    yield np.array([size]), batch
                return
            for number in count(1):
                size, batch = together(partial(next, ahead, (0, None)))
                sizes = gather(size)
                if not sizes.any():
                    return
                self._check_in_step(sizes, number, of_one_size)
                yield sizes, batch

    def _check_in_step(self, sizes: np.ndarray, number: int, of_one_size: bool) -> None:
        if 0 in sizes or (of_one_size and (sizes != sizes[0]).any()):
            raise ValueError(
                f"Expected equally many batches of {self.batches.name} in every process"
                f"{', of one size' if of_one_size else ''}; as batch {number} the processes have {sizes.tolist()} "
                "examples. Give each process as many examples as the others."
            )


def _filled(array: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)]) if len(array) < rows else array


def open_stream(data: Any, name: str, mesh: Mesh | None) -> Any:
    """Opens a stream; returns arrays as they are."""
    if not is_stream(data):
        return data
    return Batches(data, name) if mesh is None else together(partial(Batches, data, name))


def place_stream(
    mesh: Mesh | None, batches: Batches, check: Callable[[HostBatch], Callable[[HostBatch], HostBatch]]
) -> PlacedStream:
    """Checks the first batch with `check`, which returns the check of the others.

    With several processes each has its own part of each batch.
    """
    if mesh is None:
        batches.check = check(batches.first)
        return PlacedStream(batches, mesh)
    batches.check = together(partial(check, batches.first))
    sizes = gather(batches.size)
    if (sizes != sizes[0]).any() or mesh.shape[DATA] % len(sizes):
        raise ValueError(
            f"Expected batches of one size in every process, and devices that processes share equally; got batches of "
            f"{sizes.tolist()} examples, and {mesh.shape[DATA]} devices."
        )
    return PlacedStream(batches, mesh)


def size_of_batches(batches: Batches, mesh: Mesh | None) -> int:
    """The number of examples in a batch, in all processes together."""
    return batches.size if mesh is None else int(gather(batches.size).sum())
