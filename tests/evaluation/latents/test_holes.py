"""Holes, surgery, two-sample tests and ex-post priors, on cases whose answers are known."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from tests.support.linear_gaussian import linear_gaussian_vae
from vaepriors_jax.evaluation.latents.hole_mass import _leave_one_out
from vaepriors_jax.evaluation.latents.plane_marginals import exact_marginal

KEY = jax.random.key(0)


def latent_vae(posterior_scale=0.5, prior=None):
    """A VAE whose x [2] is the posterior's mean: q(z|x) = N(x, scale^2)."""
    return vp.VAE(
        encode=lambda p, x: vp.normal_diag(x, jnp.full(2, posterior_scale)),
        decode=lambda p, z: vp.normal_diag(z, jnp.ones(2)),
        prior=prior or vp.standard_normal(2),
    ), vp.VAEParams({}, {}, {})


def means(num, scale=1.0, seed=0):
    return np.asarray(np.random.default_rng(seed).normal(size=(num, 2)) * scale, np.float32)


def test_aggregated_posterior_is_the_mean_of_the_posteriors():
    vae, params = latent_vae()
    x, z = means(5000), means(40, 2.0, 1)
    aggregated = vp.aggregated_posterior(vae, params, x, chunk_size=333)
    terms = scipy.stats.norm(x[:, None], 0.5).logpdf(z[None]).sum(-1)
    expected = scipy.special.logsumexp(terms, axis=0) - np.log(5000)
    np.testing.assert_allclose(vp.log_prob_in_chunks(aggregated, z, chunk_size=7), expected, atol=1e-4)
    samples = np.asarray(aggregated.sample(seed=KEY, sample_shape=50_000))
    np.testing.assert_allclose(samples.mean(0), x.mean(0), atol=0.03)
    np.testing.assert_allclose(samples.var(0), x.var(0) + 0.25, atol=0.05)


def test_aggregated_posterior_of_another_kind_of_posterior():
    vae, params = latent_vae()
    laplace = vae._replace(encode=lambda p, x: distrax.Independent(distrax.Laplace(x, jnp.full(2, 0.5)), 1))
    x, z = means(50), means(10, 1.0, 1)
    terms = scipy.stats.laplace(x[:, None], 0.5).logpdf(z[None]).sum(-1)
    expected = scipy.special.logsumexp(terms, axis=0) - np.log(50)
    np.testing.assert_allclose(vp.aggregated_posterior(laplace, params, x).log_prob(z), expected, atol=1e-4)


def test_surgery_adds_up_and_is_zero_for_a_prior_that_matches():
    """x ~ N(0, 0.75), q(z|x) = N(x, 0.25): q(z) is N(0, 1), up to the finite size of the data set."""
    vae, params = latent_vae()
    x = means(20_000, np.sqrt(0.75))
    surgery = vp.elbo_surgery(vae, params, KEY, x, num_points=4000)
    total = surgery.mutual_information.mean + surgery.marginal_kl.mean
    assert surgery.mean_kl.mean == pytest.approx(float(total), abs=1e-4)
    assert abs(surgery.marginal_kl.mean) < 5 * surgery.marginal_kl.standard_error + 0.01
    # I(n; z) is that between z and a Gaussian x: log(1 / 0.5) for each of two dimensions.
    error = surgery.mutual_information.standard_error
    assert surgery.mutual_information.mean == pytest.approx(2 * np.log(2), abs=5 * float(error) + 0.01)


def test_surgery_against_a_shifted_prior():
    """KL(N(0, 1) || N(m, 1)) = m^2 / 2 for each dimension."""
    prior = vp.from_distribution(vp.normal_diag(jnp.array([1.0, -2.0]), jnp.ones(2)))
    vae, params = latent_vae(prior=prior)
    surgery = vp.elbo_surgery(vae, params, KEY, means(20_000, np.sqrt(0.75)), num_points=4000)
    assert surgery.marginal_kl.mean == pytest.approx(2.5, abs=5 * float(surgery.marginal_kl.standard_error) + 0.01)


