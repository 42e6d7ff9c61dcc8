"""A report: one description of it, written to the terminal, as report.md and as one self-contained report.html."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from rich.console import Console
from rich.table import Table as TerminalTable

from experiments.report.results import write_json


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
    output_dir: Path, content: dict[str, Any], title: str, sections: Sequence[Section], name: str = "report"
) -> None:
    """Writes the report as NAME.md and NAME.html, and results.json (NAME.json, if it is not named `report`)."""
    write_json(output_dir / ("results.json" if name == "report" else f"{name}.json"), content)
    (output_dir / f"{name}.md").write_text(to_markdown(title, sections, foot(content)))
    (output_dir / f"{name}.html").write_text(to_html(title, sections, foot(content), output_dir))


def foot(content: dict[str, Any]) -> list[tuple[str, str]]:
    """How a run was made: command, configuration, versions, hardware and run time."""
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
            console.print(f"\n{section.title}", style="bold", markup=False, highlight=False)
        for table in section.tables:
            drawn = TerminalTable(title=table.title, title_justify="left")
            for i, name in enumerate(table.header):
                drawn.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
            for row in table.rows:
                drawn.add_row(*row)
            console.print(drawn)
            for note in table.notes:
                console.print(note, markup=False, highlight=False)
        for paragraph in section.paragraphs:
            console.print(f"{paragraph}\n", markup=False, highlight=False)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes a table in Markdown."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    # A bar within a cell, as in p(x|y), would end it.
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def to_markdown(title: str, sections: Sequence[Section], made: Sequence[tuple[str, str]]) -> str:
    """Writes the report in Markdown, with links to its figures."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph, ""]
        for table in section.tables:
            lines += [f"**{table.title}**", "", markdown_table(table.header, table.rows), "", *table.notes, ""]
        for figure in section.figures:
            lines += [f"![{figure.title}]({figure.file})", "", f"*{figure.title}.* {figure.caption}", ""]
    lines += ["## How it was made", "", *(f"- {name}: `{value}`" for name, value in made), ""]
    return "\n".join(lines)


STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
p, figcaption { max-width: 48rem; }
.scroll { overflow-x: auto; margin: 1rem 0 .5rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .25rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 2px solid #777; }
.note, figcaption, footer { font-size: .875rem; color: #444; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } img.wide { min-width: 48rem; }
dt { font-weight: 600; } dd { margin: 0 0 .6rem; overflow-wrap: anywhere; font-family: monospace; }
@media print { .scroll { overflow: visible; } }
"""


def to_html(title: str, sections: Sequence[Section], made: Sequence[tuple[str, str]], folder: Path) -> str:
    """Writes the report as one HTML page that needs nothing else: figures of the folder are within it, no script."""
    heading = html.escape(title)
    body = "\n".join(_section(section, folder) for section in sections)
    lines = "\n".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in made)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{heading}</h1>
{body}
<footer>
<h2>How it was made</h2>
<dl>
{lines}
</dl>
</footer>
</body>
</html>
"""


def _section(section: Section, folder: Path) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs]
    parts += [_table(table) for table in section.tables]
    parts += [_figure(figure, folder) for figure in section.figures]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "\n".join(line(row, "td") for row in table.rows)
    notes = "\n".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    return (
        f'<div class="scroll" tabindex="0"><table>\n<caption>{html.escape(table.title)}</caption>\n'
        f"<thead>{line(table.header, 'th')}</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>\n{notes}"
    )


def _figure(figure: Figure, folder: Path) -> str:
    image = base64.b64encode((folder / figure.file).read_bytes()).decode()
    with Image.open(folder / figure.file) as opened:
        width, height = opened.size
    wide = ' class="wide"' if width > 1.8 * height else ""  # on a phone it would be a stripe: it scrolls instead
    title, caption = html.escape(figure.title), html.escape(figure.caption)
    return (
        f'<figure>\n<div class="scroll"><img{wide} alt="{title}" src="data:image/png;base64,{image}"></div>\n'
        f"<figcaption><strong>{title}.</strong> {caption}</figcaption>\n</figure>"
    )
