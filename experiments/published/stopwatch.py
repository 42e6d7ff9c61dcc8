"""How long a setting has run, over all stretches between which it was stopped, and how busy the machine was."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.runs.files import write_text

INTERVAL = 30.0  # seconds from one writing to the next


class Stopwatch:
    """Counts the seconds of each stage, and the load of the machine; a thread writes both to a file.

    It goes on from what the file says. A process that is killed loses less than `INTERVAL`.
    """

    def __init__(self, file: Path):
        """Reads the file, if there is one."""
        self.file = file
        self.times = read_times(file)
        self._stage = ""
        self._since = time.monotonic()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Writes the file now and then until the block ends, and then once more."""
        ended = threading.Event()
        self._since = time.monotonic()
        self.times["process"] = os.getpid()
        thread = threading.Thread(target=self._write_until, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.times["process"] = None
            self._write()

    def stage(self, name: str) -> None:
        """From here on the seconds are those of another stage."""
        self._write()
        self._stage = name
        self._write()

    def _write_until(self, ended: threading.Event) -> None:
        while not ended.wait(INTERVAL):
            self._write()

    def _write(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._stage:
                seconds = self.times["seconds"]
                seconds[self._stage] = seconds.get(self._stage, 0.0) + now - self._since
            self._since = now
            self.times["stage"] = self._stage
            self.times["loads"] = [*self.times["loads"], round(os.getloadavg()[0], 2)]
            write_text(self.file, json.dumps(self.times))


def read_times(file: Path) -> dict[str, Any]:
    """What a stopwatch has written: the seconds by stage, the present stage, its process, and loads of the machine."""
    return json.loads(file.read_text()) if file.exists() else {"seconds": {}, "stage": "", "process": None, "loads": []}


def seconds_of(times: dict[str, Any]) -> float:
    """The seconds of all stages."""
    return sum(times["seconds"].values())


def mean_load(times: dict[str, Any]) -> float:
    """The mean number of processes that ran or wanted to run."""
    return sum(times["loads"]) / len(times["loads"]) if times["loads"] else 0.0
