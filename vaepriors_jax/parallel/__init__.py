"""Many devices and many processes."""

from vaepriors_jax.parallel.distributed import initialize
from vaepriors_jax.parallel.sharding import make_mesh

__all__ = [
    "initialize",
    "make_mesh",
]
