"""A two-level prior on top of another: three levels, in the linear Gaussian case against scipy, and trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import vaepriors_jax as vp
from vaepriors_jax.distributions.kl_of_groups import kl_of_groups

KEY = jax.random.key(0)
DIM, SCALES = (2, 1, 1), (0.6, 0.8)  # dimensions from the bottom up, and scales of the two lower levels
RNG = np.random.default_rng(0)
TO_MIDDLE, TO_BOTTOM = RNG.normal(size=(1, 1)), RNG.normal(size=(2, 2))


def linear(prior, weight, scale):
    """Parameters of a level whose mean is `weight` times the levels above it."""
    dim, num_above = weight.shape
    kernel = np.concatenate([weight.T, np.zeros((num_above, dim))], axis=1)
    bias = np.repeat([0, np.log(scale)], dim)
    return prior | {"bottom": {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}}


@pytest.fixture(scope="module")
def prior_and_params():
    prior = vp.two_level(vp.two_level(vp.standard_normal(1), 1, 1, hidden=()), 2, 2, hidden=())
    start = prior.init(KEY)
    params = linear(start, TO_BOTTOM, SCALES[0]) | {"top": linear(start["top"], TO_MIDDLE, SCALES[1])}
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, start)
    return prior, params


def exact():
    """The Gaussian over z = [z1, z2, z3]."""
    upper = np.array([[TO_MIDDLE[0, 0] ** 2 + SCALES[1] ** 2, TO_MIDDLE[0, 0]], [TO_MIDDLE[0, 0], 1]])
    between = TO_BOTTOM @ upper
    bottom = between @ TO_BOTTOM.T + SCALES[0] ** 2 * np.eye(2)
    return scipy.stats.multivariate_normal(np.zeros(4), np.block([[bottom, between], [between.T, upper]]))


def test_density_and_samples_are_those_of_the_joint_gaussian(prior_and_params):
    prior, params = prior_and_params
    p, joint = prior.apply(params), exact()
    z, log_prob = p.sample_and_log_prob(seed=KEY, sample_shape=20_000)
    np.testing.assert_allclose(log_prob, joint.logpdf(z), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(p.log_prob(z), log_prob, rtol=1e-4, atol=1e-4)
    # The standard error of a covariance is at most sqrt(2 / N) times the largest variance.
    error = np.sqrt(2 / len(z)) * joint.cov.max()
    np.testing.assert_allclose(np.cov(z.T), joint.cov, atol=5 * error)


def three_levels(x, weight):
    h = weight @ x

    def middle(z3):
        return vp.normal_diag(h[2:3] + 0.3 * z3, jnp.full(1, 0.5))

    def bottom(upper):
        return vp.normal_diag(h[:2] + upper[0] - upper[1], jnp.full(2, 0.4))

    return vp.two_level_posterior(vp.two_level_posterior(vp.normal_diag(h[3:], jnp.full(1, 0.7)), middle), bottom)


def test_kl_of_the_levels_is_that_of_joint_gaussians(prior_and_params):
    """By the chain rule the KL of the upper levels alone is known as well."""
    prior, params = prior_and_params
    p, joint = prior.apply(params), exact()
    q = three_levels(jnp.array([0.5, -0.3, 0.2]), jax.random.normal(KEY, (4, 3)))
    z = q.sample(seed=KEY, sample_shape=(50, 400))
    groups = jax.vmap(lambda z: kl_of_groups(q, p, z, DIM))(z)
    # From the top down: each row is the level above times what q(z|x) multiplies it with.
    lower = np.eye(4)
    lower[2, 3] = 0.3
    lower[:2, :] += np.array([1, -1]) @ lower[2:, :]
    noise = np.diag([0.4, 0.4, 0.5, 0.7]) ** 2
    covariance = lower @ noise @ lower.T
    mean = lower @ np.asarray(jax.random.normal(KEY, (4, 3)) @ jnp.array([0.5, -0.3, 0.2]))
    expected = [normal_kl(mean[start:], covariance[start:, start:], joint.cov[start:, start:]) for start in (0, 2, 3)]
    found = np.cumsum(np.asarray(groups)[:, ::-1], axis=1)[:, ::-1]
    error = np.std(found, axis=0) / np.sqrt(len(found))
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - expected), 5 * error + 1e-4)


def normal_kl(mean, covariance, prior_covariance):
    precision = np.linalg.inv(prior_covariance)
    log_ratio = np.linalg.slogdet(prior_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return (np.trace(precision @ covariance) + mean @ precision @ mean - len(mean) + log_ratio) / 2


@pytest.mark.slow
def test_a_vampprior_on_three_levels_trains_and_its_components_are_used():
    prior = vp.two_level(vp.two_level(vp.vamp(3, (5,)), 1, 1), 2, 2)
    encode = lambda params, x: three_levels(x, params["weight"])  # noqa: E731
    vae = vp.VAE(encode, lambda params, z: vp.bernoulli(params["weight"] @ z), prior)
    x = jnp.float32(jax.random.bernoulli(KEY, 0.5, (40, 5)))
    start = vp.init_from_data(prior, KEY, x=x)
    weights = [{"weight": 0.3 * jax.random.normal(KEY, shape)} for shape in ((4, 5), (5, 4))]
    step = vp.make_train_step(vae, optax.adam(1e-2))
    state = vp.init_train_state(vp.VAEParams(*weights, start), optax.adam(1e-2))
    for _ in range(2):  # the last layers of networks start at 0, and only they move in the first step
        state, metrics = step(state, KEY, {"x": x})
    assert np.isfinite(metrics.elbo)
    moved = jax.tree.map(lambda now, then: bool(jnp.any(now != then)), state.params.prior, start)
    assert all(jax.tree.leaves(moved))
    usage = vp.mixture_usage(vae, state.params, KEY, x)
    assert usage.mean_responsibilities.shape == (3,)
    np.testing.assert_allclose(usage.mean_responsibilities.sum(), 1, rtol=1e-5)


def test_levels_of_other_sizes_have_no_kl_of_their_own():
    q = three_levels(jnp.ones(3), jnp.ones((4, 3)))
    p = vp.two_level(vp.standard_normal(3), 3, 1)
    other = p.apply(p.init(KEY))
    with pytest.raises(ValueError, match="independent between dimensions"):
        kl_of_groups(q, other, q.sample(seed=KEY, sample_shape=2), (2, 2))
