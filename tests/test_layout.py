"""Limits on the library's layout: short functions, few arguments, imports that run downwards."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vaepriors_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(file.relative_to(PACKAGE)) for file in FILES]

MOST_LINES = 60  # of a function, without its docstring
MOST_PARAMETERS = 12
MOST_PARAMETERS_OF = {"fit": 16}

# Everything in the package's root. A module imports from its own entry and from those further up in this list.
LEVELS = (
    ("trees",),
    ("version", "base", "checks", "loops", "made", "moved", "parallel", "transformer"),
    ("networks",),
    ("factories", "conditioning", "distributions"),
    ("configuration", "flows", "likelihoods", "priors", "vae"),
    ("importance_bound", "reconstruction_constraint", "unread"),
    ("objective_options",),
    ("adapters", "objectives", "data_checks", "generation"),
    ("training",),
    ("evaluation",),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
NOT_IMPORTED = {"experiments", "tests", "matplotlib", "sklearn", "tensorflow_datasets", "tyro", "rich"}


def too_long(source: str) -> list[str]:
    """Functions with more lines or parameters than allowed."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0]
        docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) is not None else 0
        lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
        a = node.args
        parameters = len(a.posonlyargs + a.args + a.kwonlyargs) + (a.vararg is not None) + (a.kwarg is not None)
        if lines > MOST_LINES:
            found.append(f"{node.name} has {lines} lines")
        if parameters > MOST_PARAMETERS_OF.get(node.name, MOST_PARAMETERS):
            found.append(f"{node.name} has {parameters} parameters")
    return found


def imported(source: str) -> Iterator[str]:
    """Names of the modules that a file imports, anywhere in it: `package.module`, with the imported name behind it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports in this package are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def upward(room: str, source: str) -> list[str]:
    """The package's modules that a file imports from its own level or above, other than those of its own room."""
    names = (name.split(".") for name in imported(source))
    rooms = {name[1] if len(name) > 1 else "__init__" for name in names if name[0] == PACKAGE.name}
    return sorted(other for other in rooms - {room} if LEVEL.get(other, len(LEVELS)) >= LEVEL[room])


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_functions_are_short_and_take_few_arguments(file):
    assert too_long(file.read_text()) == []


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_imports_run_downwards(file):
    room = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if room != "__init__":
        assert upward(room, file.read_text()) == []


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_the_library_imports_no_program_and_nothing_that_draws_or_loads_data_sets(file):
    assert {name.partition(".")[0] for name in imported(file.read_text())} & NOT_IMPORTED == set()


def test_the_root_holds_what_has_a_level_and_nothing_else():
    present = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert present == {"__init__", *LEVEL}


def test_the_limits_notice_what_is_beyond_them():
    lines = "\n".join(["    x = 0"] * MOST_LINES)
    assert too_long(f"def f():\n{lines}") == ["f has 61 lines"]
    assert too_long(f'def f():\n    """One.\n\n    Two.\n    """\n{lines[10:]}') == []
    parameters = ", ".join(f"p{i}" for i in range(11))
    assert too_long(f"def f({parameters}, *, q): ...") == []
    assert too_long(f"def f({parameters}, *, q, **r): ...") == ["f has 13 parameters"]
    assert upward("priors", "from vaepriors_jax.priors.vamp import vamp\nfrom vaepriors_jax import base") == []
    assert upward("training", "def f():\n    from vaepriors_jax.evaluation import likelihood") == ["evaluation"]
    assert upward("priors", "from vaepriors_jax.flows import chain") == ["flows"]
    assert upward("base", "import vaepriors_jax") == ["__init__"]
