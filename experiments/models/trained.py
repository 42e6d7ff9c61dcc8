"""Trained VAEs: the model of one seed, and one prior with all its seeds."""

from typing import Any, NamedTuple

import jax
import numpy as np

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.models.vaes import prior_reads_index, prior_reads_label
from vaepriors_jax.distributions.spaces import EUCLIDEAN, space_of
from vaepriors_jax.vae import split_states


def reads_label(vae: vp.VAE) -> bool:
    """Whether a VAE of these programs reads the label, in its networks or in its prior."""
    return "y" in vae.encoder_context or prior_reads_label(vae.prior)


def training_data(vae: vp.VAE, data: Dataset) -> dict[str, Any]:
    """What batches hold: images, labels where the VAE reads them, and places where its prior leaves an example out."""
    train = data.train if reads_label(vae) else {"x": data.train["x"]}
    return train | {"index": np.arange(len(train["x"]))} if prior_reads_index(vae.prior) else train


class Model(NamedTuple):
    """A trained VAE: one prior and one seed."""

    prior: str
    seed: int
    vae: vp.VAE
    params: vp.VAEParams

    @property
    def conditional(self) -> bool:
        """Whether prior or networks read the label."""
        return reads_label(self.vae)

    @property
    def space(self) -> str:
        """The space of the latents, in words: "R^n", "the unit sphere" or "the simplex"."""
        found, label = [], {"y": np.int32(0)} if self.conditional else {}
        jax.eval_shape(lambda params: found.append(space_of(self.vae.latent_prior(params, **label))), self.params)
        return found[0]

    def context(self, split: dict[str, np.ndarray]) -> Any:
        """The per-example context of a split that the model reads."""
        return {"y": split["y"]} if self.conditional else {}

    def example_prior(self, data: Dataset) -> Any:
        """The prior of the first training example."""
        return self.vae.latent_prior(
            self.params, **{name: array[0] for name, array in self.context(data.train).items()}
        )


def is_euclidean(model: Model) -> bool:
    """Whether the latents are any vectors, with densities with respect to Lebesgue measure.

    Chains of annealing, planes and paths between latents have a meaning there alone.
    """
    return model.space == EUCLIDEAN


class Trained(NamedTuple):
    """One prior trained with all seeds, the rows of its grid of settings, and the operations of a training step."""

    name: str
    vae: vp.VAE
    result: vp.FitResult
    seeds: tuple[int, ...]
    grid: tuple[dict[str, Any], ...] = ()
    operations: int = 0

    def model(self, replica: int) -> Model:
        """The model of one seed."""
        params = jax.tree.map(lambda leaf: leaf[replica], self.result.params)
        return Model(self.name, self.seeds[replica], self.vae, params)

    def row(self, replica: int) -> dict[str, Any]:
        """The row of one seed in results.json before anything is measured; with the failure where training failed."""
        failure = next((failure for failure in self.result.failures if failure.replica == replica), None)
        model = self.model(replica)
        return {
            "prior": self.name,
            "seed": self.seeds[replica],
            "space": model.space,
            "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(split_states(model.params)[0])),
            "best_epoch": int(self.result.best_epoch[replica]),
            "seconds_per_epoch": self.result.seconds_per_epoch,
            "replicas_at_once": len(self.seeds) * max(1, len(self.grid)),
            "operations_per_step": self.operations,
            "test": None,
        } | ({} if failure is None else {"failure": str(failure)})
