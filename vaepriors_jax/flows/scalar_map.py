"""Invertible maps of scalars, whose parameters a network computes."""

from typing import Protocol

import jax


class ScalarMap(Protocol):
    """An invertible map for each entry of a vector [n]; equal maps hash alike, so that they share compiled programs."""

    @property
    def num_parameters(self) -> int:
        """Number P of parameters of one entry; where all are zero, the map is the identity."""
        ...

    def forward(self, raw: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps u [n], given raw parameters [n, P], to z and log |dz/du|, both [n]."""
        ...

    def inverse(self, raw: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps z [n], given raw parameters [n, P], to u and log |du/dz|, both [n]."""
        ...
