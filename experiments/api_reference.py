"""Builds the API reference from the docstrings: HTML pages that need no network.

python -m experiments.api_reference --output-dir runs/api_reference

Needs the extra `docs`. Fails on warnings, and where a docstring does not render: a formula that is not converted, a
link to nowhere, a name that does not exist, a field that is not described.
"""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import vaepriors_jax
from experiments.options import command_line
from experiments.reference.check import find_faults, words_of


@dataclass(frozen=True)
class Options:
    """Builds the API reference from the docstrings."""

    output_dir: Path = Path("runs/api_reference")
    """Where the pages go; open `index.html`."""


def main(options: Options) -> None:
    """Builds, checks and writes the pages."""
    try:
        from experiments.reference.pages import build_pages
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}. Install the extra: pip install -e '.[docs]'")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pages = build_pages()
    shown = {name: page for name, page in pages.items() if name.endswith(".html")}
    if faults := find_faults(shown, words_of(Path(vaepriors_jax.__file__).parent)):
        sys.exit("\n".join(["error: the docstrings do not render:", *faults]))
    for name, page in pages.items():
        file = options.output_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page)
    print(f"{len(shown)} pages in {options.output_dir}; open {options.output_dir / 'index.html'}")


if __name__ == "__main__":
    command_line.run(main, Options)
