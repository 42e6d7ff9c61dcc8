import jax
import pytest


@pytest.fixture(autouse=True)
def _quiet_progress(monkeypatch):
    """Progress bars write to standard error; the tests need none."""
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture(autouse=True, scope="module")
def _drop_compiled_programs():
    """Keeps the memory of a long run of tests small."""
    yield
    jax.clear_caches()
