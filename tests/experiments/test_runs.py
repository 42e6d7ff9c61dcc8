"""The folder of a run: what it holds, who may use it, and which options go on with it."""

import json
import os
import shlex
import signal
from dataclasses import dataclass

import pytest

from experiments.models.user_priors import load_function
from experiments.options import command_line
from experiments.options.command_line import folder_to_resume
from experiments.runs.files import keep
from experiments.runs.folder import finished_program, open_run, output_folder, read_run, stored_run


@dataclass(frozen=True)
class Options:
    """Options of a toy."""

    epochs: int = 3
    priors: tuple[str, ...] = ("standard",)
    output_dir: str | None = None


@dataclass(frozen=True)
class LaterOptions(Options):
    """Options of the same program in a later version."""

    grey: bool = False


@dataclass(frozen=True)
class Others:
    """Options of another program."""

    size: int = 1
    output_dir: str | None = None


def begin(folder, options=None, program="toy", **more):
    options = options or Options(output_dir=str(folder))
    return open_run(program, options, output_folder(str(folder), program, "digits"), **more)


def interrupt(folder, **options):
    with pytest.raises(KeyboardInterrupt), begin(folder, **options):
        raise KeyboardInterrupt


def test_a_run_says_what_it_is_and_when_it_is_finished(tmp_path):
    with begin(tmp_path):
        run = stored_run(tmp_path)
        assert (run["program"], run["options"]) == ("toy", {"epochs": 3, "priors": ["standard"]})
        assert run["versions"].keys() >= {"python", "jax", "vaepriors_jax"}
        assert finished_program(tmp_path) is None
    assert finished_program(tmp_path) == "toy"
    assert sorted(os.listdir(tmp_path)) == [".lock", "run.json"]


def test_the_command_of_a_run_can_be_given_to_a_shell(tmp_path, monkeypatch):
    arguments = ["--output-dir", str(tmp_path / "a folder's"), "--hidden", "30", "30"]
    monkeypatch.setattr("sys.argv", ["toy.py", *arguments])
    with begin(tmp_path / "a folder's"):
        assert shlex.split(stored_run(tmp_path / "a folder's")["command"])[3:] == arguments


def test_the_same_options_go_on_and_others_are_refused(tmp_path, capsys):
    interrupt(tmp_path)
    assert "Going on" not in capsys.readouterr().out
    with begin(tmp_path):
        assert f"Going on with the run in {tmp_path}." in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"it has epochs = 3, not 4\. Choose another --output-dir, or .* --resume "):
        interrupt(tmp_path, options=Options(epochs=4, output_dir=str(tmp_path)))
    with pytest.raises(
        ValueError, match="holds a run of toy. Choose another --output-dir, or .*experiments.toy --resume"
    ):
        interrupt(tmp_path, program="other")


def test_an_evaluation_goes_on_unless_it_is_finished_or_another(tmp_path):
    step = tmp_path / "measured" / "step.json"

    def measure(value, options=None, error=None):
        with begin(tmp_path, options, anew=True):
            kept = keep(step, lambda: value)
            if error is not None:
                raise error
        return kept

    with pytest.raises(KeyboardInterrupt):
        measure(1, error=KeyboardInterrupt)
    assert measure(2) == 1  # goes on
    assert measure(3) == 3  # was finished
    with pytest.raises(KeyboardInterrupt):
        measure(4, error=KeyboardInterrupt)
    assert measure(5, Options(epochs=4, output_dir=str(tmp_path))) == 5  # other options


def test_a_folder_takes_one_process_at_a_time(tmp_path):
    with begin(tmp_path), pytest.raises(ValueError, match=f"no other process uses; process {os.getpid()} runs in"):
        interrupt(tmp_path)
    with begin(tmp_path):
        pass


def test_seconds_are_those_of_all_processes_until_their_last_file(tmp_path):
    interrupt(tmp_path)
    file = tmp_path / "run.json"
    began = json.loads(file.read_text())["started"] - 1000
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": began}))
    os.utime(file, (began + 60, began + 60))
    with begin(tmp_path):
        assert 60 <= read_run(tmp_path)["seconds"] < 120


