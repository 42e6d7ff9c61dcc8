"""`fit` on batches that stream: the numbers of arrays, and sources of many kinds."""

import functools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, exploding, stacked
from vaepriors_jax.training import prefetch, streams

KEY = jax.random.key(0)
SIZE = 60  # of 200 examples: three batches and a rest of 20
fit = functools.partial(vp.fit, progress=False)


def in_batches(data, size=SIZE, order=None):
    order = np.arange(len(data["x"])) if order is None else order
    return [{name: value[order[i : i + size]] for name, value in data.items()} for i in range(0, len(order), size)]


def batches_of_fit(data, size=SIZE):
    """A function of the epoch that gives batches in the order in which `fit` shuffles arrays."""

    def batches(epoch):
        key_epoch, _ = jax.random.split(KEY)
        key_shuffle, _ = jax.random.split(jax.random.fold_in(key_epoch, epoch))
        order = np.asarray(jax.random.permutation(key_shuffle, len(data["x"])))
        yield from in_batches(data, size, order)

    return batches


def assert_same_run(found, expected, atol=1e-5):
    for part in ("params", "state", "best_epoch", "history"):
        pair = getattr(found, part), getattr(expected, part)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), *pair)


class Loader:
    """An iterable that is no list, with batches in one buffer that is used again."""

    def __init__(self, data, size=SIZE):
        self.data, self.size = data, size

    def __len__(self):
        return -(-len(self.data["x"]) // self.size)

    def __iter__(self):
        x = self.data["x"]
        buffer = np.empty((self.size, *x.shape[1:]), x.dtype)
        for batch in in_batches(self.data, self.size):
            part = buffer[: len(batch["x"])]
            part[...] = batch["x"]
            yield {"x": part}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("training", "validation"),
    [("batches", "arrays"), ("batches", "batches"), ("batches", None), ("arrays", "batches")],
)
def test_batches_in_the_order_of_arrays_give_the_run_of_arrays(training, validation):
    vae, params = bernoulli_vae()
    data, valid = binary_data(), binary_data(45, seed=1)
    options = {"num_epochs": 8, "transform": vp.binarize}
    if validation is not None:
        options |= {"patience": 2, "objective": vp.Objective(warmup_epochs=2)}
    run = functools.partial(fit, vae, params, KEY, optimizer=optax.adam(0.3), **options)
    expected = run(data, batch_size=SIZE, validation=None if validation is None else valid)
    validation = {"arrays": valid, "batches": in_batches(valid, 20), None: None}[validation]
    if training == "arrays":
        found = run(data, batch_size=SIZE, validation=validation)
    else:
        found = run(vp.Stream(batches_of_fit(data), batches_per_epoch=3), validation=validation)
    assert_same_run(found, expected)
    assert found.compile_seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("data", [Loader(binary_data()), binary_data()], ids=["batches", "arrays"])
def test_replicas_are_what_separate_runs_are_and_stop_on_their_own(data):
    vae, params = bernoulli_vae()
    keys = jax.random.split(KEY, 3)
    options = {"num_epochs": 12, "patience": 1, "validation": in_batches(binary_data(40, seed=1), 25)}
    run = functools.partial(fit, vae, data=data, optimizer=optax.adam(0.3), **options)
    together = run(stacked(params, 3), keys)
    alone = [run(params, key) for key in keys]
    lengths = [len(result.history["elbo"]) for result in alone]
    assert len(set(lengths)) > 1
    for i, (result, length) in enumerate(zip(alone, lengths, strict=True)):
        for name, values in together.history.items():
            np.testing.assert_array_equal(values[i, :length], result.history[name])
            assert np.isnan(values[i, length:]).all()
        of_replica = jax.tree.map(lambda leaf: leaf[i], together[:3])  # noqa: B023
        jax.tree.map(np.testing.assert_array_equal, of_replica, alone[i][:3])


