"""Runs that resume from a checkpoint."""

import functools

import jax
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data

KEY = jax.random.key(0)
fit = functools.partial(vp.fit, progress=False)


def test_resume_from_a_checkpoint_gives_the_run_without_interruption(tmp_path):
    vae, params = bernoulli_vae()
    run = functools.partial(
        fit, vae, params, KEY, binary_data(), optax.adam(1e-2), batch_size=50, validation=binary_data(seed=1)
    )
    whole = run(num_epochs=6)
    run(num_epochs=3, checkpoints=vp.Checkpoints(tmp_path / "run", every=2))
    resumed = run(num_epochs=6, checkpoints=tmp_path / "run")
    for name, values in whole.history.items():
        np.testing.assert_allclose(resumed.history[name], values, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    jax.tree.map(np.testing.assert_array_equal, resumed.state, whole.state)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax's own readers, left half-way
def test_a_checkpoint_that_does_not_fit_or_is_damaged_is_explained(tmp_path):
    vae, params = bernoulli_vae()
    run = functools.partial(
        fit, key=KEY, data=binary_data(), optimizer=optax.adam(1e-2), batch_size=50, checkpoints=tmp_path / "run"
    )
    run(vae, params, num_epochs=1)
    other, other_params = bernoulli_vae(vp.mixture(2, 5))
    with pytest.raises(ValueError, match="Expected a checkpoint of this run"):
        run(other, other_params, num_epochs=2)
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="move this one away to start anew"):
        run(vae, params, num_epochs=2)
