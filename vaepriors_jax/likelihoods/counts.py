"""Poisson and negative binomial counts, with an exposure."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vaepriors_jax.distributions.numerics import full_precision, full_precision_as, on_support
from vaepriors_jax.likelihoods.count_functions import negative_binomial_log_prob, poisson_log_prob
from vaepriors_jax.likelihoods.pixelwise import Pixelwise

# Means and inverse dispersions are clipped to these ranges, in which densities and gradients are finite in float32.
SMALLEST_MEAN, LARGEST_MEAN = 1e-20, 1e20
SMALLEST_INVERSE_DISPERSION, LARGEST_INVERSE_DISPERSION = 1e-10, 1e10


class Counts(Pixelwise):
    """Independent counts over one array, whose mean is `mean_count`."""

    mean_count: jax.Array

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the means."""
        return self.mean_count.shape

    def mean(self) -> jax.Array:
        """Mean of each count."""
        return self.mean_count

    @staticmethod
    def check_support(x: Any) -> None:
        """Raises ValueError for data that are not counts."""
        values = np.asarray(x)
        if np.issubdtype(values.dtype, np.integer):
            wrong = values < 0
        else:
            wide = values.astype(np.float64)
            wrong = ~((wide >= 0) & (wide == np.round(wide)))
        if wrong.any():
            raise ValueError(
                f"Expected counts 0, 1, 2, ... as data of a likelihood of counts; got {values[wrong].flat[0]!s} among "
                f"values from {values.min()} to {values.max()}. Pass raw counts, neither normalised nor in logarithms, "
                "and give the size of an example, such as its total count, as `exposure=`."
            )


class Poisson(Counts):
    """Independent Poisson counts over one array; see `poisson`."""

    def __init__(self, rate: jax.Array, exposure: jax.Array | float = 1.0):
        """Takes the rate for one unit of exposure, and the exposure."""
        rate, exposure = jnp.broadcast_arrays(full_precision(rate), full_precision(jnp.asarray(exposure)))
        self.mean_count = jnp.clip(rate * exposure, SMALLEST_MEAN, LARGEST_MEAN)

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each count."""
        return _of_counts(poisson_log_prob, value, self.mean_count)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return _draw_poisson(key, jnp.broadcast_to(self.mean_count, (n, *self.event_shape)))

    def variance(self) -> jax.Array:
        """Variance of each count, which is its mean."""
        return self.mean_count


class NegativeBinomial(Counts):
    """Independent negative binomial counts over one array; see `negative_binomial`."""

    def __init__(self, mean: jax.Array, inverse_dispersion: jax.Array | float, exposure: jax.Array | float = 1.0):
        """Takes the mean for one unit of exposure, the inverse dispersion and the exposure."""
        arrays = (full_precision(jnp.asarray(array)) for array in (mean, inverse_dispersion, exposure))
        mean, theta, exposure = jnp.broadcast_arrays(*arrays)
        self.mean_count = jnp.clip(mean * exposure, SMALLEST_MEAN, LARGEST_MEAN)
        self.inverse_dispersion = jnp.clip(theta, SMALLEST_INVERSE_DISPERSION, LARGEST_INVERSE_DISPERSION)

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each count."""
        return _of_counts(negative_binomial_log_prob, value, self.mean_count, self.inverse_dispersion)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_gamma, key_count = jax.random.split(key)
        theta, shape = self.inverse_dispersion, (n, *self.event_shape)
        gamma = jax.random.gamma(key_gamma, theta, shape, theta.dtype)
        return _draw_poisson(key_count, gamma / theta * self.mean_count)

    def variance(self) -> jax.Array:
        r"""Variance of each count, $m + m^2 / \theta$."""
        return self.mean_count + self.mean_count**2 / self.inverse_dispersion


def _same_type(value: Any, *parameters: jax.Array) -> tuple[jax.Array, ...]:
    """The count and the parameters in one floating-point type and one shape."""
    dtype = jnp.result_type(*parameters)
    value = full_precision_as(value, dtype).astype(dtype)
    return tuple(jnp.broadcast_arrays(value, *(parameter.astype(dtype) for parameter in parameters)))


def _of_counts(log_prob: Callable[..., jax.Array], value: Any, *parameters: jax.Array) -> jax.Array:
    """The log-probability of counts, and of values that are none."""
    value, *same_type = _same_type(value, *parameters)
    is_count = (value >= 0) & (value == jnp.round(value)) & jnp.isfinite(value)
    return on_support(is_count, log_prob(jnp.where(is_count, value, 0), *same_type), value)


