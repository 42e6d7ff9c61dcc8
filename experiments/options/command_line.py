"""The start of every program: options from the command line, the compilation cache, and one line for a mistake."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import tyro

import vaepriors_jax as vp
from experiments.data.sources import cache_folder
from experiments.options.checks import check_options
from experiments.report.printable import printable

Options = TypeVar("Options")

# What a user's input can cause. Anything else is a mistake in the code, and keeps its traceback.
USER_ERRORS = (ValueError, TypeError, OSError, vp.TrainingFailedError)
MOST_CHARACTERS = 2000


def run(main: Callable[[Options], Any], options: type[Options] | Options) -> None:
    """Runs a program with the options of the command line; bad input ends it with a message of one line.

    Options instead of their class are the defaults of the command line; its help is then the docstring of the file.
    `python -X dev` shows the traceback of each error.
    """
    given: Any = {}
    if not isinstance(options, type):
        given = {"default": options, "description": sys.modules["__main__"].__doc__}
        options = type(options)
    chosen = tyro.cli(options, **given)
    keep_compiled()
    try:
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


def keep_compiled() -> None:
    """Keeps compiled programs in the cache folder for the next run, unless JAX_COMPILATION_CACHE_DIR says where."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def command(program: str) -> str:
    """The command that started this program, for its report."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    started = spec.name if spec and spec.name.startswith("experiments.") else f"experiments.{program}"
    return " ".join([f"python -m {started}", *sys.argv[1:]])
