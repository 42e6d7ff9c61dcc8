"""A folder of checkpoints refuses to resume another run, and says what differs."""

import json
import shutil
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
from tests.support.trainable_networks import trainable_vae
from vaepriors_jax.training import batch, fingerprint, hashing, programs, user_functions

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


def stopped(p, x):
    """The encoder, whose scale gets no gradient."""
    return vp.normal_diag(p["weight"] @ x, jnp.exp(jax.lax.stop_gradient(p["log_scale"])))


def over_epochs(num_epochs):
    return optax.adam(optax.cosine_decay_schedule(1e-2, 2 * num_epochs))


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
    ({"vae": louder(1.01)}, "decoder or likelihood differs"),
    ({"vae": VAE._replace(encode=stopped)}, "encoder differs"),
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


def test_a_schedule_over_the_epochs_makes_their_number_part_of_the_run(tmp_path):
    run(tmp_path, num_epochs=2, optimizer=over_epochs(2))
    with pytest.raises(ValueError, match="it is of another run: optimizer differs"):
        run(tmp_path, num_epochs=4, optimizer=over_epochs(4))


def test_another_text_of_the_librarys_objective_does_not_end_a_run(tmp_path, monkeypatch):
    def rewritten(*args, **kwargs):
        terms = elbo(*args, **kwargs)
        return terms._replace(objective=2 * (terms.objective / 2))

    run(tmp_path)
    elbo = batch.elbo_of_example
    monkeypatch.setattr(batch, "elbo_of_example", rewritten)
    programs._compile.cache_clear()
    user_functions._hash_functions.cache_clear()
    result = run(tmp_path, num_epochs=2, vae=bernoulli_vae()[0])
    assert result.history["elbo"].shape == (2,)


def test_the_rate_of_dropout_tells_runs_apart(tmp_path):
    def with_rate(rate):
        vae, params, _ = trainable_vae("linen", rate=rate)
        return {"vae": vae, "params": params}

    run(tmp_path, **with_rate(0.1))
    run(tmp_path, **with_rate(0.1))
    with pytest.raises(ValueError, match="it is of another run: networks in training differs"):
        run(tmp_path, **with_rate(0.2))


def shifted(shift):
    def transform(key, batch):
        del key
        return {**batch, "x": jnp.abs(batch["x"] - shift)}

    return transform


