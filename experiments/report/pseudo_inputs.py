"""Whether pseudo-inputs resemble training images, as a table and in words."""

from typing import Any

from experiments.report.document import Table

# The images that the pseudo-inputs are held against.
SETS = ("pseudo-inputs", "their start", "held-out images", "uniform noise")


MEASURES = {
    "distance": "distance, pixels",
    "feature_distance": "distance, features",
    "class_entropy": "class entropy, nats",
}


ALIKE = 0.2  # times the distance of real images from each other, within which pseudo-inputs count as alike


def used(found: dict[str, Any]) -> str:
    """One sentence on how many are used; components that coincide share their data, and count as used."""
    near = f"each lies {found['apart']:.2f} from the next pseudo-input (their start {found['apart_at_start']:.2f})"
    if found["apart"] < ALIKE * found["distance"]["held-out images"][0]:
        return f"They have hardly parted, {near}: together they are little more than one component."
    count = found["num_components"] - found["num_unused"]
    equal = found["responsibility_perplexity"]
    return f"{count} of them are used: they explain the training set like {equal:.0f} equal components; {near}."


def answer(found: dict[str, Any]) -> str:
    """One paragraph that says, from the numbers, whether the pseudo-inputs resemble training data."""
    shares = [found[f"share_within_{name}"] for name in ("pixels", "features", "entropy")]
    alike = min(shares)
    verdict = "Yes" if alike >= 0.8 else "In part" if max(shares) >= 0.5 else "No"
    distance, entropy = found["distance"], found["class_entropy"]
    moved = distance["their start"][0] - distance["pseudo-inputs"][0]
    towards = "nearer to" if moved > 0 else "away from"
    real = "held-out images"
    sentences = (
        f"Start: {found['start']}. Do the pseudo-inputs resemble training data? {verdict}.",
        f"Of {found['num_components']}, {shares[0]:.0%} are as near to a training image as 95 % of held-out images in",
        f"pixels, {shares[1]:.0%} in features, and {shares[2]:.0%} are as clearly of one class.",
        f"Their mean distance to the nearest training image is {distance['pseudo-inputs'][0]:.2f} ({real}",
        f"{distance[real][0]:.2f}, uniform noise {distance['uniform noise'][0]:.2f}); training moved them by",
        f"{abs(moved):.2f} {towards} the data. Their class entropy is {entropy['pseudo-inputs'][0]:.2f} nats ({real}",
        f"{entropy[real][0]:.2f}, their start {entropy['their start'][0]:.2f}). {used(found)}",
    )
    return " ".join(sentences)


def distances_table(rows: list[dict[str, Any]]) -> Table:
    """The numbers that the answer comes from."""
    cells = [
        [one["start"], name, *(f"{one[what][name][0]:.2f} ± {one[what][name][1]:.2f}" for what in MEASURES)]
        for one in rows
        for name in SETS
    ]
    notes = ["Distances are to the nearest training image; ± is the standard error over images."]
    title = f"{rows[0]['num_components']} pseudo-inputs against real images"
    return Table(title, ["start", "images", *MEASURES.values()], cells, notes)
