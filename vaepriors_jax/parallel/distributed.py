"""Several processes: how they start, agree on errors, and notice that one of them is lost."""

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

# What XLA's errors say when a collective has lost its partner.
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
    """Joins several processes, so that one that is lost ends the others within a minute.

    It is `jax.distributed.initialize` (to be called before anything else of JAX's), and beside that:

    - a process that sends no sign of life for `heartbeat_timeout_seconds` ends all others (JAX waits for 100 seconds);
    - a process that ends by an exception leaves at once, when the exception is printed. JAX would let it wait for the
      others, which wait for it, and would then abort with a stack of its own below the message;
    - where a thread of JAX's or of gloo's aborts the process, since its partner was lost in the middle of a message or
      process 0 is gone, the last line says so;
    - SIGTERM ends a process. JAX would catch it as a notice of preemption, which nothing here reads.

    Args:
        coordinator_address: "host:port" of process 0. On TPU pods, under Slurm and Open MPI all three may be left out.
        num_processes: how many processes.
        process_id: which of them this is, from 0.
        heartbeat_timeout_seconds: below 60.
        **options: others of `jax.distributed.initialize`.

    Raises:
        ValueError: a heartbeat that is not below 60 seconds.
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
    """Ends the interpreter after an uncaught exception before JAX's own farewell, which waits for all processes."""
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
    atexit.register(leave)  # the last to be registered is the first to be called


def _lost_message() -> str:
    return (
        f"Process {jax.process_index()} of {jax.process_count()} cannot go on: another one was lost (killed, out of "
        "memory, or ended by an error of its own, see its output) or cannot be reached. Start all of them again; with "
        "`checkpoint_dir`, `fit` goes on from the last checkpoint."
    )


# ctypes calls it as long as it is kept.
_on_abort: Any = None


def _explain_abort() -> None:
    """Ends an aborted process with a message. No exception reaches Python where a C++ thread calls abort()."""
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
    """Turns the error of a collective whose partner is gone into a `ProcessLostError`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if jax.process_count() == 1 or isinstance(error, ProcessLostError) or not _LOST.search(str(error)):
            raise
        raise ProcessLostError(f"{_lost_message()} ({str(error).splitlines()[0]})") from error


def together(action: Callable[[], T]) -> T:
    """Runs an action that needs no other process in all of them; where it fails in one, all raise."""
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
    """One number of each process [num_processes]."""
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
    """The arrays of process 0, in every process."""
    if jax.process_count() == 1:
        return tree
    with explain_lost_process():
        return multihost_utils.broadcast_one_to_all(tree)
