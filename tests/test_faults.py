"""The injected faults fit the code; the nightly test checks that the tests catch them."""

import ast
import math
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

import vaepriors_jax as vp
from tests.faults.__main__ import ROOT, changed
from tests.faults.injected import FAULTS


@cache
def functions_of(path: str) -> set[str]:
    return {node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)}


def test_names_and_changes_are_all_different():
    assert len(FAULTS) >= 70
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_one_place_of_a_file_that_still_parses(fault):
    wrong = ast.dump(ast.parse(changed(fault)))
    assert wrong != ast.dump(ast.parse((ROOT / fault.file).read_text()))
    for test in fault.tests:
        path, name = test.split("::")
        assert name.split("[")[0] in functions_of(path)


def test_bits_per_dim_of_uniform_bytes():
    assert vp.bits_per_dim(np.float64(-3 * math.log(256)), 3) == pytest.approx(8)


@pytest.mark.nightly
def test_injected_faults_are_caught():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--jobs", "2"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-20_000:]
