"""Closed forms of KL(q || p) against scipy, quadrature and Monte Carlo."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from tensorflow_probability.substrates import jax as tfp

import vaepriors_jax as vp
from tests.cases import encode, perturbed
from vaepriors_jax.distributions.closed_forms import closed_form_kl
from vaepriors_jax.distributions.conversion import as_library_distribution

tfd, tfb = tfp.distributions, tfp.bijectors
KEY = jax.random.key(0)
DIM = 2
LOC, SCALE = np.array([0.3, -0.5]), np.array([0.7, 1.3])
LOWER = np.array([[0.8, 0.0], [-0.6, 1.1]])
ANY = np.array([[0.8, 0.5], [-0.6, 1.1]])
RANK_ONE = np.array([[0.5], [-0.9]])


class WiderNormal(distrax.Normal):
    """A subclass with another density: its base's closed form is not its own."""

    def log_prob(self, value):
        return distrax.Normal(self.loc, 2 * self.scale).log_prob(value)

    def _sample_n(self, key, n):
        return distrax.Normal(self.loc, 2 * self.scale)._sample_n(key, n)


def f32(array):
    return jnp.asarray(array, jnp.float32)


@functools.cache
def gaussians() -> dict:
    """Every spelling of a Gaussian, with its covariance."""
    loc, scale, lower, full, factor = map(f32, (LOC, SCALE, LOWER, ANY, RANK_ONE))
    diagonal, low_rank = (
        np.diag(SCALE**2),
        (np.diag(SCALE) + RANK_ONE @ RANK_ONE.T) @ (np.diag(SCALE) + RANK_ONE @ RANK_ONE.T),
    )
    normal = distrax.Normal(loc, scale)
    return {
        "normal_diag": (vp.normal_diag(loc, scale), diagonal),
        "independent": (distrax.Independent(normal, 1), diagonal),
        "independent_of_independent": (distrax.Independent(distrax.Independent(normal, 1), 0), diagonal),
        "log_stddev": (distrax.Independent(distrax.LogStddevNormal(loc, jnp.log(scale)), 1), diagonal),
        "diag": (distrax.MultivariateNormalDiag(loc, scale), diagonal),
        "independent_diag": (distrax.Independent(distrax.MultivariateNormalDiag(loc, scale), 0), diagonal),
        "tfp_independent": (tfd.Independent(tfd.Normal(loc, scale), 1), diagonal),
        "tfp_in_distrax": (distrax.Independent(tfd.Normal(loc, scale), 1), diagonal),
        "tfp_diag": (tfd.MultivariateNormalDiag(loc, scale), diagonal),
        "tfp_diag_wrapped": (distrax.as_distribution(tfd.MultivariateNormalDiag(loc, scale)), diagonal),
        "tri_lower": (distrax.MultivariateNormalTri(loc, lower), LOWER @ LOWER.T),
        "tri_upper": (distrax.MultivariateNormalTri(loc, lower.T, is_lower=False), LOWER.T @ LOWER),
        "full": (distrax.MultivariateNormalFullCovariance(loc, f32(ANY @ ANY.T)), ANY @ ANY.T),
        "low_rank": (distrax.MultivariateNormalDiagPlusLowRank(loc, scale, factor), low_rank),
        "from_bijector": (
            distrax.MultivariateNormalFromBijector(loc, distrax.TriangularLinear(lower)),
            LOWER @ LOWER.T,
        ),
        "tfp_tril": (tfd.MultivariateNormalTriL(loc, lower), LOWER @ LOWER.T),
        "tfp_tril_negative": (tfd.MultivariateNormalTriL(loc, -lower), LOWER @ LOWER.T),
        "tfp_tril_wrapped": (distrax.as_distribution(tfd.MultivariateNormalTriL(loc, lower)), LOWER @ LOWER.T),
        "tfp_full": (tfd.MultivariateNormalFullCovariance(loc, f32(ANY @ ANY.T)), ANY @ ANY.T),
        "tfp_low_rank": (tfd.MultivariateNormalDiagPlusLowRank(loc, scale, factor), low_rank),
        "tfp_low_rank_covariance": (
            tfd.MultivariateNormalDiagPlusLowRankCovariance(loc, f32(SCALE**2), factor),
            diagonal + RANK_ONE @ RANK_ONE.T,
        ),
        "tfp_operator": (
            tfd.MultivariateNormalLinearOperator(loc, tfp.tf2jax.linalg.LinearOperatorFullMatrix(full)),
            ANY @ ANY.T,
        ),
    }


