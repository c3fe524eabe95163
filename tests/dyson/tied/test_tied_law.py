"""Tied weights: the Dyson equation (15) and the two-time mean field against sampled networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.dyson.inversion.solution import longest_monotone_run
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.sites.subsampling import calibrated_weights, stratified_subsample
from rmtrnn.dyson.tied.equations import averages, evaluate, site_log_det, tied_sites
from rmtrnn.dyson.tied.large_lambda import at_infinity, first_moments, moments, site_features, start
from rmtrnn.dyson.tied.newton import Unknowns, gradient, hessian, solve_point
from rmtrnn.meanfield.two_time import two_time
from rmtrnn.spectra.site_moments import chain_moments

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)


def distance(law, x):
    x = np.sort(np.ravel(x))
    below = law.cdf(x)
    steps = np.arange(x.size + 1) / x.size
    return max(np.abs(below - steps[:-1]).max(), np.abs(below - steps[1:]).max())


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.equation(15)
def test_one_constant_site_tied_equals_powers(orthogonal):
    """a = 0, b = 1: J = W^T. Haar: s = sigma^T, an atom; Gaussian: W^T has the law of T free factors."""
    n, steps = 1, 3
    stage = Stage(np.zeros((1, 1, n)), np.ones((1, 1, n)), np.ones((1, 1, n)), (1.0,), (orthogonal,))
    sites = tied_sites([stage] * steps, steps)
    if orthogonal:
        point = 2.0 + 0.4j  # log lambda
        P, Q = start(sites, point)
        found = solve_point(sites, P, Q, point, 1e-12)
        assert found.relative < 1e-12
        assert site_log_det(sites, found.P, found.Q, point)[1] == pytest.approx(
            1 / (np.exp(point) - 1), abs=1e-10
        )
        return
    phi = np.array([0.3, 0.6]) * np.pi / (steps + 1)
    log_lambda = (
        (steps + 1) * np.log(np.sin((steps + 1) * phi))
        - np.log(np.sin(phi))
        - steps * np.log(np.sin(steps * phi))
    )
    density = (
        np.sin(phi) ** 2 * np.sin(steps * phi) ** (steps - 1) / np.pi / np.sin((steps + 1) * phi) ** steps
    )
    for target, expected in zip(log_lambda, 2 * np.exp(log_lambda) * density, strict=True):
        P, Q = start(sites, 4.0 + 0.3j)
        for position in np.linspace(4.0, target, 25):
            near = solve_point(sites, P, Q, position + 0.3j, 1e-4)
            P, Q = near.P, near.Q
        point = solve_point(sites, P, Q, target + 1j * REAL_AXIS, 1e-11)
        found = evaluate(sites, point.P, point.Q, target, point.relative, 1e-9)
        assert found.density[0] == pytest.approx(expected, rel=1e-7)


def random_stages(steps, n, haar, rng):
    """Equal shapes at every step, two states and two weight matrices, everything different at every site."""

    def one():
        a, b, c = (scale * rng.normal(size=(2, 2, n)) for scale in (0.5, 0.6, 0.5))
        return Stage(a, b, c, (0.7, 0.4), haar)

    return [one() for _ in range(steps)]


@pytest.mark.equation(15, "Psi")
def test_hessian_is_the_derivative_of_the_gradient():
    rng = np.random.default_rng(0)
    sites = tied_sites(random_stages(3, 7, (True, False), rng), 3)
    unknowns, point, step = Unknowns.of(sites), 0.3 + 0.4j, 1e-6
    x = 0.1 * rng.normal(size=2 * len(unknowns)) - 0.3j * rng.uniform(size=2 * len(unknowns))

    def slope(at):
        P, Q = unknowns.unpacked(at, sites.touched)
        return gradient(sites, unknowns, P, Q, averages(sites, P, Q, point))

    exact = hessian(sites, unknowns, *unknowns.unpacked(x, sites.touched), point)
    numeric = [(slope(x + step * e) - slope(x - step * e)) / (2 * step) for e in np.eye(len(x))]
    np.testing.assert_allclose(exact, np.array(numeric), atol=1e-7 * np.abs(exact).max())


def jacobian(stages, sigma2, haar, rng):
    """One draw of the weights through all stages."""
    n = stages[0].a.shape[2]
    weights = []
    for variance, orthogonal in zip(sigma2, haar, strict=True):
        W = rng.normal(size=(n, n)) / np.sqrt(n)
        if orthogonal:
            q, r = np.linalg.qr(W)
            W = q * np.sign(np.diagonal(r))
        weights.append(np.sqrt(variance) * W)
    J = np.eye(2 * n)
    for stage in stages:
        blocks = [
            [
                np.diag(stage.a[i, j])
                + sum(stage.b[k][i][:, None] * W * stage.c[k][j] for k, W in enumerate(weights))
                for j in range(2)
            ]
            for i in range(2)
        ]
        J = np.block(blocks) @ J
    return J


@pytest.mark.parametrize("haar", [(False, False), (True, True)])
@pytest.mark.equation(15)
def test_two_moments_of_kept_weights_against_matrices(haar):
    """Large lambda to second order: tr JJ^T and tr (JJ^T)^2 with two states and two matrices."""
    rng = np.random.default_rng(1)
    one = random_stages(1, 200, haar, rng)[0]  # positive and the same at all steps: these add up coherently
    stages = [replace(one, a=np.abs(one.a), b=np.abs(one.b), c=np.abs(one.c))] * 3
    log_m1, ratio = moments(tied_sites(stages, 3))
    samples = []
    for _ in range(10):
        s2 = np.linalg.svd(jacobian(stages, (0.7, 0.4), haar, rng), compute_uv=False) ** 2
        samples.append((np.log(s2.mean()), (s2**2).mean() / s2.mean() ** 2))
    mean, error = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1) / np.sqrt(10)
    # A finite N biases linear statistics by O(1/N): 5/N of the value beside four standard errors.
    assert abs(mean[0] - log_m1) < 4 * error[0] + 5 / 200
    assert abs(mean[1] - ratio) < 4 * error[1] + 5 / 200 * ratio
    assert abs(mean[0] - chain_moments(stages)[0]) > 5 * (4 * error[0] + 5 / 200)  # that of redrawn weights


@pytest.mark.equation(15)
def test_features_are_those_of_the_equation():
    """A site's share of m_1 by the recursion over its stages is that of the matrices N."""
    stages = random_stages(3, 50, (False, True), np.random.default_rng(2))
    sites = tied_sites(stages, 3)
    strengths = at_infinity(sites)
    own, logs = site_features(stages, sites, strengths, Chain(stages).log_growth)
    np.testing.assert_allclose(own / own.mean(), first_moments(sites, strengths)[1], rtol=1e-12)
    # What enters at x_0 and what leaves at x_L is one thing: tr J^T J = tr J J^T.
    assert np.exp(logs[1]).mean() == pytest.approx(own.mean(), rel=1e-12)


