"""A likelihood of several parts of x, each with a distribution of its own, for data of mixed types."""

from collections.abc import Mapping
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.conversion import as_likelihood


class Joint(distrax.Joint):
    """Independent parts of x, by name; see `joint`."""

    def log_prob(self, value: Mapping[str, Any]) -> jax.Array:
        """Log-density in nats at a dict of parts."""
        expected = sorted(self.distributions)
        if not isinstance(value, Mapping) or sorted(value) != expected:
            got = sorted(value) if isinstance(value, Mapping) else f"an array of shape {list(jnp.shape(value))}"
            raise ValueError(f"Expected x as a dict of the parts of the joint likelihood, {expected}; got {got}.")
        nats = [part.log_prob(value[name]) for name, part in self.distributions.items()]
        return sum(nats[1:], nats[0])

    def variance(self) -> dict[str, Any]:
        """The variance of each part."""
        return {name: part.variance() for name, part in self.distributions.items()}

    @property
    def observed(self) -> dict[str, Any] | None:
        """Which entries of each part are observed; None if all are."""
        masks = {name: getattr(part, "observed", None) for name, part in self.distributions.items()}
        if all(mask is None for mask in masks.values()):
            return None
        parts = self.distributions
        return {n: jnp.ones(parts[n].event_shape, bool) if m is None else m for n, m in masks.items()}

    def check_support(self, x: Mapping[str, Any]) -> None:
        """Raises ValueError for the first part that is outside its support."""
        for name, part in self.distributions.items():
            check = getattr(part, "check_support", None)
            if check is not None and name in x:
                try:
                    check(x[name])
                except ValueError as error:
                    error.add_note(f"This came from the part `x[{name!r}]`.")
                    raise


def joint(likelihoods: Mapping[str, Any]) -> Joint:
    r"""A likelihood of several independent parts of x, $\log p(x|z) = \sum_j \log p(x_j|z)$.

    The data are a dict, too: `{"x": {"age": age, "sex": sex}}` with arrays [N, ...], and the encoder gets a dict of one
    example. `generate` returns dicts.

    Args:
        likelihoods: a distribution over the whole of each part, by name: of this library, distrax or TFP.

    Returns:
        A `distrax.Joint` over dicts; log-densities in nats.

    Raises:
        TypeError: `likelihoods` is not a dict of distributions.
        ValueError: a distribution with a batch shape.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.joint({
        ...     "age": vp.normal_diag(jnp.array(40.0), jnp.array(1.0)),
        ...     "answers": vp.bernoulli(jnp.zeros(3))})
        >>> x = {"age": jnp.array(40.0), "answers": jnp.array([0.0, 1.0, 1.0])}
        >>> print(f"{likelihood.log_prob(x):.4f}")  # -log(2 pi) / 2 - 3 log(2)
        -2.9984
    """
    if not isinstance(likelihoods, Mapping) or not likelihoods:
        raise TypeError(
            "Expected a dict of distributions, such as `{'age': vp.normal_diag(loc, scale), 'sex': "
            f"vp.bernoulli(logits)}}`; got {type(likelihoods).__name__}."
        )
    parts = {name: as_likelihood(part, f"part {name!r}") for name, part in likelihoods.items()}
    for name, part in parts.items():
        if tuple(part.batch_shape) != ():
            raise ValueError(
                f"Expected one distribution over the whole of x[{name!r}]; got batch_shape {tuple(part.batch_shape)} "
                f"from {type(part).__name__}. Wrap it: `distrax.Independent(distribution)`."
            )
    return Joint(parts)
