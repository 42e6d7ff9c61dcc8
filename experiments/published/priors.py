"""Priors of the published comparisons that are no families of `compare_priors`; each is made of the library's parts.

`compare_priors` takes them by name too, such as `--priors experiments.published.priors:spline_flow`.
"""

import vaepriors_jax as vp

NUM_LAYERS, HIDDEN = 4, (100, 100)  # as in the flow prior of Bauer & Mnih (2019)


def spline_flow(dim: int) -> vp.Prior:
    """Couplings by rational-quadratic splines over N(0, I)."""
    flow = vp.repeat(vp.spline_coupling(dim, hidden=HIDDEN), NUM_LAYERS)
    return vp.transformed(vp.standard_normal(dim), flow)


def flow_over_vamp(dim: int, num_components: int, input_shape: tuple[int, ...]) -> vp.Prior:
    """Affine couplings over a VampPrior; its weights are learned, for many pseudo-inputs go unused under a flow."""
    base = vp.vamp(num_components, input_shape, weights="learned", initial_mean=0.05, initial_scale=0.01)
    return vp.transformed(base, vp.repeat(vp.affine_coupling(dim, hidden=HIDDEN), NUM_LAYERS))
