"""A report in Markdown as one HTML page that needs nothing else: figures are within it, and it has no script."""

import base64
import html
import re
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from PIL import Image

from experiments.report.markdown import FOLD, UNFOLD
from experiments.report.parts import WIDTH
from experiments.report.printable import printable

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
p { max-width: 48rem; } p:has(> .scroll) { max-width: none; }
.scroll { display: block; overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 2px solid #777; }
div.scroll + p, p:has(> .scroll) + p { font-size: .875rem; color: #444; }
img { max-width: min(100%, 48rem); height: auto; } img.wide { min-width: 48rem; max-width: 100%; }
details { margin: 1rem 0; } summary { cursor: pointer; padding: .35rem 0; font-weight: 600; }
li { overflow-wrap: anywhere; margin-bottom: .6rem; }
@media print { .scroll { overflow: visible; } }
"""


def to_html(title: str, text: str, folder: Path) -> str:
    """Renders Markdown, whose HTML is shown as text, with the figures of the folder."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.add_render_rule("table_open", _open_table)
    renderer.add_render_rule("table_close", _close_table)
    renderer.add_render_rule("image", _image)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(printable(title))}</title>
<style>{STYLE}</style>
</head>
<body>
{_body(renderer, text, folder)}
</body>
</html>
"""


def _body(renderer: MarkdownIt, text: str, folder: Path) -> str:
    """The rendered text; the lines that fold a part of it are HTML already."""
    parts = re.split(rf"^({FOLD}|{UNFOLD})$", text, flags=re.MULTILINE)
    return "".join(part if i % 2 else renderer.render(part, {"folder": folder}) for i, part in enumerate(parts))


def _open_table(*_: Any) -> str:
    return '<div class="scroll" tabindex="0"><table>\n'


def _close_table(*_: Any) -> str:
    return "</table></div>\n"


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    """A figure of the folder as part of the page."""
    path = env["folder"] / unquote(str(tokens[index].attrs["src"]))
    title = html.escape(self.renderInlineAsText(tokens[index].children, options, env))
    with Image.open(path) as opened:
        inches = opened.width / opened.info.get("dpi", (100, 100))[0]
    wide = ' class="wide"' if inches > 1.1 * WIDTH else ""  # on a phone it scrolls: its letters would be too small
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<span class="scroll"><img{wide} alt="{title}" src="data:image/png;base64,{data}"></span>'
