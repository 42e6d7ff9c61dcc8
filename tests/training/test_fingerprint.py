"""A folder of checkpoints refuses to resume another run, and says what differs."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from experiments.data.dataset import load
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.training.train import train
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, stacked
from vaepriors_jax.training import fingerprint

KEY = jax.random.key(0)
VAE, PARAMS = bernoulli_vae()
DATA, VALIDATION = binary_data(100), binary_data(40, seed=1)
CASE = {
    "vae": VAE,
    "params": PARAMS,
    "key": KEY,
    "data": DATA,
    "optimizer": optax.adam(1e-2),
    "batch_size": 50,
    "validation": VALIDATION,
    "num_epochs": 1,
}


def run(folder, **changes):
    return vp.fit(**{**CASE, "checkpoints": folder, "progress": False, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One epoch of the case; resuming to the same epoch leaves it as it is."""
    folder = tmp_path_factory.mktemp("run")
    run(folder)
    return folder


def flipped(data, row=3):
    x = data["x"].copy()
    x[row, 0] = 1 - x[row, 0]
    return {"x": x}


def louder(scale):
    """The decoder with its logits scaled by a constant of the program."""
    return VAE._replace(decode=lambda p, z: vp.bernoulli(scale * (p["weight"] @ z + p["bias"])))


OTHERS = [
    ({"key": jax.random.key(1)}, "key differs"),
    ({"data": flipped(DATA)}, "data 'x' differs"),
    ({"data": {"x": DATA["x"][::-1]}}, "data 'x' differs"),
    ({"data": {**DATA, "y": np.zeros(100, int)}}, "data 'y' is added"),
    ({"validation": None}, "validation data 'x' was there and is left out"),
    ({"validation": flipped(VALIDATION)}, "validation data 'x' differs"),
    ({"batch_size": 20}, "batch_size was 50, and is 20"),
    ({"objective": vp.Objective(warmup_epochs=1)}, "warmup_epochs was 0, and is 1"),
    ({"objective": vp.Objective(beta=0.5)}, r"beta was \[1.0\], and is \[0.5\]"),
    ({"objective": vp.Objective(free_bits=0.5)}, "free_bits was 0.0, and is 0.5"),
    ({"objective": vp.Objective(num_samples=2)}, "num_samples was 1, and is 2"),
    ({"objective": vp.Objective(kl_method="monte_carlo")}, "kl_method was auto, and is monte_carlo"),
    ({"optimizer": optax.adam(1e-3)}, "optimizer differs"),
    ({"optimizer": optax.adam(1e-2, b1=0.8)}, "optimizer differs"),
    ({"optimizer": optax.adam(optax.linear_schedule(1e-2, 0.0, 9))}, "optimizer differs"),
    ({"transform": vp.binarize}, "transform is added"),
    ({"objective": vp.Objective(beta=lambda step: 1.0)}, "schedule of beta is added"),
    ({"vae": louder(1.01)}, "networks, likelihood or prior differs"),
    ({"vae": VAE._replace(prior=vp.mixture(2, 3, initial_spread=2.0))}, "prior (was|differs)"),
    ({"params": jax.tree.map(lambda leaf: leaf + 0.01, PARAMS)}, "initial parameters differs"),
    ({"params": stacked(PARAMS, 2), "key": jnp.stack([KEY, KEY])}, "key differs; beta was"),
]


@pytest.mark.parametrize(("changes", "message"), OTHERS, ids=[message for _, message in OTHERS])
def test_another_run_is_refused_and_what_differs_is_named(folder, changes, message):
    with pytest.raises(ValueError, match=f"it is of another run: {message}"):
        run(folder, **changes)


@pytest.mark.parametrize("option", ["learning_rate", "added"])
def test_other_hyperparameters(tmp_path, option):
    rates = {"optimizer": optax.adam, "hyperparameters": {"learning_rate": 0.5}}
    if option == "added":
        run(tmp_path)
        message = "hyperparameter learning_rate is added"
    else:
        run(tmp_path, **rates)
        rates["hyperparameters"] = {"learning_rate": 0.25}
        message = r"hyperparameter learning_rate was \[0.5\], and is \[0.25\]$"
    with pytest.raises(ValueError, match=message.replace("$", "")):
        run(tmp_path, **rates)


def test_validation_that_is_added(tmp_path):
    run(tmp_path, validation=None)
    with pytest.raises(ValueError, match="validation data 'x' is added"):
        run(tmp_path)