def _draw_poisson(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Poisson counts in the type of the mean. Above 1e8, where JAX's sampler ends, they are Gaussian, rounded."""
    key_small, key_large = jax.random.split(key)
    small = jax.random.poisson(key_small, jnp.minimum(mean, 1e8)).astype(mean.dtype)
    large = jnp.round(mean + jnp.sqrt(mean) * jax.random.normal(key_large, mean.shape, mean.dtype))
    return jnp.where(mean > 1e8, large, small)


def _check_not_negative(**values: Any) -> None:
    """Raises ValueError for a parameter that is negative or NaN, where its values are known."""
    for name, value in values.items():
        if isinstance(value, Tracer) or (isinstance(value, jax.Array) and not value.is_fully_addressable):
            continue
        array = np.asarray(value)
        if not (array >= 0).all():
            raise ValueError(
                f"Expected `{name}` >= 0; got values from {array.min()} to {array.max()}. Make the output of a network "
                "positive, such as by `jnp.exp` or `jax.nn.softplus`."
            )


def poisson(rate: jax.Array, exposure: jax.Array | float = 1.0) -> Poisson:
    r"""Independent Poisson counts over one array, $p(x_i) = m_i^{x_i} e^{-m_i} / x_i!$ with $m_i = e\, r_i$.

    Args:
        rate: $r \ge 0$ [...], the mean for one unit of exposure.
        exposure: $e \ge 0$, a scalar or of a shape that broadcasts, such as the total count (library size) of a cell or
            the length of an observation. It is context of the decoder.

    Returns:
        A distrax distribution over counts in floats or integers of any size; log-probabilities in nats. Means outside
        [1e-20, 1e20] are clipped, so that a rate of 0, as by underflow, costs 46 nats a count.

    Raises:
        ValueError: a negative argument (where its values are known).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.poisson(jnp.array([0.1, 0.2]), exposure=10.0)
        >>> print(f"{likelihood.log_prob(jnp.array([1, 2])):.4f}")  # log(e^-1) + log(2 e^-2)
        -2.3069
    """
    _check_not_negative(rate=rate, exposure=exposure)
    return Poisson(rate, exposure)


def negative_binomial(
    mean: jax.Array, inverse_dispersion: jax.Array | float, exposure: jax.Array | float = 1.0
) -> NegativeBinomial:
    r"""Independent negative binomial counts over one array: Poisson counts whose rate is gamma distributed.

    $p(x_i) = \frac{\Gamma(x_i + \theta_i)}{\Gamma(\theta_i)\, x_i!} \left(\frac{\theta_i}{\theta_i + m_i}\right)^
    {\theta_i} \left(\frac{m_i}{\theta_i + m_i}\right)^{x_i}$ with $m_i = e\, \mu_i$. The mean is $m$ and the variance
    $m + m^2 / \theta$. The convention is that of scVI, whose theta is the inverse dispersion; the dispersion of
    DESeq2 and edgeR is $1 / \theta$. SciPy's n is $\theta$, and its p is $\theta / (\theta + m)$.

    Args:
        mean: $\mu \ge 0$ [...], the mean for one unit of exposure, such as the proportion of a gene.
        inverse_dispersion: $\theta > 0$ [...], often one for each gene; for large ones the counts are Poisson.
        exposure: $e \ge 0$, a scalar or of a shape that broadcasts, such as the total count (library size) of a cell.
            It is context of the decoder. The three arguments broadcast.

    Returns:
        A distrax distribution over counts in floats or integers of any size; log-probabilities in nats. Means outside
        [1e-20, 1e20] and inverse dispersions outside [1e-10, 1e10] are clipped.

    Raises:
        ValueError: a negative argument (where its values are known).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.negative_binomial(jnp.array([0.25, 0.75]), inverse_dispersion=1.0, exposure=4.0)
        >>> print(f"{likelihood.prob(jnp.array([0, 3])):.4f}")  # 1/2 times 27/256
        0.0527

    References:
        Lopez et al. (2018), Deep generative modeling for single-cell transcriptomics.
    """
    _check_not_negative(mean=mean, inverse_dispersion=inverse_dispersion, exposure=exposure)
    return NegativeBinomial(mean, inverse_dispersion, exposure)
