"""Data that stream: batches from any iterable, in place of arrays in memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from typing import Any, NamedTuple

import jax
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.training.prefetch import close
from vaepriors_jax.trees import map_arrays, named_arrays, num_rows, take_rows

# An epoch of more batches is taken to be without end.
MOST_BATCHES = 1_000_000

HostBatch = dict[str, np.ndarray]


class Stream(NamedTuple):
    """Batches in place of arrays, for `fit` and evaluations. Batches without options need no `Stream` around them.

    A batch is {"x": [B, ...]} with per-example context such as "y": [B], of arrays of NumPy, JAX or PyTorch (on a CPU).
    All have the size of the first but the last, which may be smaller. With several processes each has its own part of
    each batch, and all have equally many batches.

    Batches are read in a thread, two ahead of the step that uses them, and copied. The first is checked as arrays are.
    The others are checked for their form, NaN, labels, and, where no `transform` comes before it, for the support of
    the likelihood. Loaders with processes of their own should start them by "spawn" or "forkserver": a fork of a
    program that uses JAX can hang.

    Attributes:
        batches: an iterable that can be read again and again, such as a list or a data loader of PyTorch or grain, or
            a function `batches(epoch)` that returns an iterable. Epochs count from 1; evaluations ask for epoch 1.
            A list has the same order in each epoch. A function can shuffle by the number of the epoch, and a run that
            is resumed then reads what it would have read without interruption.
        drop_remainder: whether training leaves out a smaller last batch, as it does with arrays. If not, the step is
            compiled a second time, for that batch. Evaluations count all examples.
        batches_per_epoch: the number of batches after which an epoch ends. It is needed for batches without end, and
            for a warm-up where the batches have no `len`. (The `len` of a loader may count a smaller last batch: the
            warm-up is then that much longer.)

    Example:
        >>> import numpy as np, vaepriors_jax as vp
        >>> images = np.zeros((1000, 28, 28), np.uint8)  # or np.load("images.npy", mmap_mode="r")
        >>> def batches(epoch):
        ...     order = np.random.default_rng(epoch).permutation(len(images))
        ...     return ({"x": images[np.sort(rows)]} for rows in np.split(order, 10))
        >>> stream = vp.Stream(batches, batches_per_epoch=10)
    """

    batches: Iterable[Mapping[str, Any]] | Callable[[int], Iterable[Mapping[str, Any]]]
    drop_remainder: bool = True
    batches_per_epoch: int | None = None

    def source(self, epoch: int) -> Any:
        """The iterable of an epoch."""
        batches: Any = self.batches
        return batches(epoch) if callable(batches) and not hasattr(batches, "__iter__") else batches

    def with_label(self, y: int, name: str = "y") -> "Stream":
        """The same batches, with the label `y` for each example, as the entry `name`."""

        def add_label(batch: Mapping[str, Any]) -> dict[str, Any]:
            return {**batch, name: np.full(num_rows(map_arrays(np.asarray, batch["x"])), y)}

        if hasattr(self.batches, "__next__"):
            raise ValueError(f"Expected batches that can be read once for each class. {_A_FUNCTION}")
        return self._replace(batches=lambda epoch: map(add_label, self.source(epoch)))


StreamLike = Stream | Iterable[Mapping[str, Any]] | Callable[[int], Iterable[Mapping[str, Any]]]


def is_stream(data: Any) -> bool:
    """Returns whether data are batches, rather than arrays or a dict of arrays."""
    if isinstance(data, Stream):
        return True
    if isinstance(data, (list, tuple)):
        return bool(data) and isinstance(data[0], Mapping)
    if isinstance(data, (Mapping, str, bytes)) or hasattr(data, "__array__") or hasattr(data, "shape"):
        return False
    return callable(data) or hasattr(data, "__iter__") or hasattr(data, "__getitem__")


def as_stream(data: Any) -> Stream:
    """Batches as a `Stream`."""
    return data if isinstance(data, Stream) else Stream(data)


class Spread:
    """A few examples of batches spread over an epoch, whose order may be that of their classes."""

    def __init__(self, most: int = 8, rows: int = 64):
        """Keeps up to `rows` examples of each of `most` batches or half as many."""
        self.most, self.rows = most, rows
        self.start()

    def start(self) -> None:
        """Starts an epoch."""
        self._kept: list[HostBatch] = []
        self._seen, self._stride = 0, 1

    def add(self, batch: HostBatch) -> None:
        """Looks at the next batch, and keeps examples of it, or none."""
        if self._seen % self._stride == 0:
            if len(self._kept) == self.most:
                self._kept, self._stride = self._kept[::2], 2 * self._stride
            if self._seen % self._stride == 0:
                self._kept.append(take_rows(batch, evenly(num_rows(batch), self.rows)))
        self._seen += 1

    def examples(self) -> HostBatch:
        """Up to `rows` examples of all that are kept."""
        arrays = jax.tree.map(lambda *parts: np.concatenate(parts), *self._kept)
        return take_rows(arrays, evenly(num_rows(arrays), self.rows))


def evenly(count: int, most: int) -> np.ndarray:
    """Up to `most` of `count` indices, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most), dtype=np.int32)


