"""GRU and LSTM with chrono biases over T = 200 steps: theory against networks with tied weights.

``python -m validation.beyond.tied.chrono FOLDER`` compares the growth |J_k y|²/|y|² at nine lags k up to 200,
and Q, each within four standard errors over three networks of 512 units plus the stated error of the theory.
The untied theory has to fail the same test. About 7 minutes of one core.

Chrono biases (Tallec and Ollivier 2018): the bias of the gate that keeps the state is log(U), U uniform on
[1, T − 1], and that of the LSTM's input gate its negative.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn.sampling.network import Networks

T = 200
LAGS = [1, 2, 5, 10, 20, 50, 100, 150, 200]
LIMIT = 4.0  # standard errors
UNITS, NETWORKS, SEED = 512, 3, 7
BURN_IN, AVERAGED, VECTORS = 2300, 200, 16  # steps before, and of the average of Q; tangent vectors
LAWS: dict[str, dict[str, Any]] = {
    "gru": {"u": ("log_uniform", 1, T - 1)},
    "lstm": {"f": ("log_uniform", 1, T - 1), "i": "-f"},
}
CASES = {
    cell: rt.Ensemble(cell, sigma_w=2.0, sigma_v=0.7, weights="orthogonal", tied=True, bias_law=law)
    for cell, law in LAWS.items()
}


def theory(ens: rt.Ensemble) -> tuple[np.ndarray, np.ndarray]:
    """Growth at `LAGS`, then Q of each state, and their stated errors."""
    found, field = rt.sensitivity(ens, T), rt.mean_field(ens)
    Q = np.ravel(list(field.Q.values()) if isinstance(field.Q, Mapping) else field.Q)
    values = np.concatenate([found.state.mean_square[LAGS], Q])
    return values, np.concatenate([found.state.error[LAGS], np.full(Q.size, field.error)])


def sampled(ens: rt.Ensemble, trial: int) -> np.ndarray:
    """The same numbers of one network: the mean over random y, and over the steps before them."""
    network = Networks(ens, UNITS, SEED, [trial], np, "float64")
    network.run(BURN_IN)
    second = []
    for _ in range(AVERAGED):
        network.run(1)
        second.append(np.mean(network.state**2, axis=(1, 2)))
    rows = len(ens.cell.state) * UNITS
    y = np.random.default_rng(trial).standard_normal((1, rows, VECTORS))
    squares = [np.sum(y**2)]
    for _ in range(T):
        y = network.step()(y)
        squares.append(np.sum(y**2))
    return np.concatenate([np.array(squares)[LAGS] / squares[0], np.mean(second, axis=0)])


def row(ens: rt.Ensemble) -> dict[str, Any]:
    """All numbers of one case."""
    values, errors = theory(ens)
    other, _ = theory(ens.replace(tied=False))
    numbers = {"theory": values, "error": errors, "untied": other}
    drawn = [_short(sampled(ens, trial)) for trial in range(NETWORKS)]
    return {name: _short(value) for name, value in numbers.items()} | {"sampled": drawn, "N": UNITS}


def _short(values: np.ndarray) -> list[float]:
    """Five digits: a hundredth of the scatter of networks."""
    return [float(f"{value:.5g}") for value in values]


def scores(row: Mapping[str, Any], against: str = "theory") -> np.ndarray:
    """Distances in units of what is allowed: `LIMIT` standard errors and the stated error."""
    found = np.array(row["sampled"])
    standard = found.std(axis=0, ddof=1) / math.sqrt(len(found))
    return np.abs(found.mean(axis=0) - row[against]) / (LIMIT * standard + np.array(row["error"]))


def summary(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each case, and the two counts that are claimed."""
    lines, held, rejected = [], 0, 0
    for name, one in rows.items():
        own, wrong = scores(one), scores(one, "untied")
        held, rejected = held + bool(own.max() <= 1.0), rejected + bool(wrong.max() > 1.0)
        lines.append(f"{name:5} worst {own.max():.2f}, untied {wrong.max():.1f}")
    return "\n".join([*lines, f"{held} of {len(rows)} within; untied weights rejected in {rejected}"])


def main(folder: Path) -> None:
    """Compute what is missing in the folder, and print the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name, ens in CASES.items():
        path = folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(row(ens)) + "\n")
        rows[name] = json.loads(path.read_text())
    print(summary(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
