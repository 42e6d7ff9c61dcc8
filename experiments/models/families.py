"""The prior families that the programs know by name, in the sizes of a comparison."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import vaepriors_jax as vp
from experiments.data.dataset import Dataset

PRIORS = ("standard", "mixture", "vamp", "flow", "conditional")  # those of a comparison, if none are named
ALL = "all"  # in place of names: each family that the data allow
NEED_LABELS = ("conditional", "conditional_mixture", "conditional_exemplar")
SOLVE_ODE = ("diffusion", "flow_matching")  # for each density; the package diffrax does it
FITTED_AFTERWARDS = ("flow_matching",)  # training with the VAE would solve an ODE for each z of each step


def has_diffrax() -> bool:
    """Whether the package is there that solves the ODE of some priors."""
    return find_spec("diffrax") is not None


def all_names(sizes: Any, data: Dataset) -> tuple[str, ...]:
    """The families that `all` stands for: those that are trained with the VAE, by packages that are installed."""
    left_out = {*FITTED_AFTERWARDS, *(() if has_diffrax() else SOLVE_ODE)}
    return tuple(name for name in families(sizes, data) if name not in left_out)


def families(sizes: Any, data: Dataset) -> dict[str, Callable[[], vp.Prior]]:
    """What makes the prior of each family over the latents of a model, or over its top level, by its name."""
    dim, num, hidden, shape = sizes.latent_dim, sizes.num_components, sizes.flow_hidden, data.image_shape
    standard, num_classes = vp.standard_normal(dim), data.num_classes or 0  # asked for by those alone that need labels
    # Where the start is random it is that of the VampPrior paper on MNIST; colours start at a middle grey.
    random: dict[str, Any] = {"initial_mean": 0.5 if shape[2:] else 0.05}
    vamp = partial(vp.vamp, num, shape, initial_scale=0.01, **random)
    block = tuple(min(8, size) for size in shape[:2])  # of low frequencies
    coupling = vp.affine_coupling(dim, hidden=hidden)

    def flow(base: vp.Prior, layer: vp.Flow) -> vp.Prior:
        return vp.transformed(base, vp.repeat(layer, sizes.flow_layers))

    def glow_step() -> vp.Flow:
        """From data to noise in the order of Kingma & Dhariwal (2018)."""
        return vp.chain(coupling, vp.lu_linear(dim), vp.act_norm(dim))

    return {
        "standard": lambda: standard,
        "mixture": lambda: vp.mixture(dim, num),
        "vamp": vamp,
        "flow": lambda: flow(standard, coupling),
        "conditional": lambda: vp.conditional_normal(dim, num_classes=num_classes),
        "conditional_mixture": lambda: vp.conditional_mixture(
            dim, max(1, num // max(1, num_classes)), num_classes=num_classes
        ),
        "glow": lambda: flow(standard, glow_step()),
        "spline_flow": lambda: flow(standard, vp.spline_coupling(dim, hidden=hidden)),
        "autoregressive_flow": lambda: flow(standard, vp.masked_autoregressive(dim, hidden=hidden)),
        # Under a flow most pseudo-inputs go unused: weights take their mass away.
        "flow_over_vamp": lambda: flow(vamp(weights="learned"), coupling),
        "autoregressive": lambda: vp.autoregressive_mixture(dim, hidden=hidden),
        "transformer": lambda: vp.transformer_mixture(dim),
        "resampled": lambda: vp.resampled(standard, dim, hidden=hidden),
        "resampled_flow": lambda: vp.resampled(flow(standard, coupling), dim, hidden=hidden),
        "snis": lambda: vp.snis(standard, dim, hidden=hidden),
        "reweighted": lambda: vp.reweighted(standard, dim, hidden=hidden),
        "laplace": lambda: vp.laplace(dim, learned=("loc", "scale")),
        "generalized_normal": lambda: vp.generalized_normal(dim, learned=("loc", "scale", "exponent")),
        "student_t": lambda: vp.student_t_prior(dim, learned=("loc", "scale", "df")),
        "exemplar": lambda: vp.exemplar(dim, num_neighbors=10),
        "exemplar_subset": lambda: vp.exemplar(dim, subset_size=500),
        "conditional_exemplar": lambda: vp.exemplar(
            dim, num_neighbors=10, num_classes=num_classes, encoder_reads_condition=True
        ),
        "topographic": lambda: vp.topographic_map(dim),
        "weighted_coreset": lambda: vp.weighted_coreset(dim, num, shape, **random),
        "dct_vamp": lambda: vp.dct_vamp(num, shape, block, initial_scale=0.01, **random),
        "amortized_vamp": lambda: vp.amortized_vamp(dim, num, shape, block, hidden=hidden),
        "vamp_mixture": lambda: vp.vamp_mixture(dim, num, shape, len(data.train["x"]), **random),
        "vamp_data": lambda: vp.stop_gradient(vp.vamp(num, shape, bounds=None)),
        "vamp_kmeans": lambda: vp.stop_gradient(vp.vamp(num, shape, bounds=None, start="k-means")),
        "diffusion": lambda: vp.diffusion(dim),
        "flow_matching": lambda: vp.flow_matching(dim),
        # Over other spaces, with the posteriors of `experiments.models.posteriors`; of as many degrees of freedom.
        "spherical_uniform": lambda: vp.spherical_uniform(dim + 1),
        "power_spherical_mixture": lambda: vp.power_spherical_mixture(dim + 1, num),
        "dirichlet": lambda: vp.dirichlet_prior(dim + 1, learned=True),
        "logistic_normal": lambda: vp.logistic_normal_prior(dim + 1, learned=("loc", "scale")),
        "hyperbolic": lambda: vp.wrapped_normal_prior(dim, learned=("loc", "scale")),
    }
