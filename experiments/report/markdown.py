"""Plain text and tables in Markdown."""

import re
from collections.abc import Sequence

from experiments.report.printable import printable

# Underscores within words mean nothing, nor do < and & before a space.
SPECIAL = re.compile(r"[\\*\[\]]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=[#\w])")
# At the start of a line: the marker of a list, a heading, a quotation, a rule or a fence.
MARKER = re.compile(r"(\d*)([.)](?=\s|$)|[-+](?=\s|$)|[#>=~]|---)")


# Tables that a reader unfolds. These lines are HTML: no escaped text is like them.
FOLD, UNFOLD = "<details>\n<summary>All measures</summary>", "</details>"


def escape(text: str) -> str:
    """Plain text, with words in backticks as code."""
    parts = re.split(r"(`[^`]+`)", printable(text))
    escaped = "".join(part if i % 2 else SPECIAL.sub(r"\\\g<0>", part) for i, part in enumerate(parts))
    start = MARKER.match(escaped)
    return f"{start[1]}\\{escaped[start.start(2) :]}" if start else escaped


def code(text: str) -> str:
    """Text in a fixed-width font, fenced by more backticks than it holds in a row."""
    text = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells in Markdown; numbers, all columns but the first, on the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    # A bar within a cell, as in p(x|y), would end it.
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
