"""The callback of `fit`: what it is told, and how it stops a run."""

import functools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, stacked

KEY = jax.random.key(0)
VAE, PARAMS = bernoulli_vae()
run = functools.partial(
    vp.fit,
    VAE,
    PARAMS,
    KEY,
    binary_data(),
    optax.adam(1e-2),
    num_epochs=6,
    batch_size=50,
    validation=binary_data(seed=1),
    progress=False,
)


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("shape", [(), (2,)], ids=["one", "replicas"])
def test_it_is_told_the_metrics_the_parameters_and_the_state_of_each_epoch(shape):
    seen = []
    options = {"params": stacked(PARAMS, 2), "key": jax.random.split(KEY)} if shape else {"params": PARAMS, "key": KEY}
    result = vp.fit(
        VAE,
        data=binary_data(),
        optimizer=optax.adam(1e-2),
        num_epochs=3,
        batch_size=50,
        progress=False,
        callback=lambda epoch: seen.append(jax.tree.map(np.array, epoch)),
        **options,
    )
    assert [int(epoch.epoch) for epoch in seen] == [1, 2, 3]
    for epoch in seen:
        assert isinstance(epoch, vp.Epoch)
        for name, values in result.history.items():
            assert epoch.metrics[name].shape == shape
            np.testing.assert_array_equal(epoch.metrics[name], values[..., epoch.epoch - 1])
        np.testing.assert_array_equal(epoch.state.step, np.full(shape, 4 * epoch.epoch))
        same(epoch.params, epoch.state.params)
    same(seen[-1].state, result.state)


@pytest.mark.parametrize("yes", [True, np.True_, jnp.array(True)], ids=["python", "numpy", "jax"])
def test_true_stops_the_run_after_a_checkpoint_from_which_it_goes_on(tmp_path, yes):
    whole = run()
    result = run(callback=lambda epoch: yes if epoch.epoch == 2 else None, checkpoints=tmp_path)
    assert result.history["elbo"].shape == (2,)
    same(result.params, run(num_epochs=2).params)
    resumed = run(checkpoints=tmp_path)
    same(resumed[:4], whole[:4])


def test_a_signal_stops_the_run_at_the_end_of_the_epoch():
    """A handler sets a flag, which the callback returns."""
    asked = []
    before = signal.signal(signal.SIGUSR1, lambda *_: asked.append(True))

    def callback(epoch):
        if epoch.epoch == 3:
            signal.raise_signal(signal.SIGUSR1)
        return bool(asked)

    try:
        assert run(callback=callback).history["elbo"].shape == (3,)
    finally:
        signal.signal(signal.SIGUSR1, before)


class Method:
    def after(self, epoch):
        return epoch.epoch == 1


@pytest.mark.parametrize(
    "callback", [Method().after, functools.partial(Method.after, Method()), lambda epoch, verbose=False: True]
)
def test_methods_partial_functions_and_further_defaults_will_do(callback):
    assert run(callback=callback).history["elbo"].shape == (1,)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda epoch, params: None, r"one that takes \(epoch, params\). Write `def callback\(epoch\): ...`"),
        (lambda: None, r"one that takes \(\)"),
        ("print", "as a function of a `vp.Epoch`; got 'print'"),
    ],
)
def test_what_cannot_be_called_with_an_epoch_is_refused_before_training(callback, message):
    with pytest.raises(TypeError, match=message):
        run(callback=callback)


@pytest.mark.parametrize("answer", [1, "stop", np.array([True, False])])
def test_an_answer_that_is_neither_yes_nor_no_is_refused(answer):
    with pytest.raises(TypeError, match="to return True to stop, or None or False to go on; got"):
        run(callback=lambda epoch: answer)
