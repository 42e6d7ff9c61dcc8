"""The continuous Bernoulli distribution for each pixel."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.distributions.numerics import full_precision, full_precision_as, on_support
from vaepriors_jax.likelihoods.pixelwise import Pixelwise

# For smaller |logit| the normaliser is a power series, accurate to 1e-11 with its derivatives; else a closed form.
SMALL_LOGIT = 0.5


def _log_ratio(a: jax.Array) -> jax.Array:
    r"""$\log \frac{1 - e^{-a}}{a}$ for $a \ge 0$, with accurate first and second derivatives."""
    small = jnp.where(a < SMALL_LOGIT, a, 0)
    square = small**2
    series = square * (
        1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square * (1 / 9676800 - square / 479001600)))
    )
    large = jnp.where(a < SMALL_LOGIT, 1, a)
    return jnp.where(a < SMALL_LOGIT, series - small / 2, jnp.log(-jnp.expm1(-large)) - jnp.log(large))


def _magnitude(logits: jax.Array) -> jax.Array:
    """Absolute value with gradient -1 at zero, consistent with the branch for negative logits."""
    return jnp.where(logits > 0, logits, -logits)


def _log_normalizer(logits: jax.Array) -> jax.Array:
    r"""$A(l) = \log \int_0^1 e^{l x} dx = \log \frac{e^l - 1}{l}$; its derivatives are mean and variance."""
    return jnp.where(logits > 0, logits, 0) + _log_ratio(_magnitude(logits))


class ContinuousBernoulli(Pixelwise):
    """Independent continuous Bernoulli variables over one array; see `continuous_bernoulli`."""

    def __init__(self, logits: jax.Array):
        """Takes the logits."""
        self.logits = full_precision(logits)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the logits."""
        return self.logits.shape

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each pixel."""
        value = full_precision_as(value, self.logits.dtype)
        inside = (value >= 0) & (value <= 1)
        # l x - A(l), written with the distance of x from the end that the logit favours, so that nothing cancels.
        magnitude = _magnitude(self.logits)
        distance = jnp.where(self.logits > 0, 1 - value, value)
        return on_support(inside, -magnitude * jnp.where(inside, distance, 0) - _log_ratio(magnitude), value)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        uniform = jax.random.uniform(key, (n, *self.event_shape), self.logits.dtype)
        magnitude = jnp.maximum(_magnitude(self.logits), 1e-6)  # avoids 0 / 0; the density is the same
        distance = jnp.clip(-jnp.log1p(uniform * jnp.expm1(-magnitude)) / magnitude, 0, 1)
        return jnp.where(self.logits > 0, 1 - distance, distance)

    def mean(self) -> jax.Array:
        """Mean of each pixel."""
        return _derivative(_log_normalizer)(self.logits)

    def variance(self) -> jax.Array:
        """Variance of each pixel."""
        return _derivative(_derivative(_log_normalizer))(self.logits)

    @staticmethod
    def check_support(x: Any) -> None:
        """Raises ValueError for data outside [0, 1]."""
        values = np.asarray(x)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                "Expected data in [0, 1] for a continuous Bernoulli likelihood; got values from "
                f"{values.min()} to {values.max()}. Scale them to [0, 1] (divide 8-bit images by 255), or use a "
                "likelihood for real values, such as `vp.normal_diag`."
            )


def _derivative(function: Any) -> Any:
    """The derivative of an elementwise function."""
    return jax.grad(lambda array: jnp.sum(function(array)))


def continuous_bernoulli(logits: jax.Array) -> ContinuousBernoulli:
    r"""Independent continuous Bernoulli variables over one array: a density on [0, 1] for grey values.

    $\log p(x) = \sum_i l_i x_i - \log \frac{e^{l_i} - 1}{l_i}$, a Bernoulli's formula with the constant that makes it
    integrate to 1 over [0, 1]. Stable at any logit; at $l = 0$ it is uniform.

    Args:
        logits: $l$ [...], of any magnitude. $\sigma(l)$ is not the mean, $\frac{1}{1 - e^{-l}} - \frac1l$ is.

    Returns:
        A distrax distribution whose event has the shape of `logits`; log-densities in nats, which may be positive.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.continuous_bernoulli(jnp.array([0.0, 1e4]))
        >>> print(likelihood.log_prob(jnp.ones(2)), likelihood.mean())
        9.2103405 [0.5    0.9999]

    References:
        Loaiza-Ganem & Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational
        autoencoders.
    """
    return ContinuousBernoulli(logits)
