"""A prior whose vectors may be missing: densities with and without, the error of the average, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from tests.support.linear_gaussian import linear_gaussian_vae

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(5, 1)).astype(np.float32)
Z = jnp.asarray(RNG.normal(size=(4, 2)), jnp.float32)


@vp.factory
def around(shift: float) -> vp.Prior:
    """p(z|y) = N(z; shift + 2 y, 1), in two dimensions."""

    def init(key):
        return {"shift": jnp.full((), shift)}

    def apply(params, *, y, **context):
        return vp.normal_diag(jnp.broadcast_to(params["shift"] + 2 * y, (2,)), jnp.ones(2))

    return vp.Prior(init, apply, {})


INNER = around(0.5)
PARAMS = INNER.init(KEY)


def log_p(z, y):
    return scipy.stats.norm(0.5 + 2 * np.asarray(y, np.float64), 1).logpdf(np.asarray(z, np.float64)).sum(-1)


def log_prob(prior, y):
    """log p(z|y) at each row of Z with its own vector, compiled."""
    return jax.jit(jax.vmap(lambda z, y: prior.apply(PARAMS, y=y).log_prob(z)))(Z, jnp.asarray(y, jnp.float32))


def test_density_with_and_without_vectors_in_one_batch():
    y = np.array([[0.3], [np.nan], [-1.0], [np.nan]])
    found = log_prob(vp.semi_supervised_vectors(INNER, VECTORS), y)
    of_any = scipy.special.logsumexp([log_p(Z, one) for one in VECTORS], axis=0) - np.log(5)
    np.testing.assert_allclose(found, np.where(np.isnan(y[:, 0]), of_any, log_p(Z, y)), rtol=1e-5)


def test_gradients_are_finite_and_those_of_the_known_vector_reach_it():
    prior = vp.semi_supervised_vectors(INNER, VECTORS)

    def total(params, y):
        return prior.apply(params, y=y).log_prob(Z[0])

    of_params, of_y = jax.grad(total, (0, 1))(PARAMS, jnp.array([0.3]))
    residual = np.asarray(Z[0]) - 0.5 - 0.6
    np.testing.assert_allclose(of_params["shift"], residual.sum(), rtol=1e-5)
    np.testing.assert_allclose(of_y, [2 * residual.sum()], rtol=1e-5)
    of_params, of_y = jax.grad(total, (0, 1))(PARAMS, jnp.array([jnp.nan]))
    assert np.isfinite(of_params["shift"])
    assert of_params["shift"] != 0
    np.testing.assert_array_equal(of_y, 0)


def test_the_error_of_the_average_is_as_documented():
    """For y of N(0, 1) the integral is Gaussian: z has the mean 1/2 and the covariance I + 4."""
    exact = scipy.stats.multivariate_normal([0.5, 0.5], np.eye(2) + 4).logpdf(np.asarray(Z))
    errors, stated = [], []
    for seed in range(100):
        vectors = np.random.default_rng(seed).normal(size=(400, 1))
        q = vp.semi_supervised_vectors(INNER, vectors).apply(PARAMS, y=jnp.array([jnp.nan]))
        joint = np.asarray(q.component_log_prob(Z[0]) + q.log_weights)
        shares = scipy.special.softmax(joint)
        errors.append(scipy.special.logsumexp(joint) - exact[0])
        stated.append(np.sqrt((shares**2).sum() - 1 / 400))
    errors, error = np.array(errors), np.mean(stated)
    assert np.std(errors) == pytest.approx(error, rel=5 / np.sqrt(2 * 100))
    assert abs(errors.mean() + error**2 / 2) < 5 * error / np.sqrt(100)


@pytest.mark.slow
def test_fit_and_evaluation_take_missing_vectors():
    vae, params, x = linear_gaussian_vae(40)
    vae = vae._replace(prior=vp.semi_supervised_vectors(INNER, VECTORS))
    params = params._replace(prior=PARAMS)
    y = np.where(np.arange(40)[:, None] % 2, np.nan, 0.3).astype(np.float32)
    options = {"num_epochs": 2, "batch_size": 20, "progress": False}
    result = vp.fit(vae, params, KEY, {"x": x, "y": y}, optax.adam(1e-2), validation={"x": x, "y": y}, **options)
    assert np.isfinite(result.history["validation_elbo"]).all()
    assert result.params.prior["shift"] != PARAMS["shift"]


def test_vectors_of_the_librarys_priors_are_checked():
    inner = vp.conditional_normal(2, condition_dim=2, hidden=(4,))
    rows = ((0.0, 1.0), (1.0, 0.5))
    prior = vp.semi_supervised_vectors(inner, rows)
    assert vp.prior_from_config(vp.plain_config(prior)).apply(prior.init(KEY), y=jnp.array([0.0, jnp.nan])) is not None
    vae, params, x = linear_gaussian_vae(40)
    params, data = params._replace(prior=prior.init(KEY)), {"x": x, "y": np.full((40, 2), np.nan, np.float32)}
    found = vp.evaluate_elbo(vae._replace(prior=prior), params, KEY, **data)
    assert np.isfinite(found.elbo).all()
    with pytest.raises(ValueError, match="finite values in `y`"):
        vp.evaluate_elbo(vae._replace(prior=prior), params, KEY, x, y=np.full((40, 2), np.inf, np.float32))
    with pytest.raises(ValueError, match="finite values in `y`"):  # without the wrapper NaN is a mistake
        vp.evaluate_elbo(vae._replace(prior=inner), params, KEY, **data)
    with pytest.raises(ValueError, match="a condition that the prior alone reads"):
        vp.make_train_step(vae._replace(prior=prior, decoder_context=("y",)), optax.adam(1e-3))
    with pytest.raises(ValueError, match=r"`missing_vectors` \[M, 2\].*got shape \[5, 1\]"):
        vp.semi_supervised_vectors(inner, VECTORS)
    with pytest.raises(ValueError, match=r"`missing_vectors` \[M, D\]"):
        vp.semi_supervised_vectors(inner, [1.0, 2.0])
    with pytest.raises(ValueError, match="finite values in `missing_vectors`"):
        vp.semi_supervised_vectors(inner, [[0.0, np.nan]])
    with pytest.raises(ValueError, match=r"Use `vp.semi_supervised`"):
        vp.semi_supervised_vectors(vp.conditional_normal(2, num_classes=3), rows)
    with pytest.raises(ValueError, match="`condition` among what"):
        vp.semi_supervised_vectors(inner, rows, condition="age")
