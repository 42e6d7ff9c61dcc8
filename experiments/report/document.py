"""The parts of a report, and how they are published: as files, and in the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from experiments.report import markdown, page
from experiments.report.printable import printable
from experiments.report.results import write_json
from experiments.runs.files import write_text


class Table(NamedTuple):
    """A table: cells are plain text, the first column names the rows, and the notes say how to read it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


class Figure(NamedTuple):
    """A figure: its PNG file within the output folder, its title, and what to see in it."""

    file: str
    title: str
    caption: str


class Section(NamedTuple):
    """A heading, paragraphs, tables and figures, in this order."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


def publish(
    output_dir: Path,
    content: dict[str, Any],
    title: str,
    sections: Sequence[Section],
    shown: Sequence[Section] | None = None,
) -> None:
    """Writes the report and results.json, prints the sections, or those to be shown, and says where the files are."""
    write(output_dir, content, title, sections)
    show(sections if shown is None else shown)
    print(f"Report, results and figures in {printable(str(output_dir))} ({content['seconds']:.0f} s).")


def write(
    output_dir: Path, content: dict[str, Any], title: str, sections: Sequence[Section], name: str = "report"
) -> None:
    """Writes the report as NAME.md and NAME.html, and results.json (NAME.json, if it is not named `report`)."""
    text = to_markdown(title, sections, provenance(content))
    write_json(output_dir / ("results.json" if name == "report" else f"{name}.json"), content)
    write_text(output_dir / f"{name}.md", text)
    write_text(output_dir / f"{name}.html", page.to_html(title, text, output_dir))


def provenance(content: dict[str, Any]) -> list[tuple[str, str]]:
    """How a run was made: data, command, configuration, versions, hardware and run time."""
    lines = [(name.replace("_", " "), content[name]) for name in ("data", "trained_by", "command") if content.get(name)]
    for part in ("config", "features", "hardware", "versions"):
        if content.get(part):
            lines.append((part, ", ".join(f"{name} = {value}" for name, value in content[part].items())))
    return [*lines, ("run time", f"{content['seconds']:.0f} seconds")]


def show(sections: Sequence[Section]) -> None:
    """Prints tables and paragraphs to the terminal."""
    console = Console(width=None if Console().is_terminal else 150)
    for section in sections:
        if section.paragraphs:
            console.print(f"\n{printable(section.title)}", style="bold", markup=False, highlight=False)
        for table in section.tables:
            _show_table(console, table)
        for paragraph in section.paragraphs:
            console.print(f"{printable(paragraph)}\n", markup=False, highlight=False)


def _show_table(console: Console, table: Table) -> None:
    header, *rows = [[printable(text) for text in row] for row in (table.header, *table.rows)]
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


def to_markdown(title: str, sections: Sequence[Section], made: Sequence[tuple[str, str]]) -> str:
    """Writes the report in Markdown, with links to its figures."""
    lines = [f"# {markdown.escape(title)}", ""]
    for section in sections:
        lines += [f"## {markdown.escape(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [markdown.escape(paragraph), ""]
        for table in section.tables:
            lines += [f"**{markdown.escape(table.title)}**", ""]
            lines += [markdown.table(*_escaped(table)), "", *map(markdown.escape, table.notes), ""]
        for figure in section.figures:
            figure_title, caption = markdown.escape(figure.title), markdown.escape(figure.caption)
            lines += [f"![{figure_title}]({figure.file})", "", f"*{figure_title}.* {caption}", ""]
    lines += ["## How it was made", "", *(f"- {name}: {markdown.code(value)}" for name, value in made), ""]
    return "\n".join(lines)


def _escaped(table: Table) -> tuple[list[str], list[list[str]]]:
    return list(map(markdown.escape, table.header)), [list(map(markdown.escape, row)) for row in table.rows]
