"""Free bits of groups of dimensions: their KL against quadrature and TFP, and the objective of a batch by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.stats
from tensorflow_probability.substrates import jax as tfp

import vaepriors_jax as vp
from tests.support.linear_gaussian import linear_gaussian_vae
from tests.support.trainable_networks import PIXELS, trainable_vae
from vaepriors_jax.distributions.kl_of_groups import kl_of_groups
from vaepriors_jax.training.batch import batch_elbo

KEY = jax.random.key(0)
LOC, SCALE = np.array([0.5, -1.0, 0.1, 0.0]), np.array([0.5, 0.9, 1.3, 1.0])
Q = vp.normal_diag(jnp.asarray(LOC, jnp.float32), jnp.asarray(SCALE, jnp.float32))


def quadrature(log_p, i):
    """KL(q_i || p) in nats of dimension i of Q."""
    q = scipy.stats.norm(LOC[i], SCALE[i])

    def integrand(z):
        return q.pdf(z) * (q.logpdf(z) - log_p(z))

    ends = LOC[i] - 12 * SCALE[i], LOC[i] + 12 * SCALE[i]
    return scipy.integrate.quad(integrand, *ends, points=[0.0], limit=200)[0]


PRIORS = {
    "normal": (lambda: vp.standard_normal(4), scipy.stats.norm.logpdf),
    "laplace": (lambda: vp.laplace(4), scipy.stats.laplace.logpdf),
    "generalized normal": (lambda: vp.generalized_normal(4, exponent=3.0), scipy.stats.gennorm(3.0).logpdf),
    "t": (lambda: vp.student_t_prior(4, df=5.0, independent=True), scipy.stats.t(5.0).logpdf),
}


@pytest.mark.parametrize("name", PRIORS)
def test_kl_of_each_dimension_against_quadrature(name):
    make, log_p = PRIORS[name]
    prior = make()
    p = prior.apply(prior.init(KEY))
    z = Q.sample(seed=KEY, sample_shape=40_000)
    found = kl_of_groups(Q, p, z)
    expected = [quadrature(log_p, i) for i in range(4)]
    is_exact = name in ("normal", "laplace")
    if is_exact:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        estimate = kl_of_groups(Q, p, z, method="monte_carlo")
    else:
        estimate = found
    q = scipy.stats.norm(LOC, SCALE)
    error = np.std(q.logpdf(z) - log_p(np.asarray(z, np.float64)), axis=0) / np.sqrt(len(z))
    assert (abs(np.asarray(estimate) - expected) <= 5 * error + 1e-4).all()
    np.testing.assert_allclose(kl_of_groups(Q, p, z, (1, 3)), [found[0], found[1:].sum()], rtol=1e-5)
    np.testing.assert_allclose(kl_of_groups(Q, p, z, (4,))[0], found.sum(), rtol=1e-4)


def test_a_single_group_takes_any_prior_and_levels_are_groups():
    z = Q.sample(seed=KEY, sample_shape=7)
    mixture = vp.mixture(4, 3)
    p = mixture.apply(mixture.init(KEY))
    np.testing.assert_allclose(kl_of_groups(Q, p, z, (4,)), [vp.kl_divergence(Q, p, samples=z)])

    q = vp.two_level_posterior(
        vp.normal_diag(jnp.ones(1), jnp.ones(1)), lambda z2: vp.normal_diag(z2 + jnp.ones(3), SCALE[:3])
    )
    p = vp.TwoLevel(vp.standard_normal(1).apply({}), lambda z2: vp.normal_diag(z2 * jnp.ones(3), jnp.ones(3)), 3)
    bottom, top = kl_of_groups(q, p, q.sample(seed=KEY, sample_shape=5), (3, 1))
    assert top == pytest.approx(0.5)
    # q(z1|z2) is a unit step from p(z1|z2), whatever z2 is.
    assert bottom == pytest.approx(sum(0.5 * (s**2 + 1 - 1) - np.log(s) for s in SCALE[:3]), rel=1e-5)


def kl_by_dimension(params, x):
    """[B, dim], by TFP."""
    tfd = tfp.distributions
    loc = (x - params.encoder["bias"]) @ params.encoder["weight"].T
    return tfd.kl_divergence(tfd.Normal(loc, params.encoder["scale"]), tfd.Normal(0.0, 1.0))


def step_of(vae, params, batch, objective, mesh=None):
    optimizer = optax.sgd(1.0)
    step = vp.make_train_step(vae, optimizer, objective=objective, mesh=mesh)
    state, terms = step(vp.init_train_state(params, optimizer), KEY, batch)
    return jax.tree.map(lambda new, old: old - new, state.params, params), terms


@pytest.mark.parametrize("weight", [None, np.array([1, 0, 3, 2, 1, 0.5, 1, 1], np.float32)])
@pytest.mark.parametrize("sizes", [None, (1, 1), (2,)])
def test_objective_and_gradient_of_a_batch_are_those_of_the_maxima_of_means(weight, sizes):
    vae, params, x = linear_gaussian_vae()
    batch = {"x": x} if weight is None else {"x": x, "weight": weight}
    shares = np.full(8, 1 / 8) if weight is None else weight / weight.sum()
    each = np.asarray(kl_by_dimension(params, x))
    means = shares @ each
    # One dimension of the two is below the floor; examples are on both sides of it.
    floor = float(means.mean())
    assert means.min() < floor < means.max()
    assert ((each > floor).any(0) & (each < floor).any(0)).any()

    def cost(params):
        of_groups = shares @ kl_by_dimension(params, x)
        of_groups = of_groups.sum(keepdims=True) if sizes == (2,) else of_groups
        return jnp.sum(jnp.maximum(of_groups, floor))

    objective = vp.Objective(free_bits_per_group=floor, group_sizes=sizes, beta=0.5)
    moved, terms = step_of(vae, params, batch, objective)
    plain, _ = step_of(vae, params, batch, vp.Objective(beta=0.0))
    assert terms.objective == pytest.approx(float(terms.reconstruction - 0.5 * cost(params)), rel=1e-5)
    assert terms.kl == pytest.approx(means.sum(), rel=1e-5)
    expected = means.sum(keepdims=True) if sizes == (2,) else means
    np.testing.assert_allclose(terms.group_kl, expected, rtol=1e-4)
    gradient = jax.grad(cost)(params)
    difference = jax.tree.map(lambda with_kl, without: with_kl - without, moved.encoder, plain.encoder)
    jax.tree.map(
        lambda found, by_hand: np.testing.assert_allclose(found, 0.5 * by_hand, rtol=1e-3, atol=1e-4),
        difference,
        gradient.encoder,
    )


def test_examples_that_do_not_count_have_no_part_in_the_mean():
    vae, params, x = linear_gaussian_vae()
    totals = np.asarray(kl_by_dimension(params, x)).sum(1)
    smallest, largest = totals.argmin(), totals.argmax()
    floor = float(totals[[smallest, largest]].mean() * 0.99)  # below the mean of both
    objective = vp.Objective(free_bits_per_group=floor, group_sizes=(2,))
    batch = {"x": x[np.array([smallest, largest])], "weight": jnp.array([1.0, 0.0])}
    _, terms = step_of(vae, params, batch, objective)
    assert terms.objective == pytest.approx(float(terms.reconstruction) - floor, rel=1e-5)


def test_networks_with_state_have_the_same_objective():
    vae, params, _ = trainable_vae("linen", rate=0.0)
    x = jax.random.bernoulli(KEY, 0.5, (16, PIXELS)).astype(jnp.float32)
    plain, _ = batch_elbo(vae, params, KEY, {"x": x}, vp.Objective())
    dim = vae.posterior(params, x[0]).event_shape[0]
    assert (plain.kl > 0).all()
    # Below every mean the cost is the KL itself; above every one it is the allowance.
    for floor, cost in ((1e-9, plain.kl.mean()), (100.0, 100.0 * dim)):
        terms, _ = batch_elbo(vae, params, KEY, {"x": x}, vp.Objective(free_bits_per_group=floor))
        assert float(terms.objective.mean()) == pytest.approx(float(plain.reconstruction.mean() - cost), rel=1e-4)


def test_fit_keeps_every_dimension_above_its_allowance():
    """A decoder that cannot read z: with the plain ELBO the KL of each dimension goes to 0."""
    vae, params, x = linear_gaussian_vae(64)
    blind = vae._replace(decode=lambda params, z: vae.decode(params, jnp.zeros(2)))
    found = {}
    for floor in (0.02, 0.3):
        result = vp.fit(
            blind,
            params,
            KEY,
            {"x": x},
            optax.sgd(0.02),
            num_epochs=200,
            batch_size=64,
            objective=vp.Objective(free_bits_per_group=floor),
            progress=False,
        )
        found[floor] = np.asarray(kl_by_dimension(result.params, x)).mean(0)
    assert (found[0.02] < 0.1).all()
    np.testing.assert_allclose(found[0.3], 0.3, atol=0.05)


def test_options_that_do_not_fit():
    vae, params, x = linear_gaussian_vae()
    mixture = vp.mixture(2, 3)
    of_mixture = vae._replace(prior=mixture), params._replace(prior=mixture.init(KEY))
    per_group = vp.Objective(free_bits_per_group=0.1)
    with pytest.raises(ValueError, match="Expected an objective of one example"):
        vp.elbo(vae, params, KEY, x[0], objective=per_group)
    with pytest.raises(ValueError, match=r"independent between dimensions.*got NormalDiag and DiagonalMixture.*\(2,\)"):
        step_of(*of_mixture, {"x": x}, per_group)
    step_of(*of_mixture, {"x": x}, vp.Objective(free_bits_per_group=0.1, group_sizes=(2,)))
    with pytest.raises(ValueError, match="`group_sizes` that sum to 2"):
        step_of(vae, params, {"x": x}, vp.Objective(free_bits_per_group=0.1, group_sizes=(2, 1)))
    with pytest.raises(ValueError, match="one of `free_bits`"):
        vp.Objective(free_bits=1.0, free_bits_per_group=0.1)
    with pytest.raises(ValueError, match="`free_bits_per_group` > 0 with `group_sizes`"):
        vp.Objective(group_sizes=(2,))
    with pytest.raises(ValueError, match="`group_sizes` to be a shape"):
        vp.Objective(free_bits_per_group=0.1, group_sizes=(2, 0))
    with pytest.raises(ValueError, match='no `free_bits` with bound="iwae"'):
        vp.Objective(free_bits_per_group=0.1, bound="iwae")
