"""A row for every likelihood, against scipy, with values at the ends of the data and at ties."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from hypothesis import strategies as st

import vaepriors_jax as vp
from tests.likelihoods.test_likelihoods import logistic_log_probs
from tests.properties.row import Row, arrays, numbers

TOP = 255
LEVELS = st.one_of(st.sampled_from([0, 1, 127, 128, 254, 255]), st.integers(0, TOP))
# Edges of bins, levels themselves, and both ends.
LOCATIONS = (0.0, 1.0, 0.5 / TOP, 254.5 / TOP, 128 / TOP, 1.5)
ZERO_OR_ONE = arrays((2,), 1.0, 0.0, 1.0).map(np.round).map(np.abs)


def as_level(levels: st.SearchStrategy[int], top: int = TOP) -> st.SearchStrategy[np.ndarray]:
    return levels.map(lambda k: np.array([k / top], np.float32))


def index(x: Any, top: int = TOP) -> int:
    return int(np.rint(x[0] * top))


def bernoulli() -> Row:
    return Row(
        "bernoulli",
        lambda logits, x: vp.bernoulli(logits).log_prob(jnp.round(x)),  # beside 0 and 1 the probability is 0
        st.tuples(arrays((2,), 20.0, 0.0, -0.0, 1e3, -1e3), ZERO_OR_ONE),
        lambda logits, x: scipy.special.log_expit((2 * x - 1) * logits).sum(),
    )


def normal_diag() -> Row:
    @st.composite
    def arguments(draw: Any) -> Any:
        loc, log_scale = draw(arrays((2,), 5.0, 0.0, 1.0)), draw(arrays((2,), 3.0, 0.0))
        return {"loc": loc, "log_scale": log_scale}, draw(st.sampled_from([loc, draw(arrays((2,), 8.0, 0.0, 1.0))]))

    return Row(
        "normal_diag",
        lambda p, x: vp.normal_diag(p["loc"], jnp.exp(p["log_scale"])).log_prob(x),
        arguments(),
        lambda p, x: scipy.stats.norm.logpdf(x, p["loc"], np.exp(p["log_scale"])).sum(),
    )


def continuous_bernoulli() -> Row:
    def of_pixel(logit: float, value: float) -> float:
        if abs(logit) < 1e-6:  # there the density is 1 + l (x - 1/2) to 1e-13
            return logit * (value - 0.5)
        below = scipy.stats.truncexpon(abs(logit), scale=1 / abs(logit))
        return below.logpdf(np.clip(1 - value if logit > 0 else value, *below.support()))

    def reference(logits: Any, x: Any) -> float:
        return sum(of_pixel(*pixel) for pixel in zip(logits, x, strict=True))

    switches = (0.0, -0.0, 0.5, -0.5, 0.49999997, 1e-30, -1e-30, 1e-3, 40.0, -40.0)
    return Row(
        "continuous_bernoulli",
        lambda logits, x: vp.continuous_bernoulli(logits).log_prob(jnp.clip(x, 0, 1)),
        st.tuples(arrays((2,), 20.0, *switches), arrays((2,), 1.0, 0.0, 1.0, 0.5).map(np.abs)),
        reference,
    )


def student_t() -> Row:
    @st.composite
    def arguments(draw: Any) -> Any:
        df = draw(st.one_of(st.sampled_from([16.0, 15.999999, 1.0, 2.0, 1e4, 0.125]), st.floats(0.125, 1e3, width=32)))
        loc, log_scale = draw(numbers(5.0, 0.0, 1.0)), draw(numbers(3.0, 0.0))
        # At the location, and where the formula in x switches.
        distance = draw(st.sampled_from([0.0, np.sqrt(0.1 * df), -np.sqrt(0.1 * df), draw(numbers(50.0, 1.0))]))
        params = {name: np.array([v], np.float32) for name, v in zip(("df", "loc"), (df, loc), strict=True)}
        params["log_scale"] = np.array([log_scale], np.float32)
        return params, np.array([loc + np.exp(log_scale) * distance], np.float32)

    return Row(
        "student_t",
        lambda p, x: vp.student_t(p["df"], p["loc"], jnp.exp(p["log_scale"])).log_prob(x),
        arguments(),
        lambda p, x: scipy.stats.t.logpdf(x, p["df"], p["loc"], np.exp(p["log_scale"])).sum(),
    )


def discretized_logistic() -> Row:
    def reference(p: Any, x: Any) -> float | None:
        return _if_finite(logistic_log_probs(p["loc"][0], np.exp(p["log_scale"][0]))[index(x)])

    params = st.fixed_dictionaries({"loc": arrays((1,), 1.5, *LOCATIONS), "log_scale": arrays((1,), 5.0, 0.0, -5.0)})
    return Row(
        "discretized_logistic",
        lambda p, x: vp.discretized_logistic(p["loc"], jnp.exp(p["log_scale"])).log_prob(x),
        st.tuples(params, as_level(LEVELS)),
        reference,
    )


def _if_finite(log_prob: float) -> float | None:
    """None where a difference of two probabilities in float64 lost digits."""
    return log_prob if log_prob > np.log(1e-6) else None


def discretized_logistic_mixture(num_components: int) -> Row:
    shape = (1, num_components)

    def reference(p: Any, x: Any) -> float | None:
        log_weights = scipy.special.log_softmax(p["logits"][0])
        terms = [
            logistic_log_probs(loc, np.exp(log_scale))[index(x)]
            for loc, log_scale in zip(p["loc"][0], p["log_scale"][0], strict=True)
        ]
        return _if_finite(scipy.special.logsumexp(log_weights + terms))

    params = st.fixed_dictionaries(
        {
            "logits": arrays(shape, 5.0, 0.0, -1e4),
            "loc": arrays(shape, 1.5, *LOCATIONS),
            "log_scale": arrays(shape, 5.0, 0.0, -5.0),
        }
    )
    equal = params.map(lambda p: {name: np.repeat(leaf[:, :1], num_components, axis=1) for name, leaf in p.items()})

    def function(p: Any, x: Any) -> Any:
        return vp.discretized_logistic_mixture(p["logits"], p["loc"], jnp.exp(p["log_scale"])).log_prob(x)

    return Row(
        f"discretized_logistic_mixture_{num_components}",
        function,
        st.tuples(st.one_of(params, equal), as_level(LEVELS)),
        reference,
    )


def categorical_levels(num_levels: int) -> Row:
    top = num_levels - 1
    return Row(
        f"categorical_levels_{num_levels}",
        lambda logits, x: vp.categorical_levels(logits).log_prob(x),
        st.tuples(arrays((1, num_levels), 20.0, 0.0, 1e3, -1e3), as_level(st.integers(0, top), top)),
        lambda logits, x: scipy.special.log_softmax(logits[0])[index(x, top)],
    )


def binomial_levels() -> Row:
    def reference(logits: Any, x: Any) -> float:
        k, gammaln = index(x), scipy.special.gammaln
        log_choices = gammaln(TOP + 1) - gammaln(k + 1) - gammaln(TOP - k + 1)
        return log_choices + k * scipy.special.log_expit(logits[0]) + (TOP - k) * scipy.special.log_expit(-logits[0])

    return Row(
        "binomial_levels",
        lambda logits, x: vp.binomial_levels(logits).log_prob(x),
        st.tuples(arrays((1,), 20.0, 0.0, 1e3, -1e3), as_level(LEVELS)),
        reference,
    )


ROWS = {
    "bernoulli": bernoulli,
    "normal_diag": normal_diag,
    "continuous_bernoulli": continuous_bernoulli,
    "student_t": student_t,
    "discretized_logistic": discretized_logistic,
    "discretized_logistic_mixture_1": partial(discretized_logistic_mixture, 1),
    "discretized_logistic_mixture_3": partial(discretized_logistic_mixture, 3),
    "categorical_levels_2": partial(categorical_levels, 2),
    "categorical_levels_5": partial(categorical_levels, 5),
    "binomial_levels": binomial_levels,
}
