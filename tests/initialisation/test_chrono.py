"""Chrono GRU and LSTM over T = 200 steps, `validation.beyond.tied.chrono`: run anew, and as committed."""

import json
from pathlib import Path

import pytest

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
