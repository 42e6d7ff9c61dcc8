"""What a comparison of priors shows: the tables over seeds, and the figures."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments import figures, grid, metrics, report
from experiments.data import Dataset
from experiments.document import Figure, Section, Table
from experiments.likelihoods import KINDS
from experiments.metrics import Model


class Trained(NamedTuple):
    """One prior, trained with all seeds; what the grid of settings gave, and operations of a step."""

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
        """What results.json says of one seed before anything is measured; no test, and why, where training failed."""
        failure = next((one for one in self.result.failures if one.replica == replica), None)
        return {
            "prior": self.name,
            "seed": self.seeds[replica],
            "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(self.model(replica).params)),
            "best_epoch": int(self.result.best_epoch[replica]),
            "seconds_per_epoch": self.result.seconds_per_epoch,
            "replicas_at_once": len(self.seeds) * max(1, len(self.grid)),
            "operations_per_step": self.operations,
            "test": None,
        } | ({} if failure is None else {"failure": str(failure)})


LIKELIHOOD = (
    "log_marginal",
    "bits_per_dim",
    "log_marginal_given_label",
    "elbo",
    "reconstruction",
    "kl",
    "annealed_minus_weighted",
    "pareto_k_above_0.7",
    "active_units",
)
HOLES = ("marginal_kl", "mutual_information", "hole_mass", "uncovered_mass")
LATENTS = {  # title of the column, and what it says
    "active_units": (
        "active units",
        "Active units: dimensions of z whose posterior mean varies by more than 0.01 over the test images.",
    ),
    "collapsed": ("collapsed", "Collapsed: dimensions that tell less than 0.01 nats of x."),
    "weight_perplexity": ("weight perplexity", "Perplexities: how many components carry the weight,"),
    "responsibility_perplexity": ("responsibility perplexity", "and how many explain the training set."),
    "num_unused": ("unused components", "Unused: components that explain less than a hundredth of an equal share."),
    "pseudo_input_distance": (
        "pseudo-inputs to data",
        "Pseudo-inputs to data: mean Euclidean distance of each to the nearest training image.",
    ),
}
CAPTIONS = {  # title of a figure, and what to see in it
    "samples": (
        "Samples of each prior beside test images",
        "Means of p(x|z) with z from the prior, of the first seed. Where the prior has holes, look for images that are "
        "of no class, or of two at once.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Each row of test images has its reconstructions below it. They bound what a better prior can gain: samples "
        "that look worse than these are the prior's fault, not the decoder's.",
    ),
    "training_curves": (
        "Training",
        "ELBO in nats per image, with the KL at its full weight, one line a seed. Curves that still rise at the end "
        "say that training was too short to compare priors.",
    ),
    "hole_maps": (
        "Prior holes",
        "log q(z) - log p(z) on the plane of the encodings' first two principal components, one colour scale for all. "
        "Blue inside the prior's green contours is a hole: the prior samples there, and no image is encoded there.",
    ),
    "pseudo_inputs": (
        "Pseudo-inputs",
        "What the VampPrior learned beside training images: do they look like data, or like means of many images?",
    ),
}
SAMPLES = ("fid", "kid", "precision", "recall", "density", "coverage")
COPIES = ("memorization_ratio", "memorization_close_share")


def summarize(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard error over seeds for each prior; of one seed, the error of the estimate itself."""
    summary = []
    for prior in dict.fromkeys(row["prior"] for row in rows):
        of_prior = [row for row in rows if row["prior"] == prior]
        trained = [row for row in of_prior if row["test"]]
        entry: dict[str, Any] = {"prior": prior, "num_seeds": len(trained)}
        entry["likelihood"] = of_prior[0].get("likelihood", "bernoulli")
        entry |= {name: of_prior[0][name] for name in ("num_parameters", "seconds_per_epoch", "replicas_at_once")}
        for part, names in (("test", LIKELIHOOD), ("holes", HOLES), ("latents", tuple(LATENTS)[1:])):
            entry |= _over_seeds([row[part] for row in trained if part in row], names)
        for score in ("generated", "reconstructions", "floor", "noise"):
            scores = [row["samples"][score] for row in trained if "samples" in row]
            if scores:
                entry[score] = _over_seeds(scores, SAMPLES + COPIES)
        summary.append(entry)
    return summary


