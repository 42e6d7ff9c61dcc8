"""Compiled programs are dropped before a process has more of them than the system allows."""

import jax
import jax.numpy as jnp

from experiments.runs import programs


def test_programs_are_dropped_from_the_limit_on(tmp_path, monkeypatch):
    compiled = []

    def double(x):
        compiled.append(x)
        return 2 * x

    program, maps = jax.jit(double), tmp_path / "maps"
    monkeypatch.setattr(programs, "MAPS", maps)
    for text, traces in (("map\n" * 3, 1), ("map\n" * 4, 2)):
        maps.write_text(text)
        monkeypatch.setattr(programs, "MOST_MAPS", 3)
        program(jnp.ones(3))
        programs.drop_if_many()
        assert program(jnp.ones(3)).sum() == 6
        assert len(compiled) == traces
    maps.unlink()
    programs.drop_if_many()
    program(jnp.ones(3))
    assert len(compiled) == 2