def test_replicas_on_an_accelerator_are_mapped(monkeypatch):
    vae, params = bernoulli_vae()
    run = functools.partial(
        fit, vae, stacked(params, 2), jax.random.split(KEY, 2), Loader(binary_data()), optax.adam(0.1), num_epochs=2
    )
    expected = run()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert_same_run(run(), expected, atol=1e-4)


def test_a_replica_that_goes_bad_is_frozen_and_the_other_goes_on():
    vae, params = bernoulli_vae()
    with pytest.warns(RuntimeWarning, match="replica 1 was frozen at step 5"):
        result = fit(
            vae,
            stacked(params, 2),
            jnp.stack([KEY, KEY]),
            in_batches(binary_data()),
            exploding(at_step=4),
            hyperparameters={"explode": np.array([0.0, 1.0], np.float32)},
            num_epochs=4,
        )
    assert [(failure.replica, failure.step) for failure in result.failures] == [(1, 5)]
    alone = fit(vae, params, KEY, in_batches(binary_data()), exploding(4)(jnp.float32(0)), num_epochs=4)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), result.params, alone.params)
    assert np.isfinite(result.history["elbo"][0]).all()
    assert np.isnan(result.history["elbo"][1, 2:]).all()


def test_a_run_that_is_resumed_is_the_run_without_interruption(tmp_path):
    vae, params = bernoulli_vae()
    run = functools.partial(
        fit, vae, params, KEY, batches_of_fit(binary_data()), optax.adam(0.1), validation=binary_data(40, seed=1)
    )
    checkpoints = vp.Checkpoints(tmp_path / "run", every=1)
    run(num_epochs=2, checkpoints=checkpoints)
    resumed, whole = run(num_epochs=5, checkpoints=checkpoints), run(num_epochs=5)
    assert_same_run(resumed, whole, atol=0)
    with pytest.raises(
        ValueError, match=r"data 'x' was batches of float32\[60, 6\], and is batches of float32\[50, 6\]"
    ):
        fit(vae, params, KEY, in_batches(binary_data(), 50), optax.adam(0.1), num_epochs=6, checkpoints=checkpoints)


def test_the_remainder_is_left_out_or_trained_on():
    vae, params = bernoulli_vae()
    run = functools.partial(fit, vae, params, KEY, optimizer=optax.sgd(0.1), num_epochs=1)
    whole = in_batches(binary_data())
    assert_same_run(run(whole), run(whole[:3]), atol=0)
    kept = run(vp.Stream(whole, drop_remainder=False))
    assert int(kept.state.step) == 4
    # By hand: metrics are means over examples, not over steps.
    step = vp.make_train_step(vae, optax.sgd(0.1))
    state, elbos = vp.init_train_state(params, optax.sgd(0.1)), []
    key_steps = jax.random.split(jax.random.fold_in(jax.random.split(KEY)[0], 1))[1]
    for batch in whole:
        state, terms = step(state, key_steps, batch)
        elbos.append(float(terms.elbo))
    np.testing.assert_allclose(kept.history["elbo"], [np.average(elbos, weights=[60, 60, 60, 20])], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), kept.params, state.params)


def grain_sources(data):
    grain = pytest.importorskip("grain")

    class Source:
        def __len__(self):
            return len(data["x"])

        def __getitem__(self, index):
            return {"x": data["x"][index]}

    map_dataset = grain.MapDataset.source(Source()).batch(SIZE)
    sampler = functools.partial(
        grain.samplers.IndexSampler, num_records=len(data["x"]), shard_options=grain.sharding.NoSharding(), seed=0
    )
    loader = functools.partial(grain.DataLoader, data_source=Source(), operations=[grain.transforms.Batch(SIZE)])
    return map_dataset, lambda **options: loader(sampler=sampler(**options))


