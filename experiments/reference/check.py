"""What must not be in a page of the API reference: a raw formula, a link to nowhere, a name that does not exist."""

import html
import io
import posixpath
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

INVISIBLE = re.compile(r"<(style|script)\b.*?</\1>", re.DOTALL)
CODE = re.compile(r"(\b[Ss]ee )?<code>([\w.]+)</code>")


def find_faults(pages: Mapping[str, str], words: Iterable[str]) -> list[str]:
    """Describes the faults of pages of HTML by file name, given all words of the package's code."""
    words = set(words)
    targets = {name: {name} | {f"{name}#{anchor}" for anchor in _anchors(page)} for name, page in pages.items()}
    known = set().union(*targets.values())
    faults = []
    for name, page in pages.items():
        text = INVISIBLE.sub("", page)
        faults += [f"{name}: the formula {found!r} is not converted" for found in re.findall(r"\$[^<$]*\$?", text)]
        faults += [f"{name}: the link {link!r} leads nowhere" for link in _links(name, text) if link not in known]
        faults += [f"{name}: `{span}` does not exist" for span in _unknown(text, words)]
    return faults


def _anchors(page: str) -> list[str]:
    return [html.unescape(anchor) for anchor in re.findall(r'\bid="([^"]+)"', page)]


def _links(name: str, text: str) -> Iterator[str]:
    """The links within the pages, from their root."""
    for link in map(html.unescape, re.findall(r'<a [^>]*href="([^"]+)"', text)):
        if not re.match(r"\w+:", link):
            path, mark, anchor = link.partition("#")
            yield (posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name) + mark + anchor


def _unknown(text: str, words: set[str]) -> list[str]:
    """Names without a link that are no words of the code, or that should have one: classes, and what to see."""
    return [
        span
        for see, span in CODE.findall(text)
        if see or re.match(r"vp\.|vaepriors_jax\.|[A-Z]+[a-z]", span) or ("." not in span and span not in words)
    ]


def words_of(folder: Path) -> set[str]:
    """All names in the code of a folder, and all words in its strings other than docstrings."""
    words: set[str] = set()
    for file in folder.rglob("*.py"):
        for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
            if token.type == tokenize.NAME or (token.type == tokenize.STRING and '"""' not in token.string):
                words.update(re.findall(r"\w+", token.string))
    return words
