"""Random subsets of exemplars in training: what the estimate from one of them is on average, and how they are drawn."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import vaepriors_jax as vp
from vaepriors_jax.priors.exemplar_subset import draw_subset

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype(np.float32)
VECTORS = RNG.normal(size=(6, 2)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1, 0, 1], np.int32)
POINTS = np.array([[0.0, 0.0], [1.0, -2.0], [-0.5, 0.3]], np.float32)


def encode(x):
    return vp.normal_diag(x[:2], jnp.ones(2, x.dtype))


def densities(prior, subsets, **context):
    """The log-densities at all points, for each of many subsets [S, M]: [S, 3]."""
    params = prior.init(KEY)

    def of_subset(subset):
        given = {"encode": encode, "exemplars": X, "exemplar_subset": subset, **context}
        return prior.apply(params, **given).log_prob(POINTS)

    return np.asarray(jax.jit(jax.vmap(of_subset))(jnp.asarray(subsets)), np.float64)


KINDS = {
    "plain": ({}, {}),
    "label": ({"num_classes": 2}, {"y": 1, "exemplar_conditions": LABELS}),
    "vector": ({"condition_dim": 2}, {"y": np.array([0.3, -0.2], np.float32), "exemplar_conditions": VECTORS}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [3, 4, -1])
def test_over_all_subsets_the_mean_density_is_exact_and_the_mean_of_its_logarithm_is_below(kind, index):
    """Every subset of four; with labels those with two of each class, as they are drawn."""
    options, context = KINDS[kind]
    subsets = np.array([s for s in combinations(range(6), 4) if kind != "label" or LABELS[list(s)].sum() == 2])
    found = densities(vp.exemplar(2, subset_size=4, **options), subsets, index=index, **context)
    exact = densities(vp.exemplar(2, **options), subsets[:1], index=index, **context)[0]
    mean = scipy.special.logsumexp(found, axis=0) - np.log(len(subsets))
    np.testing.assert_allclose(mean, exact, rtol=1e-5)
    assert (found.mean(0) < exact - 1e-4).all()
    assert (found > exact).any()  # one subset alone is no bound


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_and_a_subset_of_all_have_the_exact_density(kind):
    options, context = KINDS[kind]
    subsets = np.array([[5, 0, 1, 4]])
    exact = densities(vp.exemplar(2, **options), subsets, **context)
    np.testing.assert_array_equal(densities(vp.exemplar(2, subset_size=4, **options), subsets, **context), exact)
    exact = densities(vp.exemplar(2, **options), subsets, index=3, **context)
    everything = np.array([[5, 3, 0, 2, 1, 4]])
    found = densities(vp.exemplar(2, subset_size=6, **options), everything, index=3, **context)
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_the_nearest_of_a_subset_are_below_the_whole_subset():
    subset, means = np.array([[4, 0, 3, 1]]), X[:, :2]
    of_subset = densities(vp.exemplar(2, subset_size=4), subset, index=3)
    every = densities(vp.exemplar(2, subset_size=4, num_neighbors=4), subset, index=3, encodings=means)
    np.testing.assert_allclose(every, of_subset, rtol=1e-5)
    one = densities(vp.exemplar(2, subset_size=4, num_neighbors=1), subset, index=3, encodings=means)
    distances = ((POINTS[:, None] - X[[4, 0, 1], :2].astype(np.float64)) ** 2).sum(-1).min(1)
    np.testing.assert_allclose(one[0], -0.5 * distances - np.log(2 * np.pi) - np.log(3), rtol=1e-5)


def test_every_exemplar_is_drawn_equally_often_and_never_twice():
    draw = jax.jit(jax.vmap(lambda key: draw_subset(key, None, 10, 4)))
    subsets = np.sort(draw(jax.random.split(KEY, 2000)), axis=1)
    assert (np.diff(subsets, axis=1) > 0).all()
    shares = np.bincount(subsets.ravel(), minlength=10) / 2000
    assert (np.abs(shares - 0.4) < 5 * np.sqrt(0.4 * 0.6 / 2000)).all()
    # So are pairs: 4 * 3 of 10 * 9.
    pairs = (subsets[:, :, None] == 0).any((1, 2)) & (subsets[:, :, None] == 9).any((1, 2))
    assert abs(pairs.mean() - 2 / 15) < 5 * np.sqrt(2 / 15 * 13 / 15 / 2000)


def test_each_class_keeps_its_share_of_a_subset_and_two_exemplars_at_least():
    labels = np.repeat([0, 1, 2], [60, 30, 2])[np.random.default_rng(0).permutation(92)]
    draw = jax.jit(jax.vmap(lambda key: draw_subset(key, jnp.asarray(labels), 92, 32)))
    subsets = np.asarray(draw(jax.random.split(KEY, 500)))
    assert all(len(set(subset)) == 32 for subset in subsets.tolist())
    counts = np.array([np.bincount(labels[subset], minlength=3) for subset in subsets])
    assert (counts == counts[0]).all()
    assert counts[0, 2] == 2
    np.testing.assert_allclose(counts[0, :2], [20, 10], atol=1)
    shares = np.bincount(subsets.ravel(), minlength=92)[labels == 0] / 500
    expected = counts[0, 0] / 60
    assert (np.abs(shares - expected) < 5 * np.sqrt(expected * (1 - expected) / 500)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_subsets_need_no_promotion_of_types(kind):
    options, context = KINDS[kind]
    labels = jnp.asarray(LABELS) if kind == "label" else None
    with jax.numpy_dtype_promotion("strict"):
        subset = draw_subset(KEY, labels, 6, 4)
        assert np.isfinite(densities(vp.exemplar(2, subset_size=4, **options), subset[None], index=1, **context)).all()


def make_vae(prior):
    x = (np.random.default_rng(1).random((40, 4)) < 0.5).astype(np.float32)
    vae = vp.VAE(
        lambda params, x: vp.normal_diag(params @ x, jnp.full(2, 0.3)),
        lambda params, z: vp.bernoulli(params @ z),
        prior,
    )
    networks = 0.5 * jax.random.normal(KEY, (2, 2, 4))
    return vae, vp.VAEParams(networks[0], networks[1].T, prior.init(KEY)), x


@pytest.mark.slow
def test_each_step_trains_on_the_subset_in_its_state_and_draws_the_next():
    prior = vp.transformed(vp.exemplar(2, subset_size=8), vp.affine_coupling(2, hidden=(4,)))
    vae, params, x = make_vae(prior)
    params = vp.init_prior_state(vae, params, x=x, key=jax.random.key(3))
    batch = {"x": x[:10], "index": np.arange(10)}
    step = vp.make_train_step(vae, optax.adam(0.05))
    state, subsets = vp.init_train_state(params, optax.adam(0.05)), []
    for _ in range(20):
        subset = np.array(state.params.prior.state["exemplar_subset"])
        assert len(set(subset.tolist())) == 8
        subsets.append(subset)
        before = jax.tree.map(np.array, state.params)
        state, metrics = step(state, KEY, batch)
    assert len({tuple(subset) for subset in subsets}) == 20
    assert set(np.concatenate(subsets).tolist()) == set(range(40))

    # The KL of the last step is that of its own subset: a model with these exemplars alone has the same one.
    alone, _, _ = make_vae(vp.transformed(vp.exemplar(2), vp.affine_coupling(2, hidden=(4,))))
    few = before._replace(prior=vp.Variables(before.prior.params, {"exemplars": jnp.asarray(x[subsets[-1]])}))
    where = [np.flatnonzero(subsets[-1] == i)[0] if i in subsets[-1] else -1 for i in range(10)]
    expected = vp.init_train_state(few, optax.adam(0.05))._replace(step=jnp.array(19, state.step.dtype))
    _, same = vp.make_train_step(alone, optax.adam(0.05))(expected, KEY, batch | {"index": np.array(where)})
    np.testing.assert_allclose(metrics.kl, same.kl, rtol=1e-5)


@pytest.mark.slow
def test_replicas_with_keys_of_their_own_draw_subsets_of_their_own():
    vae, params, x = make_vae(vp.exemplar(2, subset_size=8, num_neighbors=2))
    states = [vp.init_prior_state(vae, params, x=x, key=key) for key in jax.random.split(KEY, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    data = {"x": x, "index": np.arange(40)}
    options = {"num_epochs": 1, "batch_size": 10, "validation": {"x": x[:8]}, "progress": False}
    result = vp.fit(vae, stacked, jax.random.split(KEY, 2), data, optax.adam(0.05), **options)
    assert np.isfinite(result.history["validation_elbo"]).all()
    subsets = np.sort(result.params.prior.state["exemplar_subset"], axis=1)
    assert (subsets[0] != subsets[1]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset_size": 1}, r"`subset_size` to be an integer >= 2; got 1"),
        ({"subset_size": 2.5}, r"`subset_size` to be an integer >= 1; got 2.5"),
        ({"subset_size": 5, "num_classes": 3}, r"`subset_size` >= 6, two exemplars for each of 3 classes.*; got 5"),
        ({"num_classes": 3, "condition_dim": 2}, r"one of the two; got num_classes=3, condition_dim=2"),
        ({"encoder_reads_condition": True}, r"`num_classes` or `condition_dim` with `encoder_reads_condition=True`"),
        ({"condition_dim": 2, "initial_bandwidth": 0.0}, r"`initial_bandwidth` to be a finite number > 0; got 0.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        vp.exemplar(2, **options)