def test_calibrated_weights_take_out_what_the_features_explain():
    """The mean of something smooth in the features over some sites is that over all, a given mean exact."""
    rng = np.random.default_rng(3)

    def value(z):
        return np.tanh(2 * z[0] - 0.3) + 0.3 * np.tanh(z[0] + z[1])

    plain, better = [], []
    for _ in range(24):
        many = rng.normal(size=(2, 16 * 1024))
        tail = np.exp(many[0])
        equal = np.full(many.shape[1], 1 / many.shape[1])
        sites, weights = stratified_subsample(equal, 1024, many[1], many[0], 128)
        assert weights.sum() == pytest.approx(1.0, rel=1e-12)
        assert set(np.argsort(many[0])[-100:]) < set(sites)
        found = calibrated_weights(many[:, sites], weights, many, [(tail[sites], float(tail.mean()))])
        assert found.min() > 0.0
        assert tail[sites] @ found == pytest.approx(tail.mean(), rel=1e-8)
        better.append(value(many[:, sites]) @ found - value(many).mean())
        plain.append(value(many[:, ::16]).mean() - value(many).mean())
    assert np.std(better) < 0.2 * np.std(plain)
    assert abs(np.mean(better)) < 4 * np.std(better) / np.sqrt(24) + 1e-4
    few = many[:, :100]
    np.testing.assert_array_equal(calibrated_weights(few, np.full(100, 0.01), many, []), 0.01)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.equation(15)
def test_minimal_rnn_against_matrices(weights):
    """Tied T = 4, N = 400 x 4: the right law fits, a sample of a slower network does not."""
    ens = MINIMAL.replace(weights=weights)
    spec = rt.spectrum(ens, 4, "dyson", population=2048, coarse=256)
    sample = rt.sample(ens, T=4, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, sample) < 0.03
    wrong = rt.sample(ens.replace(mu_b=0.5), T=4, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, wrong) > 0.06


@pytest.mark.equation(18)
def test_one_step_of_kept_weights_starts_from_the_state_that_they_made():
    """A leaky RNN, T = 1: matrices reject the law of redrawn weights, whose state has another law."""
    h, e = sympy.symbols("h e")
    update = sympy.Rational(3, 4) * h + sympy.tanh(e) / 4
    cell = rt.Cell("leaky", state=h, input=sympy.Symbol("x"), gates=[rt.Gate("e", e, h)], update=[update])
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.5, tied=True)
    mc = rt.sample(ens, T=1, N=300, trials=8, seed=7, burn_in=200)
    kept = rt.spectrum(ens, 1, "dyson", population=512, coarse=128, medium=256, field_population=1024)
    redrawn = rt.spectrum(ens.replace(tied=False), 1, "dyson", population=4096)
    # Tied one-step moments are not those of the recursion for fresh weights.
    assert kept.moment(1) == pytest.approx(mc.moment(1).value, abs=4 * mc.moment(1).error)
    assert redrawn.moment(1) - mc.moment(1).value > 4 * mc.moment(1).error
    assert distance(kept.log_s, mc.log_s) < 0.02
    assert distance(redrawn.log_s, mc.log_s) > 0.035