@functools.cache
def laplaces() -> dict:
    loc, scale = f32(LOC), f32(SCALE)
    return {
        "laplace": distrax.Independent(distrax.Laplace(loc, scale), 1),
        "laplace_prior": vp.laplace(2).apply({}),
        "tfp_laplace": tfd.Independent(tfd.Laplace(loc + 1, 2 * scale), 1),
    }


@functools.cache
def others() -> dict:
    """Distributions without a closed form."""
    loc, scale = f32(LOC), f32(SCALE)
    flow, coupling = vp.masked_autoregressive(DIM, hidden=(8,)), vp.affine_coupling(DIM, hidden=(8,))
    bijectors = [flow.apply(perturbed(flow.init(KEY), jax.random.key(i), 0.5)) for i in (1, 2)]
    mixture, full, vamp = vp.mixture(DIM, 3), vp.mixture(DIM, 2, covariance="full"), vp.vamp(3, (6,))
    learned = vp.transformed(vp.standard_normal(DIM), coupling)
    two_level = vp.two_level(vp.standard_normal(1), 1, 1, hidden=(4,))
    affine = [distrax.Block(distrax.ScalarAffine(f32(shift), f32(LOC + 1.5)), 1) for shift in (LOC, -LOC)]
    base = vp.normal_diag(loc, scale)

    def made(prior, **context):
        return prior.apply(perturbed(prior.init(KEY), jax.random.key(3)), **context)

    return {
        "flow": distrax.Transformed(base, bijectors[0]),
        "flow_of_other_parameters": distrax.Transformed(base, bijectors[1]),
        "block": distrax.Transformed(base, affine[0]),
        "block_of_other_constants": distrax.Transformed(base, affine[1]),
        "hidden_block": distrax.Independent(
            distrax.Transformed(distrax.Normal(loc, scale), distrax.ScalarAffine(loc, f32(LOC + 1.5))), 1
        ),
        "hidden_block_of_other_constants": distrax.Independent(
            distrax.Independent(
                distrax.Transformed(distrax.Normal(loc, scale), distrax.ScalarAffine(-loc, f32(LOC + 1.5))), 1
            ),
            0,
        ),
        "block_of_diag": distrax.Transformed(distrax.MultivariateNormalDiag(loc, scale), affine[1]),
        "tfp_transformed": tfd.TransformedDistribution(tfd.MultivariateNormalDiag(loc, scale), tfb.Scale(f32(2.0))),
        "mixture": made(mixture),
        "mixture_full": made(full),
        "distrax_mixture": distrax.MixtureSameFamily(
            distrax.Categorical(probs=f32([0.3, 0.7])),
            distrax.MultivariateNormalDiag(f32([[1.0, 0.0], [-1.0, 2.0]]), jnp.ones((2, 2))),
        ),
        "tfp_mixture": tfd.MixtureSameFamily(
            tfd.Categorical(probs=f32([0.3, 0.7])),
            tfd.MultivariateNormalDiag(f32([[1.0, 0.0], [-1.0, 2.0]]), jnp.ones((2, 2))),
        ),
        "chain": vp.autoregressive_normal(DIM, correlation=-0.6).apply({}),
        "vamp": made(vamp, encode=encode),
        "flow_prior": made(learned),
        "two_level": made(two_level),
        "logistic": distrax.Independent(distrax.Logistic(loc, scale), 1),
        "gumbel": distrax.Independent(distrax.Gumbel(loc, scale), 1),
        "tfp_logistic": tfd.Independent(tfd.Logistic(loc, scale), 1),
        "tfp_sample": tfd.Sample(tfd.Normal(f32(0.5), f32(1.5)), (DIM,)),
        "subclass": distrax.Independent(WiderNormal(loc, scale), 1),
    }


