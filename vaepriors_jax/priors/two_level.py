"""The two-level prior: any prior on top, and a Gaussian given it below."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from vaepriors_jax.base import Inner, Prior, hyperprior_of
from vaepriors_jax.checks import check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner, run_network
from vaepriors_jax.distributions.normal import normal_of_outputs
from vaepriors_jax.distributions.two_level import TwoLevel, top_posterior
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import init_from_data, rows_of_shape


@factory
def two_level(top_prior: Prior, top_dim: int, bottom_dim: int, *, hidden: tuple[int, ...] = (64,)) -> Prior:
    r"""Two-level prior, $p(z) = \mathcal{N}(z_1; \mu(z_2), \mathrm{diag}(\sigma(z_2)^2))\, p(z_2)$.

    z is one vector $[z_1, z_2]$, the bottom level first: a decoder that reads z reads both levels. A network gives
    $\mu$ and $\log \sigma$; it starts at N(0, I), whatever z2. Scales are kept within [1e-8, 1e8]. The
    encoder gives back a `two_level_posterior`, or any other posterior over the whole of z.

    For three levels the top prior is a `two_level` itself, and the top of the posterior a `two_level_posterior`; and so
    on for more.

    Args:
        top_prior: any prior over z2.
        top_dim: dimension of z2.
        bottom_dim: dimension of z1.
        hidden: widths of the network's hidden layers; () makes it linear.

    Context:
        What the top prior reads. A VampPrior on top gets the encoder's marginal q(z2|u).

    Returns:
        A prior with the parameters `top`, those of the top prior, and `bottom`, those of the network. Its KL is a Monte
        Carlo estimate.

    Raises:
        ValueError: a dimension that is not an integer of at least 1, or a top prior of another dimension.
        TypeError: a VampPrior on top of a posterior whose marginal q(z2|u) is not known.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.two_level(vp.mixture(2, num_components=5), top_dim=2, bottom_dim=3)
        >>> params = prior.init(jax.random.key(0))
        >>> prior.apply(params).sample(seed=jax.random.key(1)).shape
        (5,)

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, section 4. There the network is of gated layers.
    """
    check_positive_integer(top_dim=top_dim, bottom_dim=bottom_dim)
    network = Conditioner(check_shape("hidden", hidden) if hidden != () else (), 2 * bottom_dim)

    def init(key: jax.Array) -> Any:
        key_top, key_bottom = jax.random.split(key)
        return {"top": top_prior.init(key_top), "bottom": network.init(key_bottom, jnp.zeros(top_dim))["params"]}

    def given_top(params: Any, z2: jax.Array) -> distrax.Distribution:
        return normal_of_outputs(run_network(network, params, z2))

    def of_top(context: dict[str, Any]) -> dict[str, Any]:
        if encode := context.get("encode"):
            context["encode"] = lambda x, **labels: top_posterior(encode(x, **labels), top_dim)
        return context

    def apply(params: Any, **context: Any) -> TwoLevel:
        top = top_prior.apply(params["top"], **of_top(context))
        if top.event_shape != (top_dim,):
            raise ValueError(
                f"Expected a prior over vectors of top_dim={top_dim} on top; {top_prior!r} is over {top.event_shape}."
            )
        return TwoLevel(top, Partial(given_top, params["bottom"]), bottom_dim)

    def start(key: jax.Array, *, z: Any = None, **data: Any) -> Any:
        if z is not None:
            data["z"] = rows_of_shape("z", z, (bottom_dim + top_dim,))[:, -top_dim:]
        return init(key) | {"top": init_from_data(top_prior, key, **data)}

    inner, starts = Inner(top_prior, "top"), start if top_prior.init_from_data else None
    state = inner.init_state(of_top), inner.update_state(of_top)
    return Prior(init, apply, {}, starts, inner, *state, hyperprior_of(inner))
