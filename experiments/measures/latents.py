"""How much each dimension of z tells of x, and how many components of a mixture are used."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.measures.keys import KEYS
from experiments.measures.settings import EvaluationSettings
from experiments.models.posteriors import PAIRED
from experiments.models.trained import Model
from vaepriors_jax.evaluation.latents.components import mixture_usage, pseudo_input_distances
from vaepriors_jax.evaluation.latents.dimensions import latent_dimensions
from vaepriors_jax.priors.vamp import has_pseudo_inputs


def latents(model: Model, data: Dataset, settings: EvaluationSettings) -> dict[str, Any]:
    """How much each dimension tells of x and, for a mixture, how many components are used; over the training set.

    Dimensions are told apart by the marginals of the posterior, which are known of Gaussians.
    """
    del settings
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    arguments = (model.vae, model.params, KEYS["latents"], x)
    values: dict[str, Any] = {}
    if model.prior not in PAIRED:
        dimensions = latent_dimensions(*arguments, **context)
        values["collapsed"] = int(dimensions.collapsed.sum())
        values["mutual_information_by_dimension"] = np.asarray(dimensions.mutual_information).tolist()
        values["kl_by_dimension"] = np.asarray(dimensions.kl).tolist()
    prior = model.example_prior(data)
    if isinstance(getattr(prior, "top", prior), vp.Mixture):  # the upper one of two levels
        usage = mixture_usage(*arguments, **context)
        for name in ("weight_perplexity", "responsibility_perplexity", "num_unused"):
            values[name] = float(getattr(usage, name))
    if has_pseudo_inputs(model.vae.prior):
        distances = pseudo_input_distances(model.vae.prior, model.params.prior, x)
        values["pseudo_input_distance"] = float(jnp.mean(distances))
    return values
