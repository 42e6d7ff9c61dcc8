"""Fills the README's tables from the result files that it quotes.

python -m experiments.tables

Each `<!-- results: NAME -->` in the README is followed by the tables of `experiments/results/NAME.json`, a copy of the
`results.json` of the run; with the command, the hardware and the versions that made it. Of a benchmark
`<!-- results: NAME PART -->` takes one part.
"""

import json
import re
from pathlib import Path
from typing import Any

from experiments.comparison import tables
from experiments.document import markdown_table

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"<!-- results: (\w+)(?: (\w+))? -->\n.*?<!-- end -->", re.DOTALL)


def describe(content: dict[str, Any], part: str | None) -> str:
    """The tables of one run, or of one part of a benchmark, and how they were made."""
    if content["experiment"] == "benchmark":
        found = [tuple(table.values()) for table in content["parts"][part]["tables"]]
        made = f"`{content['command']}`, on {_machine(content)}."
    else:
        found = tables(content["summary"])
        seeds = ", ".join(str(row["seed"]) for row in content["rows"] if row["prior"] == content["rows"][0]["prior"])
        commands = [f"`{content[name].strip()}`" for name in ("trained_by", "command") if name in content]
        made = (
            f"{' and '.join(commands)} (seeds {seeds}; S = {content['config']['num_samples']}), "
            f"{content['seconds'] / 60:.1f} minutes on {_machine(content)}."
        )
    lines = []
    for title, header, rows, notes in found:
        lines += [f"{title[0].upper()}{title[1:]}:", ""] if len(found) > 1 else []
        lines += [markdown_table(header, rows), "", " ".join(notes), ""]
    return "\n".join([*lines, made])


def _machine(content: dict[str, Any]) -> str:
    hardware, versions = content["hardware"], content["versions"]
    processor = f"{hardware['num_cores']} cores of an {hardware['processor']}"
    device = processor if hardware["platform"] == "cpu" else f"{hardware['num_devices']} {hardware['device']}"
    packages = [name for name in ("jax", "flax", "distrax", "torch", "pythae") if name in versions]
    return f"{device}; {', '.join(f'{name} {versions[name]}' for name in packages)}, Python {versions['python']}"


def fill(text: str) -> str:
    """Returns the README's text with all tables filled."""

    def block(match: re.Match[str]) -> str:
        content = json.loads((RESULTS / f"{match[1]}.json").read_text())
        return "\n".join([match[0].splitlines()[0], describe(content, match[2]), "<!-- end -->"])

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    README.write_text(fill(README.read_text()))
