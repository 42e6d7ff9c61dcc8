"""The mark and the note at a log p(x) that has an estimated normaliser of the prior in it."""

from collections.abc import Mapping, Sequence
from typing import Any

ERROR, BIAS = "log_marginal_normalizer_error", "log_marginal_normalizer_bias"


def estimated_mark(entry: Mapping[str, Any]) -> str:
    """What follows the log p(x) of a prior in a table."""
    return " †" if ERROR in entry else ""


def estimated_note(summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the mark says, if it is there: of each prior its error, and the bias with its direction."""
    parts = []
    for entry in summary:
        if ERROR in entry:
            bias = entry[BIAS]["mean"]
            direction = "high" if bias >= 0 else "low"
            parts.append(f"{entry['prior']} ± {entry[ERROR]['mean']:.2g} nats, too {direction} by {abs(bias):.1g}")
    if not parts:
        return []
    return [
        "† An estimate: the normaliser of the prior is not known exactly. Its error is the same for all images, and is "
        f"not in ±: {'; '.join(parts)} on average."
    ]
