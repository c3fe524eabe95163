"""Empirical settings of the mean field, moved by three: results move by less than their errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield import population, site_law, transfer_operator
from rmtrnn.meanfield.transfer_operator import QUICK, SETTINGS

LSTM = rt.Ensemble("lstm", sigma_w=1.5, sigma_v=0.5, sigma_b=0.2)


@pytest.fixture(scope="module")
def usual():
    return solved(population.DEFAULT)


def solved(runs):
    found = population.solve(LSTM, np.ones(2), None, 256, 0, runs)
    assert found is not None
    return found


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", ["replicates", "averaged", "shortest"])
def test_runs_of_populations(usual, name, factor):
    value = max(round(getattr(population.DEFAULT, name) * factor), 3)
    found = solved(replace(population.DEFAULT, **{name: value}))
    for quantity in ("Q", "q", "chi", "chi_star"):
        one, other = getattr(usual, quantity), getattr(found, quantity)
        assert np.all(np.abs(one.value - other.value) <= 1.5 * (one.error + other.error)), quantity
    assert found.status == usual.status


@pytest.mark.parametrize("factor", [1 / 4, 4])
def test_size_of_trajectories(factor):
    """Populations are powers of two."""
    runs = replace(population.DEFAULT, trajectory=int(4 * factor))
    start = (3, 256, 0, np.ones(2), np.zeros(2), None)
    usual, moved = population.trajectory(LSTM, *start), population.trajectory(LSTM, *start, runs)
    assert np.all(np.abs(usual[0] - moved[0]) <= 1.5 * (usual[3] + moved[3]))


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_a_drifting_population_is_said_to_drift(factor):
    """How long it may run, and how long its replicates run, changes no status."""
    runs = replace(population.DEFAULT, shortest=8, longest=round(24 * factor), averaged=16, replicates=3)
    slow = rt.Ensemble("lstm", mu_b={"f": 9.0, "i": 0.0, "o": 0.0, "g": 0.0}, sigma_w=0.5)
    for unstationary in (8, 72):
        found = population.solve(slow, np.ones(2), None, 64, 0, replace(runs, unstationary=unstationary))
        assert found is not None
        assert found.status.name == "MAX_ITERATIONS"


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", ["first_reach", "narrow", "resized", "grids", "at_rest", "tol"])
def test_transfer_operator(name, factor):
    value = getattr(SETTINGS, name) * factor
    settings = replace(SETTINGS, **{name: round(value) if name == "grids" else value})
    usual = transfer_operator.growth(LSTM, QUICK)
    moved = transfer_operator.growth(LSTM, QUICK, settings=settings)
    assert usual is not None and moved is not None
    assert moved.chi == pytest.approx(usual.chi, rel=1e-6)


@pytest.mark.parametrize("factor", [0.75, 1.5])
def test_reach_of_the_grid(factor):
    """Six deviations cut off 1e-9 of a Gaussian; three times eight would leave 8 of 48 nodes where y is."""
    usual = transfer_operator.growth(LSTM)
    moved = transfer_operator.growth(LSTM, settings=replace(SETTINGS, reach=factor * SETTINGS.reach))
    assert usual is not None and moved is not None
    assert moved.chi == pytest.approx(usual.chi, rel=1e-4)


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", ["forgotten", "shortest", "longest"])
def test_burn_in_of_site_populations(monkeypatch, name, factor):
    """Second and fourth moments of the stationary state, next to the scatter of four populations."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)

    def moments():
        found = [site_law.site_population(ens, 1024, seed).state[0] for seed in range(4)]
        rows = np.array([[np.mean(h**2), np.mean(h**4)] for h in found])
        return rows.mean(axis=0), rows.std(axis=0, ddof=1)

    usual, spread = moments()
    value = getattr(site_law.BURN_IN, name) * factor
    value = value if name == "forgotten" else round(value)
    monkeypatch.setattr(site_law, "BURN_IN", replace(site_law.BURN_IN, **{name: value}))
    moved, other = moments()
    assert np.all(np.abs(moved - usual) <= 3 * (spread + other))
