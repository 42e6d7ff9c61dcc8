"""The power spherical distribution against quadrature, scipy and TFP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from tensorflow_probability.substrates.jax import distributions as tfd

import vaepriors_jax as vp
from vaepriors_jax.distributions.power_spherical import log_area, log_gamma_ratio, unit_vector

KEY = jax.random.key(0)
DIRECTION = np.array([0.3, -1.0, 0.5, 0.2, 0.8])


def direction(dim):
    return np.resize(DIRECTION, dim) / np.linalg.norm(np.resize(DIRECTION, dim))


def marginal(dim, concentration):
    """The density of t = mu^T z up to a constant, and that constant, by quadrature over t = sin(a)."""

    def density(a):
        return (1 + np.sin(a)) ** concentration * np.cos(a) ** (dim - 2)

    return density, scipy.integrate.quad(density, -np.pi / 2, np.pi / 2)[0]


@pytest.mark.parametrize("concentration", [0.0, 0.7, 30.0])
def test_density_integrates_to_one_on_the_circle_and_on_the_sphere(concentration):
    # Steps of an angle on the circle; Fibonacci's lattice of equal areas on the sphere.
    angles = 2 * np.pi * np.arange(4000) / 4000
    height, turn = 1 - (2 * np.arange(40_000) + 1) / 40_000, np.pi * (3 - np.sqrt(5)) * np.arange(40_000)
    radius = np.sqrt(1 - height**2)
    for dim, points, area in [
        (2, np.stack([np.cos(angles), np.sin(angles)], -1), 2 * np.pi),
        (3, np.stack([radius * np.cos(turn), radius * np.sin(turn), height], -1), 4 * np.pi),
    ]:
        q = vp.power_spherical(jnp.asarray(direction(dim), jnp.float32), concentration)
        density = np.asarray(jax.jit(q.prob)(points.astype(np.float32)), np.float64)
        assert density.mean() * area == pytest.approx(1, abs=2e-4)
        np.testing.assert_allclose((density @ points) / len(points) * area, q.mean(), atol=2e-4)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.0), (2, 5.0), (3, 1.0), (5, 40.0), (41, 700.0)])
def test_density_is_that_of_quadrature_and_of_tfp(dim, concentration):
    mu = direction(dim)
    q = vp.power_spherical(jnp.asarray(3 * mu, jnp.float32), concentration)
    z = np.asarray(
        unit_vector(jnp.concatenate([q.sample(seed=KEY, sample_shape=20), jax.random.normal(KEY, (20, dim))]))
    )
    # The sphere in one dimension less has the other dimensions.
    log_constant = np.log(marginal(dim, concentration)[1]) + log_area(dim - 1)
    expected = concentration * np.log1p(z.astype(np.float64) @ mu) - log_constant
    np.testing.assert_allclose(jax.jit(q.log_prob)(z), expected, rtol=1e-4, atol=1e-4)
    other = tfd.PowerSpherical(jnp.asarray(mu, jnp.float32), jnp.float32(concentration))
    np.testing.assert_allclose(q.log_prob(z), jax.jit(other.log_prob)(z), rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.0), (2, 3.0), (3, 20.0), (6, 2000.0)])
def test_samples_are_on_the_sphere_and_have_the_marginals(dim, concentration):
    """On both sides of where the pole changes, and with the direction of the mode at a pole."""
    sample = jax.jit(lambda mu: vp.power_spherical(mu, concentration).sample(seed=KEY, sample_shape=5000))
    for mu in (direction(dim), -direction(dim), np.eye(dim)[0], -np.eye(dim)[0]):
        q = vp.power_spherical(jnp.asarray(mu, jnp.float32), concentration)
        z = np.asarray(sample(jnp.asarray(mu, jnp.float32)), np.float64)
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
        beta = (dim - 1) / 2
        share = scipy.stats.beta(beta + concentration, beta)
        assert scipy.stats.kstest((1 + z @ mu) / 2, share.cdf).pvalue > 1e-4
        error = z.std(0) / np.sqrt(len(z))
        assert (np.abs(z.mean(0) - q.mean()) < 5 * error + 1e-6).all()
        spread = (z - z.mean(0)) ** 2
        error = spread.std(0) / np.sqrt(len(z))
        assert (np.abs(spread.mean(0) - q.variance()) < 5 * error + 1e-6).all()


def test_the_uniform_prior_is_that_of_scipy():
    for dim in (2, 3, 10):
        p = vp.spherical_uniform(dim).apply({})
        z = np.asarray(p.sample(seed=KEY, sample_shape=5000))
        reference = scipy.stats.uniform_direction(dim).rvs(5000, random_state=0)
        for i in (0, dim - 1):
            assert scipy.stats.ks_2samp(z[:, i], reference[:, i]).pvalue > 1e-4
        np.testing.assert_allclose(p.log_prob(z[0]), tfd.SphericalUniform(dim).log_prob(z[0]), rtol=1e-5)
        np.testing.assert_allclose(p.variance(), reference.var(0), rtol=0.1)


def test_gradients_of_expectations_are_those_of_quadrature():
    """d E[t] / d kappa along the mode, and of a linear function in its direction, through samples."""
    mu, weight = direction(3), np.array([1.0, -2.0, 0.5])

    def mean_of(loc, concentration):
        z = vp.power_spherical(loc, concentration).sample(seed=KEY, sample_shape=30_000)
        return jnp.mean(z @ weight.astype(np.float32)), jnp.mean((z @ weight.astype(np.float32)) ** 2)

    gradients = jax.jit(jax.jacrev(mean_of, (0, 1)))
    for concentration in (0.0, 4.0):
        jacobian = gradients(jnp.asarray(mu, jnp.float32), concentration)
        # E[z] = mu kappa / (kappa + 2); the gradient in mu has no part along mu.
        along = weight - mu * (weight @ mu)
        np.testing.assert_allclose(jacobian[0][0], concentration / (concentration + 2) * along, atol=0.03)
        np.testing.assert_allclose(jacobian[0][1], 2 / (concentration + 2) ** 2 * (weight @ mu), atol=0.02)
        # E[t^2] by quadrature, E[(w z)^2] = (w mu)^2 E[t^2] + |w across|^2 (1 - E[t^2]) / 2
        step, second = 1e-4, []
        for kappa in (concentration + step, concentration):
            density, total = marginal(3, kappa)
            second.append(scipy.integrate.quad(lambda a, f=density: np.sin(a) ** 2 * f(a), -1.5708, 1.5708)[0] / total)
        slope = (second[0] - second[1]) / step * ((weight @ mu) ** 2 - (along @ along) / 2)
        np.testing.assert_allclose(jacobian[1][1], slope, atol=0.04)


@pytest.mark.parametrize("dim", [2, 7])
def test_numbers_and_gradients_are_finite_from_no_concentration_to_a_point(dim):
    uniform = vp.spherical_uniform(dim).apply({})

    def numbers(loc, concentration, z):
        q = vp.power_spherical(loc, concentration)
        return q.log_prob(z), vp.kl_divergence(q, uniform), jnp.sum(q.sample(seed=KEY)), q.entropy()

    def total(*args):
        return sum(numbers(*args)), numbers(*args)

    compiled = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))
    first = jnp.eye(dim)[0]
    for concentration in (0.0, 1e-20, 1.0, 1e4, 1e8):
        for loc in (first, -first, jnp.ones(dim), jnp.zeros(dim), 1e-30 * first):
            for z in (first, -first, jnp.ones(dim)):
                assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(compiled(loc, concentration, z)))


def test_large_concentrations_keep_their_digits():
    """Beside float64: differences of log-gammas would have lost them."""
    for dim, concentration in [(2, 1e6), (40, 1e5)]:
        found = []
        for x64 in (False, True):
            with jax.enable_x64(x64):
                dtype = jnp.float64 if x64 else jnp.float32

                @jax.jit
                def numbers(mu, kappa):
                    q = vp.power_spherical(mu, kappa)
                    return vp.kl_divergence(q, vp.spherical_uniform(len(mu)).apply({})), q.log_prob(mu)

                found.append(numbers(jnp.asarray(direction(dim), dtype), jnp.asarray(concentration, dtype)))
        np.testing.assert_allclose(*found, rtol=1e-5)
    a = np.array([0.5, 3.0, 200.0])
    for n in (1, 2, 7):
        expected = scipy.special.gammaln(a + n / 2) - scipy.special.gammaln(a)
        found = jax.jit(log_gamma_ratio, static_argnums=1)(jnp.asarray(a, jnp.float32), n)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_mixture_starts_from_the_clusters_of_encodings():
    centres, concentrations, rng = np.array([[0, 0, 1.0], [0.8, 0, -0.6]]), (50.0, 200.0), np.random.default_rng(0)
    z = np.concatenate(
        [
            vp.power_spherical(jnp.asarray(mu, jnp.float32), kappa).sample(seed=KEY, sample_shape=n)
            for mu, kappa, n in zip(centres, concentrations, (3000, 1000), strict=True)
        ]
    )
    prior = vp.power_spherical_mixture(3, 2)
    params = vp.init_from_data(prior, KEY, z=rng.permutation(z))
    order = np.argsort(-params["logits"])
    np.testing.assert_allclose(params["loc"][order], centres, atol=0.02)
    np.testing.assert_allclose(np.exp(params["log_concentration"][order]), concentrations, rtol=0.1)
    np.testing.assert_allclose(jax.nn.softmax(params["logits"][order]), [0.75, 0.25], atol=0.01)


def test_a_vamp_prior_of_posteriors_on_the_sphere():
    """One component is the posterior itself."""

    def encode(x):
        return vp.power_spherical(x[:3] - 0.5, jax.nn.softplus(x[3]))

    prior = vp.vamp(1, (4,))
    params = prior.init(KEY)
    p, q = prior.apply(params, encode=encode), encode(vp.pseudo_inputs(prior, params)[0])
    z = q.sample(seed=KEY, sample_shape=5)
    np.testing.assert_allclose(p.log_prob(z), q.log_prob(z), rtol=1e-5)
    assert vp.kl_divergence(q, p, samples=z) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.spherical_uniform(1), "`dim` to be an integer >= 2; got 1"),
        (lambda: vp.power_spherical_mixture(1, 2), "`dim` to be an integer >= 2; got 1"),
        (lambda: vp.power_spherical_mixture(3, 0), "`num_components` to be an integer >= 1; got 0"),
        (lambda: vp.power_spherical_mixture(3, 2, initial_concentration=-1.0), "`initial_concentration`"),
        (lambda: vp.power_spherical(jnp.ones(3), -1.0), "`concentration` >= 0; got -1.0"),
        (lambda: vp.power_spherical(jnp.ones(3), jnp.nan), "`concentration` >= 0; got nan"),
        (lambda: vp.power_spherical(jnp.ones((5, 3)), jnp.ones(5)), r"got shapes \[5, 3\] and \[5\]"),
        (lambda: vp.power_spherical(jnp.ones(1), 1.0), "D >= 2"),
        (
            lambda: vp.transformed(vp.spherical_uniform(2), vp.affine_coupling(2)).apply({"base": {}, "flow": {}}),
            "over R.n for a flow; got one over the unit sphere",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_gaussian_encoder_before_a_prior_on_the_sphere_is_refused():
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(x, jnp.ones(3)),
        decode=lambda params, z: vp.bernoulli(z),
        prior=vp.spherical_uniform(3),
    )
    params, x = vp.VAEParams({}, {}, {}), jnp.ones(3)
    for call in (lambda: vp.elbo(vae, params, KEY, x), lambda: vp.iwae(vae, params, KEY, x, num_samples=2)):
        with pytest.raises(ValueError, match=r"encoder return `vp.power_spherical\(loc, concentration\)`"):
            call()


def test_encodings_without_a_direction_are_refused():
    z = np.concatenate([np.zeros((2, 3)), np.eye(3)])
    with pytest.raises(ValueError, match="on the unit sphere; got 2 vectors of zeros"):
        vp.init_from_data(vp.power_spherical_mixture(3, 2), KEY, z=z)