def _over_seeds(values: list[dict[str, float]], names: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for name in names:
        of_seeds = [value[name] for value in values if name in value]
        if of_seeds:
            mean, error = report.mean_and_error(of_seeds)
            error = values[0].get(f"{name}_standard_error") if len(of_seeds) == 1 else error
            found[name] = {"mean": mean, "standard_error": error}
    return found


def tables(summary: list[dict[str, Any]], of_grid: Sequence[dict[str, Any]] = ()) -> list[Table]:
    """The tables of a comparison."""
    found = [grid.table(list(of_grid))] if of_grid else []
    found.append(_likelihood_table(summary))
    if any("marginal_kl" in entry for entry in summary):
        found.append(_holes_table(summary))
    found.append(_latents_table(summary))
    if any("generated" in entry for entry in summary):
        found.append(samples_table(summary))
    return found


def sections_of(summary: list[dict[str, Any]], of_grid: Sequence[dict[str, Any]] = ()) -> list[Section]:
    """The tables of a comparison as a part of its report."""
    return [Section("What was measured", tables=tables(summary, of_grid))]


def failures_of(rows: list[dict[str, Any]]) -> list[str]:
    """A paragraph on seeds that failed, if there are any."""
    failed = [f"{row['prior']}, seed {row['seed']}: {row['failure']}" for row in rows if not row["test"]]
    return [f"Seeds that were frozen, and are in no table: {'; '.join(failed)}."] if failed else []


def _likelihood_table(summary: list[dict[str, Any]]) -> Table:
    conditional = any("log_marginal_given_label" in entry for entry in summary)
    in_bits = any("bits_per_dim" in entry for entry in summary)
    kind = KINDS[summary[0].get("likelihood", "bernoulli")].data
    header = ["prior", "log p(x)", *(["bits / dim"] if in_bits else []), *(["log p(x|y)"] if conditional else [])]
    header += ["AIS - IW", "k > 0.7", "ELBO", "reconstruction", "KL", "parameters", "s / epoch"]
    rows = []
    for entry in summary:
        given = "log_marginal_given_label" in entry
        row = [entry["prior"], report.format_mean(entry.get("log_marginal"))]
        row += [report.format_mean(entry.get("bits_per_dim"), 3)] if in_bits else []
        row += [report.format_mean(entry.get("log_marginal_given_label"))] if conditional else []
        row += [report.format_mean(entry.get("annealed_minus_weighted"))]
        unreliable = entry.get("pareto_k_above_0.7")
        row += ["–" if unreliable is None else f"{100 * unreliable['mean']:.1f} %"]
        row += [report.format_mean(entry.get("elbo")) + (" *" if given else "")]
        row += [report.format_mean(entry.get(name)) for name in ("reconstruction", "kl")]
        row += [f"{entry['num_parameters']:,}"]
        rows.append([*row, f"{entry['seconds_per_epoch']:.3f}"])
    replicas = summary[0]["replicas_at_once"]
    notes = [
        "In nats per test image, larger is better; ± is the standard error over seeds (over images for one seed). "
        "log p(x): importance-weighted (IW). AIS - IW: what annealed importance sampling adds to it, on 100 images of "
        "the first seed" + ("; for `conditional` to log p(x|y)." if conditional else "."),
        "k > 0.7: share of images whose importance weights have so heavy a tail that their log p(x) is not reliable.",
        f"s / epoch: all {replicas} replicas together (compilation apart)."
        if replicas > 1
        else "s / epoch: one replica.",
    ]
    if in_bits:
        notes.append("bits / dim: -log2 p(x) for each pixel, smaller is better.")
    if kind == "density":
        notes.append(
            f"p(x|z) is a density ({summary[0]['likelihood']}): its nats depend on how values are scaled, and are not "
            "comparable with those of probabilities, of grey levels or of binary images."
        )
    if conditional:
        notes.append("* ELBO, reconstruction and KL of `conditional` are given the label: a bound of log p(x|y).")
    return Table("Likelihood of the test images", header, rows, notes)


def _holes_table(summary: list[dict[str, Any]]) -> Table:
    header = ["prior", "KL(q(z) || p(z))", "I(n; z)", "hole mass", "uncovered mass"]
    rows = [
        [
            entry["prior"],
            *(report.format_mean(entry.get(name)) for name in ("marginal_kl", "mutual_information")),
            *(report.format_mean(entry.get(name), 3) for name in ("hole_mass", "uncovered_mass")),
        ]
        for entry in summary
    ]
    notes = [
        "q(z): aggregated posterior of the whole training set. KL and mutual information in nats. Hole mass: "
        "probability under p(z) of where log q(z) is below its 1 % quantile under q(z); uncovered mass: the reverse. "
        "Both are 0.01 where p = q; smaller is better."
    ]
    return Table("Prior holes", header, rows, notes)


def _latents_table(summary: list[dict[str, Any]]) -> Table:
    found = [name for name in LATENTS if any(name in entry for entry in summary)]
    rows = [[entry["prior"], *(report.format_mean(entry.get(name), 1) for name in found)] for entry in summary]
    titles, explained = zip(*(LATENTS[name] for name in found), strict=True)
    return Table("Latents and components", ["prior", *titles], rows, [" ".join(explained)])


def samples_table(summary: list[dict[str, Any]]) -> Table:
    """Scores of the samples of each prior, beside those to read them against."""
    header = ["samples of", "FID", "KID", "precision", "recall", "density", "coverage", "copies", "FID (rec.)"]

    def row(name: str, scores: dict[str, Any], rebuilt: dict[str, Any] | None) -> list[str]:
        cells = [name, *(report.format_mean(scores[score]) for score in SAMPLES)]
        cells += [report.format_mean(scores.get("memorization_close_share"), 3)]
        return [*cells, report.format_mean(rebuilt and rebuilt["fid"])]

    scored = [entry for entry in summary if "generated" in entry]
    rows = [row(entry["prior"], entry["generated"], entry["reconstructions"]) for entry in scored]
    # The floor and the noise do not depend on the model.
    for name, label in (("floor", "floor: training images"), ("noise", "uniform noise")):
        fixed = {score: {**value, "standard_error": None} for score, value in scored[0][name].items()}
        rows.append(row(label, fixed, None))
    likelihood = KINDS[scored[0].get("likelihood", "bernoulli")]
    kind = "binary " if likelihood.data == "binary" else ""
    notes = [
        f"As many {kind}samples as test images, against the test images, by features of a classifier trained on this "
        "data set (its hash and accuracy are in results.json): compare within one table only. A small test set biases "
        "FID upwards: read it against the floor. Copies: share of samples nearer to a training image than all but 1 % "
        "of test images are; 0.01 is what an honest model has. "
        "FID (rec.): of reconstructions of the test images."
    ]
    if likelihood.data == "density":
        notes.append("Samples outside [0, 1] are clipped to it.")
    return Table("Samples", header, rows, notes)


@partial(jax.jit, static_argnums=0)
def _generate(vae: vp.VAE, params: vp.VAEParams, keys: jax.Array, context: Any) -> jax.Array:
    return jax.vmap(lambda key, context: vp.generate(vae, params, key, 1, **context)[0])(keys, context)


@partial(jax.jit, static_argnums=0)
def _reconstruct(vae: vp.VAE, params: vp.VAEParams, x: jax.Array, context: Any) -> jax.Array:
    def one(x: jax.Array, context: Any) -> jax.Array:
        z = vae.posterior(params, x, **context).mean()
        return vae.likelihood(params, z, **context).mean()

    return jax.vmap(one)(x, context)


def draw(trained: list[Trained], data: Dataset, output_dir: Path, *, with_holes: bool) -> list[Figure]:
    """Draws the figures, of the first seed of each prior, and says what to see in them."""
    num, columns = min(36, len(data.test["x"])), 6
    x = data.test["x"][:num]
    samples: dict[str, np.ndarray] = {"test images": x}
    reconstructions: dict[str, np.ndarray] = {}
    key = jax.random.key(4)
    for one in trained:
        model = one.model(0)
        context = {name: jnp.asarray(value[:num]) for name, value in model.context(data.test).items()}
        generated = _generate(model.vae, model.params, jax.random.split(key, num), context)
        samples[one.name + (" (labels of the test images)" if context else "")] = np.asarray(generated)
        images = np.asarray(_reconstruct(model.vae, model.params, jnp.asarray(x), context))
        reconstructions[one.name] = figures.interleave(x[:24], images[:24], 8)
    figures.image_panels(
        output_dir / "samples.png",
        samples,
        num_columns=columns,
        title=f"{data.name}: means of p(x|z), z from each prior",
    )
    figures.image_panels(
        output_dir / "reconstructions.png",
        reconstructions,
        num_columns=8,
        title=f"{data.name}: test images, and below each its reconstruction (mean of q to mean of p)",
    )
    curves = {
        one.name + (", of log p(x|y)" if one.vae.encoder_context else ""): (
            one.result.history["elbo"],
            one.result.history["validation_elbo"],
        )
        for one in trained
    }
    figures.training_curves(
        output_dir / "training_curves.png", curves, title=f"{data.name}: ELBO by epoch, one line a seed"
    )
    found = [Figure(f"{name}.png", *CAPTIONS[name]) for name in ("samples", "reconstructions", "training_curves")]
    if with_holes:
        maps = {one.name: metrics.hole_map(one.model(0), data) for one in trained}
        title = f"{data.name}: prior holes on the plane of the encodings' first two principal components"
        figures.hole_maps(output_dir / "hole_maps.png", maps, title=title)
        found.append(Figure("hole_maps.png", *CAPTIONS["hole_maps"]))
    for one in trained:
        if one.name == "vamp":
            inputs = np.asarray(vp.pseudo_inputs(one.vae.prior, one.model(0).params.prior))[:50]
            figures.image_panels(
                output_dir / "pseudo_inputs.png",
                {f"{len(inputs)} pseudo-inputs": inputs, "training images": data.train["x"][: len(inputs)]},
                num_columns=10,
                title=f"{data.name}: learned pseudo-inputs of the VampPrior beside training images",
            )
            found.append(Figure("pseudo_inputs.png", *CAPTIONS["pseudo_inputs"]))
    return found