class Batches:
    """A stream that is open: its first batch, and the batches of each epoch.

    Attributes:
        stream: the stream.
        name: what messages call it.
        check: returns a batch as it is used, or raises an error.
        first: the first batch of epoch 1.
        size: the number of examples in it.
        spread: a few examples of the epoch that was trained on last.
        num_batches: the number of batches in an epoch that training uses, or None where it is not known.
    """

    def __init__(self, given: Any, name: str = "the data"):
        """Opens epoch 1, and reads a batch of it.

        Raises:
            ValueError: there is no batch, it is not a dict of arrays, or the batches do not end.
        """
        self.stream = as_stream(given)
        self.name = name
        self.check: Callable[[HostBatch], HostBatch] = dict
        self.spread = Spread()
        if self.stream.batches_per_epoch is not None:
            check_positive_integer(batches_per_epoch=self.stream.batches_per_epoch)
        source = self._source(1)
        opened = self._read(source, 1)
        first = next(opened, None)
        if first is None:
            raise ValueError(f"Expected batches in {name}; got none.")
        self.first, self.size = first, num_rows(first)
        self.num_batches = self.stream.batches_per_epoch or _length(source, self.size, self.stream)
        self._opened: Iterator[HostBatch] | None = opened

    def epoch(self, number: int) -> Iterator[HostBatch]:
        """The batches of an epoch, from its start, as NumPy arrays."""
        opened, self._opened = self._opened, None
        if opened is not None and number == 1:
            return chain([self.check(self.first)], opened)
        close(opened)
        self.check_can_be_read_again()
        return self._read(self._source(number), number)

    def check_can_be_read_again(self) -> None:
        """Raises ValueError for a generator."""
        if hasattr(self.stream.batches, "__next__"):
            raise ValueError(
                f"Expected batches that can be read more than once as {self.name}; got {_kind(self.stream.batches)}, "
                f"which can be read once. {_A_FUNCTION}"
            )

    def _source(self, epoch: int) -> Any:
        try:
            return self.stream.source(epoch)
        except TypeError as error:
            error.add_note(f"This came from the function of batches in {self.name}, called with the epoch, {epoch}.")
            raise

    def _read(self, source: Any, epoch: int) -> Iterator[HostBatch]:
        most = self.stream.batches_per_epoch
        if most is None and _never_ends(source):
            raise ValueError(f"Expected batches that end as {self.name}; those of {_kind(source)} do not. {_LIMIT}")
        batches, is_last = iter_of(source, self.name), False
        try:
            for number in count(1):
                if most is not None and number > most:
                    return
                if number > MOST_BATCHES and most is None:
                    raise ValueError(f"Expected an epoch of at most {MOST_BATCHES:,} batches; got more. {_LIMIT}")
                try:
                    batch = next(batches, None)
                    if batch is None and most is not None:
                        raise ValueError(f"Expected {most} batches, as `batches_per_epoch` says; got {number - 1}.")
                    if batch is None:
                        return
                    batch = _arrays(batch)
                    is_last = self._check_size(num_rows(batch), number, is_last)
                    batch = self.check(batch)
                except Exception as error:
                    error.add_note(f"This came from batch {number} of epoch {epoch} of {self.name}.")
                    raise
                yield batch
        finally:
            close(batches)

    def _check_size(self, size: int, number: int, after_last: bool) -> bool:
        """Returns whether a batch must be the last, since it is smaller than the first."""
        first = size if number == 1 else self.size
        if after_last or size > first:
            raise ValueError(
                f"Expected batches of {first} examples, as the first, and perhaps a smaller one at the end; got "
                f"{'another one after a smaller one' if after_last else f'one of {size}'}."
            )
        return size < first


_A_FUNCTION = (
    "Pass a list, a loader, or a function of the epoch that returns a new generator: `def batches(epoch): ...`."
)
_LIMIT = "Say after how many an epoch ends: `vp.Stream(batches, batches_per_epoch=1000)`."


def iter_of(source: Any, name: str) -> Iterator[Any]:
    """`iter(source)`, with a message for what cannot be iterated."""
    try:
        return iter(source)
    except TypeError as error:
        error.add_note(f"Expected an iterable of batches as {name}; got {_kind(source)}.")
        raise


def _arrays(batch: Any) -> HostBatch:
    """A batch as NumPy arrays, or a ValueError that says how to write one."""
    if not isinstance(batch, Mapping) or "x" not in batch:
        got = f"a dict of {sorted(map(str, batch))}" if isinstance(batch, Mapping) else _kind(batch)
        raise ValueError(
            f"Expected batches as dicts of arrays, such as {{'x': [B, ...], 'y': [B]}}; got {got}. Name the parts: "
            "`lambda epoch: ({'x': x, 'y': y} for x, y in loader)`."
        )
    arrays = map_arrays(np.asarray, batch)
    if not jax.tree.leaves(arrays["x"]):
        raise ValueError("Expected arrays in `x` of a batch; got a dict without any.")
    for name, array in named_arrays(arrays):
        if not array.ndim:
            raise ValueError(
                f"Expected `{name}` of a batch to be an array [B, ...]; got a number. Put examples into batches."
            )
    return arrays


def _kind(value: Any) -> str:
    name = type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"a {name} of {len(value)}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _length(source: Any, size: int, stream: Stream) -> int | None:
    """The number of batches in an epoch, where it is known. That of a loader may count a smaller last one."""
    if isinstance(source, (list, tuple)) and stream.drop_remainder:
        return sum(isinstance(batch, Mapping) and _size(batch.get("x", ())) == size for batch in source)
    return len(source) if hasattr(source, "__len__") else None


def _size(x: Any) -> int:
    return next((len(value) for _, value in named_arrays({"x": x})), 0)


def _never_ends(source: Any) -> bool:
    """Whether a source is one of grain's that repeat without end; others are noticed by their number of batches."""
    sampler: Any = getattr(source, "_sampler", None)
    if hasattr(sampler, "_num_epochs") and hasattr(sampler, "_max_index"):  # of an IndexSampler in a DataLoader
        return sampler._num_epochs is None and sampler._max_index is None
    return hasattr(source, "__len__") and len(source) > 2**62  # a MapDataset after `repeat()`
