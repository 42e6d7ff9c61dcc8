"""The report of `conditional_generation`: samples of each class, as a table and in words."""

from typing import Any

import numpy as np

from experiments.report import paired, results
from experiments.report.document import Table

CONDITIONAL, SHARED, BLIND = "p(z|y)", "N(0, I)", "p(z|y), networks without y"


MEASURES = {  # title and digits of each column
    "share": ("in the asked class", 3),
    "fid": ("FID", 2),
    "coverage": ("coverage", 2),
    "elbo": ("ELBO of log p(x|y)", 2),
}


def answer(shares: dict[str, list[float]], real: float) -> str:
    """A paragraph on the share of samples in the asked class, over seeds; `real` is that of test images."""
    difference = paired.compare(shares[CONDITIONAL], shares[SHARED])
    means = {name: 100 * float(np.mean(values)) for name, values in shares.items()}
    text = (
        f"Of the samples with a prior for each class {means[CONDITIONAL]:.1f} % are put into the class that was asked "
        f"for, with one N(0, I) for all classes {means[SHARED]:.1f} %; of test images it is {100 * real:.1f} %. "
        f"Where the prior alone is told the class, and neither encoder nor decoder, it is {means[BLIND]:.1f} %: there "
        "N(0, I) could not be asked for a class at all. "
    )
    if np.isnan(difference.p_value):
        return text + "One seed cannot say whether the difference is larger than the noise between seeds."
    size = f"{100 * abs(difference.mean):.1f} ± {100 * difference.standard_error:.1f} points, "
    size += difference.p_text
    if not difference.clear:
        return text + f"The difference ({size}) is within the noise between seeds."
    better = "The prior for each class" if difference.mean > 0 else "One N(0, I) for all"
    return text + f"{better} is better by more than the noise between seeds ({size})."


def _by_prior(rows: list[dict[str, Any]], measure: str) -> dict[str, list[float]]:
    names = (CONDITIONAL, SHARED, BLIND)
    return {name: [row["test"][measure] for row in rows if row["prior"] == name] for name in names}


def words(rows: list[dict[str, Any]], real: list[float]) -> list[str]:
    """A paragraph with the answer, and one on how large a difference the test can find."""
    shares = _by_prior(rows, "share")
    return [answer(shares, float(np.mean(real))), paired.strength(len(shares[SHARED]))]


def classes_table(rows: list[dict[str, Any]], real: list[float]) -> Table:
    """The table of the numbers that the answer rests on."""
    scores = {measure: _by_prior(rows, measure) for measure in MEASURES}

    def cell(values: list[float], digits: int) -> str:
        mean, error = results.mean_and_error(values)
        return results.format_mean({"mean": mean, "standard_error": error}, digits)

    cells = [
        [name, *(cell(scores[measure][name], digits) for measure, (_, digits) in MEASURES.items())]
        for name in (CONDITIONAL, SHARED, BLIND)
    ]
    differences = [
        paired.compare(scores[measure][CONDITIONAL], scores[measure][SHARED]).format(digits)
        for measure, (_, digits) in MEASURES.items()
    ]
    floor = [f"{rows[0]['samples']['floor'][name]:.2f}" for name in ("fid", "coverage")]
    cells += [["difference of the first two", *differences], ["real images", f"{np.mean(real):.3f}", *floor, "–"]]
    notes = [
        "Mean over seeds ± standard error; ELBO in nats. The share in the asked class is that of the feature "
        "network, a classifier of this data set; the real images are test images for the share, training images for "
        "FID and coverage. A model that draws one image a class would have a share of 1: coverage tells.",
    ]
    return Table("Generation by class", ["prior", *(title for title, _ in MEASURES.values())], cells, notes)
