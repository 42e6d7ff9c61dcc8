"""Progress: lines where the output is no terminal; in a terminal a bar that leaves nothing behind."""

import io
import sys

import pytest

from vaepriors_jax.training import progress


def run_epochs(num, total, done=0, description="mixture"):
    with progress.open_bar(description, total, done, hidden=False) as bar:
        for epoch in range(num):
            bar.set_postfix({"elbo": f"{-epoch:.2f}"}, refresh=False)
            bar.update()


def test_without_a_terminal_there_is_a_line_at_the_end(capsys):
    run_epochs(5, 10)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mixture: epoch 5 of 10, 0 s, at most 0 s left, elbo -4.00")


def test_without_a_terminal_there_is_at_most_one_line_an_epoch_with_an_estimate(capsys, monkeypatch):
    now = iter(range(0, 1000, 7))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    run_epochs(4, 4)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4
    assert "left" in lines[0]
    assert "left" not in lines[-1]
    assert lines[-1].startswith("mixture: epoch 4 of 4")


def test_what_is_hidden_or_did_not_run_prints_nothing(capsys):
    run_epochs(0, 10)
    with progress.open_bar(None, 3, 0, hidden=True) as bar:
        bar.update()
    with progress.compiling("mixture", hidden=False):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("description", "stays"), [("mixture", False), (None, True)])
def test_a_bar_with_a_description_leaves_nothing_on_the_screen(description, stays, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with progress.compiling(description, hidden=False):
        pass
    run_epochs(2, 2, description=description)
    written = screen.getvalue()
    assert "compiling ..." in written
    assert "/2" in written
    assert "\n" not in written or stays
    assert bool(written.rpartition("\r")[2].strip()) == stays
