"""A diffusion prior that trains with the VAE by a bound, without solving an ODE."""

from typing import Any

import distrax
import jax

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.flow_matching import flow_matching
from vaepriors_jax.priors.weighting import key_of


@factory
def diffusion(
    dim: int,
    *,
    hidden: tuple[int, ...] = (128, 128),
    num_times: int = 8,
    tolerance: float = 1e-5,
    num_probes: int | None = None,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
) -> Prior:
    r"""Diffusion prior, trained with the VAE by a variational bound: `flow_matching` on the path "cosine", with an SDE.

    One network v has two densities. They agree if v is the exact velocity of some data, and differ otherwise:

    - $p_{ODE}(z)$, that of the probability-flow ODE: see `flow_matching`. It is known up to the errors of the solver.
      Validation, `vp.log_marginal` and all other evaluations have it, and so do samples.
    - $p_{SDE}(z)$, that of the SDE $du = (2 w - u \cot\varphi)\, d\varphi + \sqrt{2 \cot\varphi}\, dB$ from N(0, I) on,
      with $w = \frac2\pi v$ and the angle $\varphi = \pi t / 2$. It ends at $t = 0.99$ with a Gaussian step,
      $\mathcal{N}(u \sin\varphi_1 + w \cos\varphi_1, \cos^2\varphi_1 I)$. Only a lower bound on its logarithm is known.
      The distribution's `sample_sde` gives its samples.

    **Training with the VAE maximises the bound of the SDE.** For $u = (z - \mu) / \sigma$ and noise $\epsilon$ it is

    $$\log p_{SDE}(z) \geq \log \mathcal{N}(u; 0, I) - \sum_i \log \sigma_i + E_\epsilon\left[\tfrac12 g(\varphi_1)
    + \int_0^{\varphi_1} g(\varphi) \tan\varphi\, d\varphi\right], \quad
    g = 2 (u \cos\varphi - \epsilon \sin\varphi) \cdot w - \|w\|^2,$$

    with w at $u \sin\varphi + \epsilon \cos\varphi$. So the objective of a VAE is a lower bound on its ELBO with the
    prior $p_{SDE}$, and on that model's log p(x). It says nothing about $p_{ODE}$. Each z takes `num_times` random
    times with noise: an estimate without bias, which solves no ODE. Encoder, $\mu$ and $\sigma$ get its gradient.

    An example takes the bound if it has the entry `index`, an integer of its own. For `fit`, write `data = {"x": x,
    "index": np.arange(len(x))}`, and call `vp.init_prior_state(vae, params)` before training and once more after it.
    Examples without `index`, such as those of validation, take the ODE. The exponential of an estimate is too large on
    average, and gives no bound: importance weights (`vp.log_marginal`, the objective with the bound "iwae") and sums
    over labels (`vp.marginalize`, `vp.semi_supervised`) refuse examples with `index`. For a trained VAE, `fit_prior`
    fits v by regression, as it does that of `flow_matching`.

    Args:
        dim: dimension of z.
        hidden: widths of the hidden layers of the network.
        num_times: number of times and noises for the bound of one z.
        tolerance: of the solver of the ODE; see `flow_matching`.
        num_probes: None for the exact divergence in the density of the ODE, or a number of probes.
        num_classes: if given, the network reads a label `y`.
        condition_dim: if given, the network reads a vector `y` [condition_dim].
        condition: the name of y: the entry of the batch that holds it.

    Context:
        y: the label or vector, if the prior is conditional; or an entry of the name that `condition` gives.
        index: an integer of the example, from which and `normalizer_key` its noise is made; with it, the bound.
            Optional.
        normalizer: 1, in the prior's state.
        normalizer_error: the errors of the density of the ODE in nats [2], in the prior's state; see `flow_matching`.
        normalizer_key: two words, which each training step renews, in the prior's state.

    Returns:
        A prior with the parameters `network`, `loc` and `log_scale` [dim]. It starts as a Gaussian: v starts at 0,
        where both densities are N(loc, scale^2) and the bound is equal to them. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range.
        ImportError: diffrax is not installed. The state and the density of the ODE need it.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.diffusion(2)
        >>> params = prior.init(jax.random.key(0))
        >>> state = {"normalizer": 1.0, "normalizer_error": jnp.zeros(2), "normalizer_key": jnp.zeros(2, jnp.uint32)}
        >>> print(f"{prior.apply(params, index=0, **state).log_prob(jnp.zeros(2)):.3f}")
        -1.838

    References:
        Song, Durkan, Murray & Ermon (2021), Maximum likelihood training of score-based diffusion models, theorem 3
        (the bound, and its likelihood weighting); Kingma, Salimans, Poole & Ho (2021), Variational diffusion models,
        section 4 (the bound by the signal-to-noise ratio, a last Gaussian step, and a random time in each equal part);
        Vahdat, Kreis & Kautz (2021), Score-based generative modeling in latent space, theorem 1 (as the prior of a VAE,
        with the encoder's gradient), section 3.2 (the network learns the difference to a Gaussian) and section 3.4
        (times drawn by their weight). There encoder and network may have objectives of other weights.
    """
    check_positive_integer(num_times=num_times)
    of_ode = flow_matching(
        dim,
        hidden=hidden,
        path="cosine",
        tolerance=tolerance,
        num_probes=num_probes,
        num_classes=num_classes,
        condition_dim=condition_dim,
        condition=condition,
    )

    def apply(params: Any, *, index: Any = None, **context: Any) -> distrax.Distribution:
        flow = of_ode.apply(params, **context)
        if index is None:
            return flow
        return flow.sde(key=jax.random.fold_in(key_of(context["normalizer_key"]), index), num_times=num_times)

    def update_state(state: Any, **batch: Any) -> Any:
        del batch
        return {"normalizer_key": jax.random.key_data(jax.random.split(key_of(state["normalizer_key"]))[0])}

    return Prior(of_ode.init, apply, {}, of_ode.init_from_data, None, of_ode.init_state, update_state)
