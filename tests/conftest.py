import os

# Most of the time of these tests is compilation. The programs that CI runs compile as a user's do.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _quiet_progress(monkeypatch):
    """Progress bars write to standard error; the tests need none."""
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture(autouse=True, scope="module")
def _drop_compiled_programs():
    """Keeps the memory of a long run of tests small."""
    yield
    jax.clear_caches()
