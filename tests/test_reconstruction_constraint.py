"""Training under a constraint on the reconstruction error, against the exact optimum and against steps by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, stacked
from tests.support.linear_gaussian import DATA_DIM, NOISE, linear_gaussian_vae
from tests.support.trainable_networks import PIXELS, trainable_vae

KEY = jax.random.key(0)


def squared(likelihood, x):
    return jnp.sum((likelihood.mean() - x) ** 2)


def constrained(max_error, **options):
    return vp.Objective(constraint=vp.ReconstructionConstraint(max_error, **options))


def start(params, optimizer, objective):
    return vp.init_train_state(params, optimizer, objective=objective)


@pytest.mark.parametrize("error", [None, squared])
def test_the_multiplier_follows_the_moving_average(error):
    vae, params, x = linear_gaussian_vae()
    objective = constrained(3.0, error=error, decay=0.9, rate=0.05, initial_multiplier=2.0)
    optimizer = optax.adam(1e-2)
    step, state = vp.make_train_step(vae, optimizer, objective=objective), start(params, optimizer, objective)
    multiplier, average = 2.0, None
    for _ in range(6):
        state, terms = step(state, KEY, {"x": x})
        assert terms.objective == pytest.approx(float(-terms.kl - multiplier * terms.excess), rel=1e-5)
        if error is None:
            assert terms.excess == pytest.approx(float(-terms.reconstruction - 3.0), rel=1e-5)
        excess = float(terms.excess)
        average = excess if average is None else 0.9 * average + 0.1 * excess
        multiplier *= np.exp(0.05 * average)
        assert state.multiplier.value == pytest.approx(multiplier, rel=1e-4)
        assert state.multiplier.average == pytest.approx(average, rel=1e-4, abs=1e-5)


def test_the_gradient_is_that_of_a_weighted_kl():
    """KL - 4 log p(x|z) is 4 times the loss with beta = 1/4; examples of weight 0 have no part in it."""
    vae, params, x = linear_gaussian_vae()
    batch = {"x": x, "weight": jnp.array([1.0, 2, 0, 1, 1, 3, 1, 1])}

    def moved(objective, rate):
        optimizer = optax.sgd(rate)
        step = vp.make_train_step(vae, optimizer, objective=objective)
        return step(start(params, optimizer, objective), KEY, batch)

    (one, terms), (other, plain) = (
        moved(constrained(0.0, initial_multiplier=4.0), 1e-3),
        moved(vp.Objective(beta=0.25), 4e-3),
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one.params, other.params)
    np.testing.assert_allclose(terms[:3], plain[:3], rtol=1e-5)
    np.testing.assert_allclose(terms.excess, -plain.reconstruction, rtol=1e-5)


def test_fit_finds_the_smallest_kl_whose_error_is_allowed():
    """With a decoder that does not learn the optimum is a Gaussian: that of p(z) p(x|z)^multiplier."""
    vae, params, x = linear_gaussian_vae(64)
    still = vae._replace(decode=lambda params, z: vae.decode(jax.lax.stop_gradient(params), z))
    weight, bias = (np.asarray(params.decoder[name], np.float64) for name in ("weight", "bias"))

    def optimum(multiplier):
        """The mean error, the mean KL, and the scale of the best encoder."""
        precision = 1 + multiplier * (weight**2).sum(0) / NOISE**2
        loc = multiplier * (np.asarray(x) - bias) @ weight / NOISE**2 / precision
        square = ((np.asarray(x) - bias - loc @ weight.T) ** 2).sum(1).mean() + ((weight**2).sum(0) / precision).sum()
        error = square / (2 * NOISE**2) + DATA_DIM * np.log(NOISE * np.sqrt(2 * np.pi))
        kl = 0.5 * (1 / precision + loc**2 - 1 + np.log(precision)).sum(1).mean()
        return error, kl, precision**-0.5

    limit = optimum(0.3)[0]
    expected = scipy.optimize.brentq(lambda multiplier: optimum(multiplier)[0] - limit, 0.05, 5.0)
    assert expected == pytest.approx(0.3)
    objective = replace(constrained(limit, rate=0.01, decay=0.9), num_samples=8)
    options = {"num_epochs": 600, "batch_size": 64, "objective": objective, "progress": False}
    result = vp.fit(still, params, KEY, {"x": x}, optax.adam(1e-2), **options)
    assert result.state.multiplier.value == pytest.approx(0.3, rel=0.05)
    assert result.history["kl"][-100:].mean() == pytest.approx(optimum(0.3)[1], rel=0.03)
    np.testing.assert_allclose(result.params.encoder["scale"], optimum(0.3)[2], rtol=0.05)
    assert abs(result.state.multiplier.average) < 0.2


def fitted(num_epochs, params=None, key=KEY, max_error=6.0, **options):
    vae, first, x = linear_gaussian_vae(40)
    constraint = vp.ReconstructionConstraint(max_error, **{"error": squared, "rate": 0.1} | options.pop("of", {}))
    return vp.fit(
        vae,
        first if params is None else params,
        key,
        {"x": x},
        optax.adam(1e-2),
        num_epochs=num_epochs,
        batch_size=20,
        objective=vp.Objective(constraint=constraint),
        progress=False,
        **options,
    )


def test_a_run_that_is_resumed_is_that_without_a_break(tmp_path):
    whole = fitted(4)
    fitted(2, checkpoints=tmp_path)
    resumed = fitted(4, checkpoints=tmp_path)
    assert whole.state.multiplier.value != 1
    jax.tree.map(np.testing.assert_array_equal, resumed.state.multiplier, whole.state.multiplier)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    with pytest.raises(ValueError, match="another run: .*constraint"):
        fitted(4, checkpoints=tmp_path, max_error=2.0)
    with pytest.raises(ValueError, match="error of the constraint differs"):
        fitted(4, checkpoints=tmp_path, of={"error": lambda p, x: 2 * squared(p, x)})


def test_replicas_have_a_multiplier_each_and_validation_is_by_the_elbo():
    vae, params, x = linear_gaussian_vae(40)
    several = fitted(3, stacked(params, 2), jnp.stack([jax.random.key(1), KEY]), validation={"x": x})
    single = fitted(3)
    np.testing.assert_allclose(several.state.multiplier.value[1], single.state.multiplier.value, rtol=1e-5)
    assert several.state.multiplier.value[0] != several.state.multiplier.value[1]
    best = jax.tree.map(lambda leaf: leaf[1], several.params)
    terms = vp.evaluate_elbo(vae, best, KEY, x)
    error = 5 * np.std(terms.reconstruction) / np.sqrt(len(x)) * np.sqrt(2)
    assert abs(several.history["validation_elbo"][:, 1].max() - terms.elbo.mean()) < error


def test_a_loop_of_your_own_under_scan_and_a_failure_that_freezes_the_multiplier():
    vae, params = bernoulli_vae()
    optimizer, objective = optax.adam(1e-2), constrained(1.0, rate=0.1)
    step, batch = vp.make_train_step(vae, optimizer, objective=objective), {"x": binary_data(20)["x"]}
    state = start(params, optimizer, objective)
    scanned, _ = jax.lax.scan(lambda state, _: step(state, KEY, batch), jax.tree.map(jnp.copy, state), None, length=3)
    for _ in range(3):
        state, _ = step(state, KEY, batch)
    np.testing.assert_allclose(scanned.multiplier.value, state.multiplier.value, rtol=1e-5)
    before = float(state.multiplier.value)
    state, _ = step(state, KEY, {"x": batch["x"] * jnp.nan})
    state, _ = step(state, KEY, batch)
    assert int(state.failed_step) == 3
    assert float(state.multiplier.value) == before


def test_the_multiplier_stays_within_its_bounds():
    vae, params = bernoulli_vae()
    for max_error, bound in ((-1e6, 1e6), (1e6, 1e-6)):
        optimizer, objective = optax.sgd(0.0), constrained(max_error, rate=1.0)
        step = vp.make_train_step(vae, optimizer, objective=objective)
        state, _ = step(start(params, optimizer, objective), KEY, {"x": binary_data(20)["x"]})
        assert float(state.multiplier.value) == pytest.approx(bound, rel=1e-4)


def test_networks_with_state():
    vae, params, _ = trainable_vae("linen", rate=0.0)
    x = jax.random.bernoulli(KEY, 0.5, (16, PIXELS)).astype(jnp.float32)
    optimizer, objective = optax.adam(1e-2), replace(constrained(1.0, error=squared, rate=0.1), num_samples=2)
    step = vp.make_train_step(vae, optimizer, objective=objective)
    state, terms = step(start(params, optimizer, objective), KEY, {"x": x})
    assert terms.objective == pytest.approx(float(-terms.kl - terms.excess), rel=1e-5)
    assert 0 < float(terms.excess) + 1 < PIXELS
    assert state.multiplier.value == pytest.approx(np.exp(0.1 * float(terms.excess)), rel=1e-5)


def test_options_that_do_not_fit():
    vae, params, x = linear_gaussian_vae()
    objective = constrained(1.0)
    with pytest.raises(ValueError, match="Expected an objective of one example"):
        vp.elbo(vae, params, KEY, x[0], objective=objective)
    step = vp.make_train_step(vae, optax.adam(1e-2), objective=objective)
    with pytest.raises(ValueError, match=r"init_train_state\(params, optimizer, objective=objective\)"):
        step(vp.init_train_state(params, optax.adam(1e-2)), KEY, {"x": x})
    for options in ({"beta": 0.5}, {"beta": lambda step: 1.0}, {"free_bits": 1.0}, {"warmup_epochs": 2}):
        with pytest.raises(ValueError, match=f"Expected no '{next(iter(options))}' beside `constraint`"):
            replace(objective, **options)
    with pytest.raises(ValueError, match="Expected no 'bound'"):
        replace(objective, bound="iwae")
    with pytest.raises(TypeError, match="`constraint` as a `vp.ReconstructionConstraint"):
        vp.Objective(constraint=3.0)
    with pytest.raises(ValueError, match="`max_error` to be a finite number"):
        constrained(float("nan"))
    with pytest.raises(ValueError, match="`decay` to be a number between 0 and 1"):
        constrained(1.0, decay=1.0)
    with pytest.raises(ValueError, match="`rate` to be a finite number > 0"):
        constrained(1.0, rate=0.0)
    with pytest.raises(TypeError, match="`error` as a function"):
        constrained(1.0, error="squared")
    each = constrained(1.0, error=lambda likelihood, x: (likelihood.mean() - x) ** 2)
    step = vp.make_train_step(vae, optax.adam(1e-2), objective=each)
    with pytest.raises(ValueError, match=r"one float for an example; got an array of float32, of shape \[5\]"):
        step(start(params, optax.adam(1e-2), each), KEY, {"x": x})
