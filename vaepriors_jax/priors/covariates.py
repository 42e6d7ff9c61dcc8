"""What an encoder reads beside x, as it is held for each pseudo-input of a `vamp` prior."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_boolean, check_finite, check_labels, check_positive_integer, check_shape
from vaepriors_jax.priors.init_from_data import rows_of_shape


class Covariate(NamedTuple):
    """The covariate of one example: real numbers, integers in [0, num_classes), or booleans.

    Real numbers are parameters as they are. An integer is kept as the signs of its binary digits, a boolean as a sign:
    the gradient with respect to signs is 0, and no positive factor, such as weight decay, changes them. The values then
    stay where they are, whatever the optimiser, and a vocabulary of 50,000 takes 16 floats for each token.
    """

    shape: tuple[int, ...] = ()
    num_classes: int | None = None
    boolean: bool = False

    @property
    def num_digits(self) -> int:
        """The number of binary digits of an integer, at least 1."""
        return max(1, ((self.num_classes or 2) - 1).bit_length())

    def init(self, key: jax.Array, count: int) -> jax.Array:
        """Draws parameters for `count` pseudo-inputs: standard normal numbers, or integers and booleans at random."""
        shape = (count, *self.shape)
        if self.is_real:
            return jax.random.normal(key, shape)
        drawn = jax.random.randint(key, shape, 0, self.num_classes or 2)
        return self.to_parameters(drawn).astype(jax.dtypes.canonicalize_dtype(float))

    @property
    def is_real(self) -> bool:
        """Whether the covariate is learned."""
        return not self.boolean and self.num_classes is None

    def to_parameters(self, values: jax.Array) -> jax.Array:
        """The parameters for values [K, *shape]."""
        if self.is_real:
            return values
        signs = 2 * self._digits(values) - 1
        return signs[..., 0] if self.boolean else signs

    def to_values(self, parameters: jax.Array) -> jax.Array:
        """The values [K, *shape]: real numbers, integers (int32) or booleans."""
        if self.is_real:
            return parameters
        if self.boolean:
            return parameters > 0
        digits = (parameters > 0).astype(jnp.int32)
        values = jnp.sum(digits << jnp.arange(self.num_digits, dtype=jnp.int32), axis=-1, dtype=jnp.int32)
        # Parameters that were moved all the same give a class, too.
        return jnp.minimum(values, jnp.int32((self.num_classes or 2) - 1))

    def of_examples(self, name: str, values: Any) -> np.ndarray:
        """Returns a covariate of examples [N, *shape] as an array of the host; raises ValueError if it is another."""
        array = rows_of_shape(name, values, self.shape)
        if self.num_classes is not None:
            check_labels(array, self.num_classes, name)
        elif self.boolean and not np.isin(array, (0, 1)).all():
            raise ValueError(f"Expected booleans (or zeros and ones) in `{name}`; got other values.")
        check_finite(name, array)
        return array

    def _digits(self, values: jax.Array) -> jax.Array:
        return (values[..., None].astype(jnp.int32) >> jnp.arange(self.num_digits, dtype=jnp.int32)) & 1


def init_covariates(covariates: Mapping[str, Covariate], key: jax.Array, count: int) -> dict[str, jax.Array]:
    """Draws the parameters of all covariates for `count` pseudo-inputs."""
    keys = jax.random.split(key, len(covariates))
    return {name: one.init(key, count) for key, (name, one) in zip(keys, covariates.items(), strict=True)}


def covariate_values(covariates: Mapping[str, Covariate], params: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The values [K, ...] of all covariates in the parameters of a prior."""
    return {name: one.to_values(params["covariates"][name]) for name, one in covariates.items()}


def covariates_of_rows(
    covariates: Mapping[str, Covariate], data: Mapping[str, Any], num_examples: int, rows: np.ndarray
) -> dict[str, jax.Array]:
    """The parameters of all covariates, taken from some rows of the data; raises ValueError if one does not fit."""
    found = {}
    for name, one in covariates.items():
        if data.get(name) is None:
            raise ValueError(f"Expected `{name}=` beside `x=`, to start a `vamp` prior with this covariate; got none.")
        values = one.of_examples(name, data[name])
        if len(values) != num_examples:
            raise ValueError(f"Expected as many `{name}` as examples x; got {len(values)} and {num_examples}.")
        found[name] = one.to_parameters(jnp.asarray(values[rows])).astype(jax.dtypes.canonicalize_dtype(float))
    return found


def check_covariates(name: str, covariates: Any) -> dict[str, Covariate]:
    """Returns what is known of each covariate, or raises ValueError or TypeError."""
    if covariates is None:
        return {}
    if not isinstance(covariates, Mapping):
        raise TypeError(f'Expected `{name}` by name, such as {{"batch": {{"num_classes": 3}}}}; got {covariates!r}.')
    return {entry: _check_covariate(f"{name}[{entry!r}]", entry, given) for entry, given in covariates.items()}


def _check_covariate(place: str, entry: Any, given: Any) -> Covariate:
    if not isinstance(given, Mapping) or set(given) - set(Covariate._fields) or not isinstance(entry, str):
        raise ValueError(
            f"Expected `{place}` as {{'num_classes': 3}} for integers, {{'boolean': True}} for booleans, or {{}} for "
            f"real numbers, with a 'shape' unless it is one value; got {given!r}."
        )
    covariate = Covariate(**given)
    if covariate.shape != ():
        covariate = covariate._replace(
            shape=check_shape(f"{place}['shape']", covariate.shape) if covariate.shape else ()
        )
    check_boolean(**{f"{place}['boolean']": covariate.boolean})
    if covariate.num_classes is not None:
        check_positive_integer(**{f"{place}['num_classes']": covariate.num_classes})
        if covariate.boolean or covariate.num_classes >= 2**31:
            raise ValueError(f"Expected `{place}` as integers below 2^31, or as booleans; got {given!r}.")
    return covariate
