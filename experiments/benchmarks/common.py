"""Timing and child processes, and the result of one part of the benchmark."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.report.document import Table

ROOT = Path(__file__).resolve().parents[2]


class Part(NamedTuple):
    """The result of one part: tables for the reader, and plain data for results.json."""

    tables: list[Table]
    measured: dict[str, Any]


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of one call, waiting for the device."""
    began = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - began


def medians(
    calls: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 3, in_a_row: int = 1
) -> dict[str, float]:
    """Median seconds of each call, after warm-up.

    The calls take turns, so that another load on the machine falls on all of them alike. A turn of several calls in a
    row starts with one more that is not timed, which brings back into the caches what the others drove out.
    """
    for _ in range(warmup):
        for call in calls.values():
            jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats // in_a_row):
        for name, call in calls.items():
            if in_a_row > 1:
                jax.block_until_ready(call())
            seconds[name] += [timed(call) for _ in range(in_a_row)]
    return {name: statistics.median(values) for name, values in seconds.items()}


def format_seconds(seconds: float | None) -> str:
    """Seconds with a unit that suits them."""
    if seconds is None:
        return "–"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 0.995:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def format_ratio(slow: float | None, fast: float | None) -> str:
    """How many times as fast."""
    return "–" if slow is None or fast is None else f"{slow / fast:.1f}x"


def call_in_child(
    target: str, arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Calls `module:function` in a fresh process, and returns its dictionary.

    Args:
        target: the module within `experiments.benchmarks`, and the function.
        arguments: its arguments by name, plain data.
        environment: environment variables to set.

    Returns:
        What the function returned and "peak_bytes", or {"unavailable": why} where the process failed.
    """
    command = [sys.executable, "-m", "experiments.benchmarks.child", target, json.dumps(dict(arguments))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | dict(environment or {}))
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    return {"unavailable": errors[-1][:300] if errors else f"exit code {done.returncode}"}
