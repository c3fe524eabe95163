"""Sites with tied weights: the state h = 0, the forward process, and trajectories for the Dyson equation."""

import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.meanfield.forward_process import grow_factor, march
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes
from rmtrnn.meanfield.tied_sites import tied_trajectories
from rmtrnn.meanfield.zero_state import zero_state_growth

h, x, e = sympy.symbols("h x e")


def leaky(delta):
    """h' = (1 − δ) h + δ tanh(e), e = W h."""
    return rt.Cell(
        "leaky", state=h, input=x, gates={e: h}, update={h: (1 - delta) * h + delta * sympy.tanh(e)}
    )


def logistic(value):
    return 1.0 / (1.0 + np.exp(-value))


def test_growth_at_zero_of_a_leaky_cell_is_the_edge_of_a_disc():
    """The eigenvalues of (1 − δ) + δ W fill a disc of radius δ σ_w; χ is the square of the largest."""
    for delta, sigma_w in ((0.1, 0.5), (0.25, 1.0), (0.25, 2.0)):
        chi = zero_state_growth(rt.Ensemble(leaky(delta), sigma_w=sigma_w, tied=True))
        assert chi == pytest.approx((1.0 - delta + delta * sigma_w) ** 2, rel=1e-9)


@pytest.mark.parametrize(("r", "u", "gain"), [(0.0, 0.0, 2.0), (-0.3, 0.7, 1.3), (1.0, -1.0, 3.0)])
def test_growth_at_zero_of_a_gru(r, u, gain):
    """Stable iff σ(b_z) + (1 − σ(b_z)) σ(b_r) a_h < 1 (Can, Krishnamurthy, Schwab 2020)."""
    ens = rt.Ensemble("gru", sigma_w=gain, mu_b={"r": r, "u": u, "c": 0.0}, tied=True)
    expected = logistic(u) + (1.0 - logistic(u)) * logistic(r) * gain
    assert zero_state_growth(ens) == pytest.approx(expected**2, rel=1e-9)


@pytest.mark.parametrize(("f", "i", "o"), [(0.0, 0.0, 0.0), (0.5, -0.4, 0.2)])
def test_lstm_is_critical_at_zero_where_it_should_be(f, i, o):
    """Stable iff σ(b_f) + σ(b_o) σ(b_i) a_h < 1 (Can, Krishnamurthy, Schwab 2020)."""
    gain = (1.0 - logistic(f)) / (logistic(o) * logistic(i))
    ens = rt.Ensemble("lstm", sigma_w=gain, mu_b={"f": f, "i": i, "o": o, "g": 0.0}, tied=True)
    assert zero_state_growth(ens) == pytest.approx(1.0, rel=1e-9)
    above = zero_state_growth(ens.replace(sigma_w=1.1 * gain))
    assert above is not None and above > 1.01


def test_no_zero_state_with_bias_or_input():
    assert zero_state_growth(rt.Ensemble(leaky(0.25), sigma_b=0.3, tied=True)) is None
    assert zero_state_growth(rt.Ensemble("gru", sigma_v=0.5, tied=True)) is None


def test_factor_of_a_covariance_that_is_singular_to_rounding():
    """C(τ) = e^{−(τ/20)²}: the smallest eigenvalue of 60 × 60 is zero to rounding, Cholesky fails."""
    lag = np.subtract.outer(np.arange(60.0), np.arange(60.0))
    covariance = np.exp(-((lag / 20.0) ** 2))
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(covariance)
    factor = np.zeros_like(covariance)
    for t in range(60):
        grow_factor(factor, covariance[t, : t + 1].copy())
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=2e-2)


def test_nodes_keep_the_variance_and_carry_a_plateau():
    nodes = FrequencyNodes.build(512, 1 / 12)
    lag = np.minimum(np.arange(512), 512 - np.arange(512))
    spectrum = np.fft.rfft(0.7 * np.exp(-lag / 6.0) + 0.3).real
    values = nodes.project(spectrum)
    assert nodes.variance(values) == pytest.approx(1.0, rel=1e-12)
    longer = FrequencyNodes.build(1024, 1 / 12)
    carried = longer.covariance(nodes.carried(values, longer))
    np.testing.assert_allclose(carried[[0, 3, 12, 512]], [1.0, 0.7246, 0.3947, 0.3], atol=0.02)


