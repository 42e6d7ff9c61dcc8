"""Normalising flows: one factory a file, and what combines them (`chain`, `repeat`, `invert`)."""

from vaepriors_jax.flows.affine_coupling import affine_coupling
from vaepriors_jax.flows.chain import chain
from vaepriors_jax.flows.invert import invert
from vaepriors_jax.flows.masked_autoregressive import masked_autoregressive
from vaepriors_jax.flows.permute import permute
from vaepriors_jax.flows.repeat import repeat
from vaepriors_jax.flows.spline_autoregressive import spline_autoregressive
from vaepriors_jax.flows.spline_coupling import spline_coupling

__all__ = [
    "affine_coupling",
    "chain",
    "invert",
    "masked_autoregressive",
    "permute",
    "repeat",
    "spline_autoregressive",
    "spline_coupling",
]
