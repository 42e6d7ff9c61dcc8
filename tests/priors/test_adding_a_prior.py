"""Adding a prior takes its file, a line in `vaepriors_jax/priors/__init__.py` and a row in `tests/cases.py`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import vaepriors_jax as vp

ROOT = Path(__file__).parent.parent.parent
COPIED = ("vaepriors_jax", "pyproject.toml", "tests/__init__.py", "tests/conftest.py", "tests/cases.py")
COPIED += ("tests/priors/__init__.py", "tests/priors/test_priors.py", "tests/support")

NEW_PRIOR = '''"""A Gaussian prior with a learned mean and scale."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.distributions.normal import normal_diag
from vaepriors_jax.factories import factory


@factory
def diagonal_normal(dim: int) -> Prior:
    """A diagonal Gaussian with a learned mean and scale."""

    def init(key: jax.Array) -> Any:
        del key
        return {"loc": jnp.zeros(dim), "log_scale": jnp.zeros(dim)}

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        del context
        return normal_diag(params["loc"], jnp.exp(params["log_scale"]))

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del key, data
        z = jnp.asarray(z)
        return {"loc": z.mean(0), "log_scale": jnp.log(z.std(0))}

    return Prior(init, apply, {}, init_from_data)
'''


def copy_tree(folder: Path) -> dict[str, list[str]]:
    """Copies what the shared suite of priors needs; returns the lines of each file."""
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return lines_of(folder)


def lines_of(folder: Path) -> dict[str, list[str]]:
    return {str(path.relative_to(folder)): path.read_text().splitlines() for path in folder.rglob("*.py")}


def insert_line(path: Path, after: str, line: str) -> None:
    text = path.read_text()
    assert text.count(after) == 1
    path.write_text(text.replace(after, f"{after}{line}\n"))


@pytest.mark.slow
def test_three_edits_add_a_prior(tmp_path):
    before = copy_tree(tmp_path)
    (tmp_path / "vaepriors_jax/priors/diagonal_normal.py").write_text(NEW_PRIOR)
    insert_line(
        tmp_path / "vaepriors_jax/priors/__init__.py",
        "from vaepriors_jax.priors.conditional_normal import conditional_normal as conditional_normal\n",
        "from vaepriors_jax.priors.diagonal_normal import diagonal_normal as diagonal_normal",
    )
    insert_line(
        tmp_path / "tests/cases.py",
        "PRIORS = [\n",
        '    PriorCase("diagonal_normal", lambda: vp.diagonal_normal(2)),',
    )
    after = lines_of(tmp_path)
    changed = [name for name in before if after[name] != before[name]]
    assert {name: len(after[name]) - len(before[name]) for name in changed} == {
        "vaepriors_jax/priors/__init__.py": 1,
        "tests/cases.py": 1,
    }
    assert set(after) - set(before) == {"vaepriors_jax/priors/diagonal_normal.py"}

    run = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests/priors/test_priors.py"]
    done = subprocess.run(
        [*run, "-k", "diagonal_normal or every_public_factory"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    start = (
        "import vaepriors_jax as vp, jax, numpy as np; assert vp.__file__.startswith({!r}); print(vp.init_from_data("
    )
    start += "vp.diagonal_normal(2), jax.random.key(0), z=np.array([[0., 2.], [2., 4.]]))['loc'].tolist())"
    done = subprocess.run(
        [sys.executable, "-c", start.format(str(tmp_path))], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[1.0, 3.0]"


def test_the_gallery_has_every_prior_and_its_example_runs():
    text = (ROOT / "vaepriors_jax/priors/README.md").read_text()
    for name in vp.priors.__all__:
        if getattr(getattr(vp, name), "is_factory", False):
            assert f"`{name}" in text
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)  # that of an entry is indented
    namespace = {"__name__": "gallery", "vp": vp, "jnp": jnp}
    exec(compile(block, "README.md", "exec"), namespace)
    z = jnp.array([[0.0, 2.0], [2.0, 6.0]])
    params = vp.init_from_data(namespace["learned_normal"](2), jax.random.key(0), z=z)
    assert params["loc"].tolist() == [1.0, 4.0]
