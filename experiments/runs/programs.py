"""Compiled programs of a long run, which are dropped before the system allows no more."""

from pathlib import Path

import jax

# A program takes a few memory maps, of which Linux allows a process 65,530. Many priors would need more: then LLVM
# cannot allocate memory, and the process ends.
MOST_MAPS = 25_000
MAPS = Path("/proc/self/maps")


def drop_if_many() -> None:
    """Drops all compiled programs if they take many memory maps; the cache on disk gives back those still needed."""
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