def exact_kl_of_gaussians(q_loc, q_covariance, p_loc, p_covariance) -> float:
    """KL in float64 as -H(q) - E_q[log p], both by scipy."""
    q, p = scipy.stats.multivariate_normal(q_loc, q_covariance), scipy.stats.multivariate_normal(p_loc, p_covariance)
    cross = p.logpdf(q_loc) - 0.5 * np.trace(np.linalg.solve(p_covariance, q_covariance))
    return float(-q.entropy() - cross)


@pytest.mark.parametrize("name", list(gaussians()))
def test_every_spelling_of_a_gaussian_has_its_exact_kl(name):
    q, q_covariance = gaussians()[name]
    other = np.array([[1.2, 0.0], [0.4, 0.6]])
    targets = [(d, LOC, covariance) for d, covariance in gaussians().values()]
    targets.append((distrax.MultivariateNormalTri(f32(LOC + 1), f32(other)), LOC + 1, other @ other.T))
    targets.append((vp.normal_diag(f32(LOC - 1), f32(SCALE / 3)), LOC - 1, np.diag(SCALE**2 / 9)))
    for p, p_loc, p_covariance in targets:
        expected = exact_kl_of_gaussians(LOC, q_covariance, p_loc, p_covariance)
        assert vp.kl_divergence(q, p, method="analytic") == pytest.approx(expected, rel=2e-5, abs=2e-6)
        expected = exact_kl_of_gaussians(p_loc, p_covariance, LOC, q_covariance)
        assert vp.kl_divergence(p, q, method="analytic") == pytest.approx(expected, rel=2e-5, abs=2e-6)


def test_gaussians_in_many_dimensions_and_far_apart():
    rng = np.random.default_rng(0)
    a, b = (np.tril(rng.normal(size=(40, 40)) / 7) + np.diag(1 + rng.uniform(size=40)) for _ in range(2))
    loc = 30 * rng.normal(size=40)
    q = tfd.MultivariateNormalTriL(f32(loc), f32(a))
    p = distrax.MultivariateNormalFullCovariance(jnp.zeros(40), f32(b @ b.T))
    expected = exact_kl_of_gaussians(loc, a @ a.T, np.zeros(40), b @ b.T)
    assert vp.kl_divergence(q, p, method="analytic") == pytest.approx(expected, rel=1e-4)


@functools.cache
def table() -> dict:
    return {name: d for name, (d, _) in gaussians().items()} | laplaces() | others()


# One Gaussian of each kind: `test_every_spelling_...` covers the others.
DIAGONAL = ["normal_diag", "tfp_diag"]
SPELLINGS = [*DIAGONAL, "low_rank", "tfp_tril", "tfp_full"]


def is_listed(q: str, p: str) -> bool:
    if p == "chain":
        return q in DIAGONAL
    if p in laplaces():
        return q in laplaces() or q in DIAGONAL
    return q in gaussians() and p in gaussians()


TABLE = [*SPELLINGS, *laplaces(), *others()]


@pytest.mark.parametrize("q_name", TABLE)
def test_kl_of_all_pairs_is_that_of_monte_carlo(q_name):
    """Pairs without a closed form are estimated from two log-densities: a quarter has each q and each p seven times."""
    distributions = table()
    q = distributions[q_name]
    z, own = (q.sample(seed=jax.random.key(seed), sample_shape=2000) for seed in (4, 5))
    log_q = np.asarray(q.log_prob(z), np.float64)
    for number, p_name in enumerate(TABLE):
        p = distributions[p_name]
        is_exact = closed_form_kl(q, p) is not None
        assert is_exact == is_listed(q_name, p_name), p_name
        if not is_exact:
            with pytest.raises(ValueError, match="No closed form"):
                vp.kl_divergence(q, p, method="analytic")
            if (number + TABLE.index(q_name)) % 4:
                continue
        terms = log_q - np.asarray(p.log_prob(z), np.float64)
        # The standard deviation of the other estimate is the same, as both are of 2,000 samples.
        error = terms.std() / np.sqrt(len(terms)) * (1 if is_exact else np.sqrt(2))
        kl = float(vp.kl_divergence(q, p, samples=own))
        assert abs(kl - terms.mean()) <= 5 * error + 1e-5, p_name


