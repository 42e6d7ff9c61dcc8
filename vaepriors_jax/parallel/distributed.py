"""Several processes: they start together, raise errors together, and notice when one of them is lost."""

import atexit
import ctypes
import os
import re
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")

# Errors of XLA in a collective whose partner is lost.
_LOST = re.compile(r"gloo|nccl|rccl|connection (closed|reset|refused)|coordination|heartbeat|socket closed", re.I)


class ProcessLostError(RuntimeError):
    """A collective failed, because another process was lost or cannot be reached."""


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_timeout_seconds: int = 30,
    **options: Any,
) -> None:
    """Connects several processes. When one of them is lost, the others end within a minute.

    Call it before any other function of JAX. It calls `jax.distributed.initialize`, and changes what happens when a
    process ends:

    - A process that is silent for `heartbeat_timeout_seconds` ends all others. JAX waits for 100 seconds.
    - A process that raises an exception prints it and exits at once. In JAX it would wait for the others, which wait
      for it, and then abort with a C++ stack trace below the message.
    - Where a thread of JAX or gloo aborts the process, because process 0 or the partner in a message is gone, the last
      line of the output says so.
    - SIGTERM ends a process. JAX would take it for a notice of preemption, which nothing here reads.

    Args:
        coordinator_address: "host:port" of process 0. On TPU pods, under Slurm and Open MPI, this and the next two may
            be left out.
        num_processes: number of processes.
        process_id: the number of this process, from 0.
        heartbeat_timeout_seconds: from 1 to 59.
        **options: other arguments of `jax.distributed.initialize`.

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
    _leave_at_once_after_an_exception()
    _explain_abort()


def _leave_at_once_after_an_exception() -> None:
    """Makes the interpreter exit after an uncaught exception without JAX's shutdown, which waits for all processes."""
    failed = threading.Event()
    print_exception = sys.excepthook

    def note(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        failed.set()
        print_exception(kind, error, traceback)

    def leave() -> None:
        if failed.is_set():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)

    sys.excepthook = note
    atexit.register(leave)  # runs before JAX's shutdown, since the function registered last is called first


def _lost_message() -> str:
    return (
        f"Process {jax.process_index()} of {jax.process_count()} cannot go on: another one was lost (killed, out of "
        "memory, or ended by an error of its own, see its output) or cannot be reached. Start all of them again; with "
        "`checkpoints`, `fit` resumes from the last one."
    )


# A reference, without which ctypes would free the handler.
_on_abort: Any = None


def _explain_abort() -> None:
    """Ends an aborted process with a message: where a C++ thread calls abort(), no exception reaches Python."""
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
    """Raises `ProcessLostError` in place of the error of a collective whose partner is lost."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if jax.process_count() == 1 or isinstance(error, ProcessLostError) or not _LOST.search(str(error)):
            raise
        raise ProcessLostError(f"{_lost_message()} ({str(error).splitlines()[0]})") from error


def together(action: Callable[[], T]) -> T:
    """Runs an action in every process, without communication. Where it fails in one, all raise."""
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
    """Gathers one number from each process: [num_processes]."""
    with explain_lost_process():
        return np.reshape(multihost_utils.process_allgather(np.int32(value)), (-1,))


def check_same(description: str) -> None:
    """Raises ValueError in all processes unless all give the same description."""
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
