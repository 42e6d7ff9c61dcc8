"""The tables of a comparison of priors, from its summary over seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.measures.holes import few_encodings_note
from experiments.models.likelihoods import KINDS
from experiments.models.posteriors import PAIRED
from experiments.report import results
from experiments.report.document import Table
from experiments.report.fewer_images import fewer_mark, fewer_note
from experiments.report.grid import grid_table
from experiments.report.normalizers import estimated_mark, estimated_note
from vaepriors_jax.distributions.spaces import EUCLIDEAN

LATENTS = {  # title of the column, and its note
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
SAMPLES = ("fid", "kid", "precision", "recall", "density", "coverage")


def tables(summary: list[dict[str, Any]], of_grid: Sequence[dict[str, Any]] = ()) -> list[Table]:
    """The tables of a comparison."""
    parts = [grid_table(list(of_grid))] if of_grid else []
    parts.append(_likelihood_table(summary))
    if any("hole_mass" in entry for entry in summary):
        parts.append(_holes_table(summary))
    if any(name in entry for entry in summary for name in LATENTS):
        parts.append(_latents_table(summary))
    if any("generated" in entry for entry in summary):
        parts.append(samples_table(summary))
    return parts


def _likelihood_table(summary: list[dict[str, Any]]) -> Table:
    conditional = any("log_marginal_given_label" in entry for entry in summary)
    in_bits = any("bits_per_dim" in entry for entry in summary)
    kind = KINDS[summary[0].get("likelihood", "bernoulli")].data
    header = ["prior", "log p(x)", *(["bits / dim"] if in_bits else []), *(["log p(x|y)"] if conditional else [])]
    header += ["AIS - IW", "k > 0.7", "ELBO", "reconstruction", "KL", "parameters", "s / epoch"]
    rows = []
    for entry in summary:
        given = "log_marginal_given_label" in entry
        mark = estimated_mark(entry)
        on_fewer = mark + fewer_mark(entry)
        row = [entry["prior"], results.format_mean(entry.get("log_marginal")) + on_fewer]
        row += [results.format_mean(entry.get("bits_per_dim"), 3) + on_fewer] if in_bits else []
        row += [results.format_mean(entry.get("log_marginal_given_label"))] if conditional else []
        row += [results.format_mean(entry.get("annealed_minus_weighted"))]
        unreliable = entry.get("pareto_k_above_0.7")
        row += ["–" if unreliable is None else f"{100 * unreliable['mean']:.1f} %"]
        row += [results.format_mean(entry.get("elbo")) + (" *" if given else "") + mark]
        row += [results.format_mean(entry.get("reconstruction")), results.format_mean(entry.get("kl")) + mark]
        seconds = entry["seconds_per_epoch"]  # of a run that was finished before, no epoch was timed
        timed = seconds is not None and math.isfinite(seconds)
        rows.append([*row, f"{entry['num_parameters']:,}", f"{seconds:.3f}" if timed else "–"])
    replicas, elsewhere = summary[0]["replicas_at_once"], _elsewhere(summary)
    notes = [
        "In nats per test image, larger is better; ± is the standard error over seeds (over images for one seed). "
        "log p(x): importance-weighted (IW). AIS - IW: what annealed importance sampling adds to it, on 100 images of "
        "a run's first seed"
        + ("; for `conditional` to log p(x|y)." if conditional else ".")
        + (f" Its chains need latents in R^n: there are none for {elsewhere}." if elsewhere else ""),
        "k > 0.7: share of images whose importance weights have so heavy a tail that their log p(x) is not reliable.",
        f"s / epoch: all {replicas} replicas together (compilation apart)."
        if replicas > 1
        else "s / epoch: one replica.",
    ]
    notes += estimated_note(summary) + fewer_note(summary)
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


def without_old_holes(measured: Mapping[str, Any]) -> Mapping[str, Any]:
    """Measurements without the hole mass of older results, which lack the divergence: it had another threshold."""
    if "divergence" in measured:
        return measured
    return {name: value for name, value in measured.items() if name not in ("hole_mass", "uncovered_mass")}


def hole_notes(measured: Iterable[Mapping[str, Any]]) -> str:
    """The notes of the columns on holes: their meaning, and their limits."""
    known = [values for values in measured if "divergence" in values]
    notes = [
        "Divergence: Jensen-Shannon divergence in nats between encodings of test images and samples of the prior, as a "
        "classifier that learned from encodings of validation images finds it; 0 where p = q, at most 0.693. Accuracy "
        "is that classifier's, 0.5 where p = q. Hole mass: probability under p(z) of where log q(z) is below its 1 % "
        "quantile at encodings that are left out of q(z), 0.01 where p = q; from about 10 dimensions on blind to local "
        "holes. Smaller is better."
    ]
    if not known:
        return " ".join([*notes, "–: this run is older than these measures."])
    counts = [values["num_encodings"] for values in known if "num_encodings" in values]
    # A summary holds the mean over seeds, a row one number for each.
    numbers = [count["mean"] if isinstance(count, dict) else min(count) for count in counts]
    least = min(numbers, default=None)
    return " ".join([*notes, few_encodings_note(least)]).strip()


def _holes_table(summary: list[dict[str, Any]]) -> Table:
    header = ["prior", "divergence", "accuracy", "hole mass", "uncovered mass"]
    digits = {"divergence": 3, "accuracy": 2, "hole_mass": 3, "uncovered_mass": 3}
    rows = [
        [
            entry["prior"],
            *(results.format_mean(without_old_holes(entry).get(name), places) for name, places in digits.items()),
        ]
        for entry in summary
    ]
    return Table("Prior holes", header, rows, [f"{hole_notes(summary)} Uncovered mass: hole mass, q and p exchanged."])


def _latents_table(summary: list[dict[str, Any]]) -> Table:
    names = [name for name in LATENTS if any(name in entry for entry in summary)]
    rows = [[entry["prior"], *(results.format_mean(entry.get(name), 1) for name in names)] for entry in summary]
    titles, explained = zip(*(LATENTS[name] for name in names), strict=True)
    notes = [" ".join(explained)]
    if elsewhere := _elsewhere(summary):
        notes.append(f"Active units have a meaning in R^n alone: none are counted for {elsewhere}.")
    paired = [entry["prior"] for entry in summary if entry["prior"] in PAIRED and "collapsed" not in entry]
    if "collapsed" in names and paired:
        notes.append(f"Collapsed dimensions are known where q(z|x) is Gaussian, not for {', '.join(paired)}.")
    return Table("Latents and components", ["prior", *titles], rows, notes)


def _elsewhere(summary: Iterable[Mapping[str, Any]]) -> str:
    """The priors over other spaces than R^n, each with its space."""
    spaces = [(entry["prior"], entry.get("space", EUCLIDEAN)) for entry in summary]
    return ", ".join(f"{prior} (on {space})" for prior, space in spaces if space != EUCLIDEAN)


def samples_table(summary: list[dict[str, Any]]) -> Table:
    """Scores of the samples of each prior, beside those of training images and of noise."""
    header = ["samples of", "FID", "KID", "precision", "recall", "density", "coverage", "copies", "FID (rec.)"]

    def row(name: str, scores: dict[str, Any], rebuilt: dict[str, Any] | None) -> list[str]:
        cells = [name, *(results.format_mean(scores[score]) for score in SAMPLES)]
        cells += [results.format_mean(scores.get("memorization_close_share"), 3)]
        return [*cells, results.format_mean(rebuilt and rebuilt["fid"])]

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
