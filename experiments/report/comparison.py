"""The summary of a comparison of priors over seeds, in words and tables."""

from collections.abc import Sequence
from typing import Any

from experiments.report import results
from experiments.report.answer import Answer
from experiments.report.comparison_tables import LATENTS, SAMPLES, tables
from experiments.report.parts import Figure, Section
from experiments.report.results import Rows as Rows
from experiments.report.summaries import of_comparison

LIKELIHOOD = (
    "log_marginal",
    "log_marginal_num_images",
    "log_marginal_num_samples",
    "log_marginal_normalizer_error",
    "log_marginal_normalizer_bias",
    "bits_per_dim",
    "log_marginal_given_label",
    "elbo",
    "reconstruction",
    "kl",
    "annealed_minus_weighted",
    "pareto_k_above_0.7",
    "active_units",
)
HOLES = ("divergence", "accuracy", "num_encodings", "marginal_kl", "mutual_information", "hole_mass", "uncovered_mass")
COPIES = ("memorization_ratio", "memorization_close_share")


Summary = list[dict[str, Any]]  # one for each prior


def summarize(rows: Rows) -> Summary:
    """Mean and standard error over seeds for each prior; of one seed, the error of the estimate itself."""
    summary = []
    for prior in dict.fromkeys(row["prior"] for row in rows):
        of_prior = [row for row in rows if row["prior"] == prior]
        trained = [row for row in of_prior if row["test"]]
        entry: dict[str, Any] = {"prior": prior, "num_seeds": len(trained)}
        entry["likelihood"] = of_prior[0].get("likelihood", "bernoulli")
        entry |= {"space": of_prior[0]["space"]} if "space" in of_prior[0] else {}  # older rows are all in R^n
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
    summary = {}
    for name in names:
        of_seeds = [value[name] for value in values if name in value]
        if of_seeds:
            mean, error = results.mean_and_error(of_seeds)
            error = values[0].get(f"{name}_standard_error") if len(of_seeds) == 1 else error
            summary[name] = {"mean": mean, "standard_error": error}
    return summary


def sections_of(
    rows: Rows, summary: Summary, answered: Answer, figures: Sequence[Figure] = (), of_grid: Sequence[Any] = ()
) -> tuple[list[Section], list[Section]]:
    """The sections of a report: the answer, figures, tables; and those that a terminal shows."""
    words, table = [*failures_of(rows), answered.words], of_comparison(summary, answered.marks)
    sections = [
        Section("The answer", words),
        *([Section("Pictures", figures=figures)] if figures else []),
        Section("Tables", tables=[table], details=tables(summary, of_grid)),
    ]
    return sections, [Section("", words), Section("", tables=[table])]


def failures_of(rows: Rows) -> list[str]:
    """A paragraph on seeds that failed, if there are any."""
    failed = [f"{row['prior']}, seed {row['seed']}: {row['failure']}" for row in rows if not row["test"]]
    return [f"Seeds that were frozen, and are in no table: {'; '.join(failed)}."] if failed else []