@pytest.mark.parametrize(
    "kind", ["re-iterable", "function", "tensors", "jax", "MapDataset", "IterDataset", "DataLoader"]
)
def test_sources_of_many_kinds_give_the_same_run(kind):
    vae, params = bernoulli_vae()
    data = binary_data()
    whole = in_batches(data)

    def source():
        if kind == "re-iterable":
            return Loader(data)
        if kind == "function":
            return lambda epoch: iter(whole)
        if kind == "tensors":
            torch = pytest.importorskip("torch")
            return [{"x": torch.from_numpy(batch["x"])} for batch in whole]
        if kind == "jax":
            return jax.tree.map(jnp.asarray, whole)
        map_dataset, loader = grain_sources(data)
        return {"MapDataset": map_dataset, "IterDataset": map_dataset.to_iter_dataset()}.get(kind) or loader(
            num_epochs=1
        )

    run = functools.partial(fit, vae, params, KEY, optimizer=optax.adam(0.1), num_epochs=3)
    assert_same_run(run(source()), run(whole), atol=0)


def test_a_generator_trains_one_epoch_and_is_read_from_its_start():
    vae, params = bernoulli_vae()
    whole = in_batches(binary_data())
    run = functools.partial(fit, vae, params, KEY, optimizer=optax.adam(0.1))
    assert_same_run(run(iter(whole), num_epochs=1), run(whole, num_epochs=1), atol=0)
    with pytest.raises(ValueError, match=r"can be read more than once as the data; got a list_iterator.*Pass a list"):
        run(iter(whole), num_epochs=2)
    with pytest.raises(ValueError, match="as the validation data; got a generator"):
        run(whole, validation=(batch for batch in whole), num_epochs=2)


def test_batches_without_end_are_noticed_or_cut(monkeypatch):
    vae, params = bernoulli_vae()
    whole = in_batches(binary_data())[:3]

    def endless(epoch):
        while True:
            yield from whole

    run = functools.partial(fit, vae, params, KEY, optimizer=optax.adam(0.1), num_epochs=2)
    assert_same_run(run(vp.Stream(endless, batches_per_epoch=3)), run(whole), atol=0)
    monkeypatch.setattr(streams, "MOST_BATCHES", 50)
    with pytest.raises(ValueError, match=r"at most 50 batches; got more. Say .*batches_per_epoch=1000"):
        run(endless)
    with pytest.raises(ValueError, match="Expected 4 batches, as `batches_per_epoch` says; got 3"):
        run(vp.Stream(whole, batches_per_epoch=4))


def test_batches_of_grain_without_end_are_refused_at_once():
    vae, params = bernoulli_vae()
    map_dataset, loader = grain_sources(binary_data())
    for endless in (map_dataset.repeat(), loader(num_epochs=None), lambda epoch: loader()):
        with pytest.raises(ValueError, match="Expected batches that end as the data"):
            fit(vae, params, KEY, endless, optax.adam(0.1), num_epochs=1)
    stream = vp.Stream(loader(num_epochs=None), batches_per_epoch=3)
    assert int(fit(vae, params, KEY, stream, optax.adam(0.1), num_epochs=2).state.step) == 6


def bad_later(**change):
    whole = in_batches({**binary_data(), "y": np.arange(200) % 3})
    return whole[:1] + [whole[1] | change]


ODD = [
    ([], "Expected data with an entry 'x'.*got an empty list"),
    ([(np.ones((3, 6)), np.ones(3))], "got a list of tuples. Batches in a list are such dicts, too"),
    (lambda epoch: [], "Expected batches in the data; got none"),
    (lambda epoch: None, "not iterable"),
    (lambda: [], "positional argument"),
    ([{"y": np.ones(3)}], r"got a dict of \['y'\]"),
    (lambda epoch: [(np.ones((3, 6)), np.ones(3))], r"got a tuple of 2. Name the parts: .*for x, y in loader"),
    (lambda epoch: [np.ones((3, 6))], "got a ndarray"),
    ([{"x": 1.0}], r"array \[B, ...\]; got a number"),
    ([{"x": np.ones((4, 6)), "y": np.ones(3)}], "arrays of one length"),
    ([{"x": np.full((4, 6), np.nan)}], "Expected finite values in `x`"),
    ([{"x": np.full((4, 6), 0.5)}], "Expected zeros and ones"),
    ([{"x": np.ones((4, 5))}], "came from the networks"),
    (bad_later(x=np.full((60, 6), np.nan, np.float32)), "Expected finite values in `x`"),
    (bad_later(x=np.full((60, 6), 0.5, np.float32)), "Expected zeros and ones"),
    (bad_later(x=np.ones((60, 5), np.float32)), r"like the first, 'x' float32\[B, 6\], .*; got 'x' float32\[B, 5\]"),
    (bad_later(x=np.ones((60, 6))), r"got 'x' float64\[B, 6\]"),
    (bad_later(z=np.ones(60)), r"got .*'z' float64\[B\]"),
    (bad_later(y=np.full(60, 3)), "Expected labels in `y` from 0 to 2"),
    (in_batches(binary_data())[::-1], "batches of 20 examples, as the first, .*; got one of 60"),
    (in_batches(binary_data(100)) * 2, "got another one after a smaller one"),
]


