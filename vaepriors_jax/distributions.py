"""Distrax distributions: small builders that are safe under `vmap`.

Every distribution here has an empty batch shape: it is a distribution over one example, and `vmap` makes the batch.
"""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from tensorflow_probability.substrates.jax import distributions as tfd

from vaepriors_jax.checks import check_event
from vaepriors_jax.spellings import diagonal_gaussian, full_gaussian

LOG_2PI = float(np.log(2.0 * np.pi))


def _full_precision(array: Any) -> jax.Array:
    """At least float32: networks may compute in bfloat16, but a log-density is a sum over all pixels.

    Integers and booleans become floating numbers first: the difference of two uint8 wraps around.
    """
    if not isinstance(array, jax.Array):
        array = np.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return jnp.asarray(array.astype(jnp.result_type(float)))
    return jnp.asarray(array.astype(jnp.float32) if jnp.finfo(array.dtype).bits < 32 else array)


def full_precision_as(value: Any, dtype: Any) -> jax.Array:
    """A value of any real dtype beside parameters of `dtype`: integers and half precision take that dtype."""
    if isinstance(value, (bool, int, float)):
        return jnp.asarray(value, dtype)
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
    is_wide = jnp.issubdtype(value.dtype, jnp.floating) and jnp.finfo(value.dtype).bits >= 32
    return jnp.asarray(value if is_wide else value.astype(dtype))


class NormalDiag(distrax.Independent):
    """Diagonal Gaussian over one array; see `normal_diag`."""

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at [..., *event_shape]: [...]."""
        check_event(value, self.event_shape)
        return super().log_prob(full_precision_as(value, self.distribution.loc.dtype))


def normal_diag(loc: jax.Array, scale: jax.Array) -> NormalDiag:
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
    return NormalDiag(distrax.Normal(loc, scale), reinterpreted_batch_ndims=loc.ndim)


def is_normal_diag(distribution: Any) -> bool:
    """Whether a distribution is a diagonal Gaussian as `normal_diag` builds it."""
    if type(distribution) not in (NormalDiag, distrax.Independent):
        return False
    return type(distribution.distribution) in (distrax.Normal, distrax.LogStddevNormal)


def location_and_scale(distribution: distrax.Independent) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and the standard deviation [dim] of a `normal_diag`."""
    normal = distribution.distribution
    assert isinstance(normal, distrax.Normal)
    return normal.loc, normal.scale


def normalize(distribution: Any) -> distrax.Distribution:
    """Brings a distribution over one vector into the form that the closed-form KL and the fast mixture know.

    Args:
        distribution: a distrax or TFP distribution, of any batch shape.

    Returns:
        `NormalDiag` for a diagonal Gaussian of any spelling, `distrax.MultivariateNormalTri` for a Gaussian of TFP with
        a full covariance, anything else as a distrax distribution.
    """
    if type(distribution) is NormalDiag:
        return distribution
    if len(distribution.event_shape) == 1:
        if diagonal := diagonal_gaussian(distribution):
            loc, scale = jnp.broadcast_arrays(*map(_full_precision, diagonal))
            return NormalDiag(distrax.Normal(loc, scale), reinterpreted_batch_ndims=1)
        if isinstance(distribution, tfd.Distribution) and (full := full_gaussian(distribution)):
            return distrax.MultivariateNormalTri(*map(_full_precision, full))
    return distrax.as_distribution(distribution)


def normalize_posterior(distribution: Any, giver: str = "encoder") -> distrax.Distribution:
    """Brings what an encoder or a prior gives back into the form that the closed-form KL and the fast mixture know.

    Args:
        distribution: a distrax or TFP distribution over one z [dim].
        giver: who gave it back, for the errors.

    Returns:
        See `normalize`.

    Raises:
        TypeError: the encoder gave back something that is not a distribution.
        ValueError: the distribution is not over one vector.
    """
    name = type(distribution).__name__
    if not hasattr(distribution, "log_prob"):
        raise TypeError(
            f"Expected the {giver} to give back a distrax distribution over z; got {name}. "
            "Return for instance `vp.normal_diag(loc, scale)`."
        )
    if len(distribution.event_shape) != 1 or tuple(distribution.batch_shape) != ():
        raise ValueError(
            f"Expected the {giver} to give back a distribution over one vector, with batch_shape () and event_shape "
            f"(dim,); got batch_shape {tuple(distribution.batch_shape)} and event_shape "
            f"{tuple(distribution.event_shape)} from {name}. Take one example at a time, and return "
            "`vp.normal_diag(loc, scale)` rather than a distrax.Normal."
        )
    return normalize(distribution)


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
        value = full_precision_as(value, self.logits.dtype).astype(self.logits.dtype)
        against = (1 - 2 * value) * self.logits
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
        is_right = (values == 0) | (values == 1)
        if not is_right.all():
            wrong = values[~is_right].flat[0]
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


def log_sum_exp(values: jax.Array) -> jax.Array:
    """Log-sum-exp over the last axis, whose derivatives are 0 rather than NaN where every value is minus infinity."""
    highest = jax.lax.stop_gradient(jnp.max(values, axis=-1, keepdims=True))
    highest = jnp.where(jnp.isneginf(highest), 0, highest)
    total = jnp.sum(jnp.exp(values - highest), axis=-1)
    is_nothing = total == 0
    return jnp.where(is_nothing, -jnp.inf, jnp.log(jnp.where(is_nothing, 1, total)) + highest[..., 0])


def over_leading_axes(function: Callable[[jax.Array], Any], value: jax.Array, event_ndims: int = 1) -> Any:
    """Maps a function of one event over all leading axes."""
    for _ in range(value.ndim - event_ndims):
        function = jax.vmap(function)
    return function(value)
