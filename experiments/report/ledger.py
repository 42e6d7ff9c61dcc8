"""The tables of the ledger: published values beside ours, and what is missing."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.published.datasets import DATASETS
from experiments.published.queue import Queue
from experiments.published.records import Record
from experiments.published.settings import PRIORS, Setting
from experiments.published.values import SOURCES, VALUES, Group
from experiments.report import markdown
from experiments.report.results import mean_and_error
from experiments.report.summaries import short

HEADER = ("prior", "published", "ours", "gain", "AIS", "active", "divergence", "hole mass", "minutes")
LEGEND = (
    "Test NLL in nats, smaller is better: importance-weighted with S = 5000 on all test images; ± over seeds, or over "
    "test images where there is one seed (¹): such rows are not ranked within 0.3 nats. Gain: how far below N(0, I). "
    "AIS: how much lower the NLL is by annealed importance sampling, on 100 images. Active: active units. Divergence "
    "and hole mass of encodings and prior: 0 and 0.01 where both agree. Minutes: of a seed; – where the machine had "
    "other work."
)


class Row(NamedTuple):
    """A prior in a table, with the results of its seeds."""

    prior: str
    records: Sequence[Record]

    def values(self, part: str, name: str) -> list[float]:
        """A measure by seed, where it was made."""
        parts = (record["row"].get(part) or {} for record in self.records)
        return [part[name] for part in parts if part.get(name) is not None]

    @property
    def nll(self) -> float | None:
        """The mean test NLL."""
        values = self.values("test", "log_marginal")
        return -mean_and_error(values)[0] if values else None


def describe(queue: Queue) -> str:
    """All tables, the sources of published values, and a list of the missing settings with their cost."""
    tables = [line for group in _groups(queue.settings) for line in _table(queue, group)]
    left = queue.left()
    rows = [[f"`{setting.name}`", f"{setting.minutes:.0f}"] for setting in left]
    hours = sum(setting.minutes for setting in left) / 60
    missing = [
        "<details>",
        f"<summary>{len(left)} of {len(queue.settings)} settings are missing, about {hours:.0f} hours</summary>",
        "",
        markdown.table(["missing, the most wanted first", "minutes, estimated"], rows),
        "",
        "</details>",
    ]
    legend = [LEGEND, "", *(f"- {source}" for source in SOURCES), ""] if tables else []
    return "\n".join([*tables, *legend, *(missing if left else [])])


def _groups(settings: Iterable[Setting]) -> list[Group]:
    """Data set, levels and network, in order of worth."""
    return list(dict.fromkeys((setting.data, setting.levels, setting.network) for setting in settings))


def _table(queue: Queue, group: Group) -> list[str]:
    """The table of a data set, levels and network; nothing where no setting was run."""
    rows = [_row(queue, group, prior) for prior in PRIORS]
    rows = [row for row in rows if row.records or row.prior in VALUES.get(group, {})]
    if not any(row.records for row in rows):
        return []
    data, levels, network = group
    title = f"{DATASETS[data].title}, {'one level' if levels == 1 else 'two levels'} of latents"
    title += "" if network == "gated" else f", {network} layers"
    base = next((row.nll for row in rows if row.prior == "standard"), None)
    notes = [DATASETS[data].note, *(record["note"] for row in rows for record in row.records if "note" in record)]
    cells = [_cells(row, VALUES.get(group, {}).get(row.prior, ()), base) for row in rows]
    return [f"**{title}**", "", markdown.table(HEADER, cells), "", *_paragraph(notes)]


def _paragraph(notes: Iterable[str]) -> list[str]:
    text = " ".join(note for note in dict.fromkeys(notes) if note)
    return [text, ""] if text else []


def _row(queue: Queue, group: Group, prior: str) -> Row:
    """The results of a prior's seeds."""
    data, levels, network = group
    alike = [s for s in queue.settings if (s.data, s.levels, s.network, s.prior) == (data, levels, network, prior)]
    left = set(queue.left())
    records = [queue.record(setting) for setting in alike if setting not in left]
    return Row(prior, [record for record in records if record is not None])


def _cells(row: Row, published: Sequence[str], base: float | None) -> list[str]:
    """One line of a table."""
    name = PRIORS[row.prior].title
    if not row.records or row.nll is None:
        return [name, _published(published), *["–"] * (len(HEADER) - 2)]
    gain = "–" if base is None or row.prior == "standard" else f"{base - row.nll:.2f}"
    times = [record["seconds"] / 60 for record in row.records if not record["busy"]]
    return [
        name,
        _published(published),
        _nll(row),
        gain,
        _mean(row.values("annealed", "annealed_minus_weighted"), 2),
        _mean(row.values("test", "active_units"), 0),
        _mean(row.values("holes", "divergence"), 3),
        _mean(row.values("holes", "hole_mass"), 3),
        _mean(times, 0),
    ]


def _published(values: Sequence[str]) -> str:
    return "; ".join(values) or "none found"


def _nll(row: Row) -> str:
    """The test NLL with its error over seeds, or over test images."""
    values = row.values("test", "log_marginal")
    if len(values) > 1:
        mean, error = mean_and_error(values)
        return f"{short(-mean, error)} ({len(values)} seeds)"
    (error,) = row.values("test", "log_marginal_standard_error")
    return f"{short(-values[0], error)} ¹"


def _mean(values: Sequence[float], places: int) -> str:
    mean = sum(values) / len(values) if values else math.nan
    return "–" if math.isnan(mean) else f"{mean:.{places}f}"
