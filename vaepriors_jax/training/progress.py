"""The progress of `fit`: a bar in a terminal or a notebook, and lines where the output goes to a file."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10


class Lines:
    """Prints a line of progress at most after each epoch, and at most every ten seconds."""

    def __init__(self, description: str | None, total: int, done: int, hidden: bool):
        """Takes the text in front of each line, the number of epochs, and how many are done."""
        self.description = f"{description}: " if description else ""
        self.total, self.done, self.start, self.hidden = total, done, done, hidden
        self.began = self.printed = time.monotonic()
        self.metrics: dict[str, Any] = {}

    def __enter__(self) -> "Lines":
        """Does nothing: lines need no opening."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Prints where the run ended."""
        if self.done > self.start:
            self._print()

    def clear(self) -> None:
        """Does nothing: there is no bar to take away."""

    def set_postfix(self, metrics: dict[str, Any], refresh: bool = True) -> None:
        """Takes the metrics of the epoch."""
        del refresh
        self.metrics = metrics

    def update(self) -> None:
        """Counts an epoch."""
        self.done += 1
        if self.done < self.total and time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES:
            self._print()

    def _print(self) -> None:
        self.printed = time.monotonic()
        spent = self.printed - self.began
        left = spent * (self.total - self.done) / (self.done - self.start)
        said = "".join(f", {name} {value}" for name, value in self.metrics.items())
        when = f"{spent:.0f} s" + (f", at most {left:.0f} s left" if self.done < self.total else "")
        if not self.hidden:
            print(f"{self.description}epoch {self.done} of {self.total}, {when}{said}", file=sys.stderr, flush=True)


def is_live() -> bool:
    """Whether a line can be written over: in a terminal, and in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def open_bar(description: str | None, total: int, done: int, *, hidden: bool) -> "tqdm | Lines":
    """A progress bar over epochs; one with a description makes room for the next at its end."""
    if not is_live():
        return Lines(description, total, done, hidden)
    leave = description is None
    return tqdm(total=total, initial=done, unit="epoch", desc=description, disable=hidden, leave=leave)


@contextmanager
def compiling(description: str | None, *, hidden: bool) -> Iterator[None]:
    """Says that the program is being compiled, as long as it is."""
    text = f"{description}: compiling" if description else "compiling"
    with tqdm(desc=text, bar_format="{desc} ...", disable=hidden or not is_live(), leave=False):
        yield
