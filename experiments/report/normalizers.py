"""The mark and the notes at a log p(x) that has an estimated normaliser of the prior in it."""

from collections.abc import Mapping, Sequence
from typing import Any

ERROR, BIAS = "log_marginal_normalizer_error", "log_marginal_normalizer_bias"


def estimated_mark(entry: Mapping[str, Any]) -> str:
    """What follows the log p(x) of a prior in a table."""
    return " †" if ERROR in entry else ""


def error_and_bias(error: float, bias: float) -> str:
    """The error, and the bias with its direction."""
    return f"± {error:.2g} nats, on average too {'high' if bias >= 0 else 'low'} by {abs(bias):.1g}"


def estimated_note(summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the mark says, if it is there: of each prior its error, and the bias with its direction."""
    parts = [
        f"{entry['prior']} {error_and_bias(entry[ERROR]['mean'], entry[BIAS]['mean'])}"
        for entry in summary
        if ERROR in entry
    ]
    if not parts:
        return []
    return [
        "† An estimate: the density of the prior is not known exactly. Its error is the same for all images, and is "
        f"not in the column's ±: in log p(x) {'; '.join(parts)}."
    ]
