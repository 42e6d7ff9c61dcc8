"""The fast mixture of diagonal Gaussians."""

import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.distributions import LOG_2PI, normal_diag
from vaepriors_jax.mixtures import Mixture

# Up to so many components, or in so few dimensions (where many components matter at once), the plain sum costs little.
FEW_COMPONENTS, FEW_DIMS = 32, 2
# How many components are held at a time: memory does not grow with more, nor in the gradient.
MAX_AT_ONCE = 4096


def _diagonal_log_prob(value: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """Log-density of Gaussians [..., K, dim] at z [..., dim]: [..., K]; no cancellation."""
    standardized = (value[..., None, :] - loc) / scale
    square = jnp.sum(standardized**2, axis=-1)
    return -0.5 * (square + loc.shape[-1] * LOG_2PI) - jnp.sum(jnp.log(scale), axis=-1)


def _add_dimension(joint: jax.Array, dimension: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
    """A step of a scan; known by name, so that it is compiled once where nothing else is."""
    value, loc, factor = dimension
    return joint - ((value - loc) * factor) ** 2, None


def _joint(value: jax.Array, log_weights: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """Log of weight times density of each component at z [..., dim]: [..., K]; no cancellation.

    It adds up one dimension after the other, so that no [..., K, dim] is ever in memory.
    """
    constant = log_weights - jnp.sum(jnp.log(scale) + 0.5 * LOG_2PI, axis=-1)
    start = jnp.broadcast_to(constant, (*value.shape[:-1], *constant.shape)).astype(jnp.result_type(value, constant))
    dimensions = (jnp.moveaxis(value, -1, 0)[..., None], loc.T, (0.5**0.5 / scale).T)
    return jax.lax.scan(_add_dimension, start, dimensions, unroll=8)[0]


def _joint_by_products(value: jax.Array, log_weights: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """The same by one matrix product; its derivative is fast, its value cancels where scales are small."""
    centre = jax.lax.stop_gradient(jnp.mean(loc, axis=0))  # smaller numbers cancel less
    value, loc = value - centre, loc - centre
    precision = 1 / scale**2
    # -(z - mu)^2 / 2 sigma^2 = -z^2 / 2 sigma^2 + z mu / sigma^2 - mu^2 / 2 sigma^2, the first two as one product.
    powers = jnp.concatenate([value**2, value], axis=-1)
    coefficients = jnp.concatenate([-0.5 * precision, loc * precision], axis=-1)
    constant = log_weights - jnp.sum(0.5 * loc**2 * precision + jnp.log(scale) + 0.5 * LOG_2PI, axis=-1)
    return jnp.matmul(powers, coefficients.T, precision=Precision.HIGHEST) + constant


@jax.custom_jvp
def _mixture_log_prob(value: jax.Array, log_weights: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """Log-density of a mixture of diagonal Gaussians at z [..., dim]: [...]."""
    return jax.nn.logsumexp(_joint(value, log_weights, loc, scale), axis=-1)


@_mixture_log_prob.defjvp
def _mixture_log_prob_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    """The components' derivatives weighted by responsibility: by products, exact for each point's leading component."""
    joint = _joint(*primals)
    leading = jnp.argmax(joint, axis=-1, keepdims=True)
    highest = jnp.take_along_axis(joint, leading, axis=-1)
    highest = jnp.where(jnp.isfinite(highest), highest, 0)
    relative = jnp.exp(joint - highest)
    total = jnp.sum(relative, axis=-1)

    def leading_joint(value: jax.Array, log_weights: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
        return (log_weights[leading] + _diagonal_log_prob(value, loc[leading], scale[leading]))[..., 0]

    of_leading = jax.jvp(leading_joint, primals, tangents)[1]
    of_all = jax.jvp(_joint_by_products, primals, tangents)[1]
    others = jnp.where(jnp.arange(joint.shape[-1]) == leading, 0, relative)
    weighted = of_leading + jnp.sum(others * of_all, axis=-1)
    return highest[..., 0] + jnp.log(total), weighted / jnp.maximum(total, 1)  # below 1 only where all weights are 0


class DiagonalMixture(Mixture):
    r"""$p(z) = \sum_k w_k\, \mathcal{N}(z; \mu_k, \mathrm{diag}(\sigma_k^2))$.

    The density is the exact sum. Its gradient weights that of each component by the component's responsibility, as
    matrix products of $(z^2, z)$ and $(-\sigma^{-2} / 2, \mu \sigma^{-2})$. These cancel where scales are small, so
    that the leading component of each point is differentiated without them. In the others only the gradient to the
    scale feels it: 1e-4 of its largest entry, up to 2e-2 where groups of components at +-10 share scales of e^-3.
    """

    def __init__(self, log_weights: jax.Array, loc: jax.Array, scale: jax.Array):
        """Takes log-weights [K], means [K, dim] and standard deviations [K, dim]."""
        super().__init__(log_weights, (loc, scale), lambda slice_: normal_diag(*slice_))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.parameters[0].shape[1:]

    def component_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each component at z [..., dim]: [..., K]."""
        return _diagonal_log_prob(value, *self.parameters)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        if self.num_components > MAX_AT_ONCE:
            return self._streamed_log_prob(value)
        if self.num_components <= FEW_COMPONENTS or self.event_shape[0] <= FEW_DIMS:
            return super().log_prob(value)
        return _mixture_log_prob(value, self.log_weights, *self.parameters)

    def _streamed_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-sum-exp over chunks of components; the gradient makes each chunk again."""
        num_chunks = -(-self.num_components // MAX_AT_ONCE)
        missing = num_chunks * MAX_AT_ONCE - self.num_components

        def chunks(array: jax.Array, fill: float) -> jax.Array:
            padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), constant_values=fill)
            return padded.reshape(num_chunks, MAX_AT_ONCE, *array.shape[1:])

        @jax.checkpoint
        def add(total: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            return jnp.logaddexp(total, DiagonalMixture(*chunk).log_prob(value)), None

        loc, scale = self.parameters
        slices = (chunks(self.log_weights, -jnp.inf), chunks(loc, 0.0), chunks(scale, 1.0))
        first = DiagonalMixture(*(array[0] for array in slices)).log_prob(value)
        return jax.lax.scan(add, first, tuple(array[1:] for array in slices))[0]

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        loc, scale = self.parameters
        key_component, key_value = jax.random.split(key)
        chosen = self._choose(key_component, n)
        return loc[chosen] + scale[chosen] * jax.random.normal(key_value, (n, loc.shape[-1]), loc.dtype)

    def with_log_weights(self, log_weights: jax.Array) -> "DiagonalMixture":
        """The same components with other log-weights [K]."""
        return DiagonalMixture(log_weights, *self.parameters)

    def component_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each component, [K, dim] both."""
        loc, scale = self.parameters
        return loc, scale**2
