"""Importing the package with a broken build of TFP."""

import os
import subprocess
import sys


def test_a_build_of_tfp_that_breaks_distrax_gives_one_clear_line(tmp_path):
    broken = tmp_path / "tensorflow_probability"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise AttributeError(\"module 'jax' has no attribute 'xla'\")")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    done = subprocess.run(
        [sys.executable, "-c", "import vaepriors_jax"], env=environment, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "During handling" not in done.stderr
    assert "direct cause" not in done.stderr
    assert last.startswith("ImportError: distrax could not be imported (AttributeError: module 'jax' has no attribute")
    assert "pip install tfp-nightly==" in last
