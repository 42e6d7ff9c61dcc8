"""Runs that are killed, stopped or started twice keep what they had finished, and end with the same results."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support.kill import ROOT, finish, results_of, run_with_kills, start

KILLS = 3  # of each program in the nightly test
ON_DIGITS = ("--dataset", "digits")
SMALL = (*ON_DIGITS, "--epochs", "2", "--warmup-epochs", "1", "--latent-dim", "2", "--output-dir", "run")
FEW = ("--num-components", "4", "--num-test", "100", "--seeds", "2")
COMPARISON = (*SMALL, *FEW, "--hidden", "8", "--num-samples", "10", "--annealing", "2", "4", "2")
ONE = (*ON_DIGITS, *SMALL[4:], "--priors", "standard", "--seeds", "1", "--hidden", "8", "--num-samples", "10",
       "--annealing", "2", "4", "2", "--metrics", "likelihood", "--num-test", "40")  # fmt: skip
PROGRAMS = {
    "compare_priors": (*COMPARISON, "--priors", "standard", "vamp", "--refit", "mixture", "--cooldown-epochs", "1"),
    "prior_visualization": (*ON_DIGITS, "--epochs", "2", "--num-points", "100", "--output-dir", "run"),
    "generation_quality": (*SMALL, *FEW),
    "choose_prior": (*SMALL, *FEW, "--priors", "standard", "mixture"),
    "pseudo_inputs": (*ON_DIGITS, "--epochs", "4", "--num-components", "6", "--output-dir", "run"),
    "conditional_generation": (*SMALL, "--num-by-class", "20", "--num-test", "100", "--seeds", "1"),
    "prior_holes": (*ON_DIGITS, "--epochs", "4", "--latent-dim", "3", "--num-components", "6", "--output-dir", "run"),
}

needs_signals = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def folders(tmp_path):
    """One for a run that nobody interrupts, and one for the other."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "killed"


def appears(pattern, folder, process):
    """Waits until a file is there."""
    until = time.monotonic() + 300
    while not any(folder.glob(pattern)):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < until
        time.sleep(0.01)


@needs_signals
@pytest.mark.slow
def test_an_interrupted_comparison_ends_with_the_same_results(folders):
    """Stopped by SIGTERM while it trains, and killed when it has trained."""
    whole, killed = folders
    arguments = ("--epochs", "100", "--patience", "100", *ONE)
    status, said = finish(start("experiments.compare_priors", *arguments, folder=whole))
    assert status == 0, said
    process = start("experiments.compare_priors", *arguments, folder=killed)
    appears("run/checkpoints/standard/10", killed, process)
    process.terminate()
    status, said = finish(process)
    assert (status, "Traceback" in said) == (143, False)
    assert "Stopped by SIGTERM; the state of 'standard' is saved. Go on with: python -m experiments." in said
    assert said.endswith("compare_priors --resume run\n")
    process = start("experiments.compare_priors", "--resume", "run", folder=killed)
    appears("run/trained/standard.json", killed, process)
    process.kill()
    finish(process)
    trained = (killed / "run/trained/standard.json").stat().st_mtime_ns
    status, said = finish(start("experiments.compare_priors", "--resume", "run", folder=killed))
    assert status == 0, said
    assert (killed / "run/trained/standard.json").stat().st_mtime_ns == trained  # not again
    assert results_of(killed) == results_of(whole)


def wait_for_signals(seconds):
    """An epoch in which the main thread runs no handlers."""
    from experiments.runs import signals

    with signals.handled(), signals.epochs("standard"):
        print("started", flush=True)
        time.sleep(seconds)


def waiting(seconds):
    code = f"from tests.experiments.test_interrupted_runs import wait_for_signals; wait_for_signals({seconds})"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline().startswith("The epoch ends, and its state is saved; a second signal ends")
    return process


@needs_signals
def test_a_signal_lets_the_epoch_end():
    status, said = finish(waiting(0.5))
    assert (status, said) == (130, "\nStopped by SIGINT; the state of 'standard' is saved. Nothing was saved yet.\n")


@needs_signals
def test_a_second_signal_ends_at_once():
    process = waiting(600)
    process.terminate()
    assert finish(process) == (143, "\nStopped by SIGTERM. Nothing was saved yet.\n")


@needs_signals
@pytest.mark.nightly
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_is_killed_at_random_ends_with_the_same_results(program, folders):
    check(f"experiments.{program}", PROGRAMS[program], folders)


@needs_signals
@pytest.mark.nightly
def test_a_tutorial_that_is_killed_at_random_ends_with_the_same_results(folders):
    check("tests.support.small_tutorial", ("--steps", "first", "second", "--output-dir", "run"), folders)


@needs_signals
@pytest.mark.nightly
def test_an_evaluation_that_is_killed_at_random_ends_with_the_same_results(folders):
    for folder in folders:
        status, said = finish(start("experiments.compare_priors", "--epochs", "2", *ONE, folder=folder))
        assert status == 0, said
    check("experiments.evaluate", ("run", "--num-samples", "20"), folders, begun="run/evaluate/run.json")


@needs_signals
@pytest.mark.nightly
def test_a_fit_that_is_killed_at_random_ends_with_the_same_parameters(folders):
    check("tests.support.small_fit", (), folders, begun=None)
    whole, killed = (np.load(folder / "fit.npz") for folder in folders)
    assert list(whole) == list(killed)
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name])


def check(module, arguments, folders, begun="run/run.json"):
    """Runs a program as a whole, and again with kills."""
    whole, killed = folders
    began = time.monotonic()
    status, said = finish(start(module, *arguments, folder=whole))
    assert status == 0, said
    seconds = time.monotonic() - began
    seed = int.from_bytes(module.encode(), "little") % 2**32
    kills = run_with_kills(module, arguments, killed, np.random.default_rng(seed), seconds, KILLS, begun)
    print(f"{module}: {kills} kills")
    assert kills > 0
    assert results_of(killed) == results_of(whole)
