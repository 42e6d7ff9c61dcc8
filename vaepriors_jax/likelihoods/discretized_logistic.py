"""The logistic distribution discretised to grey levels."""

from functools import partial

import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.normal import check_scale
from vaepriors_jax.distributions.numerics import full_precision, on_support
from vaepriors_jax.likelihoods.pixelwise import Levels, check_num_levels

# Scales are clipped to this range, in which densities and gradients are finite in float32.
SMALLEST_SCALE, LARGEST_SCALE = 1e-12, 1e12


def bins(loc: jax.Array, scale: jax.Array, num_levels: int) -> tuple[jax.Array, jax.Array]:
    """Location and scale in units of levels, in which the edges of the bins are exact; broadcast to one shape."""
    loc, scale = jnp.broadcast_arrays(full_precision(loc), full_precision(scale))
    return loc * (num_levels - 1), jnp.clip(scale, SMALLEST_SCALE, LARGEST_SCALE) * (num_levels - 1)


def bin_log_prob(level: jax.Array, loc: jax.Array, scale: jax.Array, num_levels: int) -> jax.Array:
    r"""Log-probability of each level k, that is, of the bin [k - 1/2, k + 1/2]; the outermost bins include the tails.

    It computes $\sigma(u) - \sigma(l)$ as $\sigma(u)\, \sigma(-l)\, (1 - e^{l - u})$, which does not cancel.
    """
    log_below = jax.nn.log_sigmoid((level + 0.5 - loc) / scale)
    log_above = jax.nn.log_sigmoid((loc - level + 0.5) / scale)
    log_width = jnp.log(-jnp.expm1(-1 / scale))
    has_lower, has_upper = level > 0, level < num_levels - 1
    return (
        jnp.where(has_upper, log_below, 0)
        + jnp.where(has_lower, log_above, 0)
        + jnp.where(has_lower & has_upper, log_width, 0)
    )


@partial(jax.jit, static_argnums=2)
def bin_moments(loc: jax.Array, scale: jax.Array, num_levels: int) -> tuple[jax.Array, jax.Array]:
    r"""Mean and variance of the level K, from its tail probabilities around the level c nearest to the location.

    $E[K - c] = \sum_{j > c} P(K \ge j) - \sum_{j \le c} P(K < j)$, and $E[(K - c)^2]$ with weights $2 |j - c| \mp 1$.
    """
    centre = jnp.clip(jnp.round(loc), 0, num_levels - 1)

    def add(moments: tuple[jax.Array, jax.Array], edge: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        side = jnp.where(edge > centre, 1.0, -1.0).astype(loc.dtype)
        tail = jax.nn.sigmoid(side * (loc - edge + 0.5) / scale)
        first, second = moments
        return (first + side * tail, second + (2 * side * (edge - centre) - side) * tail), None

    start = (jnp.zeros_like(loc), jnp.zeros_like(loc))
    (first, second), _ = jax.lax.scan(add, start, jnp.arange(1, num_levels, dtype=loc.dtype))
    return centre + first, second - first**2


class DiscretizedLogistic(Levels):
    """Independent pixels on levels; see `discretized_logistic`."""

    def __init__(self, loc: jax.Array, scale: jax.Array, num_levels: int):
        """Takes location and scale in units of the data, and the number of levels."""
        self.num_levels = num_levels
        self.loc, self.scale = bins(loc, scale, num_levels)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of location and scale."""
        return self.loc.shape

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each pixel."""
        level, is_level, given = self.nearest_level(value, self.loc.dtype)
        return on_support(is_level, bin_log_prob(level, self.loc, self.scale, self.num_levels), given)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        noise = jax.random.logistic(key, (n, *self.event_shape), self.loc.dtype)
        return sampled_levels(self.loc + self.scale * noise, self.num_levels)

    def mean(self) -> jax.Array:
        """Mean of each pixel."""
        return bin_moments(self.loc, self.scale, self.num_levels)[0] / (self.num_levels - 1)

    def variance(self) -> jax.Array:
        """Variance of each pixel."""
        return bin_moments(self.loc, self.scale, self.num_levels)[1] / (self.num_levels - 1) ** 2


def sampled_levels(position: jax.Array, num_levels: int) -> jax.Array:
    """Rounds positions in units of levels to the nearest level, and converts them to data in [0, 1]."""
    return jnp.clip(jnp.round(position), 0, num_levels - 1) / (num_levels - 1)


def discretized_logistic(loc: jax.Array, scale: jax.Array, num_levels: int = 256) -> DiscretizedLogistic:
    r"""Independent logistic variables discretised to L levels, with the tails in the first and the last bin.

    $p(x_i = \tfrac{k}{L-1}) = \sigma(\tfrac{b_{k+1} - \mu_i}{s_i}) - \sigma(\tfrac{b_k - \mu_i}{s_i})$ with the edges
    $b_k = \tfrac{k - 1/2}{L-1}$ between the levels, $b_0 = -\infty$ and $b_L = \infty$: it sums to 1.

    Args:
        loc: location $\mu$ [...], in units of the data.
        scale: scale $s > 0$ [...], in units of the data, or of a shape that broadcasts; the standard deviation before
            discretisation is $\pi s / \sqrt 3$. In a compiled function, where values are not known, scales are clipped
            to [1e-12, 1e12]: a scale of 0, as by underflow, then costs up to 1e12 nats a pixel.
        num_levels: L; level k of the data is k / (L - 1) in floating numbers (8-bit images divided by 255), or the
            integer k.

    Returns:
        A distrax distribution whose event has the shape of `loc`; log-probabilities in nats. Its gradient with respect
        to x is zero.

    Raises:
        ValueError: fewer than two levels, or a `scale` that is not > 0 (where its values are known).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.discretized_logistic(jnp.array(0.4), jnp.array(0.1), num_levels=3)
        >>> print([f"{likelihood.prob(x):.3f}" for x in jnp.array([0.0, 0.5, 1.0])])
        ['0.182', '0.788', '0.029']

    References:
        Kingma et al. (2016), Improved variational inference with inverse autoregressive flow; the tails:
        Salimans et al. (2017), PixelCNN++, eq. 2. Tomczak & Welling (2018) leave them out, where it sums to less
        than 1.
    """
    check_scale(scale)
    return DiscretizedLogistic(loc, scale, check_num_levels(num_levels))