def test_a_minibatch_overestimates_the_marginal_kl_by_log_n_over_m():
    """Posteriors that do not overlap: the bias is log(N / M) exactly, and mutual information is log N."""
    vae, params = latent_vae(posterior_scale=1e-3)
    x = means(2000)
    whole = vp.elbo_surgery(vae, params, KEY, x, num_points=2000)
    part = vp.elbo_surgery(vae, params, KEY, x[:100], num_points=100)
    assert whole.mutual_information.mean == pytest.approx(np.log(2000), abs=0.02)
    bias = (part.marginal_kl.mean - part.mean_kl.mean) - (whole.marginal_kl.mean - whole.mean_kl.mean)
    assert bias == pytest.approx(np.log(2000 / 100), abs=0.03)


def test_leaving_the_own_example_out_lowers_q():
    vae, params = latent_vae(posterior_scale=0.2)
    x = means(300)
    kept = vp.elbo_surgery(vae, params, KEY, x)
    out = vp.elbo_surgery(vae, params, KEY, x, leave_one_out=True)
    assert out.mutual_information.mean > kept.mutual_information.mean
    assert out.mean_kl.mean == pytest.approx(float(kept.mean_kl.mean), rel=1e-5)
    # Against all pairs in numpy, with the same z.
    rows = np.asarray(jax.random.permutation(jax.random.split(KEY)[0], 300))
    noise = jax.vmap(lambda k: jax.random.normal(k, (1, 2)))(jax.random.split(jax.random.split(KEY)[1], 300))[:, 0]
    z = x[rows] + 0.2 * np.asarray(noise)
    terms = scipy.stats.norm(x[:, None], 0.2).logpdf(z[None]).sum(-1)
    terms[rows, np.arange(300)] = -np.inf
    log_q = scipy.special.logsumexp(terms, axis=0) - np.log(299)
    own = scipy.stats.norm(x[rows], 0.2).logpdf(z).sum(-1)
    assert out.mutual_information.mean == pytest.approx((own - log_q).mean(), rel=1e-3)


def test_hole_mass_is_the_quantile_for_equal_distributions():
    p = vp.normal_diag(jnp.zeros(3), jnp.ones(3))
    mass = vp.hole_mass(p, p, KEY, num_samples=50_000)
    for part in (mass.prior_in_holes, mass.posterior_uncovered):
        assert abs(part.mean - 0.01) < 5 * part.standard_error


def test_hole_mass_of_two_clusters_under_a_standard_normal_by_quadrature():
    mixture = vp.DiagonalMixture(
        jnp.log(jnp.array([0.5, 0.5])), jnp.array([[-2.0, 0.0], [2.0, 0.0]]), jnp.full((2, 2), 0.4)
    )
    normal = vp.normal_diag(jnp.zeros(2), jnp.ones(2))
    axis = np.linspace(-6, 6, 1201)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    log_q = np.logaddexp(*(scipy.stats.norm([m, 0], 0.4).logpdf(grid).sum(-1) for m in (-2, 2))) - np.log(2)
    log_p = scipy.stats.norm().logpdf(grid).sum(-1)
    cell = (axis[1] - axis[0]) ** 2

    def exact(log_own, log_other):
        order = np.argsort(log_own)
        threshold = log_own[order][np.searchsorted(np.cumsum(np.exp(log_own[order]) * cell), 0.01)]
        return (np.exp(log_other) * cell)[log_own < threshold].sum()

    mass = vp.hole_mass(normal, mixture, KEY, num_samples=50_000)
    for part, expected in ((mass.prior_in_holes, exact(log_q, log_p)), (mass.posterior_uncovered, exact(log_p, log_q))):
        assert part.mean == pytest.approx(expected, abs=5 * float(part.standard_error) + 1e-3)
    assert mass.prior_in_holes.mean > 0.5


