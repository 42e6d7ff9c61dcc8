"""Type checkers, in their basic modes, take the networks and priors that people write and catch wrong ones."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
USER = ROOT / "tests" / "support" / "typed_user.py"


@pytest.fixture
def user_file(tmp_path):
    """The user's file in a folder of its own, with settings that find the package where it is not installed."""
    looks = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vaepriors_jax') is None)"
    installed = subprocess.run([sys.executable, "-I", "-c", looks], cwd=tmp_path, check=False).returncode == 0
    paths = [] if installed else [str(ROOT)]
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nmypy_path = {':'.join(paths)}\ndisable_error_code = import-untyped\nfollow_imports = silent\n"
    )
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "basic", "extraPaths": paths}))
    return Path(shutil.copy(USER, tmp_path / "user.py"))


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_errors_are_on_the_marked_lines_alone(checker, user_file):
    program = shutil.which(checker, path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip(f"{checker} is not installed")
    options = ["--python-executable", sys.executable] if checker == "mypy" else ["--pythonpath", sys.executable]
    done = subprocess.run(
        [program, *options, user_file.name], cwd=user_file.parent, capture_output=True, text=True, check=False
    )
    found = {int(line) for line in re.findall(r"user\.py:(\d+):.*\berror\b", done.stdout)}
    lines = enumerate(user_file.read_text().splitlines(), start=1)
    assert found == {number for number, line in lines if line.endswith("# error")}, done.stdout + done.stderr
