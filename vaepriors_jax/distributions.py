"""Distrax distributions: small builders that are safe under `vmap`, and mixtures.

Every distribution here has an empty batch shape: it is a distribution over one example, and `vmap` makes the batch.
"""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

LOG_2PI = float(np.log(2.0 * np.pi))


def _full_precision(array: jax.Array) -> jax.Array:
    """At least float32: networks may compute in bfloat16, but a log-density is a sum over all pixels."""
    array = jnp.asarray(array)
    is_small = jnp.issubdtype(array.dtype, jnp.floating) and jnp.finfo(array.dtype).bits < 32
    return array.astype(jnp.float32) if is_small else array


def normal_diag(loc: jax.Array, scale: jax.Array) -> distrax.Independent:
    r"""Diagonal Gaussian, $\mathcal{N}(z; \mu, \mathrm{diag}(\sigma^2))$, over one array.

    Args:
        loc: mean $\mu$ [...]; bfloat16 and float16 become float32.
        scale: standard deviation $\sigma$ [...], of the same shape.

    Returns:
        A distrax distribution whose event has the shape of `loc`; log-densities in nats.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.normal_diag(jnp.zeros(2), jnp.ones(2)).log_prob(jnp.zeros(2)))
        -1.837877
    """
    loc, scale = jnp.broadcast_arrays(_full_precision(loc), _full_precision(scale))
    return distrax.Independent(distrax.Normal(loc, scale), reinterpreted_batch_ndims=loc.ndim)


def is_normal_diag(distribution: Any) -> bool:
    """Whether a distribution is a diagonal Gaussian as `normal_diag` builds it."""
    return isinstance(distribution, distrax.Independent) and isinstance(distribution.distribution, distrax.Normal)


def location_and_scale(distribution: distrax.Independent) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and the standard deviation [dim] of a `normal_diag`."""
    normal = distribution.distribution
    assert isinstance(normal, distrax.Normal)
    return normal.loc, normal.scale


def normalize_posterior(distribution: Any) -> distrax.Distribution:
    """Brings what an encoder gives back into the form that the closed-form KL and the fast mixture know.

    Args:
        distribution: a distrax or TFP distribution over one z [dim].

    Returns:
        `normal_diag` for a diagonal Gaussian of any spelling, anything else as a distrax distribution.

    Raises:
        TypeError: the encoder gave back something that is not a distribution.
        ValueError: the distribution is not over one vector.
    """
    name = type(distribution).__name__
    if not hasattr(distribution, "log_prob"):
        raise TypeError(
            f"Expected the encoder to give back a distrax distribution q(z|x); got {name}. "
            "Return for instance `vp.normal_diag(loc, scale)`."
        )
    if name == "MultivariateNormalDiag" or (
        name == "Independent" and type(distribution.distribution).__name__ == "Normal"
    ):
        distribution = normal_diag(distribution.mean(), distribution.stddev())
    distribution = distrax.as_distribution(distribution)
    if len(distribution.event_shape) != 1 or distribution.batch_shape != ():
        raise ValueError(
            "Expected a posterior over one vector, with batch_shape () and event_shape (dim,); got batch_shape "
            f"{distribution.batch_shape} and event_shape {distribution.event_shape} from {name}. Encode one example at "
            "a time, and return `vp.normal_diag(loc, scale)` rather than a distrax.Normal."
        )
    return distribution


@jax.custom_jvp
def _softplus(v: jax.Array) -> jax.Array:
    """log(1 + e^v) for finite v; the care that jax.nn.softplus takes of others costs a fifth of a decoder's time."""
    return jnp.maximum(v, 0) + jnp.log1p(jnp.exp(-jnp.abs(v)))


_softplus.defjvps(lambda tangent, _, v: tangent * jax.nn.sigmoid(v))


