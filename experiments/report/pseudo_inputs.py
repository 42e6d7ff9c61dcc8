"""Whether pseudo-inputs resemble training images, as a table and in words."""

from typing import Any

from experiments.report.document import Table

# The pseudo-inputs, and the images that they are compared with.
SETS = ("pseudo-inputs", "their start", "held-out images", "uniform noise")


MEASURES = {
    "distance": "distance, pixels",
    "feature_distance": "distance, features",
    "class_entropy": "class entropy, nats",
}


ALIKE = 0.2  # times the distance of real images from each other, within which pseudo-inputs count as alike


def usage(row: dict[str, Any]) -> str:
    """A sentence on how many are used; components that coincide share their data, and count as used."""
    near = f"each lies {row['apart']:.2f} from the next pseudo-input (their start {row['apart_at_start']:.2f})"
    if row["apart"] < ALIKE * row["distance"]["held-out images"][0]:
        return f"They have hardly parted, {near}: together they are little more than one component."
    count = row["num_components"] - row["num_unused"]
    equal = row["responsibility_perplexity"]
    return f"{count} of them are used: they explain the training set like {equal:.0f} equal components; {near}."


def answer(row: dict[str, Any]) -> str:
    """A paragraph on whether the pseudo-inputs resemble training data, from the numbers of one start."""
    shares = [row[f"share_within_{name}"] for name in ("pixels", "features", "entropy")]
    alike = min(shares)
    verdict = "Yes" if alike >= 0.8 else "In part" if max(shares) >= 0.5 else "No"
    distance, entropy = row["distance"], row["class_entropy"]
    moved = distance["their start"][0] - distance["pseudo-inputs"][0]
    towards = "nearer to" if moved > 0 else "away from"
    real = "held-out images"
    pixels, features, of_class = (f"{100 * share:.0f} %" for share in shares)
    sentences = (
        f"Start: {row['start']}. Do the pseudo-inputs resemble training data? {verdict}.",
        f"Of {row['num_components']}, {pixels} are as near to a training image as 95 % of held-out images in pixels,",
        f"{features} in features, and {of_class} are as clearly of one class.",
        f"Their mean distance to the nearest training image is {distance['pseudo-inputs'][0]:.2f} ({real}",
        f"{distance[real][0]:.2f}, uniform noise {distance['uniform noise'][0]:.2f}); training moved them by",
        f"{abs(moved):.2f} {towards} the data. Their class entropy is {entropy['pseudo-inputs'][0]:.2f} nats ({real}",
        f"{entropy[real][0]:.2f}, their start {entropy['their start'][0]:.2f}). {usage(row)}",
    )
    return " ".join(sentences)


def distances_table(rows: list[dict[str, Any]]) -> Table:
    """The table of the numbers that the answer rests on."""
    cells = [
        [row["start"], name, *("{:.2f} ± {:.2f}".format(*row[measure][name]) for measure in MEASURES)]
        for row in rows
        for name in SETS
    ]
    notes = ["Distances are to the nearest training image; ± is the standard error over images."]
    title = f"{rows[0]['num_components']} pseudo-inputs against real images"
    return Table(title, ["start", "images", *MEASURES.values()], cells, notes)
