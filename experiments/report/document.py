"""How a report is published: as files, and in the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report import markdown, page, terminal
from experiments.report.parts import Figure as Figure
from experiments.report.parts import Section as Section
from experiments.report.parts import Table as Table
from experiments.report.printable import printable
from experiments.report.results import write_json
from experiments.runs.files import write_text


def publish(
    output_dir: Path,
    content: dict[str, Any],
    title: str,
    sections: Sequence[Section],
    shown: Sequence[Section] | None = None,
) -> None:
    """Writes the report and results.json, prints the sections that are shown, and says where the report is.

    With --verbose, and by default, all sections are shown.
    """
    write(output_dir, content, title, sections)
    terminal.show(sections if shown is None or terminal.VERBOSE.get() else shown)
    print(f"Report: {printable(str(output_dir / 'report.html'))} ({content['seconds']:.0f} s)")


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


def to_markdown(title: str, sections: Sequence[Section], made: Sequence[tuple[str, str]]) -> str:
    """Writes the report in Markdown, with links to its figures."""
    lines = [f"# {markdown.escape(title)}", ""]
    for section in sections:
        lines += [f"## {markdown.escape(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [markdown.escape(paragraph), ""]
        for table in section.tables:
            lines += _table_lines(table)
        for figure in section.figures:
            figure_title, caption = markdown.escape(figure.title), markdown.escape(figure.caption)
            lines += [f"![{figure_title}]({figure.file})", "", f"*{figure_title}.* {caption}", ""]
        if section.details:
            folded = [line for table in section.details for line in _table_lines(table)]
            lines += [markdown.FOLD, "", *folded, markdown.UNFOLD, ""]
    lines += ["## How it was made", "", *(f"- {name}: {markdown.code(value)}" for name, value in made), ""]
    return "\n".join(lines)


def _table_lines(table: Table) -> list[str]:
    notes = map(markdown.escape, table.notes)
    return [f"**{markdown.escape(table.title)}**", "", markdown.table(*_escaped(table)), "", *notes, ""]


def _escaped(table: Table) -> tuple[list[str], list[list[str]]]:
    return list(map(markdown.escape, table.header)), [list(map(markdown.escape, row)) for row in table.rows]
