"""The folder of a run: `run.json` says what it is, and a lock keeps other processes out."""

import dataclasses
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from experiments.report.printable import printable
from experiments.runs import signals
from experiments.runs.environment import command, started, versions
from experiments.runs.files import MEASURED, read_json, write_text

try:
    import fcntl
except ImportError:  # on Windows, where nothing keeps a second process out
    fcntl = None

RUN, LOCK = "run.json", ".lock"
PLACES = ("output_dir", "run_dir")  # options that say where the folder is


def output_folder(output_dir: str | None, program: str, dataset: str) -> Path:
    """Makes the output folder before anything is computed; by default a new one under runs/.

    Raises:
        ValueError: the folder cannot be written.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(output_dir or f"runs/{program}-{printable(Path(dataset).stem)[:100]}-{stamp}")
    try:
        path = path.expanduser()
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".write-test"
        write_text(probe, "0" * 4096)
        probe.unlink()
    except (OSError, RuntimeError, ValueError) as error:  # also ~ where there is no such user, and null characters
        raise ValueError(
            f"Expected an output folder that can be written; {str(path)[:200]} cannot: {error}. Choose another "
            "`--output-dir`."
        ) from error
    return path


@contextmanager
def open_run(program: str, options: Any, folder: Path, *, anew: bool = False) -> Iterator[None]:
    """Begins the run of a program in a folder, or goes on with the one that is there.

    Args:
        program: its name.
        options: its options, a dataclass.
        folder: the folder, which exists.
        anew: whether a finished run, or one with other options, makes room for a new one.

    Raises:
        ValueError: another process uses the folder, or it holds a run of another program or with other options.
    """
    with _locked(folder):
        run = _continued(program, options, folder, anew=anew)
        if run is None:
            shutil.rmtree(folder / MEASURED, ignore_errors=True)  # of the run that makes room
            run = _new(program, options, folder)
        write_text(folder / RUN, json.dumps(run | {"started": time.time()}, indent=1))
        with signals.advise(f"Go on with: {_go_on(started(program), _place(options) or folder)}"):
            yield
        write_text(folder / RUN, json.dumps(read_json(folder / RUN) | {"finished": True}, indent=1))


def read_run(folder: Path) -> dict[str, Any]:
    """What `run.json` says, with the seconds that all processes of the run took until now."""
    run = read_json(folder / RUN)
    return run | {"seconds": run["seconds"] + time.time() - run["started"]}


def stored_run(folder: Path) -> dict[str, Any]:
    """What the run in a folder says of itself.

    Raises:
        ValueError: there is no run.
    """
    run = _read(folder)
    if run is None:
        raise ValueError(f"Expected the folder of an interrupted run after --resume; {folder} has no {RUN}.")
    return run


def finished_program(folder: Path) -> str | None:
    """The program whose run in this folder is finished, if there is one."""
    run = _read(folder)
    return run["program"] if run is not None and run["finished"] else None


def _new(program: str, options: Any, folder: Path) -> dict[str, Any]:
    return {
        "program": program,
        "command": command(program),
        "options": _plain(options),
        "place": str(_place(options) or folder),
        "working_folder": os.getcwd(),
        "versions": versions(),
        "seconds": 0.0,
        "finished": False,
    }


def _continued(program: str, options: Any, folder: Path, *, anew: bool) -> dict[str, Any] | None:
    """The run in a folder, if it is to go on, with the time that it took before."""
    run = _read(folder)
    if run is None or (anew and (run["finished"] or run["options"] != _plain(options))):
        return None
    if run["program"] != program:
        raise of_another_program(folder, run)
    ours, theirs = _plain(options), _defaults(options) | run["options"]
    others = [name for name in ours if ours[name] != theirs.get(name)]
    if others:
        differences = ", ".join(f"{name} = {theirs.get(name)}, not {ours[name]}" for name in others)
        raise ValueError(
            f"Expected the options of the run in {folder}; it has {differences}. Choose another --output-dir, or go on "
            f"with that run: {_go_on(started(program), folder)}"
        )
    changed = {name: text for name, text in run["versions"].items() if versions().get(name) != text}
    if changed:
        named = ", ".join(f"{name} {text}" for name, text in changed.items())
        print(printable(f"The run in {folder} began with other versions: {named}."))
    print(printable(f"Going on with the run in {folder}."))
    written = [path.stat().st_mtime for path in folder.rglob("[!.]*") if path.is_file()]
    return run | {"seconds": run["seconds"] + max(written) - run["started"]}  # up to the last file that it wrote


def _plain(options: Any) -> dict[str, Any]:
    """Options as JSON gives them back, without those that say where the folder is."""
    plain = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    return {name: value for name, value in plain.items() if name not in PLACES}


def _defaults(options: Any) -> dict[str, Any]:
    """The defaults of options, which an older run has where it lacks an option."""
    known = [option for option in dataclasses.fields(options) if option.default is not dataclasses.MISSING]
    return json.loads(json.dumps({option.name: option.default for option in known}, default=str))


def _place(options: Any) -> Any:
    """Where the folder is, as the options say it; None for a new one."""
    return next(getattr(options, name) for name in PLACES if hasattr(options, name))


def _read(folder: Path) -> dict[str, Any] | None:
    """What a run says of itself; None if there is no run."""
    path = folder / RUN
    if not path.exists():
        return None
    run = read_json(path)
    kinds = {"program": str, "command": str, "options": dict, "place": str, "working_folder": str, "versions": dict}
    kinds |= {"seconds": float, "finished": bool, "started": float}
    if not isinstance(run, dict) or any(not isinstance(run.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"Expected {', '.join(kinds)} of a run in {path}; they are not there. Choose another folder.")
    return run


def of_another_program(folder: Path, run: dict[str, Any]) -> ValueError:
    """The error of a folder that holds a run of another program."""
    return ValueError(
        f"{folder} holds a run of {run['program']}. Choose another --output-dir, or go on with that run: "
        f"{_go_on('experiments.' + run['program'], folder)}"
    )


def _go_on(module: str, folder: Any) -> str:
    return f"python -m {module} --resume {shlex.quote(str(folder))}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which a process that dies gives up."""
    with open(folder / LOCK, "a+") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise ValueError(
                    f"Expected a folder that no other process uses; process {file.read().strip()} runs in {folder}. "
                    "Wait for it, or choose another --output-dir."
                ) from error
            except OSError:
                pass  # a file system without locks
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def wait_for(folder: Path) -> None:
    """Waits until no process uses the folder of a run, such as one that a program which was killed has left behind."""
    if fcntl is not None and (folder / LOCK).exists():
        with open(folder / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
