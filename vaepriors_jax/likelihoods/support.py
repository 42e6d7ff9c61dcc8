"""What a likelihood allows as data, for the checks of a data set."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from vaepriors_jax.checks import check_finite
from vaepriors_jax.trees import named_arrays


class Support(NamedTuple):
    """What a likelihood allows as x.

    Attributes:
        check: raises ValueError for values outside the support; None for a likelihood that has no such check.
        observed: returns which entries of the x of a batch are observed; None if the likelihood reads all of them.
    """

    check: Callable[[Any], None] | None
    observed: Callable[[Mapping[str, Any]], Any] | None = None

    @property
    def reads_anything(self) -> bool:
        """Whether any finite x is allowed."""
        return self.check is None and self.observed is None

    def check_finite(self, batch: Mapping[str, Any], suffix: str = "") -> None:
        """Raises ValueError for observed values of x that are NaN or infinite."""
        try:
            for name, value in named_arrays({"x": self._observed_part(batch)}):
                check_finite(name + suffix, value)
        except ValueError as error:
            error.add_note("Missing values may stay NaN where the likelihood leaves them out: see `vp.masked`.")
            raise

    def check_values(self, batch: Mapping[str, Any]) -> None:
        """Raises ValueError for observed values of x that are not finite or outside the support."""
        x = self._observed_part(batch)
        if self.observed is not None:
            Support(None).check_finite({"x": x})
        if self.check is not None:
            self.check(x)

    def _observed_part(self, batch: Mapping[str, Any]) -> Any:
        """The x of a batch, with an observed value in place of those that are not."""
        if self.observed is None:
            return batch["x"]
        masks = self.observed(dict(batch))
        return jax.tree.map(_without_missing, batch["x"], masks)


def _without_missing(x: Any, observed: Any) -> np.ndarray:
    x, observed = np.asarray(x), np.asarray(observed)
    return np.where(observed, x, x[observed][0]) if observed.any() else x[:0]
