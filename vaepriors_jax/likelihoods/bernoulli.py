"""Independent Bernoulli variables, for binary data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.distributions.numerics import full_precision, full_precision_as, on_support
from vaepriors_jax.likelihoods.pixelwise import Pixelwise


@jax.custom_jvp
def _softplus(v: jax.Array) -> jax.Array:
    """log(1 + e^v) for finite v; `jax.nn.softplus` also handles infinities, at a fifth of a decoder's time."""
    return jnp.maximum(v, 0) + jnp.log1p(jnp.exp(-jnp.abs(v)))


_softplus.defjvps(lambda tangent, _, v: tangent * jax.nn.sigmoid(v))


class Bernoulli(Pixelwise):
    """Independent Bernoulli variables over one array; see `bernoulli`."""

    def __init__(self, logits: jax.Array):
        """Takes the logits of probability one."""
        self.logits = full_precision(logits)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the logits."""
        return self.logits.shape

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each variable; gradients are finite for every logit."""
        return -self._costs(value)

    def _costs(self, value: jax.Array) -> jax.Array:
        value = full_precision_as(value, self.logits.dtype).astype(self.logits.dtype)
        is_binary = (value == 0) | (value == 1)
        against = (1 - 2 * jnp.where(is_binary, value, 0)) * self.logits
        return -on_support(is_binary, -_softplus(against), value)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats at x [..., *event_shape]: [...]; gradients are finite for every logit."""
        nats = self._costs(value)
        # Summing one flat axis is faster than summing [28, 28].
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
                f"{values.min()} to {values.max()}. Binarise grey values in [0, 1] during training with "
                "`transform=vp.binarize`, or use a likelihood for grey values, such as `vp.normal_diag`."
            )


def bernoulli(logits: jax.Array) -> Bernoulli:
    r"""Independent Bernoulli variables over one array, stable at any logit.

    $\log p(x) = -\sum_i \mathrm{softplus}((1 - 2 x_i)\, l_i)$ for $x_i \in \{0, 1\}$ with logits $l_i$; other values
    have probability 0.

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
