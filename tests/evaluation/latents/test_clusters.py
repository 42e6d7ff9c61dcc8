"""Clusters by components, and their scores beside scikit-learn's and by all matchings."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

import vaepriors_jax as vp

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("num_labels", "num_clusters"), [(3, 3), (4, 2), (3, 5), (2, 1), (1, 1)])
def test_scores_by_all_matchings_and_by_scikit_learn(num_labels, num_clusters):
    labels = RNG.integers(num_labels, size=200) + 3
    clusters = np.where(RNG.random(200) < 0.7, labels % num_clusters, RNG.integers(num_clusters, size=200)) * 10 - 5
    found = vp.clustering_scores(labels, clusters)
    names, groups = list(np.unique(labels)), list(np.unique(clusters))
    longer = [*names, *[None] * max(0, len(groups) - len(names))]
    best = max(
        np.mean(labels == np.array([dict(zip(groups, order, strict=False)).get(c, -1) or -1 for c in clusters]))
        for order in itertools.permutations(longer)
    )
    assert found.accuracy == pytest.approx(best)
    purity = sum(np.bincount(labels[clusters == c]).max() for c in groups) / 200
    assert found.purity == pytest.approx(purity)
    expected = normalized_mutual_info_score(labels, clusters)
    assert found.normalized_mutual_information == pytest.approx(expected, abs=1e-12)
    assert found.num_clusters == len(groups)


def test_names_of_clusters_do_not_matter():
    labels = RNG.integers(5, size=100)
    assert vp.clustering_scores(labels, 7 - labels) == (1.0, 1.0, 1.0, 5)
    assert vp.clustering_scores(labels, jnp.arange(100)).normalized_mutual_information < 1


def test_examples_belong_to_the_component_that_they_are_near():
    prior = vp.mixture(2, 3)
    vae = vp.VAE(
        lambda params, x: vp.normal_diag(x, jnp.full(2, 0.1)), lambda params, z: vp.normal_diag(z, jnp.ones(2)), prior
    )
    loc = jnp.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0]])
    params = vp.VAEParams({}, {}, {"logits": jnp.zeros(3), "loc": loc, "log_scale": jnp.zeros((3, 2))})
    labels = np.arange(30) % 3
    x = np.asarray(loc)[(labels + 1) % 3] + 0.1 * RNG.normal(size=(30, 2)).astype(np.float32)
    clusters = vp.mixture_assignments(vae, params, KEY, x, chunk_size=7)
    np.testing.assert_array_equal(clusters, (labels + 1) % 3)
    assert vp.clustering_scores(labels, clusters).accuracy == 1
    with pytest.raises(ValueError, match="a prior that is a mixture; standard_normal"):
        vp.mixture_assignments(vae._replace(prior=vp.standard_normal(2)), params._replace(prior={}), KEY, x)


def test_what_is_no_clustering_is_refused():
    with pytest.raises(TypeError, match="integers in `clusters`; got float64"):
        vp.clustering_scores(np.arange(3), np.ones(3))
    with pytest.raises(ValueError, match="as many labels as clusters; got 3 and 2"):
        vp.clustering_scores(np.arange(3), np.arange(2))
    with pytest.raises(ValueError, match=r"`labels` of shape \[N\], one for each example; got \[3, 1\]"):
        vp.clustering_scores(np.zeros((3, 1), int), np.arange(3))
