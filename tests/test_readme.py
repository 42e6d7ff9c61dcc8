"""The README pages and CONTRIBUTING: code blocks run, tables match the result files, links lead somewhere."""

import re
from pathlib import Path

import pytest

import vaepriors_jax as vp

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / ".github" / "CONTRIBUTING.md",
    *(page for folder in ("experiments", "vaepriors_jax") for page in sorted((ROOT / folder).rglob("README.md"))),
]


@pytest.mark.slow
def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    namespace = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "log p(x) = -" in printed
    assert "of the prior's mass lies in holes" in printed


def test_the_two_commands_are_there_to_the_letter():
    text = README.read_text()
    for extras, job in (("experiments", "experiments.compare_priors"), ("experiments,test", "pytest")):
        command = f"python3 -m venv .venv && .venv/bin/pip install -e '.[{extras}]' && .venv/bin/python -m {job}"
        assert f"\n{command}\n" in text


def test_the_table_of_likelihoods_has_every_one():
    text = (ROOT / "vaepriors_jax" / "likelihoods" / "README.md").read_text()
    for name in vp.likelihoods.__all__:
        if not name[0].isupper():
            assert f"`{name}`" in text, f"{name} has no row"


def test_tables_are_those_of_the_result_files():
    from experiments import tables

    with_tables = [page for page in PAGES if tables.BLOCK.search(page.read_text())]
    assert set(with_tables) == set(tables.PAGES)
    for page in with_tables:
        text = page.read_text()
        assert tables.fill(text) == text, "run `python -m experiments.tables`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_links_and_images_are_there(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert targets
    for target in (target for target in targets if "://" not in target):
        path, _, heading = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{target} is not there"
        assert not heading or heading in _anchors(linked), f"{target} has no such heading"


def _anchors(page):
    """What a link can point to: the headings in small letters, with hyphens, without punctuation."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_rows_of_a_table_have_as_many_cells_as_its_header(page):
    for table in re.findall(r"(?:^\|.*\|\n)+", page.read_text(), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def test_tutorial_shows_the_figures_of_its_commands():
    from experiments.tutorial import IMAGES, MOST_BYTES, STEPS

    text = (ROOT / "experiments" / "README.md").read_text()
    shown = set(re.findall(r"\]\(images/(\w+)\.png\)", text))
    assert shown == {f"{name}_{figure}" for name, step in STEPS.items() for figure in step.figures}
    for name in shown:
        assert 1000 < (IMAGES / f"{name}.png").stat().st_size < MOST_BYTES
    for step in STEPS.values():
        assert f"\npython -m experiments.{step.command}\n" in text
