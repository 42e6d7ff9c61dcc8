"""Affine coupling (RealNVP)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive
from vaepriors_jax.conditioning import Condition
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.coupling import coupling


@dataclass(frozen=True)
class Affine:
    """z = u exp(s) + t with |s| < max_log_scale, from two raw parameters."""

    max_log_scale: float

    @property
    def num_parameters(self) -> int:
        """One for the log-scale, one for the shift."""
        return 2

    def log_scale(self, raw: jax.Array) -> jax.Array:
        """The bounded log-scales s [n]."""
        return self.max_log_scale * jnp.tanh(raw[:, 0] / self.max_log_scale)

    def forward(self, raw: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z = u exp(s) + t, and s."""
        log_scale = self.log_scale(raw)
        return u * jnp.exp(log_scale) + raw[:, 1], log_scale

    def inverse(self, raw: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """u = (z - t) exp(-s), and -s."""
        log_scale = self.log_scale(raw)
        return (z - raw[:, 1]) * jnp.exp(-log_scale), -log_scale


@factory
def affine_coupling(
    dim: int,
    *,
    hidden: tuple[int, ...] = (64, 64),
    max_log_scale: float = 2.0,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
) -> Flow:
    r"""Affine coupling layer, of two complementary halves.

    $z_a = u_a \odot e^{s_a(u_b)} + t_a(u_b)$, then $z_b = u_b \odot e^{s_b(z_a)} + t_b(z_a)$.

    Both directions cost one pass. One layer lets the second half depend on everything, and the first half on the
    second; two layers let every output depend on every input.

    In float32 the log-determinant holds to 2e-5 nats after training, for 16 layers of width 64 or 8 of width 256. Large
    weights lose it in deep stacks: see the table in `repeat`.

    Args:
        dim: dimension of z, at least 2; it may be odd.
        hidden: widths of the conditioners' hidden layers.
        max_log_scale: bound on |s|, through $s = c \tanh(r / c)$.
        num_classes: if given, the conditioners read a label `y`.
        condition_dim: if given, the conditioners read a vector `y` [condition_dim].
        condition: the name of y: the entry of the batch that holds it.

    Context:
        y: the label or vector, if the flow is conditional; or an entry of the name that `condition` gives.

    Returns:
        A flow that starts as the identity.

    Raises:
        ValueError: `dim` < 2, or another argument out of range.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> flow = vp.affine_coupling(3)
        >>> bijector = flow.apply(flow.init(jax.random.key(0)))
        >>> bijector.forward(jnp.arange(3.0))
        Array([0., 1., 2.], dtype=float32)

    References:
        Dinh, Sohl-Dickstein & Bengio (2017), Density estimation using Real NVP, eqs. 7-8. There the log-scale is not
        bounded, and one layer is one half.
    """
    check_positive(max_log_scale=max_log_scale)
    return coupling(dim, Affine(max_log_scale), hidden, Condition(num_classes, condition_dim, condition))
