"""What is said of a log p(x) that is of fewer test images, and from fewer samples, than those of other priors."""

from collections.abc import Mapping, Sequence
from typing import Any

NUM_IMAGES, NUM_SAMPLES = "log_marginal_num_images", "log_marginal_num_samples"
WHY = "since each density of the prior is the solution of an ODE"
BIAS = "Fewer samples give a lower log p(x) on average: a gain over a prior that has more of them is understated."


def fewer_mark(entry: Mapping[str, Any]) -> str:
    """What follows the log p(x) of a prior in a table."""
    return " ‡" if NUM_IMAGES in entry else ""


def fewer_note(summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the mark says, if it is there."""
    marked = [entry for entry in summary if NUM_IMAGES in entry]
    if not marked:
        return []
    images, samples = (max(int(entry[name]["mean"]) for entry in marked) for name in (NUM_IMAGES, NUM_SAMPLES))
    return [
        f"‡ On {images:,} evenly chosen test images with S = {samples:,}, {WHY}. The mean over other images is another "
        f"one: the answer compares priors on images that both have. {BIAS}"
    ]