def test_two_flows_with_other_parameters_differ():
    rows = others()
    kl = vp.kl_divergence(rows["block"], rows["block_of_other_constants"], key=KEY, num_samples=20_000)
    scale = SCALE * (LOC + 1.5)
    q_loc, p_loc = LOC + (LOC + 1.5) * LOC, -LOC + (LOC + 1.5) * LOC
    expected = exact_kl_of_gaussians(q_loc, np.diag(scale**2), p_loc, np.diag(scale**2))
    assert kl == pytest.approx(expected, rel=0.05)


def test_laplace_against_quadrature():
    for q_loc, q_scale, p_loc, p_scale in [(0.0, 1.0, 0.0, 1.0), (0.3, 0.5, -1.0, 2.0), (5.0, 2.0, 0.0, 0.3)]:
        q, p = scipy.stats.laplace(q_loc, q_scale), scipy.stats.laplace(p_loc, p_scale)
        expected = scipy.integrate.quad(
            lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -60, 60, points=[q_loc, p_loc], limit=500
        )[0]
        pair = [
            distrax.Independent(distrax.Laplace(f32([a, a]), f32([b, b])), 1)
            for a, b in ((q_loc, q_scale), (p_loc, p_scale))
        ]
        assert vp.kl_divergence(*pair, method="analytic") == pytest.approx(2 * expected, rel=1e-5, abs=1e-6)


def test_gaussian_to_laplace_against_quadrature():
    for loc, scale, p_loc, p_scale in [(0.0, 1.0, 0.0, 1.0), (0.3, 0.5, -1.0, 2.0), (5.0, 2.0, 0.0, 0.3)]:
        q, p = scipy.stats.norm(loc, scale), scipy.stats.laplace(p_loc, p_scale)
        expected = -q.entropy() - q.expect(p.logpdf, lb=p_loc, ub=60) - q.expect(p.logpdf, lb=-60, ub=p_loc)
        for laplace in (distrax.Laplace, tfd.Laplace):
            target = distrax.Independent(laplace(f32([p_loc, p_loc]), f32(p_scale)), 1)
            posterior = vp.normal_diag(f32([loc, loc]), f32([scale, scale]))
            kl = vp.kl_divergence(posterior, target, method="analytic")
            assert kl == pytest.approx(2 * expected, rel=1e-5, abs=1e-6)


def test_derivatives_of_laplace_at_equal_means():
    def kl(loc):
        return vp.kl_divergence(
            distrax.Independent(distrax.Laplace(loc[None], f32([0.5])), 1),
            distrax.Independent(distrax.Laplace(f32([0.0]), f32([2.0])), 1),
        )

    # d^2 KL / d loc^2 = e^(-|loc| / b_q) / (b_q b_p), which is smooth at 0.
    for loc in (0.0, 1e-3, -0.7):
        assert jax.grad(jax.grad(kl))(loc) == pytest.approx(np.exp(-abs(loc) / 0.5), rel=1e-4)
    assert jax.grad(kl)(0.0) == 0


@pytest.mark.parametrize(
    ("q_concentration", "p_concentration"), [(1.5, 0.0), (0.0, 3.0), (2.0, 2.0), (40.0, 3.0), (0.5, 300.0)]
)
def test_von_mises_against_quadrature(q_concentration, p_concentration):
    def log_density(z, loc, concentration):
        return concentration * np.cos(z - loc) - np.log(2 * np.pi * scipy.special.iv(0, concentration))

    def integrand(z):
        log_q = log_density(z, 0.5, q_concentration)
        return np.exp(log_q) * (log_q - log_density(z, -1.0, p_concentration))

    expected = scipy.integrate.quad(integrand, 0.5 - np.pi, 0.5 + np.pi, limit=500)[0]
    for make in (distrax.VonMises, tfd.VonMises):
        q = distrax.Independent(make(f32([0.5, 0.5]), f32([q_concentration] * 2)), 1)
        p = tfd.Independent(tfd.VonMises(f32([-1.0, -1.0]), f32([p_concentration] * 2)), 1)
        assert vp.kl_divergence(q, p, method="analytic") == pytest.approx(2 * expected, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.5), (3, 0.0), (3, 10.0), (11, 3.0), (40, 200.0)])