def test_hole_map_in_two_dimensions_and_on_principal_components():
    vae, params = latent_vae()
    aggregated = vp.aggregated_posterior(vae, params, means(500))
    prior = vae.latent_prior(params)
    found = vp.hole_map(prior, aggregated, num_points=21)
    z = jnp.stack([found.first[3], found.second[7]])
    assert found.log_q[7, 3] == pytest.approx(float(aggregated.log_prob(z)), abs=1e-4)
    np.testing.assert_allclose(found.difference, found.log_q - found.log_p, atol=1e-6)
    assert found.explained == 1
    wide_map = vp.hole_map(prior, aggregated, num_points=5, half_width=7.0)
    # The mean of the encodings is at the center, and the map is a square.
    center = np.mean(jax.vmap(lambda x: vae.posterior(params, x).mean())(means(500)), axis=0)
    for line, place in ((wide_map.first, center[0]), (wide_map.second, center[1])):
        np.testing.assert_allclose(line, place + np.array([-7, -3.5, 0, 3.5, 7]), atol=1e-5)
    far = vp.DiagonalMixture(jnp.zeros(1), jnp.array([[30.0, -50.0]]), jnp.ones((1, 2)))
    np.testing.assert_allclose(vp.hole_map(prior, far, num_points=3).second, [-54, -50, -46], atol=1e-4)
    # Three dimensions, of which two carry the encodings.
    loc = jnp.asarray(np.c_[3 * means(500), np.full(500, 7.0)] @ np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2)[0])
    wide = vp.DiagonalMixture(jnp.full(500, -jnp.log(500)), loc.astype(jnp.float32), jnp.full((500, 3), 0.5))
    found = vp.hole_map(vp.normal_diag(jnp.zeros(3), jnp.ones(3)), wide, num_points=11)
    assert found.explained == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(2), atol=1e-5)
    # The marginal: log of the mean over z3 of q, by the trapezoidal rule.
    third = np.linspace(-6, 6, 401)[:, None] * np.cross(*found.axes)
    points = found.origin + found.first[2] * found.axes[0] + found.second[5] * found.axes[1] + third
    expected = np.log(np.trapezoid(np.exp(wide.log_prob(jnp.float32(points)).astype(float)), np.linspace(-6, 6, 401)))
    assert found.log_q[5, 2] == pytest.approx(expected, abs=1e-3)
    line = vp.DiagonalMixture(jnp.zeros(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    with pytest.raises(ValueError, match="at least 2 latent dimensions"):
        vp.hole_map(vp.normal_diag(jnp.zeros(1), jnp.ones(1)), line)
    with pytest.raises(ValueError, match="`half_width` to be a finite number > 0"):
        vp.hole_map(prior, aggregated, half_width=0.0)


def random_mixture(kind, dim=4, num=5, seed=3):
    rng = np.random.default_rng(seed)
    log_weights = jnp.asarray(np.log(rng.dirichlet(np.ones(num))), jnp.float32)
    loc = jnp.asarray(2 * rng.normal(size=(num, dim)), jnp.float32)
    if kind == "diagonal":
        return vp.DiagonalMixture(log_weights, loc, jnp.asarray(rng.uniform(0.3, 1.5, (num, dim)), jnp.float32))
    factors = np.tril(0.6 * rng.normal(size=(num, dim, dim)), -1) + np.eye(dim) * rng.uniform(0.3, 1.5, (num, 1, dim))
    return vp.FullMixture(log_weights, loc, jnp.asarray(factors, jnp.float32))


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_a_map_shows_the_marginals_of_mixtures(kind):
    """Against the integral over the other two of four dimensions, by sums over a fine grid."""
    q, p = random_mixture(kind), random_mixture(kind, num=3, seed=4)
    found = vp.hole_map(p, q, num_points=5, half_width=4.0)
    assert found.q_is_exact
    assert found.p_is_exact
    axes = np.asarray(found.axes, np.float64)
    rest = np.linalg.svd(axes)[2][2:]
    step = 0.1
    ticks = np.arange(-15, 15, step)
    others = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2) @ rest
    for i, j in ((2, 2), (1, 3), (4, 0)):
        point = found.origin + found.first[j] * axes[0] + found.second[i] * axes[1]
        for density, log_density in ((q, found.log_q), (p, found.log_p)):
            values = vp.log_prob_in_chunks(density, jnp.float32(point + others), chunk_size=10_000)
            expected = scipy.special.logsumexp(np.float64(values)) + 2 * np.log(step)
            assert log_density[i, j] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("make", [vp.normal_diag, lambda m, s: distrax.MultivariateNormalTri(m, jnp.diag(s))])
def test_a_map_shows_the_marginals_of_gaussians(make):
    prior = make(jnp.array([1.0, 0, -1, 0.5, 2]), jnp.array([1.0, 2, 0.5, 1, 3]))
    found = vp.hole_map(prior, random_mixture("diagonal", dim=5), num_points=7)
    axes = np.asarray(found.axes, np.float64)
    grid = np.stack(np.meshgrid(found.first, found.second), -1)
    covariance = axes @ np.diag([1, 4, 0.25, 1, 9]) @ axes.T
    mean = axes @ (np.array([1.0, 0, -1, 0.5, 2]) - found.origin)
    np.testing.assert_allclose(
        found.log_p, scipy.stats.multivariate_normal(mean, covariance).logpdf(grid), rtol=1e-4, atol=1e-4
    )


def test_a_map_shows_samples_of_what_has_no_exact_marginal():
    """A flow at its start is N(0, I): by samples it is near to the exact map, and says that it is not exact."""
    q = random_mixture("diagonal")
    prior = vp.transformed(vp.standard_normal(4), vp.affine_coupling(4, hidden=(4,)))
    exact = vp.hole_map(vp.normal_diag(jnp.zeros(4), jnp.ones(4)), q, num_points=21, half_width=3.0)
    found = vp.hole_map(prior.apply(prior.init(KEY)), q, num_points=21, half_width=3.0)
    assert not found.p_is_exact
    assert found.q_is_exact
    inside = exact.log_p > exact.log_p.max() - 3
    np.testing.assert_allclose(found.log_p[inside], exact.log_p[inside], atol=0.25)


def test_many_components_are_added_up_in_chunks():
    rng = np.random.default_rng(0)
    loc, scale = np.float32(rng.normal(size=(9000, 3))), np.float32(rng.uniform(0.2, 1, (9000, 3)))
    q = vp.DiagonalMixture(jnp.full(9000, -jnp.log(9000.0)), jnp.asarray(loc), jnp.asarray(scale))
    found = vp.hole_map(vp.normal_diag(jnp.zeros(3), jnp.ones(3)), q, num_points=3)
    axes, origin = np.asarray(found.axes, np.float64), np.asarray(found.origin, np.float64)
    point = np.array([found.first[2], found.second[1]])
    terms = [
        scipy.stats.multivariate_normal(axes @ (m - origin), (axes * s**2) @ axes.T).logpdf(point)
        for m, s in zip(loc, scale, strict=True)
    ]
    assert found.log_q[1, 2] == pytest.approx(scipy.special.logsumexp(terms) - np.log(9000), abs=1e-3)


def slab(num=10_000, dim=10):
    """A q(z) that is N(0, I) without the slab |z . u| < 0.5, and the vector u, which is no axis of z."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3 * num, dim))
    z = z[np.abs(z[:, 0]) > 0.5][:num]
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return vp.DiagonalMixture(
        jnp.full(num, -jnp.log(num)), jnp.float32(z @ rotation), jnp.full((num, dim), 0.05)
    ), rotation[0]


def test_the_plane_of_difference_finds_an_empty_slab():
    q, direction = slab()
    prior = vp.normal_diag(jnp.zeros(10), jnp.ones(10))
    principal = vp.hole_map(prior, q, num_points=21)
    found = vp.hole_map(prior, q, num_points=21, plane="difference")
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(2), atol=1e-5)
    assert np.linalg.norm(found.axes @ direction) > 0.95
    assert found.difference[10, 10] < -1.5  # empty at the origin
    np.testing.assert_allclose(principal.log_p[10, 10], -np.log(2 * np.pi), atol=0.05)


def test_the_plane_of_difference_makes_no_hole_by_chance():
    """q drawn from p: the half that is drawn differs from p no more along the chosen plane than elsewhere."""
    z = np.random.default_rng(0).normal(size=(4000, 20)) * np.sqrt(1 - 0.3**2)
    q = vp.DiagonalMixture(jnp.full(4000, -jnp.log(4000.0)), jnp.float32(z), jnp.full((4000, 20), 0.3))
    found = vp.hole_map(
        vp.normal_diag(jnp.zeros(20), jnp.ones(20)), q, num_points=21, half_width=4.0, plane="difference"
    )
    mass = np.exp(found.log_p) * (0.4**2)
    assert mass.sum() == pytest.approx(1, abs=1e-3)
    assert (mass * np.abs(found.difference)).sum() < 0.1
    with pytest.raises(ValueError, match="`plane` to be one of 'principal', 'difference'; got 'tsne'"):
        vp.hole_map(vp.normal_diag(jnp.zeros(20), jnp.ones(20)), q, plane="tsne")


def test_two_sample_tests_hold_their_level_and_see_a_difference():
    same = means(2000, seed=1), means(2000, seed=2)
    shifted = same[0], same[1] + np.float32(0.5)
    for test in (
        lambda a, b: vp.two_sample_test(KEY, a, b, num_steps=300),
        lambda a, b: vp.maximum_mean_discrepancy(KEY, a, b, num_permutations=200, max_samples=500),
        lambda a, b: vp.maximum_mean_discrepancy(KEY, a, b, kernel="imq", num_permutations=200, max_samples=500),
    ):
        assert test(*same).p_value > 0.005
        assert test(*shifted).p_value < 0.01
    equal = vp.two_sample_test(KEY, *same, num_steps=300)
    assert abs(equal.statistic - 0.5) < 4 * equal.null_standard_error


def test_density_ratio_of_two_gaussians_is_linear():
    """log N(z; m, I) / N(z; 0, I) = m z - m^2 / 2."""
    q, p = means(20_000, seed=1) + np.float32(1.0), means(20_000, seed=2)
    ratio = vp.density_ratio(KEY, q, p)
    z = means(200, 1.0, 3) + np.float32(0.5)
    expected = z.sum(1) - 1.0
    assert np.abs(np.asarray(ratio.log_ratio(z)) - expected).mean() < 0.2
    # The accuracy of the best classifier is Phi(|m| / 2).
    assert ratio.accuracy.mean == pytest.approx(scipy.stats.norm.cdf(np.sqrt(2) / 2), abs=0.02)
    assert 0 < ratio.effective_sample_size < ratio.num_test


def test_mmd_against_numpy():
    a, b = means(30, seed=1), means(30, seed=2) + np.float32(0.3)
    pooled = np.concatenate([a, b]).astype(np.float64)
    square = ((pooled[:, None] - pooled[None]) ** 2).sum(-1)
    gram = np.exp(-square / (2 * np.median(square)))

    def within(k):
        return (k.sum() - np.trace(k)) / (30 * 29)

    expected = within(gram[:30, :30]) + within(gram[30:, 30:]) - 2 * gram[:30, 30:].mean()
    found = vp.maximum_mean_discrepancy(KEY, a, b, num_permutations=10)
    assert found.statistic == pytest.approx(expected, abs=1e-5)


def test_bad_samples_are_explained():
    a = means(100)
    for call, message in [
        (lambda: vp.two_sample_test(KEY, a, a[:, :1]), "of one dimension"),
        (lambda: vp.density_ratio(KEY, a[:2], a), "N >= 4"),
        (lambda: vp.maximum_mean_discrepancy(KEY, a, a * np.nan), "finite values in `second`"),
        (lambda: vp.maximum_mean_discrepancy(KEY, a, a, kernel="linear"), "`kernel` to be one of"),
        (lambda: vp.hole_mass(*[vp.normal_diag(jnp.zeros(1), jnp.ones(1))] * 2, KEY, quantile=2.0), "between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_mixture_fitted_afterwards_finds_the_aggregated_posterior():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((2000, 1)) < 0.3, [[-3.0, 0.0]], [[3.0, 1.0]]).astype(np.float32)
    vae, params = latent_vae()
    prior = vp.mixture(2, 2)
    fitted = vp.fit_prior(prior, vae, params, KEY, x, num_steps=200)
    order = np.argsort(fitted.prior["loc"][:, 0])
    np.testing.assert_allclose(fitted.prior["loc"][order], [[-3, 0], [3, 1]], atol=0.1)
    np.testing.assert_allclose(np.exp(fitted.prior["log_scale"]), 0.5, atol=0.05)
    np.testing.assert_allclose(jax.nn.softmax(fitted.prior["logits"])[order], [0.3, 0.7], atol=0.05)
    surgery = vp.elbo_surgery(vae._replace(prior=prior), fitted, KEY, x, num_points=2000)
    before = vp.elbo_surgery(vae, params, KEY, x, num_points=2000)
    assert surgery.marginal_kl.mean < 0.05
    assert before.marginal_kl.mean > 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: vp.transformed(vp.standard_normal(2), vp.repeat(vp.affine_coupling(2, hidden=(32,)), 4)),
        lambda: vp.vamp(30, (2,), bounds=None),
    ],
    ids=["flow", "vamp"],
)
def test_other_priors_fitted_afterwards_lower_the_marginal_kl(make):
    x = np.random.default_rng(0).choice([[-2.0, 0.0], [2.0, 1.0], [0.0, -2.0]], 1000).astype(np.float32)
    vae, params = latent_vae()
    prior = make()
    fitted = vp.fit_prior(prior, vae, params, KEY, x, num_steps=1000)
    before = vp.elbo_surgery(vae, params, KEY, x).marginal_kl.mean
    after = vp.elbo_surgery(vae._replace(prior=prior), fitted, KEY, x).marginal_kl.mean
    assert after < 0.25 * before


def test_dimensions_and_collapse():
    """Dimension 0 carries x, dimension 1 does not."""
    vae, params = latent_vae()
    dead = vae._replace(encode=lambda p, x: vp.normal_diag(x * jnp.array([1.0, 0.0]), jnp.array([0.5, 1.0])))
    x = means(5000, np.sqrt(0.75))
    found = vp.latent_dimensions(dead, params, KEY, x, num_points=3000, chunk_size=100)
    assert found.active.tolist() == [True, False]
    assert found.collapsed.tolist() == [False, True]
    assert found.mutual_information[0] == pytest.approx(np.log(2), abs=0.06)
    assert found.mutual_information[1] == pytest.approx(0, abs=1e-5)
    # KL(N(x, 1/4) || N(0, 1)) = (1/4 + x^2 - 1 - log(1/4)) / 2, whose mean over x is log 2.
    assert found.kl[0] == pytest.approx(np.log(2), abs=0.06)
    assert found.kl[1] == pytest.approx(0, abs=1e-5)
    flow = vp.transformed(vp.standard_normal(2), vp.affine_coupling(2, hidden=(4,)))
    unknown = vp.latent_dimensions(
        dead._replace(prior=flow), params._replace(prior=flow.init(KEY)), KEY, x[:100], num_points=10
    )
    assert np.isnan(unknown.kl).all()


def test_usage_of_components():
    prior = vp.mixture(2, 4)
    vae, params = latent_vae(posterior_scale=0.1, prior=prior)
    loc = jnp.array([[-5.0, 0.0], [5.0, 0.0], [0.0, 50.0], [0.0, -50.0]])
    params = params._replace(prior={"logits": jnp.zeros(4), "loc": loc, "log_scale": jnp.zeros((4, 2))})
    x = np.repeat(np.array([[-5.0, 0.0], [5.0, 0.0]], np.float32), [30, 10], axis=0)
    usage = vp.mixture_usage(vae, params, KEY, x)
    assert usage.weight_perplexity == pytest.approx(4, rel=1e-5)
    assert usage.responsibility_perplexity == pytest.approx(np.exp(scipy.stats.entropy([0.75, 0.25])), rel=1e-3)
    np.testing.assert_allclose(usage.mean_responsibilities, [0.75, 0.25, 0, 0], atol=1e-4)
    assert usage.num_unused == 2
    with pytest.raises(ValueError, match="a prior that is a mixture; standard_normal"):
        vp.mixture_usage(*latent_vae(), KEY, x)


def test_distance_of_pseudo_inputs_to_the_nearest_example():
    prior = vp.vamp(3, (2,), bounds=None)
    params = {"pseudo_inputs": jnp.array([[0.0, 0.0], [1.0, 1.0], [3.0, 4.0]])}
    x = np.array([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(vp.pseudo_input_distances(prior, params, x), [0, 1, np.sqrt(20)], atol=1e-6)
    with pytest.raises(ValueError, match="Expected a `vamp` prior"):
        vp.pseudo_input_distances(vp.standard_normal(2), {}, x)
    with pytest.raises(TypeError, match=r"Expected `x` as an array \[N, ...\]; got a dict of 'a'"):
        vp.pseudo_input_distances(prior, params, {"a": x})


def test_surgery_of_a_model_with_exact_posterior_sums_to_its_kl():
    vae, params, x = linear_gaussian_vae(500)
    surgery = vp.elbo_surgery(vae, params, KEY, x)
    kl = vp.evaluate_elbo(vae, params, KEY, x).kl.mean()
    assert surgery.mean_kl.mean == pytest.approx(float(kl), abs=5 * float(surgery.mean_kl.standard_error))


def test_marginals_of_mixtures_of_other_distributions():
    """Components that are mixtures themselves are exact; of Laplace distributions there is no exact marginal."""
    loc, axes = jnp.array([[-1.0, 1.0], [0.0, 2.0]]), jnp.eye(3)[:2]

    def component(shifts):
        return vp.DiagonalMixture(jnp.log(jnp.full(2, 0.5)), shifts[:, None] * jnp.ones((2, 3)), jnp.ones((2, 3)))

    nested = exact_marginal(vp.Mixture(jnp.log(jnp.array([0.3, 0.7])), loc, component), jnp.zeros(3), axes)
    np.testing.assert_allclose(jnp.exp(nested.log_weights), [0.15, 0.15, 0.35, 0.35], rtol=1e-5)
    np.testing.assert_allclose(nested.means, [[-1, -1], [1, 1], [0, 0], [2, 2]], atol=1e-6)
    np.testing.assert_allclose(nested.covariances, [np.eye(2)] * 4, atol=1e-6)
    laplace = vp.Mixture(
        jnp.log(jnp.full(2, 0.5)), loc, lambda m: distrax.Independent(distrax.Laplace(m, jnp.ones(2)), 1)
    )
    assert exact_marginal(laplace, jnp.zeros(2), jnp.eye(2)) is None


@pytest.mark.parametrize("num_examples", [2, 5])
def test_q_without_one_of_equal_examples_is_still_their_posterior(num_examples):
    """All posteriors are one, whichever is left out; the weights of the others must sum to 1."""
    vae, params = latent_vae(posterior_scale=0.5)
    x = np.full((num_examples, 2), 0.3, np.float32)
    out = vp.elbo_surgery(vae, params, KEY, x, leave_one_out=True)
    assert out.mutual_information.mean == pytest.approx(0, abs=1e-5)
    assert out.marginal_kl.mean == pytest.approx(float(out.mean_kl.mean), rel=1e-5)
    logits = jnp.arange(num_examples, dtype=jnp.float32)
    mixture = vp.DiagonalMixture(jax.nn.log_softmax(logits), jnp.asarray(x), jnp.full((num_examples, 2), 0.5))
    z, log_q = _leave_one_out(mixture, KEY, num_examples, 10)
    np.testing.assert_allclose(log_q, scipy.stats.norm(0.3, 0.5).logpdf(z).sum(-1), rtol=1e-5)
