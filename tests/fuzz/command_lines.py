"""Command lines of all programs, run until training would start."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from unittest import mock

import numpy as np

import vaepriors_jax as vp
from experiments.comparison.compare import compare
from experiments.options import command_line
from experiments.options.checks import MOST_LAYERS, RANGES, RATES
from experiments.options.config import Config
from tests.fuzz.case import Case, stop
from tests.fuzz.odd import choose

NAMES = ("benchmark", "choose_prior", "conditional_generation", "evaluate", "generation_quality")
NAMES += ("prior_holes", "prior_visualization", "pseudo_inputs", "tutorial")
MODULES = {name: importlib.import_module(f"experiments.{name}") for name in NAMES}
PROGRAMS = {"compare_priors": (compare, Config)}
PROGRAMS |= {name: (module.main, module.Options) for name, module in MODULES.items()}
# Whatever trains or measures, wherever it was imported to.
STARTS = ("make_vae", "make_sample_scorer", "feature_network", "train_feature_network", "run_child")

Tokens = list[str]
HUGE = ("-1", "10000000000", "1" + "0" * 40, "1" + "0" * 5000)
NO_NUMBERS = ("x", "", "1e", "0x10", "１２x", "--")


@contextmanager
def without_training() -> Iterator[None]:
    """Ends a program where it would start to train, measure, or run other programs."""
    with ExitStack() as stack:
        for module in [module for name, module in sys.modules.items() if name.startswith("experiments.")]:
            for name in STARTS:
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, stop))
        stack.enter_context(mock.patch.object(vp, "fit", stop))
        stack.enter_context(mock.patch.object(MODULES["benchmark"], "measure", stop))
        stack.enter_context(mock.patch.object(command_line, "keep_compiled"))
        yield


def counts(name: str) -> tuple[list[Tokens], list[Tokens]]:
    """Right and wrong values of an option that counts something."""
    least, most = RANGES[name]
    good = [[str(least)], [str(least + 1)], ["8"]]
    bad = [[str(least - 1)], [str(most + 1)], *([text] for text in (*HUGE, *NO_NUMBERS, "1.5", "nan"))]
    if name == "annealing":
        return [["2", "3", "4"]], [["2", "3"], ["2", "3", "4", "5"], ["0", "3", "4"], ["2", "3", "x"]]
    if name in ("hidden", "flow_hidden", "channels"):
        good.append(["8", "4"])
        bad += [["8", "0"], ["8"] * (MOST_LAYERS + 1)]
    return good, bad


def rates(name: str, several: bool) -> tuple[list[Tokens], list[Tokens]]:
    good = [["1e-3"], ["0.5"], ["1"]]
    bad = [[text] for text in ("0", "-1", "nan", "inf", "-inf", "1e-50", "1e39", "1e400", "1e-45", *NO_NUMBERS)]
    if several:
        good.append(["1e-3", "1e-2"])
        bad += [["1e-3", "1e-3"], ["1e-3", "0"], ["1e-3", "0.00100000000001"]]
    return good, bad


PRIORS = ["standard", "mixture", "vamp", "flow"]
NO_PRIORS = [
    "gaussian",
    "",
    "os:getcwd",
    "no_such:prior",
    ":",
    "json:loads",
    "standard ",
    "a:b:c",
    "math:pi",
    "STANDARD",
]
NO_PRIORS += ["\x1b[2J", "../..", "[/red]", "builtins:exec", "sys:exit"]


def texts(name: str, folder: Path) -> tuple[list[Tokens], list[Tokens]]:
    """Right and wrong values of an option that names something."""
    file = folder / "file.npz"
    file.write_text("no zip file")
    long = "x" * 5000
    match name:
        case "dataset":
            bad = ["", "nonsense-data", str(folder / "none.npz"), str(file), f"{long}.npz", "~nouser/x.npz", "x\0.npz"]
            return [["digits"]], [
                [text] for text in [*bad, "digits\n", "a\x1b[2J.npz", str(folder), ".npz", "mnist:9.9.9"]
            ]
        case "output_dir":
            bad = [str(file), str(file / "below"), "/proc/nothing", long, "~nouser/x", "x\0"]
            return [[str(folder / "out")], [str(folder / "[/red]")]], [[text] for text in bad]
        case "run_dir":
            bad = [str(folder), str(file), "/proc", long, "~nouser", "", "x\0"]
            return [], [[text] for text in bad]
    return [], []


def literals(hint: Any) -> Iterator[Any]:
    """The words that a type consists of."""
    for part in get_args(hint):
        yield from [part] if get_origin(hint) is Literal else literals(part)


def of_type(hint: Any) -> tuple[list[Tokens], list[Tokens]]:
    """Right and wrong values of an option of a few words."""
    choices = list(literals(hint))
    if not choices:
        return [], []
    return [[str(choice)] for choice in choices], [["nonsense"], [""], [str(choices[0]).upper() + "X"]]


def values(name: str, hint: Any, folder: Path) -> tuple[list[Tokens], list[Tokens]]:
    """Right and wrong values of an option; none where they are not known."""
    if name in RANGES:
        return counts(name)
    if name in RATES:
        return rates(name, several="tuple" in str(hint))
    if name in ("priors", "refit"):
        good = [["standard", "mixture"], ["standard"], PRIORS] if name == "priors" else [["mixture"], ["flow"], []]
        bad = [["standard", other] for other in NO_PRIORS] + [["mixture", "mixture"], ["vamp", "flow", "vamp"]]
        return good, bad + ([[]] if name == "priors" else [["conditional"]])
    if name == "starts":
        return [["data"], ["random", "data"]], [[], ["data", "data"], ["nonsense"]]
    if name == "seed":
        return [["0"], ["4294967290"]], [["-1"], ["4294967296"], *([text] for text in (*HUGE, *NO_NUMBERS))]
    good, bad = texts(name, folder)
    return (good, bad) if bad else of_type(hint)


def make(rng: np.random.Generator, folder: Path) -> Case:
    program = choose(rng, list(PROGRAMS))
    main, options = PROGRAMS[program]
    hints = get_type_hints(options)
    known = {field.name: values(field.name, hints[field.name], folder) for field in fields(options)}
    known = {name: pair for name, pair in known.items() if pair[1]}
    chosen = [str(name) for name in rng.permutation(list(known))[: int(rng.integers(1, 4))]]
    wrong = chosen[0] if chosen and rng.random() < 0.7 else None
    if "run_dir" in known and "run_dir" not in chosen:
        chosen.append("run_dir")
    arguments: Tokens = (
        [] if "output_dir" in chosen or "output_dir" not in hints else ["--output-dir", str(folder / "o")]
    )
    if "dataset" not in chosen and getattr(options, "dataset", None) == "mnist_5k":
        arguments += ["--dataset", "digits"]  # read in less time
    for name in chosen:
        tokens = choose(rng, known[name][name == wrong] or known[name][1])
        arguments += tokens if name == "run_dir" else [f"--{name.replace('_', '-')}", *tokens]

    def run() -> None:
        with mock.patch.object(sys, "argv", [program, *arguments]), without_training():
            command_line.run(main, options)

    nonsense = wrong is not None or program == "evaluate"
    return Case(run, nonsense, f"python -m experiments.{program} {' '.join(map(repr, arguments))}")
