"""Formulas of docstrings as MathML, which browsers show without a script."""

# pyright: reportMissingImports=false
# latex2mathml is in the optional extra `docs`.

import re

from latex2mathml.converter import convert

FORMULA = re.compile(r"\$\$(?P<block>[^$]+)\$\$|\$(?P<inline>[^$]+)\$")
FUNCTION = re.compile(r"<mi>(cos|det|exp|log|max|min|tanh)</mi>(?P<bracket>(?=<mo[^>]*>&#x00028;))?")


def to_mathml(latex: str, *, block: bool = False) -> str:
    """Converts a formula from LaTeX.

    Raises:
        ValueError: the converter does not know a command.
    """
    latex = " ".join(latex.split())
    mathml = convert(latex, display="block" if block else "inline")
    if unknown := re.findall(r">(\\\w+)<", mathml):
        raise ValueError(
            f"Expected LaTeX that latex2mathml knows; got {', '.join(unknown)} in the formula ${latex}$. Write it in "
            "simpler commands."
        )
    return FUNCTION.sub(_spaced, mathml)


def _spaced(function: re.Match[str]) -> str:
    """The name of a function with the spaces around it that LaTeX leaves."""
    after = "0" if function["bracket"] is not None else "0.17em"
    return f'<mo lspace="0.17em" rspace="{after}">{function[1]}</mo>'


class Formulas:
    """Takes formulas out of docstrings, before Markdown changes them, and puts them into the finished pages."""

    def __init__(self) -> None:
        self.latex: list[str] = []
        self.mathml: list[str] = []

    def take_out(self, docstring: str) -> str:
        """Replaces each formula by a word."""

        def word(match: re.Match[str]) -> str:
            self.latex.append(match["block"] or match["inline"])
            self.mathml.append(to_mathml(self.latex[-1], block=match["block"] is not None))
            return f"FORMULA{len(self.latex) - 1}END"

        return FORMULA.sub(word, docstring)

    def put_back(self, page: str) -> str:
        """Replaces the words in a page by MathML."""
        return re.sub(r"FORMULA(\d+)END", lambda match: self.mathml[int(match[1])], page)

    def put_back_latex(self, json: str) -> str:
        """Replaces the words in the strings of a JSON text by LaTeX, for searching."""
        return re.sub(r"FORMULA(\d+)END", lambda match: re.sub(r"[\\\"\n]", " ", self.latex[int(match[1])]), json)
