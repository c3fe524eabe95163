"""One case of `validation.beyond.tied.networks` on small networks, and its committed results."""

import json
from pathlib import Path

import numpy as np
import pytest

from validation.beyond.tied import networks

RESULTS = Path(networks.__file__).with_name("results") / "networks"


@pytest.mark.equation(18)
def test_small_networks_that_keep_their_weights():
    ens = networks.CASES["minimal-paper"]
    values, errors = networks.theory(ens, sites=512)
    row = {"theory": values, "error": errors, "untied": networks.untied(ens)}
    row["gaussian"] = [networks.sampled([ens], 512, 3, trial)[0] for trial in range(4)]
    assert np.max(networks.scores(row, "gaussian")) <= 1.0
    assert np.nanmax(networks.scores(row, "gaussian", "untied")) > 3.0, "untied weights must fail"


def test_committed_results_hold():
    rows = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in networks.CASES}
    assert all(row["N"] == 4096 for row in rows.values())
    assert "24 of 24 within; untied weights rejected in 24" in networks.summary(rows)