def test_what_may_be_other(tmp_path):
    """Epochs, patience, rhythm, the bar, containers of the same arrays, functions written anew; the result is one."""
    again = bernoulli_vae()[0]
    run(tmp_path / "run")
    changes = {"num_epochs": 3, "patience": 5, "progress": "again", "vae": again}
    changes |= {
        "checkpoints": vp.Checkpoints(tmp_path / "run", every=1),
        "data": {"x": jnp.asarray(DATA["x"])},
        "optimizer": optax.adam(1e-2),
    }
    resumed = run(tmp_path / "run", **changes)
    whole = run(tmp_path / "whole", num_epochs=3)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)


def history_file(folder):
    return next(folder.glob("*/history/metadata"))


def test_a_folder_without_a_fingerprint_resumes_with_a_warning(tmp_path):
    run(tmp_path)
    content = json.loads(history_file(tmp_path).read_text())
    del content["run"]
    history_file(tmp_path).write_text(json.dumps(content))
    with pytest.warns(RuntimeWarning, match="does not tell which run it is of") as seen:
        result = run(tmp_path, num_epochs=2)
    assert seen[0].filename == __file__  # where `fit` was called
    assert result.history["elbo"].shape == (2,)


def test_other_versions_compare_all_but_functions(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(fingerprint, "version", lambda package: "0.0.1")
    with pytest.warns(RuntimeWarning, match="written elsewhere: jax was .*, and is 0.0.1; optax was .* is not checked"):
        run(tmp_path, optimizer=optax.adam(1e-3))
    with pytest.raises(ValueError, match="it is of another run: key differs"):
        run(tmp_path, key=jax.random.key(1))


def test_the_hash_of_data_is_that_of_their_order_whatever_the_shares(monkeypatch):
    """Two processes, each with its share, come to the hash of one with all."""
    x = np.random.default_rng(0).random((7, 3), np.float32)
    whole = fingerprint._hash_examples(x)
    assert whole != fingerprint._hash_examples(x[::-1])
    assert whole != fingerprint._hash_examples(x.astype(np.float16))
    shares = [x[:3], x[3:]]

    def hash_of(process, sent):
        """Runs one process; `sent` are the numbers of the other, in the order of the calls."""
        mine, other = [], iter(sent)

        def gather(value):
            mine.append(int(value))
            pair = [int(value), next(other, 0)]
            return np.array(pair if process == 0 else pair[::-1])

        monkeypatch.setattr(jax, "process_index", lambda: process)
        monkeypatch.setattr(fingerprint, "gather", gather)
        return fingerprint._hash_examples(shares[process], several=True), mine

    sizes = [[3], [4]]
    sent = [hash_of(process, sizes[1 - process])[1] for process in (0, 1)]
    assert [hash_of(process, sent[1 - process])[0] for process in (0, 1)] == [whole, whole]


def test_the_comparison_does_not_report_one_seed_as_another(tmp_path):
    digits = load("digits")
    small = {"priors": ("standard",), "seeds": 1, "epochs": 1, "hidden": (4,), "latent_dim": 2, "checkpoints": True}
    for seed in (0, 0):  # the same again goes on
        train("standard", resolve(Config(seed=seed, **small), digits), digits, tmp_path)
    with pytest.raises(ValueError, match="it is of another run: key differs"):
        train("standard", resolve(Config(seed=5, **small), digits), digits, tmp_path)


def test_another_process_comes_to_the_same_fingerprint(tmp_path):
    """Neither the order of hashes nor addresses are in it."""
    script = (
        "import sys; from pathlib import Path; from tests.training.test_fingerprint import run\n"
        "import optax, distrax, jax.numpy as jnp, vaepriors_jax as vp\n"
        "from tests.training.test_fingerprint import VAE, PARAMS\n"
        "prior = vp.from_distribution(distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)))\n"
        "result = run(Path(sys.argv[1]), vae=VAE._replace(prior=prior), params=PARAMS._replace(prior={}),"
        " num_epochs=int(sys.argv[2]), transform=vp.binarize)\n"
        "print(len(result.history['elbo']))"
    )
    for epochs in ("1", "2"):
        command = [sys.executable, "-W", "error::RuntimeWarning", "-c", script, str(tmp_path), epochs]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.stdout.split() == [epochs], done.stderr