SCHEDULED = {
    "optimizer": over_epochs(50),
    "objective": vp.Objective(beta=optax.linear_schedule(0.0, 1.0, 1000)),
    "transform": shifted(0),
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """One epoch of a case with a function of each kind, written with other versions."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "version", lambda package: "0.0.1")
        run(folder, **SCHEDULED)
    return folder


@pytest.mark.slow
def test_with_other_versions_functions_that_give_the_same_are_taken_for_the_same(elsewhere, tmp_path):
    shutil.copytree(elsewhere, tmp_path / "run")
    again = {"vae": louder(1 + 1e-6), "transform": shifted(0), "optimizer": over_epochs(50)}
    with pytest.warns(
        RuntimeWarning, match="written elsewhere: jax was 0.0.1, and is .* same values for one example, within"
    ) as seen:
        resumed = run(tmp_path / "run", num_epochs=2, **SCHEDULED | again)
    assert [warning.filename for warning in seen] == [__file__]  # where `fit` was called
    run(tmp_path / "run", num_epochs=3, **SCHEDULED | again)  # from now on it is a run of these versions
    assert resumed.fingerprint["name"] == stored(elsewhere)["name"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": optax.adam(1e-2)}, r"optimizer at step 10 gave [\d.e+-]+, [\d.e+-]+, and gives \d"),
        ({"optimizer": over_epochs(51)}, "optimizer at step 100 gave"),
        ({"optimizer": optax.sgd(1e-2)}, "optimizer at step 0 gave"),
        ({"vae": louder(1.1)}, "decoder or likelihood gave"),
        ({"vae": VAE._replace(encode=lambda p, x: vp.normal_diag(p["weight"] @ x, jnp.full(2, 1.1)))}, "encoder gave"),
        ({"transform": shifted(1)}, "transform gave"),
        ({"objective": vp.Objective(beta=optax.linear_schedule(0.0, 1.0, 1100))}, "schedule of beta at step 1 gave"),
        ({"key": jax.random.key(1)}, "key differs"),
    ],
)
def test_with_other_versions_functions_that_give_other_values_are_refused(elsewhere, changes, message):
    with pytest.raises(ValueError, match=f"it is of another run: {message}"):
        run(elsewhere, **SCHEDULED | changes)


def stored(folder):
    return json.loads(history_file(folder).read_text())["run"]


def change_stored(folder, change):
    content = json.loads(history_file(folder).read_text())
    change(content["run"])
    history_file(folder).write_text(json.dumps(content))


def of_first_format(run):
    """A fingerprint as version 0.1.0 wrote it."""
    for name in ("format", "name", "values"):
        del run[name]
    for name in user_functions.NETWORKS:
        del run["functions"][name]
    run["functions"]["networks, likelihood or prior"] = "#0123456789abcdef"


def test_a_fingerprint_of_the_first_format_resumes_and_is_compared_in_all_but_networks(tmp_path):
    run(tmp_path)
    change_stored(tmp_path, of_first_format)
    with pytest.raises(ValueError, match="it is of another run: optimizer differs"):
        run(tmp_path, optimizer=optax.adam(1e-3))
    with pytest.raises(ValueError, match="it is of another run: key differs"):
        run(tmp_path, key=jax.random.key(1))
    with pytest.warns(RuntimeWarning, match="An earlier version wrote .* networks are the same is not checked"):
        run(tmp_path, num_epochs=2)
    run(tmp_path, num_epochs=3)  # what was written now is compared in full
    with pytest.raises(ValueError, match="decoder or likelihood differs"):
        run(tmp_path, vae=louder(1.01))


def test_without_values_other_versions_are_not_compared(tmp_path, monkeypatch):
    run(tmp_path)
    change_stored(tmp_path, of_first_format)
    monkeypatch.setattr(fingerprint, "version", lambda package: "0.0.1")
    with pytest.warns(RuntimeWarning, match="Whether networks, likelihood, optimizer and transform .* not checked"):
        run(tmp_path, num_epochs=2)


def test_sizes_of_groups_are_compared_as_they_are_stored(tmp_path):
    groups = vp.Objective(free_bits_per_group=0.5, group_sizes=(2,))
    run(tmp_path, objective=groups)
    run(tmp_path, num_epochs=2, objective=groups)
    with pytest.raises(ValueError, match="free_bits_per_group was 0.5, and is 0.25"):
        run(tmp_path, objective=vp.Objective(free_bits_per_group=0.25, group_sizes=(2,)))


def test_an_option_that_was_added_later_had_its_default(tmp_path):
    run(tmp_path)
    change_stored(tmp_path, lambda run: run["run"].pop("free_bits"))
    run(tmp_path, num_epochs=2)
    with pytest.raises(ValueError, match="free_bits was 0.0, and is 0.5"):
        run(tmp_path, objective=vp.Objective(free_bits=0.5))


def test_the_hash_of_data_is_that_of_their_order_whatever_the_shares(monkeypatch):
    """Two processes, each with its share, come to the hash of one with all."""
    x = np.random.default_rng(0).random((7, 3), np.float32)
    whole = hashing.hash_examples(x)
    assert whole != hashing.hash_examples(x[::-1])
    assert whole != hashing.hash_examples(x.astype(np.float16))
    shares = [x[:3], x[3:]]

    def hash_of(process, sent):
        """Runs one process; `sent` are the numbers of the other, in the order of the calls."""
        mine, other = [], iter(sent)

        def gather(value):
            mine.append(int(value))
            pair = [int(value), next(other, 0)]
            return np.array(pair if process == 0 else pair[::-1])

        monkeypatch.setattr(jax, "process_index", lambda: process)
        monkeypatch.setattr(hashing, "gather", gather)
        return hashing.hash_examples(shares[process], several=True), mine

    sizes = [[3], [4]]
    sent = [hash_of(process, sizes[1 - process])[1] for process in (0, 1)]
    assert [hash_of(process, sent[1 - process])[0] for process in (0, 1)] == [whole, whole]


def test_the_comparison_does_not_report_one_seed_as_another(tmp_path):
    digits = load("digits")
    small = {"priors": ("standard",), "seeds": 1, "epochs": 1, "hidden": (4,), "latent_dim": 2, "checkpoints": True}
    for seed in (0, 0):  # the same again goes on
        train("standard", resolve(Config(seed=seed, **small), digits), digits, tmp_path)
    with pytest.raises(ValueError, match="it is of another run, with the seeds"):
        train("standard", resolve(Config(seed=5, **small), digits), digits, tmp_path)


@pytest.mark.slow
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
