"""Two hundred calls of a public function leave no arrays and no compiled programs in memory."""

import gc
import os
from pathlib import Path

import jax
import pytest

from tests.test_compilation import CALLS

WARM_UP, NUM_CALLS = 10, 200
# Above what an allocator adds by itself: 80 KiB a call.
MARGIN = 16 * 2**20
# A few milliseconds a call; 200 calls of the others, run eagerly, take up to minutes.
QUICK = ["maximum_mean_discrepancy", "frechet_distance", "squared_mmd", "nearest_distances"]


def resident_bytes() -> int:
    """The memory of this process; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def held() -> tuple[int, int]:
    """Numbers of arrays and of compiled programs that are alive."""
    gc.collect()
    return len(jax.live_arrays()), len(jax.devices()[0].client.live_executables())


def check_leaves_nothing_behind(call, num_calls=NUM_CALLS):
    for seed in range(WARM_UP):
        call(seed)
    before, bytes_before = held(), resident_bytes()
    for seed in range(num_calls):
        call(seed)
    assert held() == before
    assert resident_bytes() - bytes_before < MARGIN


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in QUICK else pytest.mark.nightly) for name in CALLS]
)
def test_two_hundred_calls(name):
    check_leaves_nothing_behind(CALLS[name])


def test_what_is_kept_is_noticed():
    kept = []
    with pytest.raises(AssertionError):
        check_leaves_nothing_behind(lambda seed: kept.append(jax.numpy.zeros(seed % 3 + 1)), num_calls=10)
