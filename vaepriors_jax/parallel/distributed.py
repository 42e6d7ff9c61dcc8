"""Several processes: start them, raise errors in all of them, and end them when one of them is lost."""

import atexit
import ctypes
import os
import re
import signal
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")

# XLA has no error class for a collective operation whose partner is lost; its messages hold one of these words.
_LOST = re.compile(r"gloo|nccl|rccl|connection (closed|reset|refused)|coordination|heartbeat|socket closed", re.I)


class ProcessLostError(RuntimeError):
    """A collective operation failed, because another process was lost or cannot be reached."""


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_timeout_seconds: int = 30,
    **options: Any,
) -> None:
    """Joins several processes. When one of them is lost, the others end within a minute.

    It calls `jax.distributed.initialize`, before any other call of JAX, with these differences:

    - All processes end when one sends no heartbeat for `heartbeat_timeout_seconds` (JAX waits for 100 seconds).
    - A process that raises an exception exits as soon as the exception is printed. JAX would wait for the other
      processes, which wait for this one, and abort with a stack trace below the exception.
    - When a thread of JAX or gloo aborts the process because another process is lost, the last line of its output says
      so.
    - SIGTERM ends a process. JAX would treat it as a notice of preemption, which this library does not use.

    Args:
        coordinator_address: "host:port" of process 0. On TPU pods and under Slurm or Open MPI the first three
            arguments may be left out.
        num_processes: number of processes.
        process_id: the number of this process, from 0.
        heartbeat_timeout_seconds: seconds without a heartbeat after which a process counts as lost, from 1 to 59.
        **options: further arguments of `jax.distributed.initialize`.

    Raises:
        ValueError: `heartbeat_timeout_seconds` is out of range.
    """
    if not 1 <= heartbeat_timeout_seconds < 60:
        raise ValueError(f"Expected `heartbeat_timeout_seconds` from 1 to 59; got {heartbeat_timeout_seconds!r}.")
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator_address,
        num_processes,
        process_id,
        heartbeat_timeout_seconds=heartbeat_timeout_seconds,
        **options,
    )
    atexit.register(_exit_after_exception)  # exit handlers run in reverse order: this one before JAX's
    _explain_abort()


def _exit_after_exception() -> None:
    """Exits at once if an exception ended the program; JAX's own exit handler waits for all processes."""
    if hasattr(sys, "last_value"):  # the interpreter sets it when it prints an uncaught exception
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _lost_message() -> str:
    return (
        f"Process {jax.process_index()} of {jax.process_count()} cannot go on: another one was lost (killed, out of "
        "memory, or ended by an error of its own, see its output) or cannot be reached. Start all of them again; with "
        "`checkpoints`, `fit` resumes from the last one."
    )


# A reference to the C callback, which ctypes would free without one.
_on_abort: Any = None


def _explain_abort() -> None:
    """Makes a process that aborts print a message and exit with status 1.

    Where process 0 or a heartbeat is lost, a C++ thread of JAX calls abort(). No Python code runs then, neither
    exception nor exit handler nor a handler of the `signal` module, so this is a signal handler in C.
    """
    global _on_abort
    if os.name != "posix":
        return
    message = f"\nProcessLostError: {_lost_message()} (aborted; the reason is above)\n".encode()

    def leave(signal_number: int) -> None:
        del signal_number
        os.write(2, message)
        os._exit(1)

    _on_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(leave)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _on_abort)


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Raises `ProcessLostError` for the error of a collective operation that has lost its partner."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if jax.process_count() == 1 or isinstance(error, ProcessLostError) or not _LOST.search(str(error)):
            raise
        raise ProcessLostError(f"{_lost_message()} ({str(error).splitlines()[0]})") from error


def together(action: Callable[[], T]) -> T:
    """Runs a local action in every process; if it fails in one of them, all raise an error."""
    result, error = None, None
    try:
        result = action()
    except Exception as caught:
        if jax.process_count() == 1:
            raise
        error = caught
    if error is not None or jax.process_count() > 1:
        failed = np.flatnonzero(gather(int(error is not None)))
        if error is not None:
            raise error
        if failed.size:
            raise ValueError(f"Process {failed[0]} found an error in its arguments or its data: see its output.")
    return result  # pyright: ignore[reportReturnType]


def gather(value: int) -> np.ndarray:
    """Gathers one integer of each process [num_processes]."""
    with explain_lost_process():
        return np.reshape(multihost_utils.process_allgather(np.int32(value)), (-1,))


def check_same(description: str) -> None:
    """Raises ValueError in all processes unless they pass the same description."""
    sums = gather(zlib.crc32(description.encode()) & 0x7FFFFFFF)
    if (sums != sums[0]).any():
        raise ValueError(
            f"Expected the same arguments in every process; processes {np.flatnonzero(sums != sums[0]).tolist()} "
            f"differ from process 0. Here, in process {jax.process_index()}: {description}."
        )


def of_first_process(tree: Any) -> Any:
    """Returns the arrays of process 0 in every process."""
    if jax.process_count() == 1:
        return tree
    with explain_lost_process():
        return multihost_utils.broadcast_one_to_all(tree)
