"""The report of `prior_visualization`: the holes of each prior, and the figure."""

from typing import Any

from experiments.report.comparison_tables import hole_notes, without_old_holes
from experiments.report.document import Figure, Section, Table
from experiments.report.summaries import of_plane

MEASURES = ("divergence", "accuracy", "hole_mass")


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
    return [Section("Prior holes", (), [of_plane(content["rows"])], [picture], [holes_table(content)])]