def test_forward_process_of_a_vanilla_cell_is_the_untied_recursion():
    ens = rt.Ensemble("vanilla", sigma_w=1.5, sigma_v=0.4, sigma_b=0.3, tied=True)
    exact = rt.mean_field(ens.replace(tied=False), steps=20, Q0=1.0)
    forward = march(ens, 20, 8192, 0, np.ones(1))
    np.testing.assert_allclose(forward.second[0], exact.Q_t, rtol=0.03)


@pytest.mark.parametrize(
    "ens",
    [
        rt.Ensemble(leaky(0.25), sigma_w=2.0, sigma_b=0.3, tied=True),
        rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.0, mu_b=1.0, tied=True),
    ],
    ids=["leaky, no input noise", "minimal"],
)
def test_trajectories_are_stationary_and_linearise_every_stage(ens):
    stages = tied_trajectories(ens, 6, 1024, sites=1024)
    assert len(stages) == 6
    a, b, c, sigma2, orthogonal = stages[0]
    assert a.shape == b.shape == c.shape == (1, 1, 1024)
    assert sigma2 == (ens.gate("e").sigma_w ** 2,) and orthogonal == (False,)
    means = np.array([np.mean(stage[1] ** 2) for stage in stages])
    groups = np.array([np.mean((stages[0][1] ** 2).reshape(GROUPS, -1), axis=1)])
    assert np.ptp(means) < 4.0 * groups.std(ddof=1) / np.sqrt(GROUPS) + 0.02 * means.mean()


def test_trajectories_in_the_dead_state_are_constant():
    stages = tied_trajectories(rt.Ensemble("gru", tied=True), 2, 256)
    assert len(stages) == 4
    assert np.all(stages[1][0] == np.array([0.5, 0.0, 0.0])[None, :, None])
    assert np.all(stages[1][1] == 0.5)


def test_number_of_sites_is_checked():
    with pytest.raises(ValueError, match="n = 100"):
        tied_trajectories(rt.Ensemble("gru", tied=True), 2, 100)


@pytest.mark.equation(19)
def test_two_replicas_with_inputs_that_become_equal():
    """Inputs independent for 10 steps and equal then, as in Fig. 1 of the paper, tied panel: 4 networks."""
    N, steps, apart = 600, 40, 10
    ens = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=3.5, R=0.46, Sigma=1.0, tied=True)
    found = march(ens, steps, 4096, 0, np.array([0.2]), np.zeros(1), apart)
    rows = []
    for seed in range(4):
        rng = np.random.default_rng([3, seed])
        W, V = (scale * rng.standard_normal((N, N)) / np.sqrt(N) for scale in (6.88, 1.39))
        h = np.sqrt(0.2) * rng.standard_normal((2, N))
        for t in range(steps):
            x = np.sqrt(0.46) * rng.standard_normal((2, N))
            x[1] = x[0] if t >= apart else x[1]
            e = h @ W.T + x @ V.T
            h = logistic(e + 3.5) * h + logistic(-e - 3.5) * x
            rows.append([np.mean(e**2), np.mean(e[0] * e[1]) / np.mean(e**2)])
    rows = np.array(rows).reshape(4, steps, 2)
    error = rows.std(axis=0, ddof=1) / 2.0 + 0.01 * rows.mean(axis=0)
    theory = np.array([found.gate_variance()[0], found.gate_correlation()[0]]).T
    away = (rows.mean(axis=0) - theory) / error
    assert np.sqrt(np.mean(away**2)) < 2.0
    always = march(ens, steps, 4096, 0, np.array([0.2]), np.zeros(1))
    assert always.gate_correlation()[0, apart - 1] > found.gate_correlation()[0, apart - 1] + 0.1
