"""Programs in processes of their own, which are killed and go on."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TIMES = {"seconds", "seconds_per_epoch", "compile_seconds"}


def start(module: str, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Starts `python -m module` in a folder."""
    cache = folder.parents[1] / "cache"  # of all tests of the session
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", module, *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status of a process, and what it printed as errors."""
    said = process.communicate(timeout=1800)[1]
    return process.returncode, said


def run_with_kills(
    module: str,
    arguments: tuple[str, ...],
    folder: Path,
    random: np.random.Generator,
    seconds: float,
    kills: int,
    begun: str | None,
) -> int:
    """Starts a program, kills it at random moments of half its run time, and lets it go on; the number of kills.

    It goes on with --resume once the file `begun` is there, or without it where that is None.
    """
    count = 0
    while True:
        resume = begun is not None and (folder / begun).exists()
        process = start(module, *(("--resume", "run") if resume else arguments), folder=folder)
        try:
            process.wait(timeout=random.uniform(0, seconds / 2) if count < kills else 1800)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            finish(process)
            count += 1
            continue
        status, said = finish(process)
        assert status == 0, said
        return count


def without_times(content: Any) -> Any:
    """What a result file holds, without what depends on the speed of the machine."""
    if isinstance(content, dict):
        return {name: without_times(value) for name, value in content.items() if name not in TIMES}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def results_of(folder: Path) -> dict[str, Any]:
    """The results of a run, and its models as bytes, without the times in names of folders."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = _without_stamp(str(path.relative_to(folder)))
        if path.name == "model.npz":
            found[name] = path.read_bytes()
        elif path.name in ("results.json", "evaluation.json"):
            content = without_times(json.loads(_without_stamp(path.read_text())))
            content.pop("recommendation", None)  # which weighs the time of an epoch
            found[name] = content
    return found


def _without_stamp(text: str) -> str:
    return re.sub(r"-\d{8}-\d{6}", "", text)
