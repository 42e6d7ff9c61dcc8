"""Rows for the priors of tests/cases.py, with equal or zero-weight components and values at means and knots."""

from functools import partial
from typing import Any

import jax
import numpy as np
import scipy.fft
import scipy.special
import scipy.stats
from hypothesis import strategies as st

import vaepriors_jax as vp
from tests import cases
from tests.properties.row import Row, numbers
from vaepriors_jax.distributions.mixture import Mixture

# Where flows with splines of 4 or 8 bins on [-5, 5] have knots at their start, and the ends themselves.
KNOTS = (0.0, -0.0, 5.0, -5.0, 2.5, -1.25)
# Where the map of pseudo-inputs into their bounds changes its formula, its ends, and far outside.
JOINS, ENDS = (0.02, 0.98), (0.5, 0.0, 1.0, -100.0, 100.0)
TIES = ("equal", "off", "joins")

# At dim = 1 or K = 1, and classes that have no mass.
EDGE_CASES = [
    cases.PriorCase("mixture_1d", lambda: vp.mixture(1, 2)),
    cases.PriorCase("mixture_of_one_1d", lambda: vp.mixture(1, 1)),
    cases.PriorCase("mixture_full_1d", lambda: vp.mixture(1, 2, covariance="full")),
    cases.PriorCase("maf_1d", lambda: vp.transformed(vp.standard_normal(1), vp.masked_autoregressive(1, hidden=(4,)))),
    cases.PriorCase("vamp_of_one", lambda: vp.vamp(1, (6,)), {"encode": cases.encode}),
    cases.PriorCase(
        "marginalize_no_mass", lambda: vp.marginalize(vp.conditional_mixture(2, 2, num_classes=3), (0.0, 0.4, 0.6))
    ),
]


def with_ties(params: Any, ties: set[str], seed: int) -> Any:
    """Parameters moved onto ties."""
    rng = np.random.default_rng(seed)

    def tied(path: Any, leaf: np.ndarray) -> np.ndarray:
        leaf, name = np.array(leaf, np.float32), getattr(path[-1], "key", "")
        if leaf.ndim and "equal" in ties and name in ("loc", "log_scale", "scale_tril", "pseudo_inputs"):
            by_class = leaf.ndim == 3 and name != "scale_tril"
            leaf = np.broadcast_to(leaf[:, :1] if by_class else leaf[:1], leaf.shape).copy()
        if "off" in ties and name == "logits":
            leaf[..., 0] = -1e4
        if "joins" in ties and name == "pseudo_inputs":
            leaf = np.where(rng.random(leaf.shape) < 0.5, np.float32(rng.choice(ENDS, leaf.shape)), leaf)
            leaf[0, 0] = rng.choice(JOINS)  # one, since second derivatives jump there
        return leaf

    return jax.tree_util.tree_map_with_path(tied, params)


