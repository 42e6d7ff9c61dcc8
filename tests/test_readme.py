"""Every Python block of the README runs, one after another, as a reader would."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    namespace = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "log p(x) = -" in printed
    assert "student_prior(dim=4)" in printed


def test_the_two_commands_are_there_to_the_letter():
    text = README.read_text()
    for extras, job in (("experiments", "experiments.compare_priors"), ("experiments,test", "pytest")):
        command = f"python3 -m venv .venv && .venv/bin/pip install -e '.[{extras}]' && .venv/bin/python -m {job}"
        assert f"\n{command}\n" in text


def test_tables_are_those_of_the_result_files():
    from experiments.tables import BLOCK, TUTORIAL, fill

    for page in (README, TUTORIAL):
        text = page.read_text()
        assert len(BLOCK.findall(text)) >= 2
        assert fill(text) == text, "run `python -m experiments.tables`"


def test_tutorial_shows_the_figures_of_its_commands():
    from experiments.tables import TUTORIAL
    from experiments.tutorial import IMAGES, MOST_BYTES, STEPS

    text = TUTORIAL.read_text()
    shown = set(re.findall(r"\]\(images/(\w+)\.png\)", text))
    assert shown == {f"{name}_{figure}" for name, step in STEPS.items() for figure in step.figures}
    for name in shown:
        assert 1000 < (IMAGES / f"{name}.png").stat().st_size < MOST_BYTES
    for step in STEPS.values():
        assert f"\npython -m experiments.{step.command}\n" in text