def test_power_spherical_to_the_uniform_against_quadrature(dim, concentration):
    # With t = mu^T z: density proportional to (1 + t)^kappa (1 - t^2)^((D - 3) / 2), uniform at kappa = 0.
    def log_marginal(t, kappa):
        return (kappa + (dim - 3) / 2) * np.log1p(t) + (dim - 3) / 2 * np.log1p(-t)

    def normaliser(kappa):
        return scipy.integrate.quad(lambda a: np.exp(log_marginal(np.sin(a), kappa)) * np.cos(a), -1.57079, 1.57079)[0]

    log_q, log_p = np.log(normaliser(concentration)), np.log(normaliser(0.0))

    def integrand(a):
        t = np.sin(a)
        log_ratio = concentration * np.log1p(t) - log_q + log_p
        return np.exp(log_marginal(t, concentration) - log_q) * log_ratio * np.cos(a)

    expected = scipy.integrate.quad(integrand, -1.57079, 1.57079)[0]
    q = tfd.PowerSpherical(f32(np.eye(dim)[0]), f32(concentration))
    uniform = tfd.SphericalUniform(dim)
    assert vp.kl_divergence(q, uniform, method="analytic") == pytest.approx(expected, rel=1e-4, abs=5e-5)
    gradient = jax.grad(
        lambda k: vp.kl_divergence(tfd.PowerSpherical(f32(np.eye(dim)[0]), k), uniform, method="analytic")
    )(f32(concentration))
    assert np.isfinite(gradient)


def test_gradient_reaches_the_flow_of_the_prior_and_is_right():
    """q and p are Gaussians written as flows, so that the gradient of the KL is known."""
    loc, scale, shift = f32(LOC), f32(SCALE), f32([1.0, -1.0])

    def kl(factor):
        q = distrax.Transformed(vp.normal_diag(loc, scale), distrax.Block(distrax.ScalarAffine(shift, f32(2.0)), 1))
        p = distrax.Transformed(vp.standard_normal(2).apply({}), distrax.Block(distrax.ScalarAffine(shift, factor), 1))
        return vp.kl_divergence(q, p, key=KEY, num_samples=50_000)

    # KL = sum_i log f_i - log(2 s_i) + ((2 s_i)^2 + (2 l_i)^2) / (2 f_i^2) - 1/2
    factor = np.array([1.5, 0.8])
    expected = 1 / factor - 4 * (SCALE**2 + LOC**2) / factor**3
    # Only z^2 is random: its standard deviation is s sqrt(2 s^2 + 4 l^2).
    error = 4 * SCALE * np.sqrt(2 * SCALE**2 + 4 * LOC**2) / factor**3 / np.sqrt(50_000)
    assert (np.abs(jax.grad(kl)(f32(factor)) - expected) < 5 * error).all()


def test_gradient_with_respect_to_an_autoregressive_prior_is_that_of_differences():
    flow = vp.masked_autoregressive(DIM, hidden=(8,))
    prior = vp.transformed(vp.standard_normal(DIM), flow)
    params = perturbed(prior.init(KEY), jax.random.key(1))
    q = distrax.Transformed(
        vp.normal_diag(f32(LOC), f32(SCALE)), flow.apply(perturbed(flow.init(KEY), jax.random.key(2)))
    )
    kl = jax.jit(lambda params: vp.kl_divergence(q, prior.apply(params), key=KEY, num_samples=200))
    gradient = jax.grad(kl)(params)
    slope = sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(gradient))
    step = 0.02 / slope
    ahead, behind = (kl(jax.tree.map(lambda a, g, h=h: a + h * g, params, gradient)) for h in (step, -step))
    assert slope > 0.1
    assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=0.02)


BATCH = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])


