"""Rows for mixtures with few and many components, with log-weights of minus infinity."""

from functools import partial
from typing import Any
from unittest import mock

import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from hypothesis import strategies as st

import vaepriors_jax as vp
from tests.properties.row import Row, numbers
from vaepriors_jax.distributions import diagonal_mixture


def row_of(name: str, num_components: int, dim: int, at_once: int = 4096) -> Row:
    @st.composite
    def arguments(draw: Any) -> tuple[Any, np.ndarray]:
        rng = np.random.default_rng(draw(st.integers(0, 20)))
        loc, log_scale = rng.normal(size=(2, num_components, dim)).astype(np.float32)
        log_weights = np.float32(np.log(rng.dirichlet(np.ones(num_components))))
        if draw(st.booleans()):
            loc[:], log_scale[:] = loc[0], log_scale[0]
        off = draw(st.sampled_from([0, 1, at_once, 2 * at_once, num_components]))
        log_weights[: min(off, num_components)] = -np.inf
        own = loc[draw(st.integers(0, num_components - 1))]
        value = [draw(st.one_of(st.just(float(own[i])), numbers(6.0, 0.0))) for i in range(dim)]
        params = {"log_weights": log_weights, "loc": loc, "log_scale": 0.5 * log_scale}
        return params, np.array(value, np.float32)

    def function(params: Any, z: Any) -> Any:
        with mock.patch.object(diagonal_mixture, "MAX_AT_ONCE", at_once):
            mixture = vp.DiagonalMixture(params["log_weights"], params["loc"], jnp.exp(params["log_scale"]))
            return mixture.streamed_log_prob(z) if at_once < num_components else mixture.log_prob(z)

    def reference(params: Any, z: Any) -> float:
        terms = scipy.stats.norm.logpdf(z, params["loc"], np.exp(params["log_scale"])).sum(-1)
        return float(scipy.special.logsumexp(params["log_weights"] + terms))

    return Row(name, function, arguments(), reference, may_be_nothing=True)


ROWS = {
    name: partial(row_of, name, *sizes)
    for name, sizes in {
        "diagonal_mixture_of_one": (1, 1),
        "diagonal_mixture": (3, 2),
        "diagonal_mixture_many_in_2d": (40, 2),
        "diagonal_mixture_fast": (40, 3),
        "diagonal_mixture_streamed": (20, 2, 8),
        "diagonal_mixture_fast_streamed": (90, 3, 40),
    }.items()
}