@pytest.mark.parametrize(("source", "message"), ODD)
def test_odd_batches_are_refused_with_what_to_write(source, message):
    vae, params = bernoulli_vae(vp.conditional_normal(2, num_classes=3) if "labels" in message else None)
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        fit(vae, params, KEY, source, optax.adam(0.1), num_epochs=1)
    notes = getattr(caught.value, "__notes__", [])
    later = source[1:] and "after a smaller one" not in message if isinstance(source, list) else False
    if later:
        assert "This came from batch 2 of epoch 1 of the data." in notes


def test_options_that_do_not_fit_a_stream_are_refused():
    vae, params = bernoulli_vae()
    run = functools.partial(fit, vae, params, KEY, optimizer=optax.adam(0.1), num_epochs=1)
    whole = in_batches(binary_data())
    with pytest.raises(ValueError, match="`batch_size`=100 examples; the first of the data has 60. Leave"):
        run(whole, batch_size=100)
    assert int(run(whole, batch_size=60).state.step) == 3
    with pytest.raises(ValueError, match="`batches_per_epoch` to be an integer"):
        run(vp.Stream(whole, batches_per_epoch=0))
    with pytest.raises(ValueError, match=r"a warm-up is a multiple.*batches_per_epoch"):
        run(lambda epoch: iter(whole), objective=vp.Objective(warmup_epochs=1))


def test_an_error_of_a_loader_comes_through_with_the_batch():
    vae, params = bernoulli_vae()

    def batches(epoch):
        yield from in_batches(binary_data())[:2]
        raise OSError(f"the disk is gone in epoch {epoch}")

    with pytest.raises(OSError, match="the disk is gone in epoch 1") as caught:
        fit(vae, params, KEY, batches, optax.adam(0.1), num_epochs=1)
    assert caught.value.__notes__ == ["This came from batch 3 of epoch 1 of the data."]


def test_a_thread_reads_ahead_but_not_far_and_ends_early():
    read, closed = [], threading.Event()

    def items():
        try:
            for item in range(100):
                read.append((item, threading.current_thread()))
                yield item
        finally:
            closed.set()

    ahead = prefetch.read_ahead(items())
    assert next(ahead) == 0
    deadline = time.monotonic() + 10
    while len(read) < 2 + prefetch.AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(read) == 2 + prefetch.AHEAD
    assert threading.current_thread() not in {thread for _, thread in read}
    ahead.close()
    assert closed.wait(10)
    assert list(prefetch.read_ahead(iter(range(5)))) == list(range(5))


def test_a_run_in_64_bits_on_a_chosen_device_reads_its_batches_there():
    """The configuration of a context manager holds for its thread alone."""
    vae, params = bernoulli_vae()
    data = {"x": binary_data()["x"].astype(np.float64)}
    with jax.enable_x64(True), jax.default_device(jax.devices()[0]):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        result = fit(vae, wide, KEY, in_batches(data), optax.adam(0.1), num_epochs=2)
        assert jax.tree.leaves(result.params)[0].dtype == jnp.float64
