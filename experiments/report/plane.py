"""The report of `prior_visualization`: the holes of each prior, and the figure."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from experiments.report.comparison_tables import hole_notes, without_old_holes
from experiments.report.document import Figure, Section, Table
from experiments.report.recommendation import short_name
from experiments.report.summaries import of_plane

MEASURES = ("divergence", "accuracy", "hole_mass")
CLEAR = 3.0  # standard errors from which one hole is called smaller than another


def answer(rows: Sequence[dict[str, Any]]) -> str:
    """A paragraph on how much of each prior's mass lies in holes, from rows of results.json; the first row's first."""
    masses = [(short_name(row["prior"]), *map(float, row["hole_mass"])) for row in rows]
    (name, mass, error), *others = masses
    sentences = [f"{_percent(mass, error)} of the mass of {name} lies in holes, where no image is encoded."]
    if others:
        other, least, error_of_least = min(others, key=itemgetter(1))
        errors = (mass - least) / max(np.hypot(error, error_of_least), 1e-12)
        compared = f"{other} has {'the least' if len(others) > 1 else 'less' if errors > 0 else 'more'} there: "
        compared += _percent(least, error_of_least)
        if abs(errors) < CLEAR:
            sentences.append(f"{compared}, no clear difference.")
        else:
            sentences.append(f"{compared}, a difference of {abs(errors):.0f} standard errors.")
    sentences.append("Where a prior agrees with the encodings it is 1 %.")
    return " ".join([*sentences, "Each is one model: another seed can differ by more than these errors."])


def _percent(mass: float, error: float) -> str:
    return f"{100 * mass:.1f} ± {100 * error:.1f} %"


def holes_table(content: dict[str, Any]) -> Table:
    """The table of the hole of each prior, from results.json."""
    cells = [
        [row["prior"], *(f"{row[name][0]:z.3f} ± {row[name][1]:.3f}" if name in row else "–" for name in MEASURES)]
        for row in map(without_old_holes, content["rows"])
    ]
    notes = [
        "± is the standard error of the estimate; differences between seeds come on top. " + hole_notes(content["rows"])
    ]
    title = f"Prior holes in {content['config']['latent_dim']} dimensions"
    return Table(title, ["prior", "divergence", "accuracy", "hole mass"], cells, notes)


def describe(content: dict[str, Any]) -> list[Section]:
    """The sections of the report."""
    caption = (
        "Two rows for each prior: encodings of training images, the aggregated posterior q(z) and "
        "the prior p(z); below, their difference, samples of the prior and the plane, decoded. Blue in the difference, "
        "within the green contours of the prior, is a hole: samples come from there, and no image is encoded there. A "
        "prior that fits has white where it has mass."
    )
    picture = Figure("latent_plane.png", "The latent plane", caption)
    return [
        Section("The answer", [answer(content["rows"])]),
        Section("Prior holes", (), [of_plane(content["rows"])], [picture], [holes_table(content)]),
    ]
