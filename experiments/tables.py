"""Fills the README's tables from the result files that it quotes.

python -m experiments.tables

Each `<!-- results: NAME -->` in the README is followed by the table of `experiments/results/NAME.json`, a copy of the
`results.json` of the run; with the command, the hardware and the versions that made it.
"""

import json
import re
from pathlib import Path
from typing import Any

from experiments.comparison import tables
from experiments.report import markdown_table

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"<!-- results: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def describe(content: dict[str, Any]) -> str:
    """The tables of one run, and how they were made."""
    config, hardware, versions = content["config"], content["hardware"], content["versions"]
    seeds = ", ".join(str(row["seed"]) for row in content["rows"] if row["prior"] == content["rows"][0]["prior"])
    made = (
        f"`{content['command'].strip()}` (seeds {seeds}; S = {config['num_samples']}), {content['seconds'] / 60:.1f} "
        f"minutes on {hardware['num_cores']} cores of an {hardware['processor']}; jax {versions['jax']}, flax "
        f"{versions['flax']}, distrax {versions['distrax']}, Python {versions['python']}."
    )
    parts = []
    for _, header, rows, notes in tables(content["summary"]):
        parts += [markdown_table(header, rows), "", " ".join(notes), ""]
    return "\n".join([*parts, made])


def fill(text: str) -> str:
    """Returns the README's text with all tables filled."""

    def block(match: re.Match[str]) -> str:
        content = json.loads((RESULTS / f"{match[1]}.json").read_text())
        return f"<!-- results: {match[1]} -->\n{describe(content)}\n<!-- end -->"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    README.write_text(fill(README.read_text()))
