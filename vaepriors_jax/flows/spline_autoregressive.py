"""Masked autoregressive flow of rational-quadratic splines."""

from vaepriors_jax.base import Flow
from vaepriors_jax.conditioning import Condition
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.masked_autoregressive import autoregressive
from vaepriors_jax.flows.spline_coupling import RationalQuadratic


@factory
def spline_autoregressive(
    dim: int,
    *,
    num_bins: int = 8,
    bound: float = 5.0,
    hidden: tuple[int, ...] = (64, 64),
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
) -> Flow:
    r"""Masked autoregressive layer of monotone rational-quadratic splines: $z_i = g(u_i; h_i(z_{<i}))$.

    The spline g is that of `spline_coupling`; the order of dimensions and the cost are those of
    `masked_autoregressive`.

    Args:
        dim: dimension of z, at least 1.
        num_bins: number of bins of a spline, at least 2.
        bound: half-width of the interval outside of which a spline is the identity.
        hidden: widths of the network's hidden layers.
        num_classes: if given, the network reads a label `y`.
        condition_dim: if given, the network reads a vector `y` [condition_dim].
        condition: the name of y: the entry of the batch that holds it.

    Context:
        y: the label or vector, if the flow is conditional; or an entry of the name that `condition` gives.

    Returns:
        A flow that starts as the identity.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> flow = vp.spline_autoregressive(2)
        >>> bijector = flow.apply(flow.init(jax.random.key(0)))
        >>> print(bijector.inverse(jnp.array([-0.5, 6.0])).round(5))
        [-0.5  6. ]

    References:
        Durkan, Bekasov, Murray & Papamakarios (2019), Neural spline flows, section 3.4 (RQ-NSF (AR)).
    """
    return autoregressive(
        dim, RationalQuadratic(num_bins, bound), hidden, Condition(num_classes, condition_dim, condition)
    )
