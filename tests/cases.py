"""One row for every prior and every flow: the tests of `tests/priors` and `tests/flows` run over these rows."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from tests.support.spaces import CIRCLE, HYPERBOLIC, PLANE, SIMPLEX, Space

# A fixed little encoder of examples [6] into 2 latents.
_WEIGHT = np.asarray(np.random.default_rng(0).normal(size=(4, 6)), np.float32)


EXEMPLARS = np.asarray(np.random.default_rng(1).random(size=(4, 6)), np.float32)


def encode(x: jax.Array, y: Any = 0) -> distrax.Distribution:
    raw = jnp.tanh(_WEIGHT.astype(x.dtype) @ (x - 0.5)) + 0.1 * jnp.asarray(y, x.dtype)
    return vp.normal_diag(2 * raw[:2], jnp.exp(0.5 * raw[2:]))


def encode_laplace(x: jax.Array) -> distrax.Distribution:
    raw = jnp.tanh(_WEIGHT.astype(x.dtype) @ (x - 0.5))
    return distrax.Independent(distrax.Laplace(2 * raw[:2], jnp.exp(0.5 * raw[2:])), 1)


def encode_covariates(x: jax.Array, *, y: Any, shift: jax.Array) -> distrax.Distribution:
    mean, scale = vp.distributions.normal.location_and_scale(encode(x, y))
    return vp.normal_diag(mean + 0.1 * shift, scale)


def encode_two_level(x: jax.Array) -> distrax.Distribution:
    raw = jnp.tanh(_WEIGHT.astype(x.dtype) @ (x - 0.5))

    def bottom(z2):
        return vp.normal_diag(raw[1:2] * z2, jnp.exp(0.5 * raw[3:4]))

    return vp.two_level_posterior(vp.normal_diag(2 * raw[:1], jnp.exp(0.5 * raw[2:3])), bottom)


# Of the `snis` row at `params_of`: Gauss quadrature for log f(z) of z ~ N(0, I), with the moments of a fine grid.
SNIS_STATE = {
    "log_sums": np.float32([[-1.28873], [-0.65435], [-0.22141], [0.05527]]),
    "normalizer": np.float32([4 * 0.004341, 4 * 0.121229, 4 * 0.560264, 4 * 0.314166]),
    "normalizer_error": np.zeros((1, 4), np.float32),
    "normalizer_key": np.zeros(2, np.uint32),
}
ODE_STATE = {"normalizer": 1.0, "normalizer_error": np.zeros(2, np.float32), "normalizer_key": np.zeros(2, np.uint32)}


class PriorCase(NamedTuple):
    """A prior over 2 latents, and the context that it reads.

    `space` says where the latents are, the measure of densities, and the posterior family that goes with the prior.
    `state` names those entries of the context that a VAE keeps as the prior's state. `dtype_follows` is False where a
    fixed distribution of the user's decides the dtype. `estimated` priors have a normaliser in their state: the
    gradient of the density is not that of its value, or the density has an error. Quadrature takes `grid_points` along
    each axis.
    """

    name: str
    make: Callable[[], vp.Prior]
    context: dict[str, Any] = {}
    is_plain: bool = True
    learns: bool = True
    dtype_follows: bool = True
    state: tuple[str, ...] = ()
    space: Space = PLANE
    estimated: bool = False
    grid_points: int = 1000

    def __repr__(self) -> str:
        return self.name

    @property
    def points(self) -> jax.Array:
        """Four points z [4, 2] of the space."""
        return self.space.chart(jnp.array([[0.0, 0.0], [1.0, -2.0], [-0.5, 0.3], [3.0, 2.5]])[:, : self.space.free])

    def variables(self, params: Any) -> Any:
        """What stands for the prior in the parameters of a VAE."""
        return (
            vp.Variables(params, {name: jnp.asarray(self.context[name]) for name in self.state})
            if self.state
            else params
        )


def _laplace() -> distrax.Distribution:
    return distrax.Independent(distrax.Laplace(jnp.array([0.5, -0.5]), jnp.array([1.0, 2.0])), 1)


FLOW_MATCHING = [
    PriorCase(
        "flow_matching",
        lambda: vp.flow_matching(2, hidden=(4,), tolerance=1e-6),
        ODE_STATE,
        state=tuple(ODE_STATE),
        estimated=True,
        grid_points=250,
    ),
    PriorCase(
        "diffusion",
        lambda: vp.diffusion(2, hidden=(4,), tolerance=1e-6, num_classes=3),
        {**ODE_STATE, "y": 1},
        state=tuple(ODE_STATE),
        estimated=True,
        grid_points=250,
    ),
]
if find_spec("diffrax") is None:  # its extra is not installed
    FLOW_MATCHING = []

PRIORS = [
    PriorCase("standard_normal", lambda: vp.standard_normal(2), learns=False),
    PriorCase("autoregressive_normal", lambda: vp.autoregressive_normal(2, correlation=0.8), learns=False),
    PriorCase("mixture", lambda: vp.mixture(2, 3)),
    PriorCase("mixture_full", lambda: vp.mixture(2, 3, covariance="full")),
    PriorCase("mixture_uniform", lambda: vp.mixture(2, 3, weights="uniform", initial_spread=2.0)),
    PriorCase("vamp", lambda: vp.vamp(4, (6,)), {"encode": encode}),
    PriorCase("vamp_unbounded", lambda: vp.vamp(4, (6,), weights="learned", bounds=None), {"encode": encode}),
    PriorCase("vamp_classes", lambda: vp.vamp(6, (6,), weights="learned", num_classes=3), {"encode": encode, "y": 1}),
    PriorCase(
        "vamp_encoder_reads_class",
        lambda: vp.vamp(5, (6,), num_classes=2, encoder_reads_class=True),
        {"encode": encode, "y": 1},
    ),
    PriorCase(
        "vamp_covariates",
        lambda: vp.vamp(4, (6,), covariates={"y": {}, "shift": {"shape": (2,)}}),
        {"encode": encode_covariates},
    ),
    PriorCase("vamp_laplace", lambda: vp.vamp(3, (6,)), {"encode": encode_laplace}),
    PriorCase("exemplar", lambda: vp.exemplar(2), {"encode": encode, "exemplars": EXEMPLARS}, state=("exemplars",)),
    PriorCase(
        "exemplar_classes",
        lambda: vp.exemplar(2, num_classes=2, encoder_reads_condition=True),
        {"encode": encode, "exemplars": EXEMPLARS, "exemplar_conditions": np.array([0, 1, 1, 0], np.int32), "y": 1},
        state=("exemplars", "exemplar_conditions"),
    ),
    PriorCase(
        "exemplar_vector",
        lambda: vp.exemplar(2, condition_dim=1),
        {
            "encode": encode,
            "exemplars": EXEMPLARS,
            "exemplar_conditions": EXEMPLARS[:, :1],
            "y": np.array([0.5], np.float32),
        },
        state=("exemplars", "exemplar_conditions"),
    ),
    PriorCase("weighted_coreset", lambda: vp.weighted_coreset(2, 3, (6,)), {"encode": encode}),
    PriorCase("vamp_mixture", lambda: vp.vamp_mixture(2, 3, (6,), num_examples=10), {"encode": encode}),
    PriorCase("dct_vamp", lambda: vp.dct_vamp(3, (6,), (2,), weights="learned"), {"encode": encode}),
    PriorCase("amortized_vamp", lambda: vp.amortized_vamp(2, 3, (6,), (4,), hidden=(4,), weights="learned")),
    PriorCase("topographic_map", lambda: vp.topographic_map(2, (2, 2), hidden=(4,))),
    PriorCase("topographic_vamp", lambda: vp.topographic_vamp((2, 2), (6,), hidden=(4,)), {"encode": encode}),
    PriorCase(
        "flow_affine",
        lambda: vp.transformed(vp.standard_normal(2), vp.repeat(vp.affine_coupling(2, hidden=(8,)), 2)),
    ),
    PriorCase(
        "flow_spline_over_mixture",
        lambda: vp.transformed(vp.mixture(2, 2), vp.spline_coupling(2, num_bins=4, hidden=(8,))),
    ),
    PriorCase(
        "flow_maf_over_vamp",
        lambda: vp.transformed(
            vp.vamp(3, (6,)), vp.repeat(vp.chain(vp.masked_autoregressive(2, hidden=(8,)), vp.permute(2)), 2)
        ),
        {"encode": encode},
    ),
    PriorCase(
        "flow_iaf_conditional",
        lambda: vp.transformed(
            vp.standard_normal(2), vp.invert(vp.masked_autoregressive(2, hidden=(8,), num_classes=3))
        ),
        {"y": 2},
    ),
    PriorCase("conditional_normal", lambda: vp.conditional_normal(2, num_classes=3), {"y": 1}),
    PriorCase(
        "conditional_normal_vector",
        lambda: vp.conditional_normal(2, condition_dim=3, hidden=(8,)),
        {"y": np.array([0.5, -1.0, 2.0], np.float32)},
    ),
    PriorCase("conditional_mixture", lambda: vp.conditional_mixture(2, 2, num_classes=3), {"y": 2}),
    PriorCase(
        "conditioned",
        lambda: vp.conditioned(
            vp.conditional_normal(2, condition_dim=4, hidden=(8,)), {"y": {"num_classes": 3}, "age": {}}
        ),
        {"y": 2, "age": np.float32(0.5)},
    ),
    PriorCase("marginalize", lambda: vp.marginalize(vp.conditional_mixture(2, 2, num_classes=3), (0.2, 0.3, 0.5))),
    PriorCase(
        "semi_supervised",
        lambda: vp.semi_supervised(vp.conditional_normal(2, num_classes=3), (0.2, 0.3, 0.5)),
        {"y": np.int32(-1)},
    ),
    PriorCase(
        "semi_supervised_vectors",
        lambda: vp.semi_supervised_vectors(
            vp.conditional_normal(2, condition_dim=1, hidden=(8,)), ((0.5,), (-1.0,), (2.0,))
        ),
        {"y": np.array([0.5], np.float32)},
    ),
    PriorCase("two_level", lambda: vp.two_level(vp.standard_normal(1), 1, 1, hidden=(8,))),
    PriorCase(
        "two_level_vamp", lambda: vp.two_level(vp.vamp(3, (6,)), 1, 1, hidden=(8,)), {"encode": encode_two_level}
    ),
    PriorCase("autoregressive_mixture", lambda: vp.autoregressive_mixture(2, 2, hidden=(8,))),
    PriorCase("transformer_mixture", lambda: vp.transformer_mixture(2, 2, num_layers=1, num_heads=2, features=4)),
    PriorCase(
        "resampled",
        lambda: vp.resampled(vp.standard_normal(2), 2, num_proposals=3, hidden=(4,), num_draws=64),
        # The integral at `params_of`, by quadrature.
        {"normalizer": 0.463616, "normalizer_error": 0.0, "normalizer_key": np.zeros(2, np.uint32)},
        state=("normalizer", "normalizer_error", "normalizer_key"),
        estimated=True,
    ),
    PriorCase(
        "reweighted",
        lambda: vp.reweighted(vp.standard_normal(2), 2, num_proposals=200, hidden=(4,), num_draws=64),
        {"normalizer": 0.886833, "normalizer_error": 0.0, "normalizer_key": np.zeros(2, np.uint32)},  # by quadrature
        state=("normalizer", "normalizer_error", "normalizer_key"),
        estimated=True,
    ),
    PriorCase(
        "snis",
        lambda: vp.snis(vp.standard_normal(2), 2, num_proposals=2, hidden=(4,)),
        SNIS_STATE,
        state=tuple(SNIS_STATE),
        estimated=True,
    ),
    *FLOW_MATCHING,
    PriorCase("laplace", lambda: vp.laplace(2, learned=("loc", "scale"))),
    PriorCase(
        "generalized_normal", lambda: vp.generalized_normal(2, exponent=3.0, learned=("loc", "scale", "exponent"))
    ),
    PriorCase("student_t_prior", lambda: vp.student_t_prior(2, df=6.0, learned=("loc", "scale", "df"))),
    PriorCase("spherical_uniform", lambda: vp.spherical_uniform(2), learns=False, space=CIRCLE),
    PriorCase("power_spherical_mixture", lambda: vp.power_spherical_mixture(2, 3), space=CIRCLE),
    PriorCase("dirichlet_prior", lambda: vp.dirichlet_prior(2, learned=True), space=SIMPLEX),
    PriorCase("logistic_normal_prior", lambda: vp.logistic_normal_prior(2, learned=("loc", "scale")), space=SIMPLEX),
    PriorCase("wrapped_normal_prior", lambda: vp.wrapped_normal_prior(2, learned=("loc", "scale")), space=HYPERBOLIC),
    PriorCase("stop_gradient", lambda: vp.stop_gradient(vp.mixture(2, 3)), learns=False),
    PriorCase(
        "from_distribution",
        lambda: vp.from_distribution(_laplace()),
        is_plain=False,
        learns=False,
        dtype_follows=False,
    ),
]


class FlowCase(NamedTuple):
    """A flow, its dimension, the context that it reads, and whether it starts as the identity."""

    name: str
    make: Callable[[], vp.Flow]
    dim: int
    context: dict[str, Any] = {}
    starts_as_identity: bool = True

    def __repr__(self) -> str:
        return self.name


FLOWS = [
    FlowCase("affine_coupling", lambda: vp.affine_coupling(5, hidden=(8,)), 5),
    FlowCase("affine_coupling_classes", lambda: vp.affine_coupling(4, hidden=(8,), num_classes=3), 4, {"y": 2}),
    FlowCase("spline_coupling", lambda: vp.spline_coupling(4, num_bins=5, hidden=(8,)), 4),
    FlowCase(
        "spline_coupling_vector",
        lambda: vp.spline_coupling(3, hidden=(8,), condition_dim=2),
        3,
        {"y": np.array([1.0, -1.0], np.float32)},
    ),
    FlowCase("masked_autoregressive", lambda: vp.masked_autoregressive(4, hidden=(16, 16)), 4),
    FlowCase("masked_autoregressive_1d", lambda: vp.masked_autoregressive(1, hidden=(8,), num_classes=2), 1, {"y": 1}),
    FlowCase("spline_autoregressive", lambda: vp.spline_autoregressive(3, num_bins=5, hidden=(16,)), 3),
    FlowCase(
        "spline_autoregressive_classes",
        lambda: vp.spline_autoregressive(2, hidden=(8,), num_classes=2),
        2,
        {"y": 1},
    ),
    FlowCase("act_norm", lambda: vp.act_norm(4), 4),
    FlowCase("lu_linear", lambda: vp.lu_linear(4), 4),
    FlowCase("glow", lambda: vp.chain(vp.affine_coupling(4, hidden=(8,)), vp.lu_linear(4), vp.act_norm(4)), 4),
    FlowCase("permute", lambda: vp.permute(4, (2, 0, 3, 1)), 4, starts_as_identity=False),
    FlowCase(
        "chain",
        lambda: vp.chain(vp.affine_coupling(3, hidden=(8,)), vp.permute(3), vp.spline_coupling(3, hidden=(8,))),
        3,
        starts_as_identity=False,
    ),
    FlowCase("repeat", lambda: vp.repeat(vp.affine_coupling(4, hidden=(8,)), 3), 4),
    FlowCase("invert", lambda: vp.invert(vp.masked_autoregressive(4, hidden=(8,))), 4),
]


# Flows made of others that have rows of their own, and those with conditions. Tests that compile much, such as second
# derivatives of generated input, leave them out or to the night.
COMPOSED = (
    *("chain", "glow", "invert"),
    *("affine_coupling_classes", "spline_coupling_vector", "spline_autoregressive_classes"),
)


def perturbed(tree: Any, key: jax.Array, scale: float = 0.3) -> Any:
    """Parameters moved off their start: a flow starts as the identity, where gradients would show little."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(1, len(leaves)))
    moved = [leaf + scale * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=False)]
    return jax.tree.unflatten(structure, moved)


def params_of(case: PriorCase | FlowCase) -> Any:
    """Perturbed parameters of a case, of the same values at each call."""
    return jax.tree.map(jnp.asarray, _values_of_params(case.make, jax.config.jax_enable_x64))


@cache
def _values_of_params(make: Callable[[], Any], x64: bool) -> Any:
    del x64  # the noise is of another dtype
    start = jax.jit(lambda *keys: perturbed(make().init(keys[0]), keys[1]))
    return jax.device_get(start(jax.random.key(1), jax.random.key(2)))
