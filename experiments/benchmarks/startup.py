"""How long does it take to import the library, to begin training, and to compile flows?"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NamedTuple

from experiments.benchmarks import paper
from experiments.benchmarks.common import ROOT, Part, call_in_child, format_seconds
from experiments.models.vaes import Sizes
from experiments.report.document import Table

IMPORT_LIMIT, TRAINING_LIMIT = 2.0, 15.0
# The bar of `fit` after its first epoch.
FIRST_EPOCH = re.compile(r"[1-9]\d*/\d+ \[[^\]\r\n]*epoch")
TIMEOUT = 300.0


class Settings(NamedTuple):
    """What is measured, and how often."""

    imports: int = 3
    options: tuple[str, ...] = ("--priors", "standard", "--metrics", "likelihood")
    flow_layers: tuple[int, ...] = (2, 4, 8, 16)
    sizes: Sizes = paper.SIZES


SMALL = Settings(1, ("--priors", "standard", "--seeds", "1", "--hidden", "8"), (1, 2), paper.SMALL_SIZES)


def import_seconds() -> float:
    """Seconds of `import vaepriors_jax` in a fresh process, the interpreter's own start apart."""
    code = "import time; began = time.perf_counter(); import vaepriors_jax; print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


def first_epoch_seconds(cache_dir: str, options: tuple[str, ...]) -> float | None:
    """Seconds from the start of compare_priors to its first trained epoch, as its progress bar tells it."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache_dir,
        "TQDM_MININTERVAL": "0",
        "TQDM_DISABLE": "",
        "PYTHONUNBUFFERED": "1",
    }
    with tempfile.TemporaryDirectory() as output_dir:
        command = [sys.executable, "-m", "experiments.compare_priors", *options, "--output-dir", output_dir]
        pipes: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        began = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
            alarm = threading.Timer(TIMEOUT, process.kill)
            alarm.start()
            try:
                # In text mode a carriage return ends a line, and the bar writes one before each update.
                for line in process.stderr or ():
                    if FIRST_EPOCH.search(line):
                        return time.perf_counter() - began
            finally:
                alarm.cancel()
                process.kill()
    return None


def flow_compile_seconds(flow_layers: list[int], sizes: dict[str, Any]) -> dict[str, Any]:
    """Seconds to compile the training of flow priors, by depth."""
    data = paper.load_images(200, 1)
    seconds = {}
    for layers in [flow_layers[0], *flow_layers]:  # the first warms the compiler up
        of_depth = paper.sizes_from(sizes)._replace(flow_layers=layers)
        seconds[str(layers)] = paper.fit("flow", of_depth, data, num_images=200, num_epochs=1).compile_seconds
    return {"seconds": seconds}


def run(settings: Settings) -> Part:
    """Measures all three in fresh processes."""
    imported = statistics.median(import_seconds() for _ in range(settings.imports))
    with tempfile.TemporaryDirectory() as cache_dir:
        cold, warm = (first_epoch_seconds(cache_dir, settings.options) for _ in range(2))
    flows = call_in_child(
        "startup:flow_compile_seconds",
        {"flow_layers": settings.flow_layers, "sizes": settings.sizes._asdict()},
        {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    command = "compare_priors " + " ".join(settings.options)
    rows = [
        ["import vaepriors_jax", format_seconds(imported), format_seconds(IMPORT_LIMIT)],
        [f"{command}: first epoch, cold cache", format_seconds(cold), format_seconds(TRAINING_LIMIT)],
        [f"{command}: first epoch, warm cache", format_seconds(warm), "–"],
    ]
    for layers, seconds in flows.get("seconds", {}).items():
        rows.append([f"compile training of a flow prior of {layers} layers", format_seconds(seconds), "no growth"])
    notes = ["Fresh processes. First epoch: from the start of the program until its progress bar counts one."]
    notes += [f"Not available: flows: {flows['unavailable']}"] if "unavailable" in flows else []
    measured = {"import": imported, "first_epoch_cold": cold, "first_epoch_warm": warm, "flow_compile": flows}
    return Part([Table("start-up", ["", "seconds", "limit"], rows, notes)], measured)
