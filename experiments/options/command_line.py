"""The start of every program: options from the command line, the compilation cache, and one line for a mistake."""

import dataclasses
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import absl.logging
import jax
import tyro

import vaepriors_jax as vp
from experiments.data.sources import cache_folder
from experiments.options.checks import check_options
from experiments.options.stored import read_options
from experiments.report import terminal
from experiments.report.printable import printable
from experiments.runs import signals
from experiments.runs.environment import started
from experiments.runs.folder import PLACES, finished_program, of_another_program, stored_run

Options = TypeVar("Options")

# What a user's input can cause. Anything else is a mistake in the code, and keeps its traceback.
USER_ERRORS = (ValueError, TypeError, OSError, vp.TrainingFailedError)
MOST_CHARACTERS = 2000
RESUME = "--resume RUN_DIR, as the only option, goes on with a run that was interrupted."
VERBOSE = "--verbose prints all tables, which the report holds anyway."


def run(
    main: Callable[[Options], Any],
    options: type[Options] | Options,
    *,
    subfolder: str = "",
    resumed: Callable[[Path], Options] | None = None,
) -> None:
    """Runs a program with the options of the command line; bad input ends it with a message of one line.

    Options instead of their class are the defaults of the command line; its help is then the docstring of the file.
    `python -X dev` shows the traceback of each error. A program that puts its run into the folder of another one names
    its `subfolder`. One whose folder holds no options has `resumed`, which makes them from the folder.
    """
    with signals.handled():
        try:
            terminal.VERBOSE.set("--verbose" in sys.argv[1:])
            sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != "--verbose"]
            folder = folder_to_resume(sys.argv[1:])
            if folder is not None and (finished := finished_program(folder / subfolder)):
                print(printable(f"The run of {finished} in {folder} is finished."))
                return
            if folder is None:
                chosen = typed(options)
            else:
                chosen = resumed(folder) if resumed else of_run(folder, subfolder, options)
            absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax warns of each wait for the disk.
            keep_compiled()
            check_options(chosen)
            main(chosen)
        except USER_ERRORS as error:
            if sys.flags.dev_mode:
                raise
            sys.exit(f"error: {in_one_line(error)}")


def in_one_line(error: Exception) -> str:
    """The message of an error, as one line that is fit for a terminal."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."


def folder_to_resume(arguments: Sequence[str]) -> Path | None:
    """The folder after --resume, if that is there.

    Raises:
        ValueError: there is none, or there are other options.
    """
    split: list[str] = []
    for argument in arguments:
        split += argument.split("=", 1) if argument.startswith("--resume=") else [argument]
    if "--resume" not in split:
        return None
    if len(split) != 2 or split[0] != "--resume":
        raise ValueError(
            f"Expected --resume RUN_DIR and no other options, which are those of the run; got {shlex.join(arguments)}."
        )
    return Path(split[1]).expanduser()


def of_run(folder: Path, subfolder: str, options: type[Options] | Options) -> Options:
    """The options of the run in a folder, which is the place of its output now.

    Relative paths among them are those of the working folder in which the run began, which becomes the present one.
    Modules of priors are not looked for there: a file would then choose what code runs.

    Raises:
        ValueError: there is no run, or one of another program.
    """
    kind: Any = options if isinstance(options, type) else type(options)
    run = stored_run(folder / subfolder)
    known = {field.name for field in dataclasses.fields(kind)}
    if not run["options"].keys() <= known:
        raise of_another_program(folder, run)
    place = next(name for name in PLACES if name in known)
    if os.path.isdir(run["working_folder"]):
        folder = folder.absolute()
        os.chdir(run["working_folder"])
    return read_options(kind, run["options"] | {place: str(folder)})


def typed(options: type[Options] | Options) -> Options:
    """The options of the command line."""
    program = f"python -m {started(Path(sys.argv[0]).stem)}"
    if isinstance(options, type):
        return cast(
            Options, tyro.cli(options, prog=program, description=f"{inspect.getdoc(options)}\n\n{RESUME} {VERBOSE}")
        )
    described = f"{sys.modules['__main__'].__doc__}\n\n{RESUME} {VERBOSE}"
    return cast(Options, tyro.cli(type(options), prog=program, default=options, description=described))


def keep_compiled() -> None:
    """Keeps compiled programs in the cache folder for the next run, unless JAX_COMPILATION_CACHE_DIR says where."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
