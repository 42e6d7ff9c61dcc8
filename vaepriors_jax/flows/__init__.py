"""Normalising flows: one factory a file, and what combines them (`chain`, `repeat`, `invert`)."""

from vaepriors_jax.flows.act_norm import act_norm
from vaepriors_jax.flows.affine_coupling import affine_coupling
from vaepriors_jax.flows.chain import chain
from vaepriors_jax.flows.invert import invert
from vaepriors_jax.flows.lu_linear import lu_linear
from vaepriors_jax.flows.masked_autoregressive import masked_autoregressive
from vaepriors_jax.flows.permute import permute
from vaepriors_jax.flows.repeat import repeat
from vaepriors_jax.flows.spline_autoregressive import spline_autoregressive
from vaepriors_jax.flows.spline_coupling import spline_coupling

__all__ = [
    "act_norm",
    "affine_coupling",
    "chain",
    "invert",
    "lu_linear",
    "masked_autoregressive",
    "permute",
    "repeat",
    "spline_autoregressive",
    "spline_coupling",
]
