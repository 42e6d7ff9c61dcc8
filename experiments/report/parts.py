"""The parts of a report."""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 7  # inches of a figure: on a phone, as wide as the screen, a letter of 11 points then has 8 pixels


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
    """A heading, paragraphs, tables and figures, in this order, and tables that are folded away below."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    details: Sequence[Table] = ()
