"""log p(x) of a model that reads a label, summed over classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaepriors_jax.checks import check_names, check_probabilities
from vaepriors_jax.conditioning import labels_read
from vaepriors_jax.data_checks import check_model
from vaepriors_jax.evaluation.likelihood.importance_sampling import LogMarginal, log_marginal_of, weigh_examples
from vaepriors_jax.evaluation.likelihood.importance_weights import WeightSummary
from vaepriors_jax.training.streams import Stream, as_stream, is_stream
from vaepriors_jax.trees import map_arrays, num_rows
from vaepriors_jax.vae import VAE, VAEParams


def log_marginal_over_classes(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    class_probabilities: Any,
    condition: str = "y",
    num_samples: int = 5000,
    chunk_size: int = 1000,
    mesh: Mesh | None = None,
    **context: Any,
) -> LogMarginal:
    r"""log p(x) of a model that reads a label, $\log \sum_y p(y)\, p(x|y)$, with each p(x|y) importance-weighted.

    Args:
        vae: a VAE whose networks or prior read the label `y`.
        params: its parameters.
        key: a random key.
        x: examples [N, ...], or batches of them (see `vp.Stream`), which are read once for each class.
        class_probabilities: p(y) [C], which sum to 1.
        condition: the name of the label.
        num_samples: S, the number of samples for each example and class.
        chunk_size: see `log_marginal`.
        mesh: see `log_marginal`.
        **context: other per-example context [N, ...].

    Returns:
        A `LogMarginal`, in nats. The effective sample size and the Pareto k of an example are those of its most
        probable class. The curve has log p(x) at S samples for each class.

    Raises:
        ValueError: the probabilities do not sum to 1, or their number is not that of the classes, and as
            `log_marginal`.
    """
    check_model(vae, params, key)
    probabilities = _check_probabilities(vae, class_probabilities, condition)
    x = as_stream(x) if is_stream(x) else map_arrays(jnp.asarray, x)
    options: dict[str, Any] = {"num_samples": num_samples, "chunk_size": chunk_size, "mesh": mesh}
    of_classes = []
    for label, probability in enumerate(probabilities):
        if probability > 0:
            examples = x.with_label(label, condition) if isinstance(x, Stream) else x
            labels = {} if isinstance(x, Stream) else {condition: jnp.full(num_rows(x), label)}
            key_label = jax.random.fold_in(key, label)
            given_label = weigh_examples(vae, params, key_label, examples, {**context, **labels}, **options)
            log_probability = float(np.log(probability))
            values, curve = given_label.values + log_probability, given_label.curve + log_probability
            of_classes.append(given_label._replace(values=values, curve=curve))
    return log_marginal_of(_sum_over_classes(of_classes), num_samples)


def _check_probabilities(vae: VAE, class_probabilities: Any, condition: str) -> np.ndarray:
    check_names(condition=condition)
    probabilities = check_probabilities("class_probabilities", class_probabilities)
    for name, num_classes in labels_read(vae.prior.config):
        if name == condition and num_classes != len(probabilities):
            raise ValueError(f"Expected one probability for each of {num_classes} classes; got {len(probabilities)}.")
    return probabilities


@jax.jit
def _sum_over_classes(of_classes: list[WeightSummary]) -> WeightSummary:
    joint = jax.tree.map(lambda *leaves: jnp.stack(leaves), *of_classes)
    most_probable = jnp.argmax(joint.values, axis=0)[None]
    responsibility = jax.nn.softmax(joint.values, axis=0)
    of_normalizer = (joint.normalizer_error, joint.normalizer_bias)
    return WeightSummary(
        jax.nn.logsumexp(joint.values, axis=0),
        jnp.take_along_axis(joint.effective_sample_size, most_probable, axis=0)[0],
        jnp.take_along_axis(joint.pareto_k, most_probable, axis=0)[0],
        jax.nn.logsumexp(joint.curve, axis=0),
        None if joint.weight is None else joint.weight[0],
        *(None if change is None else jnp.sum(responsibility * change, axis=0) for change in of_normalizer),
    )
