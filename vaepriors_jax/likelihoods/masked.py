"""A likelihood of the observed entries of x alone, for data with missing values."""

from collections.abc import Mapping
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vaepriors_jax.checks import check_event
from vaepriors_jax.likelihoods.entries import Entries
from vaepriors_jax.likelihoods.joint import Joint, joint


class Masked(distrax.Distribution):
    """A likelihood over one array, of which some entries are missing; see `masked`."""

    def __init__(self, likelihood: Any, mask: jax.Array):
        """Takes the likelihood of all entries, and which of them are observed."""
        self.likelihood = likelihood
        self._entries = Entries(likelihood)
        self._mask = _check_mask(mask, self._entries)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return self._entries.event_shape

    @property
    def observed(self) -> jax.Array:
        """Which entries of x are observed [*event_shape]."""
        return self._entries.over_x(self._mask)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of the observed entries of x [..., *event_shape]: [...]."""
        value = jnp.asarray(value)
        check_event(value, self.event_shape)
        # Missing entries have a value inside the support: gradients through the other branch of `where` are finite.
        value = jnp.where(self.observed, value, self._entries.inside().astype(value.dtype))
        nats = jnp.where(self._mask, self._entries.log_prob(value), 0)
        return jnp.sum(nats, axis=tuple(range(-self._mask.ndim, 0)))

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return self.likelihood.sample(seed=key, sample_shape=n)

    def mean(self) -> jax.Array:
        """Mean of all entries, the missing ones too."""
        return self.likelihood.mean()

    def variance(self) -> jax.Array:
        """Variance of all entries, the missing ones too."""
        return self.likelihood.variance()

    def check_support(self, x: Any) -> None:
        """Raises ValueError as the likelihood does."""
        if hasattr(self.likelihood, "check_support"):
            self.likelihood.check_support(x)


def masked(likelihood: Any, mask: Any) -> Masked | Joint:
    r"""The likelihood of the observed entries alone, $\log p(x_o|z) = \sum_i m_i \log p(x_i|z)$.

    Entries of x that are not observed may hold anything, NaN too: neither values nor gradients depend on them. The mask
    travels in the batch, `{"x": x, "mask": ~np.isnan(x)}`, and the decoder reads it: `decoder_context=("mask",)`. The
    encoder gets x as it is. It has to fill the missing entries, as by `jnp.where(mask, x, 0.0)`. Samples and means are
    those of all entries, so that `generate` with a mask of ones gives complete examples, and means at the z of an
    example impute its missing values.

    Args:
        likelihood: a likelihood of independent entries: one of this library, such as `vp.bernoulli(logits)`, a distrax
            or TFP Independent, or a distribution with a batch shape, such as `distrax.Normal(loc, scale)`. Or a
            `joint`, with a dict of masks.
        mask: True or 1 where an entry is observed, of the shape of the entries or one that broadcasts. For a `joint` a
            dict of masks; parts that it does not name are observed.

    Returns:
        A distrax distribution over the whole of x; log-densities in nats.

    Raises:
        TypeError: a likelihood whose entries are not independent, or a mask that is neither boolean nor a number.
        ValueError: a mask of another shape, or of other numbers.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> x = jnp.array([0.0, jnp.nan, 0.0])
        >>> likelihood = vp.masked(vp.normal_diag(jnp.zeros(3), jnp.ones(3)), ~jnp.isnan(x))
        >>> print(likelihood.log_prob(x))
        -1.837877

    References:
        Nazabal et al. (2020), Handling incomplete heterogeneous data using VAEs, eq. 4; Mattei & Frellsen (2019),
        MIWAE.
    """
    if isinstance(likelihood, distrax.Joint):
        return _masked_joint(likelihood, mask)
    return Masked(likelihood, mask)


def _masked_joint(likelihood: distrax.Joint, mask: Any) -> Joint:
    parts = likelihood.distributions
    if not isinstance(mask, Mapping) or set(mask) - set(parts):
        got = sorted(mask) if isinstance(mask, Mapping) else type(mask).__name__
        raise ValueError(f"Expected a dict of masks, one for each of {sorted(parts)} or for some of them; got {got}.")
    return joint({name: masked(part, mask[name]) if name in mask else part for name, part in parts.items()})


def _check_mask(mask: Any, entries: Entries) -> jax.Array:
    array = jnp.asarray(mask)
    if not (array.dtype == bool or jnp.issubdtype(array.dtype, jnp.number)):
        raise TypeError(f"Expected a mask of booleans, or of zeros and ones; got dtype {array.dtype}.")
    if not isinstance(array, Tracer) and not all(number in (0, 1) for number in np.unique(array)):
        raise ValueError("Expected a mask of zeros and ones; got other numbers. Compare it with a threshold first.")
    try:
        return jnp.broadcast_to(array.astype(bool), entries.shape)
    except ValueError:
        raise ValueError(
            f"Expected a mask of the shape {list(entries.shape)} of the entries, or one that broadcasts to it; got "
            f"{list(array.shape)}."
        ) from None
