"""KL(q || p) of each group of dimensions, for distributions that are independent between groups."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.distributions.closed_forms import kl_of_independent
from vaepriors_jax.distributions.conversion import as_library_distribution
from vaepriors_jax.distributions.gaussian_parameters import independent_scalars
from vaepriors_jax.distributions.generalized_normal import GeneralizedNormal
from vaepriors_jax.distributions.kl_divergence import kl_divergence
from vaepriors_jax.distributions.multivariate_t import MultivariateT
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.spaces import check_same_space
from vaepriors_jax.distributions.two_level import TwoLevel


def kl_of_groups(
    q: distrax.Distribution,
    p: distrax.Distribution,
    samples: jax.Array,
    group_sizes: tuple[int, ...] | None = None,
    *,
    method: str = "auto",
) -> jax.Array:
    r"""KL(q || p) of each group of consecutive dimensions, in nats. Their sum is the KL.

    Args:
        q: a distribution over one z [dim].
        p: another.
        samples: samples of q [S, dim], for a Monte Carlo estimate where no closed form is known.
        group_sizes: the sizes of the groups; None for a group for each dimension.
        method: that of `kl_divergence`.

    Returns:
        The KL of each group [G]. For `TwoLevel` distributions whose first group is the bottom level, the KL of that
        is the mean over z2 of $KL(q(z_1|z_2) || p(z_1|z_2))$; the other groups are those of the top level.

    Raises:
        ValueError: sizes that do not sum to dim, or distributions that are not independent between groups.
    """
    dim = q.event_shape[0]
    if group_sizes is not None and sum(group_sizes) != dim:
        raise ValueError(f"Expected `group_sizes` that sum to {dim}, the dimensions of z; got {group_sizes}.")
    if group_sizes == (dim,):
        return kl_divergence(q, p, samples=samples, method=method)[None]
    check_same_space(q, p)
    q, p = as_library_distribution(q), as_library_distribution(p)
    have_levels = isinstance(q, TwoLevel) and isinstance(p, TwoLevel) and q.bottom_dim == p.bottom_dim
    if have_levels and group_sizes and group_sizes[0] == q.bottom_dim:
        bottom, top = q.split(samples)
        of_top = kl_of_groups(q.top, p.top, samples=top, group_sizes=group_sizes[1:], method=method)
        return jnp.concatenate([_kl_of_bottom(q, p, bottom, top, method)[None], of_top])
    values = _kl_of_dimensions(q, p, samples, method)
    if group_sizes is None:
        return values
    return jax.ops.segment_sum(values, np.repeat(np.arange(len(group_sizes)), group_sizes), len(group_sizes))


def _kl_of_dimensions(q: Any, p: Any, samples: jax.Array, method: str) -> jax.Array:
    """The KL of each dimension [dim]: in closed form, or the mean of log q - log p over samples [S, dim]."""
    closed = kl_of_independent(q, p) if method != "monte_carlo" else None
    if closed is not None:
        function, arrays = closed
        return function(*(array[..., None] for array in arrays))
    log_densities = _log_densities(q, samples), _log_densities(p, samples)
    if log_densities[0] is None or log_densities[1] is None:
        raise ValueError(
            f"Expected posterior and prior to be independent between dimensions, such as diagonal Gaussians, for the "
            f"KL of each group; got {q.name} and {p.name}. Use `group_sizes=({q.event_shape[0]},)`, one group of all "
            "dimensions, or `free_bits`."
        )
    if method == "analytic":
        raise ValueError(
            f"No closed form of KL({q.name} || {p.name}) is known. Use `kl_method='auto'` or 'monte_carlo'."
        )
    return jnp.mean(log_densities[0] - log_densities[1], axis=0)


def _log_densities(distribution: Any, samples: jax.Array) -> jax.Array | None:
    """The log-density of each dimension at samples [S, dim], in the same shape; None unless they are independent."""
    has_one_radius = isinstance(distribution, MultivariateT) and distribution.df.ndim == 0
    if isinstance(distribution, (GeneralizedNormal, MultivariateT)) and not has_one_radius:
        return distribution.log_prob_of_dimensions(samples)
    is_normal = is_normal_diag(distribution)
    scalar = distrax.Normal(*location_and_scale(distribution)) if is_normal else independent_scalars(distribution)
    return None if scalar is None else scalar.log_prob(samples)


def _kl_of_bottom(q: TwoLevel, p: TwoLevel, bottom: jax.Array, top: jax.Array, method: str) -> jax.Array:
    """The mean over samples of the KL of the bottom level given the levels above it."""

    def of_sample(z1: jax.Array, z2: jax.Array) -> jax.Array:
        return kl_divergence(q.bottom(z2), p.bottom(z2), samples=z1[None], method=method)

    return jnp.mean(jax.vmap(of_sample)(bottom, top))
