"""The exemplar prior: a Gaussian around the encoding of each training example, all of one width."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_at_least_two, check_boolean, check_positive, check_positive_integer
from vaepriors_jax.conditioning import check_condition
from vaepriors_jax.distributions.isotropic_mixture import IsotropicMixture
from vaepriors_jax.distributions.nearest_exemplars import NearestExemplars
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.exemplar_condition import ExemplarCondition
from vaepriors_jax.priors.exemplar_encoding import Encode, encode_all, mean_by, rows
from vaepriors_jax.priors.exemplar_state import ExemplarState
from vaepriors_jax.priors.exemplar_subset import SUBSET, log_weights_in_subset


@factory
def exemplar(
    dim: int,
    *,
    num_neighbors: int | None = None,
    subset_size: int | None = None,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
    encoder_reads_condition: bool = False,
    initial_scale: float = 1.0,
    initial_bandwidth: float = 1.0,
) -> Prior:
    r"""Exemplar prior, $p(z) = \frac1N \sum_n \mathcal{N}(z; \mu(x_n), \sigma^2 I)$ for training examples $x_n$.

    $\mu(x)$ is the mean of the encoder's q(z|x), and $\sigma$ is one learned number. The gradient flows through the
    encoder. The exemplars are not parameters but the prior's state, which a `VAE` passes to it:
    `vp.init_prior_state(vae, params, x=...)` puts them into the parameters of a VAE. They may be all training examples
    or some of them.

    In training, an example must not find itself among the exemplars, or the prior would learn to store it. With the
    entry `index` in the batch, the place of each example among the exemplars, that one is left out, and the density is
    the mean over the $N - 1$ others. For `fit`, write `data = {"x": x, "index": np.arange(len(x))}`.
    Evaluation data have no `index`, and their density is the mean over all exemplars.

    **Conditional.** With `num_classes`, p(z|y) is the mean over the exemplars of class y, of which each class has its
    own number. With `condition_dim`, y is a vector, and exemplars count by the distance of their own condition:

    $$p(z|y) = \sum_n w_n(y)\, \mathcal{N}(z; \mu(x_n), \sigma^2 I), \qquad w_n(y) \propto
    \exp\left(-\tfrac12 \textstyle\sum_j (y_j - y_{nj})^2 / h_j^2\right).$$

    The bandwidths $h_j$ are learned, which needs `index`: an example that finds itself would pull them to 0. The state
    holds the conditions: `vp.init_prior_state(vae, params, x=x, y=y)`. An encoder that reads the condition too
    (`encoder_context` of the `VAE`) gets that of each exemplar, with `encoder_reads_condition=True`.

    **Fewer exemplars in training.** All exemplars are encoded anew at each training step, which is slow for tens of
    thousands. Two options change what an example that has an `index` is trained on. Validation and evaluation have no
    `index`: they encode all exemplars anew, and their density is exact.

    - `subset_size=M`: the exemplars of a step are M of them, drawn without replacement, the same for its whole batch.
      The state holds them, and each step draws those of the next. (With labels each class keeps its share, at least
      two.) The sum over them, divided by their share, has the expectation p(z), and so its logarithm is on average too
      low, by Jensen's inequality: the mean over subsets is a lower bound on log p(z), and so on the ELBO. One subset
      alone can be too high.
    - `num_neighbors`: the sum over the exemplars nearest to z alone: a lower bound on log p(z), always. Only these are
      encoded. Which ones are nearest is read from `encodings` in the prior's state. Each training step renews the
      entries of its own batch, so that an entry is up to an epoch old. Old entries can make the bound looser, never
      wrong.

    With both, the nearest ones are among the subset, and the mean over subsets is a lower bound.

    Args:
        dim: dimension of z.
        num_neighbors: number of nearest exemplars in training; None for all of them.
        subset_size: number of exemplars drawn for each training step, at least 2, and 2 for each class; None for all.
        num_classes: number of classes, if y is a label.
        condition_dim: size of y, if y is a vector. Standardise its entries, or say in `initial_bandwidth` how far
            neighbours are from each other.
        condition: the name of y: the entry of the batch.
        encoder_reads_condition: the encoder reads y too.
        initial_scale: the standard deviation $\sigma$ that `init` gives.
        initial_bandwidth: the bandwidth that `init` gives, for a vector y.

    Context:
        encode: the encoder with its parameters, from x to q(z|x); a `VAE` passes its own.
        exemplars: training examples [N, ...], in the prior's state.
        exemplar_conditions: their labels [N] or vectors [N, condition_dim], in the prior's state.
        y: the label or the vector, if the prior is conditional; or an entry of the name that `condition` gives.
        index: the place of the example among the exemplars; leaves that one out. A number that is no place, such as
            -1, leaves none out. Optional.
        encodings: stored encodings [N, dim], in the prior's state; read with `num_neighbors` and `index` alone.
        exemplar_subset: places [M] of the exemplars of this step, in the prior's state beside `exemplar_key`; read with
            `subset_size` and `index` alone.

    Returns:
        A prior with the parameters `log_scale`, a scalar, and `log_bandwidth` [condition_dim] for a vector y. Its KL is
        a Monte Carlo estimate. Without `index` the density is exact; with it, unless one of the two options is set.

    Raises:
        ValueError: an argument out of range, or a class with fewer than two exemplars.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.exemplar(2)
        >>> params = prior.init(jax.random.key(0))
        >>> encode = lambda x: vp.normal_diag(x[:2], jnp.ones(2))
        >>> exemplars = jnp.array([[-3.0, -3.0, 0.0], [3.0, 3.0, 0.0]])
        >>> p = prior.apply(params, encode=encode, exemplars=exemplars)
        >>> print(f"{p.log_prob(jnp.array([-3.0, 3.0])):.3f}")
        -19.838

    References:
        Norouzi, Fleet & Norouzi (2020), Exemplar VAE: linking generative models, nearest neighbor retrieval, and data
        augmentation, section 3: the prior, leaving one out, and the bound from nearest neighbours. There half of the
        exemplars, drawn at random, serve in each epoch; here those that are drawn serve in one step. A condition is no
        part of the paper. The weights of a vector are those of the kernel estimate of a conditional density, in
        Rosenblatt (1969), Conditional probability density and regression estimators; bandwidths by the likelihood with
        one left out are in Holmes, Gray & Isbell (2007), Fast nonparametric conditional density estimation.
    """
    check_positive_integer(dim=dim, **({} if num_neighbors is None else {"num_neighbors": num_neighbors}))
    check_positive(initial_scale=initial_scale, initial_bandwidth=initial_bandwidth)
    check_condition(num_classes, condition_dim, condition, required=False)
    given = ExemplarCondition(num_classes, condition_dim, condition, encoder_reads_condition)
    check_options(given, subset_size)

    def init(key: jax.Array) -> Any:
        del key
        dtype = jnp.result_type(float)
        params = {"log_scale": jnp.log(jnp.asarray(initial_scale, dtype))}
        bandwidth = jnp.full(condition_dim or 0, jnp.log(jnp.asarray(initial_bandwidth, dtype)))
        return params | ({} if condition_dim is None else {"log_bandwidth": bandwidth})

    def apply(
        params: Any, *, encode: Encode, exemplars: Any, index: Any = None, encodings: Any = None, **context: Any
    ) -> distrax.Distribution:
        scale, exemplars = jnp.exp(params["log_scale"]), jnp.asarray(exemplars)
        stored = given.stored(context, len(exemplars))
        log_weights = given.log_weights(params, stored, len(exemplars), index, context)
        inputs = exemplars, given.beside(stored)
        if subset_size is not None and index is not None and SUBSET in context:
            subset = jnp.asarray(context[SUBSET])
            log_weights, inputs = log_weights_in_subset(log_weights, subset), rows(inputs, subset)
            encodings = None if encodings is None else jnp.asarray(encodings)[subset]
        if index is None or num_neighbors is None:
            return IsotropicMixture(log_weights, encode_all(encode, inputs, dim), scale)
        if encodings is None:
            encodings = jax.lax.stop_gradient(encode_all(encode, inputs, dim))
        mean_of = mean_by(encode)
        return NearestExemplars(log_weights, inputs, lambda one: mean_of(*one), scale, encodings, num_neighbors)

    state = ExemplarState(given, dim, num_neighbors is not None, subset_size)
    return Prior(init, apply, {}, init_state=state.init_state, update_state=state.update_state)


def check_options(given: ExemplarCondition, subset_size: int | None) -> None:
    """Raises ValueError for a subset too small to leave one out, or an encoder that reads a condition there is none."""
    check_boolean(encoder_reads_condition=given.is_encoded)
    if given.is_encoded and not given.is_present:
        raise ValueError(
            "Expected `num_classes` or `condition_dim` with `encoder_reads_condition=True`; got neither of them."
        )
    if subset_size is None:
        return
    check_at_least_two(subset_size=subset_size)
    if subset_size < 2 * (given.num_classes or 1):
        raise ValueError(
            f"Expected `subset_size` >= {2 * (given.num_classes or 1)}, two exemplars for each of {given.num_classes} "
            f"classes, since training leaves one out; got {subset_size}."
        )