@pytest.mark.parametrize("method", ["analytic", "monte_carlo"])
def test_batches_of_posteriors_and_priors(method):
    scale = f32([0.5, 2.0])
    diagonal = np.broadcast_to(np.diag([0.25, 4.0]), (3, 2, 2))
    lower = np.stack([LOWER, 2 * LOWER, LOWER + np.eye(2)])
    full = lower @ np.swapaxes(lower, -1, -2)
    batches = [
        (distrax.MultivariateNormalDiag(f32(BATCH), jnp.broadcast_to(scale, (3, 2))), diagonal),
        (tfd.MultivariateNormalDiag(f32(BATCH), scale), diagonal),
        (distrax.Independent(distrax.Normal(f32(BATCH), scale), 1), diagonal),
        (tfd.MultivariateNormalTriL(f32(BATCH), f32(lower)), full),
        (distrax.MultivariateNormalTri(f32(BATCH), f32(lower)), full),
    ]
    of_single = np.array([1.0, 0.0]), np.diag([1.0, 2.25])
    single = vp.normal_diag(f32([1.0, 0.0]), f32([1.0, 1.5]))
    options = {} if method == "analytic" else {"key": KEY, "num_samples": 20_000}
    for batch, covariances in batches:
        moments = list(zip(BATCH, covariances, strict=True))
        forward = [exact_kl_of_gaussians(*moment, *of_single) for moment in moments]
        backward = [exact_kl_of_gaussians(*of_single, *moment) for moment in moments]
        for pair, expected in (((batch, single), forward), ((single, batch), backward), ((batch, batch), [0.0] * 3)):
            kl = vp.kl_divergence(*pair, method=method, **options)
            assert kl.shape == (3,)
            np.testing.assert_allclose(kl, expected, rtol=1e-4 if method == "analytic" else 0.1, atol=1e-5)


def test_a_batch_against_a_flow_is_the_kl_of_each():
    flow = others()["flow_prior"]
    q = distrax.MultivariateNormalDiag(f32(BATCH), jnp.ones((3, 2)))
    z = q.sample(seed=KEY, sample_shape=100)
    batched = vp.kl_divergence(q, flow, samples=z)
    each = [
        vp.kl_divergence(vp.normal_diag(loc, jnp.ones(2)), flow, samples=z[:, i]) for i, loc in enumerate(f32(BATCH))
    ]
    np.testing.assert_allclose(batched, each, rtol=1e-5)


def test_shapes_that_do_not_fit():
    q = vp.normal_diag(jnp.zeros((8, 10)), jnp.ones((8, 10)))
    p = vp.standard_normal(10).apply({})
    with pytest.raises(ValueError, match=r"q to be over one vector.*event_shape \(8, 10\).*one distribution over the"):
        vp.kl_divergence(q, p)
    with pytest.raises(ValueError, match=r"p to be over one vector.*batch_shape \(10,\) and event_shape \(\)"):
        vp.kl_divergence(p, distrax.Normal(jnp.zeros(10), 1.0))
    batch = distrax.MultivariateNormalDiag(jnp.zeros((8, 10)), jnp.ones((8, 10)))
    with pytest.raises(ValueError, match=r"broadcast; got \(8,\) and \(3,\)"):
        vp.kl_divergence(batch, distrax.MultivariateNormalDiag(jnp.zeros((3, 10)), jnp.ones((3, 10))))
    with pytest.raises(ValueError, match=r"`samples` of q of shape .*got \[5, 10\]"):
        vp.kl_divergence(batch, p, samples=jnp.zeros((5, 10)), method="monte_carlo")


def test_what_is_no_distribution_is_refused():
    with pytest.raises(TypeError, match="Expected p to be a distrax or TFP distribution; got tuple"):
        vp.kl_divergence(vp.standard_normal(2).apply({}), (0.0, 1.0))


def test_normalisation_keeps_the_density():
    z = jax.random.normal(KEY, (5, DIM))
    for name, (distribution, _) in gaussians().items():
        np.testing.assert_allclose(
            as_library_distribution(distribution).log_prob(z), distribution.log_prob(z), rtol=1e-5, err_msg=name
        )
