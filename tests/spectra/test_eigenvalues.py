"""Spectral curves: discs, the published GRU and LSTM conditions, zero fixed points, sampled eigenvalues."""

import itertools

import numpy as np
import pytest
from reference.cells import leaky
from reference.chains import matrix, stages_of

import rmtrnn as rt
from rmtrnn.cells import GRU, LSTM, MinimalRNN
from rmtrnn.dyson.pencil import Stage
from rmtrnn.meanfield.one_step import OneStep
from rmtrnn.sampling.network import Network
from rmtrnn.spectra import spectral_radius
from rmtrnn.spectra.eigenvalues import boundary


def expit(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.equation(16)
def test_constant_gates_fill_a_disc():
    """α + βW has its eigenvalues in the disc |z − α| ≤ σβ."""
    one = np.ones((1, 1, 8))
    step = OneStep([Stage(0.4 * one, 1.3 * one, one, (1.44,), (False,))])
    curve = boundary(step, points=64)
    np.testing.assert_allclose(np.abs(curve - 0.4), 1.3 * 1.2, rtol=1e-12)


@pytest.mark.equation(16)
def test_one_gate_is_equation_16():
    rng = np.random.default_rng(1)
    a, b, c = rng.uniform(0, 1, 500), rng.standard_normal(500), rng.uniform(1, 2, 500)
    step = OneStep([Stage(a[None, None], b[None, None], c[None, None], (2.0,), (False,))])
    z = np.array([1.5 + 0.3j, -0.2 + 0.1j, 0.5 + 0.7j])
    truth = [2.0 * np.mean(b**2 * c**2 / np.abs(point - a) ** 2) for point in z]
    np.testing.assert_allclose(step.gain(z), truth, rtol=1e-12)


def product_sites(size, count, rng):
    """Independent coordinates: every combination of ``size`` values of each of ``count`` variables."""
    values = 1.2 * rng.standard_normal((count, size))
    return np.array(list(itertools.product(*values))).T


@pytest.mark.equation(16)
def test_gru_curve_of_can_krishnamurthy_schwab():
    """1 = ρ² E[(1−u)²/|z−u|²] + σ_u² E[u'²(h−φ)²/|z−u|²], ρ² = σ_c² C_φ' (C_r + σ_r² C_r' C_h)."""
    h, e_r, e_u, e_c = product_sites(6, 4, np.random.default_rng(2))
    sigma = {"r": 1.1, "u": 1.7, "c": 2.3}
    stages, _ = stages_of(GRU(), h[None], np.zeros_like(h), {"r": e_r, "u": e_u, "c": e_c}, sigma)
    step = OneStep(stages)
    r, u, phi = expit(e_r), expit(e_u), np.tanh(e_c)
    slope = {"r": r * (1 - r), "u": u * (1 - u), "c": 1 - phi**2}
    rho2 = sigma["c"] ** 2 * np.mean(slope["c"] ** 2)
    rho2 *= np.mean(r**2) + sigma["r"] ** 2 * np.mean(slope["r"] ** 2) * np.mean(h**2)

    def condition(z):
        near = 1 / np.abs(z - u) ** 2
        first = rho2 * np.mean((1 - u) ** 2 * near)
        return first + sigma["u"] ** 2 * np.mean(slope["u"] ** 2 * (h - phi) ** 2 * near)

    curve = boundary(step, points=32)
    on_curve = [condition(z) for z in curve if abs(z.imag) > 0]
    np.testing.assert_allclose(on_curve, 1, rtol=1e-8)
    assert len(on_curve) >= 50


@pytest.mark.equation(16)
def test_lstm_curve_of_can_krishnamurthy_schwab():
    """1 = E[q]/|z|² + E[p/|z−f|²], q = σ_o²o'²φ(c')²,
    p = o²φ'(c')²(σ_f²c²f'² + σ_i²i'²φ(y)² + σ_g²i²φ'(y)²)."""
    rng = np.random.default_rng(3)
    c, h, e_f, e_i, e_o, e_g = 1.3 * rng.standard_normal((6, 700))
    sigma = {"f": 1.1, "i": 1.7, "o": 2.3, "g": 1.9}
    cell = LSTM()
    state = np.stack([{"c": c, "h": h}[str(symbol)] for symbol in cell.state])
    stages, after = stages_of(cell, state, np.zeros_like(c), {"f": e_f, "i": e_i, "o": e_o, "g": e_g}, sigma)
    f, i, o, y = expit(e_f), expit(e_i), expit(e_o), np.tanh(e_g)
    phi = np.tanh(f * c + i * y)
    np.testing.assert_allclose(after[[str(s) for s in cell.state].index("h")], o * phi, rtol=1e-12)
    q = sigma["o"] ** 2 * (o * (1 - o) * phi) ** 2
    inner = sigma["f"] ** 2 * (c * f * (1 - f)) ** 2 + sigma["i"] ** 2 * (i * (1 - i) * y) ** 2
    p = (o * (1 - phi**2)) ** 2 * (inner + sigma["g"] ** 2 * (i * (1 - y**2)) ** 2)
    z = np.array([1.4 + 0.2j, 0.1 + 0.9j, -0.7 + 0.4j, -0.5, 2.0])
    truth = [np.mean(q) / abs(point) ** 2 + np.mean(p / np.abs(point - f) ** 2) for point in z]
    np.testing.assert_allclose(OneStep(stages).gain(z), truth, rtol=1e-9)


@pytest.mark.parametrize("sigma_c", [0.5, 2.0])
@pytest.mark.equation(16)
def test_zero_fixed_points(sigma_c):
    """Spectral radius u + (1−u) r σ_c (GRU) and f + o i σ_g (LSTM) where the state is zero."""
    zero, ones = np.zeros(4), np.ones(4)
    sigma = {"r": 1.0, "u": 1.0, "c": sigma_c}
    stages, _ = stages_of(GRU(), zero[None], zero, {"r": 0.3 * ones, "u": -0.5 * ones, "c": zero}, sigma)
    u, r = expit(-0.5), expit(0.3)
    radius = np.max(np.abs(boundary(OneStep(stages), points=32)))
    assert radius == pytest.approx(u + (1 - u) * r * sigma_c, rel=1e-9)
    sigma = {"f": 1.0, "i": 1.0, "o": 1.0, "g": sigma_c}
    pre = {"f": 0.4 * ones, "i": -0.2 * ones, "o": 0.6 * ones, "g": zero}
    stages, _ = stages_of(LSTM(), np.zeros((2, 4)), zero, pre, sigma)
    radius = np.max(np.abs(boundary(OneStep(stages), points=32)))
    assert radius == pytest.approx(expit(0.4) + expit(0.6) * expit(-0.2) * sigma_c, rel=1e-9)


GRU_BIAS, LSTM_BIAS = {"r": 0.3, "u": -0.5, "c": 0.0}, {"f": 0.4, "i": -0.2, "o": 0.6, "g": 0.0}
GRU_CRITICAL = 1 / expit(0.3)
LSTM_CRITICAL = (1 - expit(0.4)) / (expit(0.6) * expit(-0.2))


def silent(cell, gain, tied):
    """Without inputs, and biases of the gates only: the zero state is a fixed point."""
    biases, wide = (GRU_BIAS, "c") if cell == "gru" else (LSTM_BIAS, "g")
    sigma = dict.fromkeys(biases, 1.0) | {wide: gain}
    return rt.Ensemble(cell, sigma_w=sigma, sigma_v=0.0, mu_b=biases, sigma_b=0.0, tied=tied)


@pytest.mark.parametrize(
    ("cell", "critical", "tied"),
    [("gru", GRU_CRITICAL, False), ("gru", GRU_CRITICAL, True), ("lstm", LSTM_CRITICAL, True)],
)
def test_zero_states_of_ensembles_are_stable_below_the_published_gain(cell, critical, tied):
    """GRU: σ(b_u) + (1 − σ(b_u)) σ(b_r) σ_c < 1; LSTM: σ(b_f) + σ(b_o) σ(b_i) σ_g < 1 (Can et al. 2020).

    The radius is their left side, and a small state of a network shrinks or grows on the two sides of it.
    """
    direct = expit(-0.5) if cell == "gru" else expit(0.4)
    for factor in (0.5, 0.9) if cell == "gru" else (0.7,):  # an LSTM's mean field takes seconds
        radius = spectral_radius(silent(cell, factor * critical, tied), sites=2**9)
        assert radius == pytest.approx(direct + factor * (1 - direct), rel=1e-6)
    if tied:
        for factor in (0.8, 1.2):
            network = Network(silent(cell, factor * critical, True), 300, 5, 0, np, "float64")
            network.state = 1e-6 * network.state
            network.run(100)
            before = np.linalg.norm(network.state)
            network.run(100)
            assert (np.linalg.norm(network.state) > before) == (factor > 1)


@pytest.mark.equation(16, 18)
def test_kept_weights_have_a_curve_of_their_own():
    """A leaky RNN: the largest eigenvalues are those of the state that the same weights made."""
    ens = rt.Ensemble(leaky(), sigma_w=1.5, sigma_v=0.5, tied=True)
    tied, untied = (spectral_radius(own, sites=2**11) for own in (ens, ens.replace(tied=False)))
    n, found = 400, []
    for trial in range(4):
        network = Network(ens, n, 6, trial, np, "float64")
        network.run(200)
        found.append(np.max(np.abs(np.linalg.eigvals(network.step()(np.eye(n))))))
    # The largest of n eigenvalues scatters by about (radius of the bulk, 0.27)/(2 sqrt(n)) for one network.
    assert np.mean(found) == pytest.approx(tied, abs=0.02)
    assert untied - np.mean(found) > 0.02


def test_too_few_sites_are_refused():
    with pytest.raises(ValueError, match="sites = 32"):
        spectral_radius(silent("gru", 1.0, True), sites=32)
    with pytest.raises(ValueError, match="sites = 100"):
        spectral_radius(silent("gru", 1.0, False), sites=100)


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("cell", [MinimalRNN(), GRU(), LSTM()], ids=lambda cell: cell.name)
@pytest.mark.equation(16)
def test_sampled_eigenvalues_fill_the_region(cell, orthogonal):
    """Eigenvalues of a large matrix lie inside the curve and reach it; not so for weights 15 % too small."""
    n, rng = 500, np.random.default_rng(4)
    state = 0.7 * rng.standard_normal((len(cell.state), n))
    pre = {name: 1.2 * rng.standard_normal(n) for name in cell.gates}
    x = 0.7 * rng.standard_normal(n)
    stages, _ = stages_of(cell, state, x, pre, dict.fromkeys(cell.gates, 2.5), orthogonal)
    values = np.linalg.eigvals(matrix(stages, rng))
    off_axis = values[np.abs(values.imag) > 0.03]
    assert len(off_axis) > n / 4
    assert np.mean(OneStep(stages).gain(off_axis) < 1) < 0.02
    small, _ = stages_of(cell, state, x, pre, dict.fromkeys(cell.gates, 2.5 * 0.85))
    assert np.mean(OneStep(small).gain(off_axis) < 1) > 3 * 0.02
    curve = boundary(OneStep(stages), points=48)
    gaps = [np.min(np.abs(values - point)) for point in curve if abs(point.imag) > 0.03]
    assert np.max(gaps) < 0.2 * np.max(np.abs(curve))