def moved(params: Any, scale: float) -> Any:
    """Parameters moved off their start at random."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.float32(leaf + scale * rng.normal(size=leaf.shape)), params)


def row_of(case: cases.PriorCase) -> Row:
    prior, fixed = case.make(), None if case.learns else cases.params_of(case)

    def distribution(params: Any) -> Any:
        return prior.apply(params if fixed is None else fixed, **case.context)

    def means(params: Any) -> Any:
        made = distribution(params)
        return made.component_moments()[0] if isinstance(made, Mixture) and case.space.is_euclidean else None

    start = {} if fixed is not None else jax.jit(prior.init)(jax.random.key(1))
    starts = [moved(start, scale) for scale in ((0.0, 0.1) if "spline" in case.name else (0.0, 0.1, 0.5))]
    dim = 1 if case.name.endswith("1d") else case.space.free
    means_of = jax.jit(means)

    @st.composite
    def arguments(draw: Any) -> tuple[Any, np.ndarray]:
        params = with_ties(
            draw(st.sampled_from(starts)), draw(st.sets(st.sampled_from(TIES))), draw(st.integers(0, 100))
        )
        value = np.array([draw(numbers(8.0, *KNOTS)) for _ in range(dim)], np.float32)
        centres = means_of(params)
        if centres is not None and draw(st.booleans()):
            centre = np.asarray(centres, np.float32)[draw(st.integers(0, len(centres) - 1))]
            value = np.where([draw(st.booleans()) for _ in range(dim)], value, centre)
        return params, value

    return Row(
        case.name,
        lambda params, u: distribution(params).log_prob(case.space.chart(u)),
        arguments(),
        REFERENCES.get(case.name),
        tolerance=1e-3 if "spline" in case.name else 2e-5,
    )


def mixture_log_prob(log_weights: Any, loc: Any, scale: Any, z: Any, component: Any = scipy.stats.norm) -> float:
    return float(scipy.special.logsumexp(log_weights + component.logpdf(z, loc, scale).sum(-1)))


def of_mixture(params: Any, z: Any) -> float:
    log_weights = scipy.special.log_softmax(params.get("logits", np.zeros(len(params["loc"]))))
    return mixture_log_prob(log_weights, params["loc"], np.exp(params["log_scale"]), z)


def of_full_mixture(params: Any, z: Any) -> float:
    terms = scipy.special.log_softmax(params["logits"])
    for k, (loc, raw) in enumerate(zip(params["loc"], params["scale_tril"], strict=True)):
        factor = np.tril(raw, -1) + np.diag(np.exp(np.diag(raw)))
        terms[k] += scipy.stats.multivariate_normal(loc, factor @ factor.T).logpdf(z)
    return float(scipy.special.logsumexp(terms))


def of_classes(probabilities: tuple[float, ...]) -> Any:
    def reference(params: Any, z: Any) -> float:
        terms = [
            np.log(p) + of_mixture({name: leaf[y] for name, leaf in params.items()}, z)
            for y, p in enumerate(probabilities)
            if p > 0
        ]
        return float(scipy.special.logsumexp(terms))

    return reference


def to_unit(x: np.ndarray) -> np.ndarray:
    """The map of pseudo-inputs into [0, 1] that DESIGN describes."""
    with np.errstate(divide="ignore"):
        return np.where(x < 0.02, 0.02**2 / (0.04 - x), np.where(x > 0.98, 1 - 0.02**2 / (0.04 - (1 - x)), x))


def of_vamp(params: Any, z: Any, component: Any = scipy.stats.norm, bounded: bool = True) -> float:
    """The encoder of tests/cases.py in numpy, at the pseudo-inputs that DESIGN describes."""
    x = to_unit(params["pseudo_inputs"]) if bounded else params["pseudo_inputs"]
    raw = np.tanh((x - 0.5) @ np.asarray(cases._WEIGHT, np.float64).T)
    log_weights = scipy.special.log_softmax(params.get("logits", np.zeros(len(x))))
    return mixture_log_prob(log_weights, 2 * raw[:, :2], np.exp(0.5 * raw[:, 2:]), z, component)


def of_autoregressive_mixture(params: Any, z: Any) -> float:
    """The network of one hidden layer in numpy: every other unit is constant, and the others read z_1."""
    hidden, last = params["network"]["MaskedDense_0"], params["network"]["MaskedDense_1"]["kernel"]
    units = hidden["bias"] + z[0] * hidden["kernel"][0] * (np.arange(8) % 2)
    units = units * scipy.special.expit(units)
    total = 0.0
    for i, read in enumerate((units * (1 - np.arange(8) % 2), units)):
        outputs = (read @ last).reshape(2, 3, 2)[i]
        logits, loc, log_scale = (
            params[n][i] + o for n, o in zip(("logits", "loc", "log_scale"), outputs, strict=True)
        )
        log_density = scipy.stats.norm.logpdf(z[i], loc, np.exp(log_scale))
        total += scipy.special.logsumexp(scipy.special.log_softmax(logits) + log_density)
    return total


def of_transformer_mixture(params: Any, z: Any) -> float:
    """The transformer of one layer and two heads of two units, token by token in numpy."""
    net, keys, values, total = params["network"], [], [], 0.0

    def dense(name: str, v: np.ndarray, of: Any = net) -> np.ndarray:
        return v @ of[name]["kernel"] + of[name].get("bias", 0)

    def normalized(name: str, v: np.ndarray) -> np.ndarray:
        return (v - v.mean()) / np.sqrt(v.var() + 1e-6) * net[name]["scale"] + net[name]["bias"]

    for i, before in enumerate((0.0, z[0])):
        token = before * net["Dense_0"]["kernel"][0] + net["places"][i]
        attention = net["CausalAttention_0"]
        query, key, value = dense("Dense_0", normalized("LayerNorm_0", token), attention).reshape(3, 2, 2)
        keys.append(key), values.append(value)
        scores = np.einsum("hd,khd->hk", query, keys) / np.sqrt(2)
        read = np.einsum("hk,khd->hd", scipy.special.softmax(scores, axis=1), values)
        token = token + dense("Dense_1", read.reshape(4), attention)
        hidden = dense("Dense_1", normalized("LayerNorm_1", token))
        hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        token = token + dense("Dense_2", hidden)
        outputs = dense("Dense_3", normalized("LayerNorm_2", token)).reshape(3, 2)
        logits, loc, log_scale = (
            params[n][i] + o for n, o in zip(("logits", "loc", "log_scale"), outputs, strict=True)
        )
        log_density = scipy.stats.norm.logpdf(z[i], loc, np.exp(log_scale))
        total += scipy.special.logsumexp(scipy.special.log_softmax(logits) + log_density)
    return float(total)


def of_exemplars(params: Any, z: Any) -> float:
    raw = np.tanh((cases.EXEMPLARS.astype(np.float64) - 0.5) @ np.asarray(cases._WEIGHT, np.float64).T)
    count = len(cases.EXEMPLARS)
    return mixture_log_prob(np.full(count, -np.log(count)), 2 * raw[:, :2], np.exp(params["log_scale"]), z)


def of_exemplars_of_a_class(params: Any, z: Any) -> float:
    """Those of class 1, with encodings that the label moves."""
    raw = np.tanh((cases.EXEMPLARS[1:3].astype(np.float64) - 0.5) @ np.asarray(cases._WEIGHT, np.float64).T)
    return mixture_log_prob(np.log([0.5, 0.5]), 2 * (raw[:, :2] + 0.1), np.exp(params["log_scale"]), z)


def of_exemplars_given_a_vector(params: Any, z: Any) -> float:
    """Each exemplar counts by a Gaussian at its own condition."""
    raw = np.tanh((cases.EXEMPLARS.astype(np.float64) - 0.5) @ np.asarray(cases._WEIGHT, np.float64).T)
    stored = cases.EXEMPLARS[:, 0].astype(np.float64)
    log_kernel = scipy.stats.norm.logpdf(stored, 0.5, np.exp(params["log_bandwidth"]))
    log_weights = scipy.special.log_softmax(log_kernel)
    return mixture_log_prob(log_weights, 2 * raw[:, :2], np.exp(params["log_scale"]), z)


def on_grid(params: Any) -> np.ndarray:
    """The plane and the network of one hidden layer of a topographic prior, at the corners of a square."""
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float64)
    first, last = (params["network"][name] for name in ("Dense_0", "Dense_1"))
    raw = corners @ first["kernel"] + first["bias"]
    return corners @ params["plane"] + (raw * scipy.special.expit(raw)) @ last["kernel"] + last["bias"]


def of_weighted_coreset(params: Any, z: Any) -> float:
    raw = np.tanh((to_unit(params["pseudo_inputs"]) - 0.5) @ np.asarray(cases._WEIGHT, np.float64).T)
    log_weights = scipy.special.log_softmax(params["logits"])
    return mixture_log_prob(log_weights, 2 * raw[:, :2], np.exp(params["log_scale"]), z)


def of_vamp_mixture(params: Any, z: Any) -> float:
    """Three sticks by hand; each component as wide as the encoding and its own scale together."""
    v, w = scipy.special.expit(params["sticks"])
    x = params["pseudo_inputs"]
    raw = np.tanh((to_unit(x) - 0.5) @ np.asarray(cases._WEIGHT, np.float64).T)
    scale = np.sqrt(np.exp(raw[:, 2:]) + np.exp(2 * params["log_scale"]))
    with np.errstate(divide="ignore"):
        log_weights = np.log([v, (1 - v) * w, (1 - v) * (1 - w)])
    return mixture_log_prob(log_weights, 2 * raw[:, :2], scale, z)


def of_topographic_map(params: Any, z: Any) -> float:
    loc, log_scale = np.split(on_grid(params), 2, axis=1)
    return of_mixture({"loc": params["loc"] + loc, "log_scale": params["log_scale"] + log_scale}, z)


def of_dct_vamp(params: Any, z: Any) -> float:
    """Two of six frequencies; the parameters are the coefficients over the square root of three."""
    coefficients = np.pad(np.sqrt(3) * np.asarray(params["blocks"], np.float64), ((0, 0), (0, 4)))
    return of_vamp({"pseudo_inputs": scipy.fft.idct(coefficients, norm="ortho"), "logits": params["logits"]}, z)


def of_amortized_vamp(params: Any, z: Any) -> float:
    first, last = (params["network"][name] for name in ("Dense_0", "Dense_1"))
    raw = params["blocks"] @ first["kernel"] + first["bias"]
    loc, log_scale = np.split((raw * scipy.special.expit(raw)) @ last["kernel"] + last["bias"], 2, axis=1)
    return of_mixture({"logits": params["logits"], "loc": loc, "log_scale": log_scale}, z)


def of_power_spherical_mixture(params: Any, u: Any) -> float:
    """At an angle u; with D = 2 the constants are those of a Beta(kappa + 1 / 2, 1 / 2) variable (1 + t) / 2."""
    concentration = np.exp(params["log_concentration"])
    cosine = np.cos(u[0] - np.arctan2(params["loc"][:, 1], params["loc"][:, 0]))
    constants = -concentration * np.log(2) - scipy.special.betaln(concentration + 0.5, 0.5) - np.log(2)
    terms = scipy.special.log_softmax(params["logits"]) + constants + concentration * np.log1p(cosine)
    return float(scipy.special.logsumexp(terms))


REFERENCES = {
    "spherical_uniform": lambda params, u: -np.log(2 * np.pi),
    "dirichlet_prior": lambda p, u: scipy.stats.dirichlet.logpdf(
        scipy.special.expit([u[0], -u[0]]), np.exp(p["log_concentration"])
    ),
    "power_spherical_mixture": of_power_spherical_mixture,
    "topographic_map": of_topographic_map,
    "topographic_vamp": lambda params, z: of_vamp({"pseudo_inputs": params["centre"] + on_grid(params)}, z),
    "dct_vamp": of_dct_vamp,
    "amortized_vamp": of_amortized_vamp,
    "exemplar": of_exemplars,
    "exemplar_classes": of_exemplars_of_a_class,
    "exemplar_vector": of_exemplars_given_a_vector,
    "vamp_mixture": of_vamp_mixture,
    "weighted_coreset": of_weighted_coreset,
    "standard_normal": lambda params, z: scipy.stats.norm.logpdf(z).sum(),
    "autoregressive_normal": lambda params, z: scipy.stats.multivariate_normal.logpdf(z, cov=[[1, 0.8], [0.8, 1]]),
    "autoregressive_mixture": of_autoregressive_mixture,
    "transformer_mixture": of_transformer_mixture,
    "laplace": lambda p, z: scipy.stats.laplace.logpdf(z, p["loc"], np.exp(p["log_scale"])).sum(),
    "generalized_normal": lambda p, z: scipy.stats.gennorm.logpdf(
        z, np.exp(p["log_exponent"]), p["loc"], np.exp(p["log_scale"])
    ).sum(),
    "student_t_prior": lambda p, z: scipy.stats.multivariate_t(
        p["loc"], np.diag(np.exp(2 * p["log_scale"])), np.exp(p["log_df"])
    ).logpdf(z),
    "from_distribution": lambda params, z: scipy.stats.laplace.logpdf(z, [0.5, -0.5], [1.0, 2.0]).sum(),
    "conditional_normal": lambda params, z: of_classes((0, 1, 0))({"logits": np.zeros((3, 1)), **_lifted(params)}, z),
    "conditional_mixture": of_classes((0, 0, 1)),
    "marginalize": of_classes((0.2, 0.3, 0.5)),
    "marginalize_no_mass": of_classes((0.0, 0.4, 0.6)),
    "mixture_full": of_full_mixture,
    "mixture_full_1d": of_full_mixture,
    "vamp": of_vamp,
    "vamp_of_one": of_vamp,
    "vamp_unbounded": lambda params, z: of_vamp(params, z, bounded=False),
    "vamp_laplace": lambda params, z: of_vamp(params, z, scipy.stats.laplace),
    **dict.fromkeys(("mixture", "mixture_uniform", "mixture_1d", "mixture_of_one_1d"), of_mixture),
}


def _lifted(params: Any) -> Any:
    """A Gaussian for each class as a mixture of one."""
    return {name: leaf[:, None] for name, leaf in params.items()}


ROWS = {case.name: partial(row_of, case) for case in (*cases.PRIORS, *EDGE_CASES) if not case.estimated}
