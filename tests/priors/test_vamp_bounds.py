"""The map of pseudo-inputs into the bounds, and starts relative to them."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.cases import PRIORS, encode, encode_laplace
from tests.support.first_format import save_in_first_format
from vaepriors_jax.priors.bounds import from_bounds, to_bounds

KEY = jax.random.key(0)
UNIT = (0.0, 1.0)
BOUNDS = [(0.0, 255.0), (0.0, 100.0), (-3.0, 0.0), (1e-6, 3e-6), (-1e20, 1e20)]


def slope(raw, bounds=UNIT):
    return jax.vmap(jax.grad(lambda r: to_bounds(r, bounds)))(jnp.asarray(raw))


def test_the_map_is_the_identity_inside_and_has_the_tails_of_its_definition():
    inside = jnp.linspace(0.02, 0.98, 97)
    np.testing.assert_allclose(to_bounds(inside, UNIT), inside, atol=1e-7)
    np.testing.assert_allclose(slope(inside), 1, rtol=1e-5)
    # By hand: 0.0004 / (0.04 - r) below 0.02, and its mirror image.
    raw = jnp.array([0.0, -0.16, -0.36, 1.0, 1.16, 1.36])
    np.testing.assert_allclose(to_bounds(raw, UNIT), [0.01, 0.002, 0.001, 0.99, 0.998, 0.999], rtol=1e-5)
    np.testing.assert_allclose(slope(raw[jnp.array([0, 1, 3, 4])]), [0.25, 0.01, 0.25, 0.01], rtol=1e-4)


def test_values_and_slopes_agree_at_the_joins():
    with jax.enable_x64(True):
        for join in (0.02, 0.5, 0.98):
            near = np.array([np.nextafter(join, -1), join, np.nextafter(join, 2), join - 1e-9, join + 1e-9])
            np.testing.assert_allclose(to_bounds(jnp.asarray(near), UNIT), near, atol=1e-12)
            np.testing.assert_allclose(slope(near), 1, rtol=1e-6)
        points = np.linspace(-3, 4, 1501)
        differences = (to_bounds(jnp.asarray(points + 1e-6), UNIT) - to_bounds(jnp.asarray(points - 1e-6), UNIT)) / 2e-6
        np.testing.assert_allclose(slope(points), differences, rtol=1e-4)


@pytest.mark.parametrize("bounds", [UNIT, *BOUNDS[:3]])
@pytest.mark.parametrize("double", [False, True])
def test_no_raw_value_has_a_slope_of_zero_or_nan(bounds, double):
    """In float32 up to 1e15: beyond 1e17 the slope itself, 0.0004 / r^2, is no normal number any more."""
    with jax.enable_x64(double):
        dtype = jnp.float64 if double else jnp.float32
        sizes = np.concatenate([np.logspace(-30, 30 if double else 15, 400), [0.02, 0.5, 0.98, 1.0]])
        found = slope(jnp.asarray(np.concatenate([sizes, -sizes, [0.0]]), dtype), bounds)
        assert found.dtype == dtype
        assert np.isfinite(found).all()
        assert (found > 0).all()
        far = jnp.asarray([1e30, -1e30, np.inf, -np.inf], dtype)
        assert np.isfinite(slope(far, bounds)).all()
        np.testing.assert_allclose(
            to_bounds(far, bounds), [bounds[1], bounds[0]] * 2, atol=1e-6 * (bounds[1] - bounds[0])
        )


def test_the_map_into_the_bounds_and_back_is_exact():
    with jax.enable_x64(True):
        for low, high in (UNIT, *BOUNDS):
            values = low + (high - low) * jnp.concatenate(
                [jnp.geomspace(0.002, 0.5, 500), 1 - jnp.geomspace(0.002, 0.5)]
            )
            there = from_bounds(values, (low, high))
            np.testing.assert_allclose(to_bounds(there, (low, high)), values, rtol=1e-12, atol=1e-12 * (high - low))
            ends = to_bounds(from_bounds(jnp.asarray([low, high, low - 7 * (high - low)]), (low, high)), (low, high))
            np.testing.assert_allclose((ends - low) / (high - low), [0.002, 0.998, 0.002], rtol=1e-9)


def trained(bounds, num_steps=100, learning_rate=5e-3, num_components=10):
    """Pseudo-inputs as fractions of the range before and after training on encodings; their mean log-density after."""
    low, high = bounds
    prior = vp.vamp(num_components, (6,), bounds=bounds)

    def unit_encode(u):
        return encode((u - low) / (high - low))

    z = jnp.concatenate([jnp.array([1.5, 0.0]), jnp.array([-1.5, 1.0])]).reshape(2, 2).repeat(50, axis=0)
    z = z + 0.1 * jax.random.normal(KEY, z.shape)

    def loss(params):
        return -prior.apply(params, encode=unit_encode).log_prob(z).mean()

    optimizer = optax.adam(learning_rate)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    params = prior.init(KEY)
    (after, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=num_steps)
    fractions = [(vp.pseudo_inputs(prior, p) - low) / (high - low) for p in (params, after)]
    return *fractions, -float(loss(after))


@pytest.mark.parametrize("bounds", BOUNDS)
def test_start_and_training_are_the_same_up_to_scale(bounds):
    start, after, density = trained(bounds)
    unit_start, unit_after, unit_density = trained(UNIT)
    np.testing.assert_allclose(start, unit_start, atol=1e-5)
    assert np.abs(unit_after - unit_start).max() > 0.1  # training moved them
    np.testing.assert_allclose(after, unit_after, atol=0.01)
    assert density == pytest.approx(unit_density, abs=0.01)


def test_components_do_not_collapse_on_grey_levels():
    _, after, density = trained((0.0, 255.0), 500)
    assert after.std(axis=0).max() > 0.1
    assert density > trained((0.0, 255.0), 500, num_components=1)[2] + 0.2


def test_the_default_start_is_that_of_its_documentation():
    prior = vp.vamp(400, (100,))
    u = np.asarray(vp.pseudo_inputs(prior, prior.init(KEY)), np.float64)
    assert abs(u.mean() - 0.5) < 4 * 0.1 / np.sqrt(u.size)
    assert abs(u.std() - 0.1) < 4 * 0.1 / np.sqrt(2 * u.size)
    low, high = 0.05 * 255, 0.01 * 255
    prior = vp.vamp(400, (100,), bounds=(0, 255), initial_mean=0.05, initial_scale=0.01)
    u = np.asarray(vp.pseudo_inputs(prior, prior.init(KEY)), np.float64)
    assert abs(u.mean() - low) < 4 * high / np.sqrt(u.size)
    assert abs(u.std() - high) < 4 * high / np.sqrt(2 * u.size)


def test_a_dark_pixel_leaves_the_bound():
    """The gradient of a pixel is small, which Adam makes up for; the slope of the map at the bound it does not."""
    optimizer = optax.adam(5e-4)

    def step(carry, _):
        raw, state = carry
        updates, state = optimizer.update(jax.grad(lambda r: -1e-5 * to_bounds(r, UNIT))(raw), state)
        raw = optax.apply_updates(raw, updates)
        return (raw, state), to_bounds(raw, UNIT)

    raw = from_bounds(jnp.asarray(0.01), UNIT)
    _, path = jax.lax.scan(step, (raw, optimizer.init(raw)), length=2000)
    assert path[0] < 0.012
    assert path[-1] > 0.25


def test_grey_levels_as_unsigned_bytes_start_pseudo_inputs():
    x = np.random.default_rng(0).integers(0, 256, (40, 6), dtype=np.uint8)
    x[0], x[1] = 0, 255
    for bounds in ((0, 255), (np.uint8(0), np.uint8(255)), [0.0, 255.0]):
        prior = vp.vamp(40, (6,), bounds=bounds)
        u = vp.pseudo_inputs(prior, vp.init_from_data(prior, KEY, x=x))
        expected = np.maximum(np.minimum(x, 0.998 * 255), 0.002 * 255)
        for axis in range(6):
            np.testing.assert_allclose(np.sort(u[:, axis]), np.sort(expected[:, axis]), atol=1e-3)


@pytest.mark.parametrize("classes", [None, 2])
def test_data_outside_the_bounds_are_refused(classes):
    x = np.random.default_rng(0).normal(size=(40, 6))
    y = np.arange(40) % 2
    for bounds, data in ((UNIT, x), (UNIT, (127 * np.abs(x)).astype(np.uint8)), ((0.0, 255.0), x)):
        prior = vp.vamp(4, (6,), num_classes=classes, bounds=bounds)
        with pytest.raises(ValueError, match=r"Expected `x` within the bounds .* got values from"):
            vp.init_from_data(prior, KEY, x=data, y=y)
    prior = vp.vamp(4, (6,), num_classes=classes, bounds=None)
    u = vp.pseudo_inputs(prior, vp.init_from_data(prior, KEY, x=x, y=y))
    assert u.min() < 0


def test_data_may_round_past_a_bound():
    x = np.full((4, 6), 0.1 * 3, np.float32)  # 0.3 in float32 is above 0.3
    prior = vp.vamp(2, (6,), bounds=(0.0, 0.3))
    assert vp.pseudo_inputs(prior, vp.init_from_data(prior, KEY, x=x)).max() <= 0.3


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((0.0, np.inf), "to be finite; got"),
        ((-np.inf, np.inf), "to be finite; got"),
        ((0.0, np.nan), "to be finite; got"),
        ((np.nan, 1.0), "to be finite; got"),
        ((1.0, 1.0), "low < high"),
        ((255, 0), "low < high"),
        ((0.0, 1.0, 2.0), "two numbers"),
        ((0.0, None), "two numbers"),
        (1.0, "two numbers"),
        ((-3e38, 3e38), "a range that float32 resolves"),
        ((1e8, 1e8 + 1), "a range that float32 resolves"),
    ],
)
def test_bounds_are_checked(bounds, message):
    with pytest.raises(ValueError, match=message):
        vp.vamp(3, (6,), bounds=bounds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_mean": 128.0, "bounds": (0, 255)}, "`initial_mean` as a fraction"),
        ({"initial_mean": np.nan}, "finite values in `initial_mean`"),
        ({"initial_scale": 0.0}, "`initial_scale` to be a finite number > 0"),
        ({"initial_scale": np.inf}, "`initial_scale` to be a finite number > 0"),
    ],
)
def test_the_start_is_checked(options, message):
    with pytest.raises(ValueError, match=message):
        vp.vamp(3, (6,), **options)
    assert vp.vamp(3, (6,), bounds=None, initial_mean=-40.0).init(KEY)["pseudo_inputs"].max() < -30


FROZEN = {
    "laplace": (vp.vamp(3, (6,)), {"encode": encode_laplace}),
    "flows": (
        vp.marginalize(
            vp.transformed(vp.conditional_mixture(2, 2, num_classes=3), vp.affine_coupling(2)), (0.2, 0.3, 0.5)
        ),
        {"unread": 0},
    ),
    "laplace_of_a_class": (vp.vamp(6, (6,), num_classes=3), {"encode": encode_laplace, "y": 1}),
}


@pytest.mark.parametrize("name", [*FROZEN, *(case.name for case in PRIORS)])
def test_frozen_parameters_are_floats(name):
    if name in FROZEN:
        prior, context = FROZEN[name]
    else:
        case = next(case for case in PRIORS if case.name == name)
        prior, context = case.make(), case.context
    frozen = vp.freeze(prior, prior.init(KEY), **context)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(frozen.init(KEY)))


@pytest.mark.parametrize("name", FROZEN)
def test_fit_trains_networks_beside_a_frozen_vampprior(name):
    prior, context = FROZEN[name]
    params = prior.init(KEY)
    frozen = vp.freeze(prior, params, **context)

    def laplace(w, x):
        return distrax.Independent(distrax.Laplace(w @ x, jnp.ones(2)), 1)

    vae = vp.VAE(laplace, lambda w, z: vp.bernoulli(w @ z), frozen)
    start = vp.VAEParams(0.1 * jnp.ones((2, 6)), 0.1 * jnp.ones((6, 2)), frozen.init(KEY))
    x = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)

    def run():
        return vp.fit(vae, start, KEY, {"x": x}, optax.adam(1e-2), num_epochs=2, batch_size=10)

    run()
    found = run().params  # a second run starts from the same arrays
    assert np.abs(found.encoder - start.encoder).max() > 0
    jax.tree.map(np.testing.assert_array_equal, found.prior, frozen.init(KEY))
    z = jnp.array([0.3, -0.2])
    expected = prior.apply(params, **context).log_prob(z)
    np.testing.assert_allclose(frozen.apply(found.prior).log_prob(z), expected, rtol=1e-5)


@pytest.mark.parametrize("bounds", [UNIT, (0.0, 255.0), None])
@pytest.mark.parametrize(
    ("over", "wrap"),
    [
        (lambda prior: prior, lambda params: params),
        (lambda prior: vp.transformed(prior, vp.permute(2)), lambda params: {"base": params, "flow": {}}),
        (lambda prior: vp.marginalize(prior, (0.5, 0.5)), lambda params: params),
    ],
)
def test_models_that_were_saved_under_the_first_map_keep_their_pseudo_inputs(bounds, over, wrap, tmp_path):
    raw = np.concatenate([np.linspace(-5, 5, 30), [0.0, -300.0, 300.0, 20.0, -20.0, 1e4]]).reshape(6, 6)
    prior = over(vp.vamp(6, (6,), num_classes=2, bounds=bounds))
    params = wrap({"pseudo_inputs": jnp.asarray(raw, jnp.float32)})
    save_in_first_format(tmp_path / "now", prior, vp.VAEParams({}, {}, params))
    jax.tree.map(np.testing.assert_array_equal, vp.load_model(tmp_path / "now")[1].prior, params)
    save_in_first_format(tmp_path / "then", prior, vp.VAEParams({}, {}, params), pseudo_input_map=None)
    _, loaded = vp.load_model(tmp_path / "then")
    found = loaded.prior.get("base", loaded.prior)["pseudo_inputs"]
    # The sine of the arctangent is what the first map was made of.
    expected = raw if bounds is None else bounds[0] + (bounds[1] - bounds[0]) * (1 + np.sin(np.arctan(raw))) / 2
    np.testing.assert_allclose(to_bounds(found, bounds), expected, rtol=1e-5, atol=1e-6 * (bounds or UNIT)[1])