def test_other_versions_are_told(tmp_path, capsys):
    interrupt(tmp_path)
    file = tmp_path / "run.json"
    run = json.loads(file.read_text())
    file.write_text(json.dumps(run | {"versions": run["versions"] | {"jax": "0.0.1\x1b[2J"}}))
    with begin(tmp_path):
        assert "began with other versions: jax 0.0.1\\x1b[2J." in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"program": 3}', "[" * 100_000])
def test_a_damaged_run_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    for use in (interrupt, finished_program, stored_run):
        with pytest.raises(ValueError, match=r"Expected .* in .*run\.json"):
            use(tmp_path)


def test_a_step_is_made_once_and_damage_is_noticed(tmp_path):
    step = tmp_path / "measured" / "step.json"
    value = {"nan": float("nan"), "small": 1e-45, "third": 1 / 3, "pair": (1, 2), "name": "ä"}
    first = keep(step, lambda: value)
    assert str(first) == str(keep(step, lambda: 1 / 0)) == str(value | {"pair": [1, 2]})
    content = step.read_bytes()
    for place in range(len(content)):
        step.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match="step.json"):
            keep(step, lambda: 1 / 0)


def test_resume_is_the_only_option():
    assert folder_to_resume([]) is None
    assert folder_to_resume(["--priors", "resume me"]) is None
    for typed in (["--resume", "runs/a=b"], ["--resume=runs/a=b"]):
        assert str(folder_to_resume(typed)) == "runs/a=b"
    for typed in (["--resume"], ["--resume", "runs/a", "--seed", "1"], ["--seed", "1", "--resume=runs/a"]):
        with pytest.raises(
            ValueError, match="Expected --resume RUN_DIR and no other options, which are those of the run"
        ):
            folder_to_resume(typed)


def resume(monkeypatch, folder, options=Options):
    """The options that a program gets, and what it prints as it exits."""
    got = []
    monkeypatch.setattr("sys.argv", ["program", "--resume", str(folder)])
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        command_line.run(got.append, options)
    except SystemExit as error:
        got.append(error.code)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    return got


def test_options_come_from_the_run(tmp_path, monkeypatch, capsys):
    """Relative paths among them are those of the folder in which it began."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    interrupt("runs", options=Options(epochs=7, priors=("vamp", "flow"), output_dir="runs"))
    monkeypatch.chdir(there)
    folder = "../here/runs"
    assert resume(monkeypatch, folder) == [Options(7, ("vamp", "flow"), str(there / folder))]
    assert os.getcwd() == str(here)
    (message,) = resume(monkeypatch, "runs", Others)
    assert "runs holds a run of toy. Choose another --output-dir, or go on with that run: python -m" in message
    run = json.loads((here / "runs" / "run.json").read_text())
    (here / "runs" / "run.json").write_text(json.dumps(run | {"options": {"epochs": "seven"}}))
    (message,) = resume(monkeypatch, "runs")
    assert message == "error: Expected the option 'epochs' to be of the type int; got 'seven'."
    (here / "runs" / "run.json").write_text(json.dumps(run | {"finished": True}))
    assert resume(monkeypatch, "runs") == []
    assert capsys.readouterr().out.endswith("The run of toy in runs is finished.\n")
    (message,) = resume(monkeypatch, "nowhere")
    assert message == "error: Expected the folder of an interrupted run after --resume; nowhere has no run.json."


def test_a_run_does_not_choose_where_code_is_looked_for(tmp_path, monkeypatch):
    began, elsewhere = tmp_path / "began", tmp_path / "elsewhere"
    began.mkdir()
    elsewhere.mkdir()
    (began / "module_of_a_resumed_run.py").write_text("def my_prior(dim): ...\n")
    monkeypatch.chdir(began)
    interrupt(began / "run", options=Options(priors=("module_of_a_resumed_run:my_prior",)))
    monkeypatch.chdir(elsewhere)
    options = command_line.of_run(began / "run", "", Options)
    with pytest.raises(ValueError, match="Run from the folder that holds it"):
        load_function(options.priors[0])


def test_a_run_goes_on_with_an_option_that_it_lacks_at_its_default(tmp_path, capsys):
    interrupt(tmp_path)
    interrupt(tmp_path, options=LaterOptions(output_dir=str(tmp_path)))
    assert "Going on with the run" in capsys.readouterr().out
    with (
        pytest.raises(ValueError, match="grey = False, not True"),
        begin(tmp_path, LaterOptions(grey=True, output_dir=str(tmp_path))),
    ):
        pass
