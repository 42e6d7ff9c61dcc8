"""Tables and paragraphs in the terminal."""

from collections.abc import Sequence
from contextvars import ContextVar

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from experiments.report.parts import Section, Table
from experiments.report.printable import NO_BREAK, printable

VERBOSE = ContextVar("VERBOSE", default=False)  # whether the program was started with --verbose
WIDTH = 100  # of what goes to a file


def show(sections: Sequence[Section]) -> None:
    """Prints tables and paragraphs to the terminal; what the report folds away with --verbose only."""
    console = Console(width=None if Console().is_terminal else WIDTH)
    for section in sections:
        if section.paragraphs and section.title:
            console.print(f"\n{printable(section.title)}", style="bold", markup=False, highlight=False)
        for table in (*section.tables, *(section.details if VERBOSE.get() else ())):
            _show_table(console, table)
        for paragraph in section.paragraphs:
            console.print(f"{printable(paragraph)}\n", markup=False, highlight=False)


def _show_table(console: Console, table: Table) -> None:
    header, *rows = [[printable(text).replace(NO_BREAK, " ") for text in row] for row in (table.header, *table.rows)]
    whole = _widths([header, *rows])
    narrow = _widths([[max(name.split(), key=cell_len, default="") for name in header], *rows])  # a header may wrap
    fits = _drawn_width(whole) <= console.width
    for part, columns in enumerate([range(len(header))] if fits else _parts(narrow, console.width)):
        drawn = TerminalTable(title=None if part else Text(printable(table.title)), title_justify="left")
        exact = not fits and _drawn_width([narrow[i] for i in columns]) <= console.width
        for i in columns:
            justify = "left" if i == 0 else "right"
            drawn.add_column(Text(header[i]), justify=justify, no_wrap=i == 0, width=narrow[i] if exact else None)
        for row in rows:
            drawn.add_row(*(Text(row[i]) for i in columns))  # as Text, in which brackets are no markup
        console.print(drawn)
    for note in table.notes:
        console.print(printable(note), markup=False, highlight=False)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column."""
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _drawn_width(widths: Sequence[int]) -> int:
    """The width of a table: two spaces and a border for each column, and one border more."""
    return sum(widths) + 3 * len(widths) + 1


def _parts(widths: Sequence[int], most: int) -> list[list[int]]:
    """The columns of each table, where one is too wide: each begins with the first column, which names the rows."""
    parts = [[0]]
    for i in range(1, len(widths)):
        if len(parts[-1]) > 1 and _drawn_width([widths[j] for j in (*parts[-1], i)]) > most:
            parts.append([0])
        parts[-1].append(i)
    return parts
