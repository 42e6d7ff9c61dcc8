import gc
import itertools
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

# Most of the time of these tests is compilation. The programs that CI runs compile as a user's do.
# XLA aborts on a flag that it does not know: the last one, which takes off a third, is tried where it was seen.
_flags = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if version("jaxlib").startswith("0.10."):
    _flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_flags))

# The workers share what is compiled, in a folder that goes when the run ends.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="vaepriors_jax-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402
import pytest  # noqa: E402

collect_ignore = ["support/typed_user.py"]  # wrong on purpose: it is read by type checkers


def pytest_collection_finish():
    """Modules and tests stay to the end: looking through them for garbage, again and again, takes 5 % of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _quiet_progress(monkeypatch):
    """Progress bars write to standard error; the tests need none."""
    monkeypatch.setenv("TQDM_DISABLE", "1")


# Programs take a few memory maps each, of about 100 kB. Linux allows a process 65,530; looking at them takes time.
MOST_MAPS, LOOK_EVERY = 12_000, 25
_MAPS, _tests = Path("/proc/self/maps"), itertools.count(1)


def pytest_runtest_teardown():
    """Keeps the memory of a long run of tests small. Tests share their programs until there are many."""
    if next(_tests) % LOOK_EVERY == 0 and (not _MAPS.exists() or _MAPS.read_bytes().count(b"\n") > MOST_MAPS):
        jax.clear_caches()


@pytest.fixture(scope="session")
def digits():
    """The digits, and a feature network that was trained on them."""
    from experiments.data.dataset import load
    from vaepriors_jax.evaluation.samples.features import train_feature_network

    data = load("digits", binarization="threshold")
    key, validation = jax.random.key(0), (data.validation["x"], data.validation["y"])
    return data, train_feature_network(key, data.train["x"], data.train["y"], num_classes=10, validation=validation)
