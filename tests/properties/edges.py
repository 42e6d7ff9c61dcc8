"""Priors, flows and likelihoods far out: latents to 1e4, scales from 1e-6 to 1e3, one component, one dimension.

A row is a function of parameters and a value, whose numbers and gradients must be finite.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import vaepriors_jax as vp
from tests import cases
from tests.properties.priors import moved
from tests.support.spaces import SIMPLEX

FAR = 1e4
LOG_SCALES = (float(np.log(1e-6)), float(np.log(1e3)))
# The range of a leaf of the parameters, by its name. Other leaves, the weights of networks, are as after training.
RANGES = {
    "log_scale": LOG_SCALES,
    "loc": (-FAR, FAR),
    "logits": (-FAR, FAR),
    "pseudo_inputs": (-FAR, FAR),
    "log_df": (-2.0, 10.0),
    "log_concentration": (-10.0, 10.0),
}
WEIGHT_NOISE = (0.0, 0.1, 0.3)

# At dim = 1, K = 1, one class or one layer.
ONE_OF_EACH = [
    cases.PriorCase("standard_normal_1d", lambda: vp.standard_normal(1)),
    cases.PriorCase("mixture_of_one_1d", lambda: vp.mixture(1, 1)),
    cases.PriorCase("mixture_full_of_one_1d", lambda: vp.mixture(1, 1, covariance="full")),
    cases.PriorCase("mixture_many", lambda: vp.mixture(3, 40)),
    cases.PriorCase("vamp_of_one", lambda: vp.vamp(1, (6,)), {"encode": cases.encode}),
    cases.PriorCase("conditional_normal_1d", lambda: vp.conditional_normal(1, num_classes=1), {"y": 0}),
    cases.PriorCase("conditional_mixture_1d", lambda: vp.conditional_mixture(1, 1, num_classes=1), {"y": 0}),
    cases.PriorCase(
        "conditional_normal_far_vector",
        lambda: vp.conditional_normal(2, condition_dim=2, hidden=(8,)),
        {"y": np.array([FAR, -FAR], np.float32)},
    ),
    cases.PriorCase("marginalize_one", lambda: vp.marginalize(vp.conditional_normal(1, num_classes=1), (1.0,))),
    cases.PriorCase("maf_1d", lambda: vp.transformed(vp.standard_normal(1), vp.masked_autoregressive(1, hidden=(8,)))),
    cases.PriorCase(
        "eight_couplings",
        lambda: vp.transformed(vp.standard_normal(2), vp.repeat(vp.affine_coupling(2, hidden=(8,)), 8)),
    ),
]


class Edge(NamedTuple):
    """A function `function(params, value)`, and how its arguments are drawn.

    Attributes:
        function: gives numbers [n], finite with their gradients.
        start: parameters, whose leaves are stretched over `RANGES`; None for none.
        value: a strategy.
        samples: `samples(params)` gives numbers that must be finite, without gradients.
    """

    function: Callable[[Any, jax.Array], jax.Array]
    start: Any
    value: st.SearchStrategy
    samples: Callable[[Any], Any] = lambda params: ()


def far(*shape: int, limit: float = FAR) -> st.SearchStrategy[np.ndarray]:
    """Arrays of numbers up to a limit: small, ordinary, and the limits themselves."""
    size, exact = int(np.prod(shape)), [0.0, 1.0, 1e-30, -limit, limit]
    number = st.one_of(st.sampled_from(exact), st.floats(-limit, limit, width=32))
    return st.lists(number, min_size=size, max_size=size).map(lambda v: np.asarray(v, np.float32).reshape(shape))


@st.composite
def stretched(draw: Any, start: Any) -> Any:
    """Parameters with each named leaf at one end of its range, at both, within it, or where it starts."""
    params = moved(start, draw(st.sampled_from(WEIGHT_NOISE)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def stretch(path: Any, leaf: np.ndarray) -> np.ndarray:
        name = getattr(path[-1], "key", "")
        if name == "scale_tril":  # rows of a size: off the diagonal it is at most that of the diagonal
            diagonal = _spread(draw, rng, LOG_SCALES, leaf.shape[:-1])
            below = rng.uniform(-1, 1, leaf.shape) * np.exp(diagonal.min(-1))[:, None, None]
            return np.float32(np.tril(below, -1) + diagonal[..., None] * np.eye(leaf.shape[-1]))
        return _spread(draw, rng, RANGES[name], leaf.shape, leaf) if name in RANGES else leaf

    return jax.tree_util.tree_map_with_path(stretch, params)


def _spread(draw: Any, rng: Any, ends: tuple[float, float], shape: Any, start: Any = 0.0) -> np.ndarray:
    low, high = ends
    made = {
        "start": lambda: np.broadcast_to(start, shape),
        "low": lambda: np.full(shape, low),
        "high": lambda: np.full(shape, high),
        "both": lambda: rng.choice(ends, shape),
        "within": lambda: rng.uniform(low, high, shape),
    }
    return np.float32(made[draw(st.sampled_from(list(made)))]())


def prior(case: cases.PriorCase) -> Edge:
    """The density at z, the KL from a posterior around z, and a sample with its density."""
    made = case.make()
    start = jax.jit(made.init)(jax.random.key(1))
    dim = jax.eval_shape(lambda p: made.apply(p, **case.context).sample(seed=jax.random.key(0)), start).shape[0]

    def function(params: Any, z: jax.Array) -> jax.Array:
        p = made.apply(params["prior"], **case.context)
        q = case.space.posterior(z, jnp.exp(params["posterior"]["log_scale"]))
        kl = vp.kl_divergence(q, p, key=jax.random.key(0), num_samples=2)
        return jnp.stack([p.log_prob(z), kl])

    def samples(params: Any) -> Any:
        return made.apply(params["prior"], **case.context).sample_and_log_prob(seed=jax.random.key(0), sample_shape=3)

    # At the ends of the simplex the density is infinite or 0.
    value = far(1, limit=10.0).map(lambda u: np.asarray(SIMPLEX.chart(u))) if case.space is SIMPLEX else far(dim)
    return Edge(function, {"prior": start, "posterior": {"log_scale": np.zeros(dim)}}, value, samples)


def flow(case: cases.FlowCase, direction: str) -> Edge:
    made = case.make()

    def function(params: Any, value: jax.Array) -> jax.Array:
        outputs, log_det = getattr(made.apply(params, **case.context), f"{direction}_and_log_det")(value)
        return jnp.append(outputs, log_det)

    return Edge(function, jax.jit(made.init)(jax.random.key(1)), far(case.dim))


def likelihood(make: Callable[[Any], Any], start: dict[str, Any], value: st.SearchStrategy) -> Edge:
    """The log-probability, and samples with theirs and their mean."""

    def samples(params: Any) -> Any:
        p = make(params)
        return p.sample_and_log_prob(seed=jax.random.key(0), sample_shape=3), p.mean()

    start = jax.tree.map(np.asarray, start)
    return Edge(lambda params, x: make(params).log_prob(x)[None], start, value, samples)


def scale_of(params: Any) -> jax.Array:
    return jnp.exp(params["log_scale"])


ONE, THREE = np.zeros(1), np.zeros((1, 3))
LOCATED = {"loc": ONE, "log_scale": ONE}
LEVEL = st.integers(0, 255).map(lambda k: np.array([k / 255], np.float32))
UNIT = far(1, limit=1.0).map(np.abs)
LIKELIHOODS = {
    "bernoulli": (lambda p: vp.bernoulli(p["logits"]), {"logits": ONE}, UNIT.map(np.round)),
    "continuous_bernoulli": (lambda p: vp.continuous_bernoulli(p["logits"]), {"logits": ONE}, UNIT),
    "binomial_levels": (lambda p: vp.binomial_levels(p["logits"]), {"logits": ONE}, LEVEL),
    "categorical_levels": (lambda p: vp.categorical_levels(p["logits"]), {"logits": np.zeros((1, 256))}, LEVEL),
    "normal_diag": (lambda p: vp.normal_diag(p["loc"], scale_of(p)), LOCATED, far(1)),
    "student_t": (
        lambda p: vp.student_t(1 + jnp.exp(p["log_df"]), p["loc"], scale_of(p)),
        LOCATED | {"log_df": ONE},
        far(1),
    ),
    "discretized_logistic": (lambda p: vp.discretized_logistic(p["loc"], scale_of(p)), LOCATED, LEVEL),
    "discretized_logistic_mixture": (
        lambda p: vp.discretized_logistic_mixture(p["logits"], p["loc"], scale_of(p)),
        {"logits": THREE, "loc": THREE, "log_scale": THREE},
        LEVEL,
    ),
}

ROWS = {
    **{case.name: partial(prior, case) for case in (*cases.PRIORS, *ONE_OF_EACH)},
    **{f"{case.name}_{way}": partial(flow, case, way) for case in cases.FLOWS for way in ("forward", "inverse")},
    **{f"{name}_likelihood": partial(likelihood, *row) for name, row in LIKELIHOODS.items()},
}
