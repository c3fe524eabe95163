"""The tools that check phase boundaries by networks: growth of a perturbation, and χ of a population."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.network import Network
from validation.beyond.memory import cases as memory
from validation.beyond.phase.networks import log_growth

ENSEMBLES = {
    "vanilla": rt.Ensemble("vanilla", 1.2, 0.3, sigma_b=0.1, Sigma=1.0),
    "minimal": rt.Ensemble("minimal", 6.88, 1.39, mu_b=3.5, R=0.46),
    "gru": rt.Ensemble("gru", 3.0, 0.5),
}


@pytest.mark.parametrize("name", list(ENSEMBLES))
def test_perturbations_grow_as_chi_says(name):
    ens = ENSEMBLES[name]
    rates = log_growth(ens, 1000, 60, 6, (3, 0))
    error = rates.std(ddof=1) / math.sqrt(rates.size)
    expected = math.log(rt.mean_field(ens).chi)
    # Student's t with 5 degrees of freedom: 6 has probability 2e-3; finite N adds some 2/N per step.
    assert abs(rates.mean() - expected) < 6 * error + 0.005
    wrong = math.log(rt.mean_field(ens.replace(sigma_w=1.3 * ens.gate(ens.cell.gates[0]).sigma_w)).chi)
    assert abs(rates.mean() - wrong) > 6 * error + 0.005


def test_drawing_fields_has_the_law_of_drawing_matrices():
    """Beside products with explicit matrices, of the library's own networks."""
    ens = ENSEMBLES["minimal"]
    explicit = []
    for trial in range(6):
        network = Network(ens, 200, 4, trial, np, "float64")
        network.run(60)
        delta, total = np.random.default_rng(trial).standard_normal((200, 1)), 0.0
        for step in range(60):
            delta = network.step()(delta)
            size = float(np.sum(delta**2))
            delta = delta / math.sqrt(size)
            total += math.log(size) if step >= 20 else 0.0  # the direction of δ has a transient
        explicit.append(total / 40)
    drawn = log_growth(ens, 200, 40, 12, (5, 0))
    error = math.hypot(np.std(explicit, ddof=1) / math.sqrt(6), drawn.std(ddof=1) / math.sqrt(12))
    assert abs(np.mean(explicit) - drawn.mean()) < 5 * error


def test_critical_points_of_the_zero_state():
    for row in memory.critical_rows():
        assert row["untied error"] < 0.01, row
        assert abs(row["simulated untied"] - 1.0) < 4.0 * row["untied error"], row
        # Largest eigenvalue of a finite matrix: above its limit by O(N^(-1/2)).
        assert abs(row["simulated tied"] - 1.0) < 0.2, row


def test_gain_of_the_zero_state_with_biases_in_the_gates():
    """σ_w = 2 without biases (Can et al. 2020); with them less, and the largest eigenvalue is 1 there."""
    rows = memory.gain_rows(n=200, draws=2)
    assert [row["gain"] for row in rows if row["spread"] == 0.0] == pytest.approx([2.0, 2.0], rel=1e-12)
    for row in rows:
        assert abs(row["largest"] - 1.0) < 0.1, row  # above its limit by O(N^(-1/2))
    for cell in ("gru", "lstm"):
        gains = [row["gain"] for row in rows if row["cell"] == cell]
        assert gains == sorted(gains, reverse=True) and gains[-1] < 0.95 * gains[0]


def test_min_gru_is_never_critical():
    for row in memory.min_gru_rows():
        assert row["chi"] == pytest.approx(row["E[(1 - z)^2]"], rel=1e-8)
        assert row["chi"] < 1.0