def test_a_point_of_another_branch_is_left_out():
    """F rises with u; one point that falls out of the order is not used, whatever its residual says."""
    upper = np.array([1.0, 0.8, 0.69, 0.475, 0.474, 0.2, 0.2004, 0.0])
    np.testing.assert_array_equal(longest_monotone_run(upper, 1e-3), np.arange(8))
    upper[2] = 0.3
    np.testing.assert_array_equal(longest_monotone_run(upper, 1e-3), [0, 1, 3, 4, 5, 6, 7])
    assert longest_monotone_run(np.zeros(0), 1e-3).size == 0


def test_sites_scaled_like_others_have_the_same_law():
    """F and m at given strengths are those of the sites in the scale of the strengths."""
    rng = np.random.default_rng(5)
    stages = random_stages(2, 20, (False, True), rng)
    few = tied_sites([replace(s, a=s.a[..., :7], b=s.b[..., :7], c=s.c[..., :7]) for s in stages], 2)
    own, like = tied_sites(stages, 2), tied_sites(stages, 2, like=few)
    assert abs(own.log_mean - few.log_mean) > 0.01  # the scales differ
    point = 1.5 + 0.5j
    P, Q = start(few, point)
    some = site_log_det(few, P, Q, point)[0]
    np.testing.assert_allclose(site_log_det(like, P, Q, point)[0][:7], some, rtol=1e-12)
    assert not np.allclose(site_log_det(own, P, Q, point)[0][:7], some, rtol=1e-3)


def test_a_state_is_forgotten_as_fast_as_its_gates_say():
    """A leaky cell keeps 3/4 of its state at every step: less than 1e-3 is left after 25."""
    h, e = sympy.symbols("h e")
    update = sympy.Rational(3, 4) * h + sympy.tanh(e) / 4
    cell = rt.Cell("leaky", state=h, input=sympy.Symbol("x"), gates=[rt.Gate("e", e, h)], update=[update])
    field = two_time(rt.Ensemble(cell, sigma_w=0.5, sigma_v=0.5, tied=True), 2, population=256)
    assert field.memory == 25
    assert field.covariance.shape == (1, 27, 27)
    factor = field.factor[0]
    np.testing.assert_allclose(factor @ factor.T, field.covariance[0], atol=1e-12)


def test_a_start_that_is_remembered_gives_way_to_a_small_one(monkeypatch):
    """Untied, the state is a quarter larger: 30 steps do not forget that; from a small one 150 are enough."""
    ens = rt.Ensemble("minimal", sigma_w=5.0, sigma_v=1.0, mu_b=4.0, R=0.5, tied=True)
    usual = two_time(ens, 3, population=2048, burn_in=240)
    monkeypatch.setattr("rmtrnn.meanfield.two_time._BURN_INS", (30,))
    monkeypatch.setattr("rmtrnn.meanfield.two_time._LONG", 150)
    field = two_time(ens, 3, population=2048)
    assert (usual.start, field.start, field.burn_in, field.memory) == (1.0, 0.1, 150, 150)
    np.testing.assert_allclose(field.autocovariance(), usual.autocovariance(), rtol=0.05)


@pytest.mark.equation(18)
def test_two_time_law_is_that_of_a_network():
    """Autocovariance of h and gate moments against the sites of one network, N = 2000."""
    field = two_time(MINIMAL, 6, population=16384)
    assert field.clipped <= 1e-9
    rng = np.random.default_rng(7)
    n = 2000
    W = rng.normal(size=(n, n)) * 2.0 / np.sqrt(n)
    V = rng.normal(size=(n, n)) / np.sqrt(n)
    h, states = np.zeros(n), []
    for _ in range(100):
        x = rng.normal(size=n) * np.sqrt(0.5)
        u = 1 / (1 + np.exp(-(W @ h + V @ x + 1.0)))
        h = u * h + (1 - u) * x
        states.append(h)
    states = np.array(states[40:])
    lags = np.array([np.mean(states[lag:] * states[: len(states) - lag]) for lag in range(6)])
    np.testing.assert_allclose(field.autocovariance(), lags, atol=0.006)
    assert lags[3] > 0.03  # there is something to compare
