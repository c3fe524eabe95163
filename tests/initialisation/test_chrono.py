"""Chrono GRU and LSTM at T = 200 (`validation.beyond.tied.chrono`), and what chrono biases are worth."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from rmtrnn.initialisation.closed_form import chrono_bias
from validation.beyond.tied import chrono

RESULTS = Path(chrono.__file__).with_name("results") / "chrono"


@pytest.mark.sweep
@pytest.mark.parametrize("cell", chrono.CASES)
def test_growth_over_200_steps_is_that_of_tied_networks(cell):
    row = chrono.row(chrono.CASES[cell])
    assert chrono.scores(row).max() <= 1.0
    assert chrono.scores(row, "untied")[chrono.LAGS.index(200)] > 3.0, "untied weights must fail"


def test_committed_results_hold():
    rows = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in chrono.CASES}
    assert all(row["N"] == 512 and len(row["sampled"]) == 3 for row in rows.values())
    assert "2 of 2 within; untied weights rejected in 2" in chrono.summary(rows)


@pytest.mark.parametrize("T", [300, 3000])
def test_uniform_time_scales_are_worth_half_of_the_units_at_the_best_one(T):
    """E[(1 − u)² u^2T] of biases log U(1, T), against e^−2/(2 T²) and against all units at log T."""
    kept = expit(np.log(np.linspace(1.0, T, 200_001)))
    found = np.mean(((1.0 - kept) * kept**T) ** 2)
    best = ((1.0 - expit(chrono_bias(T))) * expit(chrono_bias(T)) ** T) ** 2
    assert found == pytest.approx(np.exp(-2.0) / (2.0 * T**2), rel=6.0 / T)
    assert found == pytest.approx(0.5 * best, rel=6.0 / T)
