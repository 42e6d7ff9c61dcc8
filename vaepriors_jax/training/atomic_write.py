"""Files that are replaced as a whole: a process that dies, or a full disk, leaves the old content or the new one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, which refuses to remove a file that a process has open: that serves as the lock
    fcntl = None


@contextmanager
def replace_file(path: Path) -> Iterator[BufferedRandom]:
    """Yields a file to write and to read, which takes the place of `path` once the block ends without an error.

    It is written beside `path` under the name `path` + ".", eight hexadecimal digits and ".partial", and it is locked.
    What other processes left under such names when they died is not locked, and is removed.

    Raises:
        OSError: the file cannot be written. The old one is as it was.
    """
    _remove_abandoned(path)
    file = _create(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(file.name, path)  # before the lock goes, which closing the file gives up
        if fcntl is None:
            os.replace(file.name, path)  # Windows renames closed files only
    except BaseException as error:
        with suppress(OSError):
            os.unlink(file.name)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def _create(path: Path) -> BufferedRandom:
    """Creates and locks a file beside `path`; again, if another process removed it before it was locked."""
    while True:
        file = open(f"{path}.{secrets.token_hex(4)}.partial", "x+b")
        if fcntl is not None:
            with suppress(OSError):  # file systems without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):
            return file
        file.close()


def _remove_abandoned(path: Path) -> None:
    for other in path.parent.glob(f"{path.name}.{'[0-9a-f]' * 8}.partial"):
        with suppress(OSError):  # another process is writing it, or has removed it
            if fcntl is None:
                other.unlink()
                continue
            with open(other, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other.unlink()