class Bernoulli(distrax.Distribution):
    """Independent Bernoulli variables over one array; see `bernoulli`."""

    def __init__(self, logits: jax.Array):
        """Takes the logits of probability one."""
        self.logits = _full_precision(logits)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the logits."""
        return self.logits.shape

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats, finite gradients at every logit."""
        against = (1 - 2 * value).astype(self.logits.dtype) * self.logits
        nats = _softplus(against)
        # One flat axis to sum is faster than [28, 28].
        return -jnp.sum(nats.reshape(*nats.shape[: nats.ndim - self.logits.ndim], -1), axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        uniform = jax.random.uniform(key, (n, *self.event_shape), self.logits.dtype)
        return (uniform < jax.nn.sigmoid(self.logits)).astype(self.logits.dtype)

    def mean(self) -> jax.Array:
        """Probability of one."""
        return jax.nn.sigmoid(self.logits)

    def variance(self) -> jax.Array:
        """Variance of each variable."""
        return jax.nn.sigmoid(self.logits) * jax.nn.sigmoid(-self.logits)

    @staticmethod
    def check_support(x: Any) -> None:
        """Raises ValueError for data that are not zeros and ones."""
        values = np.asarray(x)
        if not np.isin(values, (0, 1)).all():
            wrong = values[~np.isin(values, (0, 1))].flat[0]
            raise ValueError(
                f"Expected zeros and ones as data of a Bernoulli likelihood; got {wrong!s} among values from "
                f"{values.min()} to {values.max()}. Grey values in [0, 1] can be binarised while training, with "
                "`transform=vp.binarize`; or use a likelihood for them, such as `vp.normal_diag`."
            )


def bernoulli(logits: jax.Array) -> Bernoulli:
    r"""Independent Bernoulli variables over one array, stable at any logit.

    $\log p(x) = -\sum_i \mathrm{softplus}((1 - 2 x_i)\, l_i)$ for $x_i \in \{0, 1\}$ with logits $l_i$.

    Args:
        logits: $l$ [...], of any magnitude.

    Returns:
        A distrax distribution whose event has the shape of `logits`; log-probabilities in nats.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.bernoulli(jnp.array([0.0, 1e4])).log_prob(jnp.array([1.0, 1.0])))
        -0.6931472
    """
    return Bernoulli(logits)


class Mixture(distrax.Distribution):
    r"""A mixture $p(z) = \sum_k w_k\, p_k(z)$ of distributions over one vector.

    The density is the exact log-sum-exp over components of the joint log-density of all dimensions (a sum over
    dimensions of 1-D mixtures would be another distribution). Sampling draws a component by its weight, then from it.
    """

    def __init__(
        self,
        log_weights: jax.Array,
        parameters: Any,
        component: Callable[[Any], distrax.Distribution],
    ):
        """Takes the parts of a mixture.

        Args:
            log_weights: normalised log-weights [K]; minus infinity for a component that is switched off.
            parameters: arrays with a leading axis of K.
            component: gives a component's distribution from one slice of `parameters`.
        """
        self.log_weights = log_weights
        self.parameters = parameters
        self._component = component

    @property
    def num_components(self) -> int:
        """Number of components K."""
        return self.log_weights.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one z."""
        first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self.parameters)
        sample = jax.eval_shape(lambda slice_: self._component(slice_).sample(seed=jax.random.key(0)), first)
        return sample.shape

    def component_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each component at z [..., dim]: [..., K]."""

        def one(value: jax.Array) -> jax.Array:
            return jax.vmap(lambda slice_: self._component(slice_).log_prob(value))(self.parameters)

        return over_leading_axes(one, value, event_ndims=len(self.event_shape))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        return jax.nn.logsumexp(self.log_weights + self.component_log_prob(value), axis=-1)

    def responsibilities(self, value: jax.Array) -> jax.Array:
        """Posterior probability of each component given z [..., dim]: [..., K]."""
        return jax.nn.softmax(self.log_weights + self.component_log_prob(value), axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_component, key_value = jax.random.split(key)
        chosen = self._choose(key_component, n)
        slices = jax.tree.map(lambda leaf: leaf[chosen], self.parameters)
        return jax.vmap(lambda key, slice_: self._component(slice_).sample(seed=key))(
            jax.random.split(key_value, n), slices
        )

    def _choose(self, key: jax.Array, n: int) -> jax.Array:
        """Draws n components by weight; by inversion, since Gumbel noise would be [n, K]."""
        return jax.random.choice(key, self.num_components, (n,), p=jnp.exp(self.log_weights))

    def with_log_weights(self, log_weights: jax.Array) -> "Mixture":
        """The same components with other log-weights [K]."""
        return Mixture(log_weights, self.parameters, self._component)

    def component_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each component, [K, dim] both."""

        def moments(slice_: Any) -> tuple[jax.Array, jax.Array]:
            component = self._component(slice_)
            return component.mean(), component.variance()

        return jax.vmap(moments)(self.parameters)

    def mean(self) -> jax.Array:
        """Mean [dim]."""
        means, _ = self.component_moments()
        return jnp.einsum("k,k...->...", jnp.exp(self.log_weights), means, precision=Precision.HIGHEST)

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim]: within the components and between them."""
        means, variances = self.component_moments()
        spread = variances + (means - self.mean()) ** 2
        return jnp.einsum("k,k...->...", jnp.exp(self.log_weights), spread, precision=Precision.HIGHEST)


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


class FullMixture(Mixture):
    r"""$p(z) = \sum_k w_k\, \mathcal{N}(z; \mu_k, L_k L_k^\top)$."""

    def __init__(self, log_weights: jax.Array, loc: jax.Array, scale_tril: jax.Array):
        """Takes log-weights [K], means [K, dim] and lower Cholesky factors [K, dim, dim]."""
        super().__init__(log_weights, (loc, scale_tril), lambda slice_: distrax.MultivariateNormalTri(*slice_))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.parameters[0].shape[1:]

    def component_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each component at z [..., dim]: [..., K]."""

        def one(loc: jax.Array, scale_tril: jax.Array) -> jax.Array:
            # Solves L u = z - mu for all points at once: [dim, ...] on the right.
            centred = jnp.moveaxis(value - loc, -1, 0)
            flat = jax.scipy.linalg.solve_triangular(scale_tril, centred.reshape(loc.shape[-1], -1), lower=True)
            square = jnp.sum(flat**2, axis=0).reshape(centred.shape[1:])
            return -0.5 * (square + loc.shape[-1] * LOG_2PI) - jnp.sum(jnp.log(jnp.diagonal(scale_tril)))

        return jax.vmap(one, out_axes=-1)(*self.parameters)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        loc, scale_tril = self.parameters
        key_component, key_value = jax.random.split(key)
        chosen = self._choose(key_component, n)
        noise = jax.random.normal(key_value, (n, loc.shape[-1]), loc.dtype)
        return loc[chosen] + jnp.einsum("nij,nj->ni", scale_tril[chosen], noise, precision=Precision.HIGHEST)

    def with_log_weights(self, log_weights: jax.Array) -> "FullMixture":
        """The same components with other log-weights [K]."""
        return FullMixture(log_weights, *self.parameters)

    def component_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each component, [K, dim] both."""
        loc, scale_tril = self.parameters
        return loc, jnp.sum(scale_tril**2, axis=-1)


def over_leading_axes(function: Callable[[jax.Array], Any], value: jax.Array, event_ndims: int = 1) -> Any:
    """Maps a function of one event over all leading axes."""
    for _ in range(value.ndim - event_ndims):
        function = jax.vmap(function)
    return function(value)
