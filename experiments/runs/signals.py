"""SIGINT and SIGTERM end a program without losing work.

While epochs run, the first signal lets the epoch end. The state is saved then, and the program exits. Otherwise, and at
a second signal, the program exits at once: what is finished is in its folder already. The exit status is 128 plus the
number of the signal.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import vaepriors_jax as vp

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class _Process:
    """What the thread that waits for signals and the main thread share."""

    in_epochs: bool = False
    child: subprocess.Popen[Any] | None = None
    received: int | None = None
    advice: str = "Nothing was saved yet."


_PROCESS = _Process()


@contextmanager
def handled() -> Iterator[None]:
    """A block in which the signals of this process are handled.

    Python runs handlers between two instructions of the main thread, which may be in a compiled program for minutes. A
    thread therefore reads the numbers of the signals from a socket, into which Python writes them at once.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    handlers = {number: signal.signal(number, _left_to_the_thread) for number in SIGNALS}
    before = signal.set_wakeup_fd(writer.fileno())
    threading.Thread(target=_wait, args=(reader,), daemon=True, name="signals").start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        writer.close()  # which ends the thread


def _left_to_the_thread(number: int, frame: object) -> None:
    """A handler, without which no number is written."""


def _wait(reader: socket.socket) -> None:
    with reader:
        while received := reader.recv(1):
            if received[0] in SIGNALS:
                _receive(received[0])


def _receive(number: int) -> None:
    first, _PROCESS.received = _PROCESS.received is None, number
    if _PROCESS.child is not None:
        _PROCESS.child.send_signal(number)
    elif _PROCESS.in_epochs and first:
        text = "The epoch ends, and its state is saved; a second signal ends the program at once."
        print(f"\n{text}", file=sys.stderr, flush=True)
    else:
        _stop(number)


def _stop(number: int, saved: str = "") -> NoReturn:
    """Ends the process without waiting for other threads, which may compute for minutes."""
    with suppress(OSError, ValueError):  # a closed terminal
        print(f"\nStopped by {signal.Signals(number).name}{saved}. {_PROCESS.advice}", file=sys.stderr, flush=True)
    os._exit(128 + number)


def stop_if_asked(epoch: vp.Epoch) -> bool:
    """A callback for `vp.fit`, which stops after this epoch if a signal has come."""
    del epoch
    return _PROCESS.received is not None


@contextmanager
def epochs(name: str, *, saved: bool = True) -> Iterator[None]:
    """A block that calls `vp.fit` with `stop_if_asked`; after a signal the program exits where the block ends.

    Where epochs are not `saved`, it exits at once.
    """
    _PROCESS.in_epochs = saved
    try:
        yield
    except vp.TrainingFailedError:
        if _PROCESS.received is None:
            raise
    finally:
        _PROCESS.in_epochs = False
    if _PROCESS.received is not None:
        sys.stdout.flush()
        _stop(_PROCESS.received, f"; the state of {name!r} is saved")


def run_child(command: Sequence[str], **options: Any) -> None:
    """Runs another program to its end; signals go to it, and this program exits where that one has exited.

    Raises:
        subprocess.CalledProcessError: the other program failed.
    """
    # In a session of its own it gets a signal from the terminal once, from here.
    with subprocess.Popen(command, start_new_session=True, **options) as child:
        _PROCESS.child = child
        status = child.wait()
        _PROCESS.child = None
    if _PROCESS.received is not None:
        _stop(_PROCESS.received)
    if status:
        raise subprocess.CalledProcessError(status, command)


@contextmanager
def advise(text: str) -> Iterator[None]:
    """A block in which a message on the end of the program closes with this text."""
    before, _PROCESS.advice = _PROCESS.advice, text
    try:
        yield
    finally:
        _PROCESS.advice = before
