"""Reads a stream in a thread, ahead of what uses it."""

import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from queue import Full, Queue
from typing import Any, TypeVar

import jax

T = TypeVar("T")

AHEAD = 2  # items that wait, beside the one in use and the one that is read
_END = object()


def read_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yields the items of an iterator that a thread reads.

    An exception of the iterator is raised here, after the items before it. Close the result to end the thread early.
    """
    waiting: Queue[tuple[Any, BaseException | None]] = Queue(AHEAD)
    unwanted = threading.Event()
    # A thread has its own configuration of jax.
    config: Any = jax.config
    x64, device = config.jax_enable_x64, config.jax_default_device

    def hand_over(item: Any, error: BaseException | None = None) -> None:
        while not unwanted.is_set():
            with suppress(Full):
                waiting.put((item, error), timeout=0.1)
                break

    def read() -> None:
        try:
            with jax.enable_x64(x64), jax.default_device(device):
                for item in items:
                    hand_over(item)
                    if unwanted.is_set():
                        break
        except BaseException as error:
            hand_over(_END, error)
        finally:
            close(items)
            hand_over(_END)

    thread = threading.Thread(target=read, name="vaepriors_jax-stream", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        unwanted.set()
        thread.join(timeout=5)  # a loader may be in the middle of a long read


def close(iterator: Any) -> None:
    """Ends an iterator early, if it can be."""
    if hasattr(iterator, "close"):
        iterator.close()
