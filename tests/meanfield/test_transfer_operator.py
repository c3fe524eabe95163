"""χ by the transfer operator: cells whose χ is known exactly, the LSTM against populations and at rest."""

import numpy as np
import pytest
import sympy
from reference.cells import leaky

import rmtrnn as rt
from rmtrnn.meanfield import transfer_operator
from rmtrnn.meanfield.growth import growth_rates, is_smooth, single_replica_mean_field
from rmtrnn.meanfield.transfer_operator import Resolution

AFFINE = [
    rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=2.0, R=0.46),
    rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=5.5, R=0.46),
    rt.Ensemble(leaky(), sigma_w=2.2, sigma_v=0.4, mu_b=0.3),
    rt.Ensemble("vanilla", sigma_w=1.4, sigma_v=0.4, mu_b=0.3),  # a site remembers nothing
]


@pytest.mark.parametrize("ens", AFFINE, ids=lambda ens: f"{ens.cell.name} {ens.mu_b}")
@pytest.mark.equation(2, 5)
def test_cells_that_are_solved_by_moments(ens):
    """The operator knows nothing of moments; its points err by up to some 1e-3, and their spread says so."""
    assert transfer_operator.applies(ens)
    exact = rt.mean_field(ens)
    values = [transfer_operator.growth(ens, seed=seed) for seed in range(4)]
    chi = np.array([one.chi for one in values])
    error = 5 * chi.std(ddof=1) + 1e-6
    assert abs(chi.mean() - exact.chi) < error < 0.02
    wrong = rt.mean_field(ens.replace(sigma_w=1.05 * ens.sigma_w)).chi
    assert abs(chi.mean() - wrong) > error
    # Near χ = 1 the state multiplies the error of the points by some 1/(1 − χ).
    assert values[0].second[0] == pytest.approx(exact.Q, rel=2e-3 / abs(1 - exact.chi))


@pytest.mark.parametrize("peephole", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_lstm_against_populations(peephole):
    ens = rt.Ensemble(
        rt.LSTM(peephole=peephole), 1.5 if peephole else 3.0, 0.5, {"f": 1.0, "i": 0.0, "o": 0.5, "g": 0.0}
    )
    populations = rt.mean_field(ens, sites=512)
    field = single_replica_mean_field(ens)
    assert field.chi == pytest.approx(populations.chi, rel=3e-3)
    for name, value in populations.Q.items():
        assert abs(field.Q[name] - value) < populations.error + field.error < 0.05 * populations.Q["c"]
    assert abs(field.chi - populations.chi * 1.03) > 3e-3 * field.chi


def test_grid_of_nodes_does_not_matter():
    ens = rt.Ensemble("lstm", 3.0, 0.5, {"f": 2.0, "i": 0.0, "o": 0.0, "g": 0.0})
    one, other = (transfer_operator.growth(ens, Resolution(nodes, 512)).chi for nodes in (48, 96))
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.equation(5)
def test_lstm_at_rest():
    """No drive: c' = c/2 + W h/2 and h' = c'/2 at the state 0, so χ = 1/4 + σ_w²/16."""
    for sigma_w in (0.5, 2.0, 3.4):
        chi, second = growth_rates([rt.Ensemble("lstm", sigma_w=sigma_w)])
        assert chi[0] == pytest.approx(0.25 + sigma_w**2 / 16, rel=1e-10) and np.all(second < 1e-20)


@pytest.mark.sweep
def test_critical_lstm_is_found_in_seconds():
    driven = rt.critical("lstm", T=200, sigma_v=0.5, mu_b={"f": 2.0, "i": 0.0, "o": 0.0, "g": 0.0})
    assert abs(driven.chi - 1.0) < 1e-8 and 0.0 < driven.chi_error < 1e-3
    other = transfer_operator.growth(driven.ensemble, Resolution(96, 4096), seed=9)
    assert abs(other.chi - 1.0) < driven.chi_error


def test_where_it_does_not_apply():
    two_stages = rt.Ensemble("gru")
    assert not transfer_operator.applies(two_stages) and is_smooth(two_stages)  # by moments
    h, k, x, e = sympy.symbols("h k x e", real=True)
    cell = rt.Cell(
        "two", state=(h, k), input=x, gates=[rt.Gate("e", e, h)],
        update={h: sympy.tanh(e + h * k), k: sympy.tanh(h + k)},
    )  # fmt: skip
    assert not transfer_operator.applies(rt.Ensemble(cell)) and not is_smooth(rt.Ensemble(cell))


def test_no_stationary_state():
    """h' = 2 h + e grows without bound."""
    h, x, e = sympy.symbols("h x e", real=True)
    cell = rt.Cell("runaway", state=h, input=x, gates=[rt.Gate("e", e, h)], update=[2 * h + sympy.sin(h) + e])
    assert transfer_operator.growth(rt.Ensemble(cell, sigma_w=1.0, sigma_v=0.5)) is None
