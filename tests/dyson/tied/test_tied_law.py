"""Laws with tied weights: closed forms, plain dense equations (15), sampled networks, mean field (18)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy
from dense_reference import solve as damped_iteration
from random_sites import physical, resolvent
from reference import fuss_catalan
from reference.cells import leaky
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn._core import arrays as _arrays
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.sites.subsampling import calibrated_weights, stratified_subsample
from rmtrnn.dyson.tied import iteration
from rmtrnn.dyson.tied.iteration import solve
from rmtrnn.dyson.tied.large_lambda import large_lambda, site_features
from rmtrnn.dyson.tied.path import LawSettings, PathFollower
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.way_back import on_the_real_axis
from rmtrnn.spectra.site_moments import chain_moments

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)


def constant_chain(steps, orthogonal):
    """a = 0, b = c = 1 at one site: J is a power of one weight matrix."""
    stage = Stage(np.zeros((1, 1, 1)), np.ones((1, 1, 1)), np.ones((1, 1, 1)), (1.0,), (orthogonal,))
    return SiteMatrices.of([stage] * steps, steps)


@pytest.mark.equation(15)
def test_power_of_one_orthogonal_matrix():
    """J = O^3 is orthogonal: m = 1/(lambda - 1)."""
    sites, point = constant_chain(3, True), 2.0 + 0.4j
    found = solve(sites, large_lambda(sites).energy(sites, point), point, 1e-17)
    # The determinant that m comes from is of a Q that is shifted by 1e-8.
    assert resolvent(sites, found.energy, point) == pytest.approx(1 / (np.exp(point) - 1), abs=1e-7)


@pytest.mark.equation(15)
def test_power_of_one_gaussian_matrix(monkeypatch):
    """J = W^3 has the law of three free factors, Fuss-Catalan, λ m = (1 + m)^4; F to the tolerance."""
    monkeypatch.setattr(iteration, "_ITERATION", replace(iteration._ITERATION, warm=80))
    steps, tol = 3, 1e-4
    sites = constant_chain(steps, False)
    follower = PathFollower(sites, large_lambda(sites), LawSettings(tol=tol, solver=1e-18 / tol))
    nodes = [node for node in follower.points() if 0.02 < node.cdf < 0.98]
    assert len(nodes) > 20
    for node in nodes:
        assert np.exp(node.point.log_lambda) * node.m == pytest.approx((1 + node.m) ** (steps + 1), rel=1e-5)
    on_axis, error = on_the_real_axis(nodes)
    u, density = fuss_catalan.points(steps, np.linspace(0.0, 1.0, 200001)[1:-1])
    cdf = 1.0 + np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(u))])
    off = [node.cdf - np.interp(node.u, u[::-1], cdf[::-1]) for node in on_axis]
    assert error < tol and np.abs(off).max() < tol


def random_stages(steps, n, haar, rng):
    """Equal shapes at every step, two states and two weight matrices, everything different at every site."""

    def one():
        a, b, c = (scale * rng.normal(size=(2, 2, n)) for scale in (0.5, 0.6, 0.5))
        return Stage(a, b, c, (0.7, 0.4), haar)

    return [one() for _ in range(steps)]


@pytest.mark.equation(15, "Psi")
@pytest.mark.parametrize("haar", [(False, False), (True, False)])
@pytest.mark.equation(15)
def test_the_plain_iteration_of_the_dense_equations_ends_at_the_same_point(haar):
    """Damped iteration of (15) on dense pencils, without functional or acceleration."""
    stages, point = random_stages(3, 4, haar, np.random.default_rng(7)), 0.8 + 0.9j
    P, Q, m = damped_iteration(stages, 3, point)
    sites = SiteMatrices.of(stages, 3)
    found = solve(sites, large_lambda(sites).energy(sites, point), point, 1e-17)
    dense = np.array([P, Q])
    np.testing.assert_allclose(physical(sites, stages, found.energy), dense, atol=1e-7 * np.abs(dense).max())
    assert resolvent(sites, found.energy, point) == pytest.approx(m, rel=1e-6)


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
    far = large_lambda(SiteMatrices.of(stages, 3))
    log_m1, ratio = far.log_m1, far.ratio
    samples = []
    for _ in range(10):
        s2 = np.linalg.svd(jacobian(stages, (0.7, 0.4), haar, rng), compute_uv=False) ** 2
        samples.append((np.log(s2.mean()), (s2**2).mean() / s2.mean() ** 2))
    mean, error = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1) / np.sqrt(10)
    # A finite N biases linear statistics by O(1/N): 5/N of the value beside four standard errors.
    assert abs(mean[0] - log_m1) < 4 * error[0] + 5 / 200
    assert abs(mean[1] - ratio) < 4 * error[1] + 5 / 200 * ratio
    assert abs(mean[0] - chain_moments(stages)[0]) > 5 * (4 * error[0] + 5 / 200)  # that of untied weights


def test_features_are_those_of_the_equation():
    """Shares of m_1: what leaves and what enters, summed over sites, is tr J J^T = tr J^T J."""
    stages = random_stages(3, 50, (False, True), np.random.default_rng(2))
    sites = SiteMatrices.of(stages, 3)
    own, logs = site_features(stages, sites, large_lambda(sites))
    assert own.mean() == pytest.approx(1.0, rel=1e-12)
    assert np.exp(logs[0]).mean() == pytest.approx(2.0, rel=1e-8)
    assert np.exp(logs[1]).mean() == pytest.approx(2.0, rel=1e-8)


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


def test_an_average_that_all_sites_share_does_not_change_the_weights():
    """Its spread is rounding: divided by it, the tilting had overflowed (a leaky cell, two steps)."""
    rng = np.random.default_rng(4)
    many = rng.standard_normal((1, 4096))
    few, weights = many[:, :256], np.full(256, 1.0 / 256)
    alone = calibrated_weights(few, weights, many, [])
    for constant in (0.1, 3.0, 1e-200):
        own = np.full(256, constant)
        found = calibrated_weights(few, weights, many, [(own, float(own.mean()))])
        np.testing.assert_allclose(found, alone, rtol=1e-9)
    assert np.ptp(alone) > 0.0


def test_a_leaky_cell_that_reads_its_output_has_a_law_over_two_steps():
    h, x, e = sympy.symbols("h x e")
    cell = rt.Cell("leaky", state=h, input=x, gates={e: sympy.tanh(h)}, update={h: 0.75 * h + 0.25 * e})
    ens = rt.Ensemble(cell, sigma_w=1.0, sigma_v=1.0, tied=True)
    law, mc = rt.spectrum(ens, 2, population=512), rt.sample(ens, 2, N=256, trials=4, burn_in=60)
    p = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    s = mc.icdf(p)
    assert law.converged and np.max(np.abs(law.cdf(s) - p)) < 0.02
    assert np.max(np.abs(law.cdf(1.1 * s) - p)) > 0.04


@pytest.mark.parametrize("weights", [pytest.param("gaussian", marks=pytest.mark.sweep), "orthogonal"])
@pytest.mark.equation(15)
def test_minimal_rnn_against_matrices(weights):
    """Tied T = 4, N = 400 x 4: the right law fits, a sample of a slower network does not."""
    ens = MINIMAL.replace(weights=weights)
    spec = rt.spectrum(ens, 4, "dyson", population=2048)
    sample = rt.sample(ens, T=4, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, sample) < 0.03
    wrong = rt.sample(ens.replace(mu_b=0.5), T=4, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, wrong) > 0.06


@pytest.mark.equation(18)
def test_one_step_of_kept_weights_starts_from_the_state_that_they_made():
    """A leaky RNN, T = 1: matrices reject the law of untied weights, whose state has another law."""
    ens = rt.Ensemble(leaky(), sigma_w=1.5, sigma_v=0.5, tied=True)
    mc = rt.sample(ens, T=1, N=300, trials=8, seed=7, burn_in=200)
    kept = rt.spectrum(ens, 1, "dyson", population=1024)
    untied = rt.spectrum(ens.replace(tied=False), 1, "dyson", population=4096)
    # Tied one-step moments are not those of the recursion for fresh weights.
    assert kept.moment(1) == pytest.approx(mc.moment(1).value, abs=4 * mc.moment(1).error)
    assert untied.moment(1) - mc.moment(1).value > 4 * mc.moment(1).error
    assert distance(kept.log_s, mc.log_s) < 0.02
    assert distance(untied.log_s, mc.log_s) > 0.035


@pytest.mark.equation(18)
def test_autocovariance_is_that_of_a_network():
    """Of h, against the units of one network, N = 2000."""
    field = rt.mean_field(MINIMAL)
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
    np.testing.assert_allclose(field.autocovariance()[:6], lags, atol=0.006)
    assert lags[3] > 0.03  # there is something to compare


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.equation(15)
def test_dead_state_has_the_law_of_constant_gates(weights):
    """GRU at h = 0: J = (1/2 + W/4)^2 with one W; the law of one step is not it.

    The error is that of the interpolation, largest at the inverse-square-root edges of orthogonal weights.
    """
    ens = rt.Ensemble("gru", weights=weights, tied=True)
    spec = rt.spectrum(ens, 2)
    rng, n = np.random.default_rng(11), 500
    logs = []
    for _ in range(4):
        W = rng.normal(size=(n, n)) / np.sqrt(n)
        if weights == "orthogonal":
            q, r = np.linalg.qr(W)
            W = q * np.sign(np.diagonal(r))
        step = 0.5 * np.eye(n) + 0.25 * W
        logs.append(np.log(np.linalg.svd(step @ step, compute_uv=False)))
    assert spec.converged and spec.error < 1e-2
    assert distance(spec.log_s, logs) < spec.error + 0.01
    assert distance(spec.log_s, 0.5 * np.array(logs)) > 0.2


@pytest.mark.slow
@pytest.mark.equation(15, 18)
def test_a_network_without_input_noise_has_a_law():
    """The leaky network of the README, T = 8, against quantiles of log s of six networks, N = 1000."""
    ens = rt.Ensemble(leaky(), sigma_w=2.0, sigma_v=0.0, sigma_b=0.3, tied=True)
    spec = rt.spectrum(ens, 8, population=1024)
    sampled = np.array([-5.56, -3.32, -2.226, -1.09, 0.457])
    errors = np.array([0.05, 0.03, 0.006, 0.03, 0.03])
    found = spec.log_s.icdf(np.array([0.05, 0.25, 0.5, 0.75, 0.95]))
    assert spec.converged
    assert (np.abs(found - sampled) < 4 * errors).all()
    assert np.abs(found - sampled - 0.2).min() > 0.1  # a law shifted by a fifth would be noticed


@pytest.mark.parametrize("cell", ["gru", pytest.param("lstm", marks=pytest.mark.sweep)])
def test_one_step_from_the_zero_state_is_that_of_untied_weights(cell):
    """One step uses every matrix once, and the dead state is the same for both."""
    untied = rt.Ensemble(cell)
    laws = [rt.spectrum(ens, 1) for ens in (untied, untied.replace(tied=True))]
    assert laws[0].atoms == laws[1].atoms
    p = np.linspace(0.55, 0.95, 9)
    quantiles = [law.log_s.icdf(p) for law in laws]
    assert np.max(np.abs(laws[0].log_s.cdf(quantiles[1]) - p)) < laws[0].error + laws[1].error
    other = rt.spectrum(rt.Ensemble(cell, sigma_w=1.2), 1)
    assert np.max(np.abs(other.log_s.cdf(quantiles[1]) - p)) > 0.01


@pytest.mark.parametrize(
    ("options", "name"), [({"T": 2000, "Q0": 0.5}, "T"), ({"T": 100, "population": 2**22}, "population")]
)
def test_what_would_not_fit_is_refused_at_the_door(options, name):
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, R=0.5, tied=True)
    with pytest.raises(ValueError, match=f"{name} = .*GiB of memory"):
        rt.spectrum(ens, **options)


@pytest.mark.sweep
def test_gates_that_read_nothing_cost_no_memory(monkeypatch):
    """minGRU keeps no product of matrices, so that nothing grows with (K T)^2: 0.3 GB if they counted."""
    monkeypatch.setattr(_arrays, "memory_available", lambda device: 1e8)
    ens = rt.Ensemble("mingru", sigma_w=1.0, sigma_v=1.0, tied=True)
    assert rt.spectrum(ens, 100, population=512).log_s.icdf(0.5) < 0.0
    with pytest.raises(ValueError, match="GiB of memory"):
        rt.spectrum(rt.Ensemble("gru", sigma_w=1.0, sigma_v=1.0, tied=True), 100, population=512, Q0=0.5)


def test_one_step_has_the_first_moment_of_its_sites():
    """A law of which one panel with a third of the mass was once taken for exact, and m_1 was off by 3 %."""
    spec = rt.spectrum(MINIMAL, 1)
    assert spec.converged and spec.error < 2e-3
    assert spec.density_moment(1) == pytest.approx(spec.moment(1), rel=2e-3)
