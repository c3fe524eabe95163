"""Networks with tied weights against `mean_field` of tied ensembles: four cells, three of each.

``python -m validation.beyond.tied.networks FOLDER [N [TRIALS]]`` compares Q, q, the autocovariance at five
lags and the growth of E s² over 50 steps, for Gaussian and orthogonal weights, each within four standard
errors over networks plus the stated error of the theory. The untied theory has to fail the same test.
Networks that are in FOLDER are read again. N = 4096, six networks each: about 20 minutes of one core.
With the word ``theory`` in place of N the theories are computed again, in half a minute, and compared with
the networks that are there.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

import rmtrnn as rt
from rmtrnn._core import random as _random
from rmtrnn.initialisation.tied import tied_mean_squares

LAGS = (1, 2, 5, 10, 20)
GROWTH = 50  # steps
LIMIT = 4.0  # standard errors
BURN_IN, STEPS, VECTORS = 200, 150, 16  # of a network; tangent vectors that see the growth
WEIGHTS = ("gaussian", "orthogonal")
CURRENT = rt.Leaky(0.25, form="current")
CASES: dict[str, rt.Ensemble] = {
    "leaky-readme": rt.Ensemble("leaky", sigma_w=2.0, sigma_b=0.3, tied=True),
    "leaky-reservoir": rt.Ensemble(rt.Leaky(0.3), sigma_w=1.25, sigma_v=0.5, tied=True),
    "leaky-current": rt.Ensemble(CURRENT, sigma_w=1.8, sigma_v=0.5, mu_b=0.3, tied=True),
    "minimal-paper": rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=3.5, R=0.46, tied=True),
    "minimal-slow": rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.2, mu_b=2.0, tied=True),
    "minimal-bias": rt.Ensemble("minimal", sigma_w=4.0, sigma_v=1.0, sigma_b=0.5, tied=True),
    "gru-autonomous": rt.Ensemble("gru", sigma_w=3.0, tied=True),
    "gru-driven": rt.Ensemble("gru", sigma_w=1.5, sigma_v=0.5, sigma_b=0.1, tied=True),
    "gru-chaotic": rt.Ensemble("gru", sigma_w=2.5, sigma_v=1.0, tied=True),
    "lstm-driven": rt.Ensemble("lstm", sigma_w=2.0, sigma_v=1.0, mu_b=0.5, tied=True),
    "lstm-chaotic": rt.Ensemble("lstm", sigma_w=4.0, sigma_v=0.5, tied=True),
    "lstm-weak": rt.Ensemble("lstm", sigma_w=1.0, sigma_v=0.7, sigma_b=0.3, tied=True),
}


def names() -> list[str]:
    """The quantities compared: of the first state and the first gate; growth as a logarithm."""
    return ["Q", "q", *(f"E[h h] at lag {lag}" for lag in LAGS), f"log m_1({GROWTH})"]


def theory(ens: rt.Ensemble, sites: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """Values and stated errors of `names`, with tied weights."""
    found = rt.mean_field(ens, sites=sites)
    lags = found.autocovariance(ens.cell.state[0].name)[list(LAGS)]
    squares = tied_mean_squares(ens, GROWTH, 4 * sites, 0)
    growth, growth_error = squares.to_state[GROWTH], squares.state_error[GROWTH]
    values = [_first(found.Q), _first(found.q), *lags, math.log(growth)]
    errors = [found.errors["Q"], found.errors["q"], *[found.errors["Q"]] * len(LAGS), growth_error / growth]
    return np.array(values), np.array(errors)


def untied(ens: rt.Ensemble) -> np.ndarray:
    """Q, q and the growth with untied weights; nan for the autocovariance, which that theory has not."""
    found = rt.mean_field(ens.replace(tied=False))
    growth = GROWTH * math.log(found.chi)
    return np.array([_first(found.Q), _first(found.q), *[np.nan] * len(LAGS), growth])


def _first(value: Any) -> float:
    return float(next(iter(value.values())) if isinstance(value, Mapping) else value)


def sampled(ensembles: Sequence[rt.Ensemble], N: int, seed: int, trial: int) -> np.ndarray:
    """`names` of one network of N units for each ensemble, (ensembles, quantities).

    The ensembles have the same gates. Their networks have the same draws of W, V and b but for the scale: a
    product with W costs what reading W costs, and serves all of them.
    """
    return _Networks(ensembles, N, _random.stream(seed, trial)).run()


def _unit_matrix(N: int, weights: Any, rng: np.random.Generator) -> np.ndarray:
    """W for σ_w = 1."""
    entries = rng.standard_normal((N, N), dtype=np.float32)
    if weights != "orthogonal":
        return entries / np.float32(math.sqrt(N))
    factors: Any = scipy.linalg.qr(entries, overwrite_a=True, check_finite=False)
    basis, upper = factors
    return basis * np.sign(np.diag(upper))


class _Networks:
    """Networks of several ensembles side by side; letters: e, ensembles; n, units; v, tangent vectors."""

    def __init__(self, ensembles: Sequence[rt.Ensemble], N: int, rng: np.random.Generator) -> None:
        self.ensembles, self.N = ensembles, N
        self.stages = [ens.cell.numeric(np).stages for ens in ensembles]
        gates, steps = len(ensembles[0].cell.gates), BURN_IN + STEPS
        self.laws = [[ens.gate(name) for name in ens.cell.gates] for ens in ensembles]
        self.inputs = np.array([ens.sample_input(rng, (steps, N)) for ens in ensembles])
        self.W, self.drives = [], np.zeros((len(ensembles), gates, steps, N), dtype=np.float32)
        for k in range(gates):
            self.W.append(_unit_matrix(N, self.laws[0][k].weights, rng))
            V = rng.standard_normal((N, N), dtype=np.float32) / np.float32(math.sqrt(N))
            b = rng.standard_normal(N)
            for i, x in enumerate(self.inputs):
                law = self.laws[i][k]
                self.drives[i, k] = law.mu_b + law.sigma_b * b
                if law.sigma_v > 0.0 and ensembles[i].R > 0.0:
                    self.drives[i, k] += np.float32(law.sigma_v) * (x.astype(np.float32) @ V.T)
        shape = len(ensembles), len(ensembles[0].cell.state), N
        self.state = rng.standard_normal(shape)
        self.change: np.ndarray | None = None
        self.rng = rng

    def run(self) -> np.ndarray:
        """Averages over time, and the growth of tangent vectors from the end of the burn-in."""
        count = len(self.ensembles)
        states, variances = np.empty((STEPS, count, self.N)), np.empty((STEPS, count))
        size, growth = np.ones(count), np.empty(count)
        for t in range(BURN_IN + STEPS):
            if t == BURN_IN:
                self.change = self.rng.standard_normal((*self.state.shape, VECTORS))
                size = np.sum(self.change**2, axis=(1, 2, 3))
            q = self._step(t)
            if t >= BURN_IN:
                states[t - BURN_IN], variances[t - BURN_IN] = self.state[:, 0], q
            if self.change is not None and t == BURN_IN + GROWTH - 1:
                growth, self.change = np.log(np.sum(self.change**2, axis=(1, 2, 3)) / size), None
        lags = [np.mean(states[: STEPS - lag] * states[lag:], axis=(0, 2)) for lag in (0, *LAGS)]
        return np.array([lags[0], variances.mean(axis=0), *lags[1:], growth]).T

    def _step(self, t: int) -> np.ndarray:
        """Advance states and tangent vectors; returns the mean square of e − μ_b of the first gate."""
        first, shown = 0, None
        for place, symbolic in enumerate(self.ensembles[0].cell.stages):
            stages = [own[place] for own in self.stages]
            gates = range(first, first + len(symbolic.gates))
            first = gates.stop
            reads = np.array([stage.read(one) for stage, one in zip(stages, self.state, strict=True)])
            e = self._multiplied(gates, reads.transpose(1, 2, 0)).transpose(2, 0, 1)
            e = e + self.drives[:, gates.start : gates.stop, t]
            if shown is None and len(gates):
                mean = np.array([laws[0].mu_b for laws in self.laws])
                shown = np.mean((e[:, 0] - mean[:, None]) ** 2, axis=1)
            states = list(zip(stages, self.state, self.inputs[:, t], e, strict=True))
            if self.change is not None:
                self.change = self._changed(gates, [stage.linearize(*rest) for stage, *rest in states])
            self.state = np.array([stage.update(*rest) for stage, *rest in states])
        assert shown is not None
        return shown

    def _changed(self, gates: range, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
        """The tangent vectors after a stage with (a, b, c) of theory.md (1) for each ensemble."""
        pairs = list(zip(parts, self.change, strict=True)) if self.change is not None else []
        read = np.array([np.einsum("kjn,jnv->knv", c, one) for (_, _, c), one in pairs])
        wide = read.transpose(1, 2, 3, 0).reshape(len(gates), self.N, -1)
        moved = self._multiplied(gates, wide).reshape(len(gates), self.N, VECTORS, -1)
        return np.array(
            [
                np.einsum("ijn,jnv->inv", a, one) + np.einsum("kin,knv->inv", b, moved[..., i])
                for i, ((a, b, _), one) in enumerate(pairs)
            ]
        )

    def _multiplied(self, gates: range, columns: np.ndarray) -> np.ndarray:
        """σ_w W times columns (gates, N, ... × ensembles), the ensembles last."""
        scale = np.array([[laws[k].sigma_w for laws in self.laws] for k in gates])
        repeat = columns.shape[-1] // len(self.ensembles)
        product = np.array([self.W[k] @ columns[i].astype(np.float32) for i, k in enumerate(gates)])
        return product.reshape(columns.shape).astype(float) * np.tile(scale, repeat)[:, None]


def groups() -> list[list[str]]:
    """Names of the cases by cell: those whose networks are run side by side."""
    found: dict[str, list[str]] = {}
    for name in CASES:
        found.setdefault(name.split("-")[0], []).append(name)
    return list(found.values())


def expected(name: str, N: int) -> dict[str, Any]:
    """The row of a case without networks: the two theories."""
    values, errors = theory(CASES[name])
    numbers = {"theory": values, "error": errors, "untied": untied(CASES[name])}
    row: dict[str, Any] = {key: _short(value) for key, value in numbers.items()}
    return row | {"N": N, "seed": 17, **{weights: [] for weights in WEIGHTS}}


def _short(values: np.ndarray) -> list[float]:
    """Five digits: a hundredth of the scatter of networks."""
    return [float(f"{value:.5g}") for value in values]


def scores(row: Mapping[str, Any], weights: str, against: str = "theory") -> np.ndarray:
    """Distances in units of what is allowed: `LIMIT` standard errors and the stated error."""
    found = np.array(row[weights])
    standard = found.std(axis=0, ddof=1) / math.sqrt(len(found))
    allowed = LIMIT * standard + np.array(row["error"])
    return np.abs(found.mean(axis=0) - np.array(row[against], dtype=float)) / allowed


def summary(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each case and kind of weights, and the two counts that are claimed."""
    lines, held, rejected = [], 0, 0
    for name, row in rows.items():
        for weights in WEIGHTS:
            own, wrong = scores(row, weights), scores(row, weights, "untied")
            worst = int(np.argmax(own))
            held += bool(own[worst] <= 1.0)
            rejected += bool(np.nanmax(wrong) > 1.0)
            lines.append(
                f"{name:16} {weights:10} worst {own[worst]:5.2f} ({names()[worst]}), "
                f"untied {np.nanmax(wrong):6.1f}"
            )
    lines.append(f"{held} of {2 * len(rows)} within; untied weights rejected in {rejected}")
    return "\n".join(lines)


def main(folder: Path, N: int = 4096, trials: int = 6) -> None:
    """Compute what is missing in the folder, one trial after the other, and print the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    for names_of_cell in groups():
        paths = {name: folder / f"{name}.json" for name in names_of_cell}
        for name, path in paths.items():
            rows[name] = json.loads(path.read_text()) if path.exists() else expected(name, N)
            if rows[name]["N"] != N:
                raise ValueError(f"{path}: has N = {rows[name]['N']}, not {N}")
        for trial, weights in itertools.product(range(trials), WEIGHTS):
            if min(len(rows[name][weights]) for name in names_of_cell) > trial:
                continue
            ensembles = [CASES[name].replace(weights=weights) for name in names_of_cell]
            found = sampled(ensembles, N, rows[names_of_cell[0]]["seed"], trial)
            for name, values in zip(names_of_cell, found, strict=True):
                rows[name][weights] = [*rows[name][weights][:trial], _short(values)]
                paths[name].write_text(json.dumps(rows[name]))
        print(summary({name: rows[name] for name in names_of_cell}), flush=True)
    print(summary(rows))


def renew(folder: Path) -> None:
    """Compute the theories of all cases again, beside the networks of the folder, and print the summary."""
    rows = {}
    for name in CASES:
        path = folder / f"{name}.json"
        row = json.loads(path.read_text())
        rows[name] = row | {
            key: value for key, value in expected(name, row["N"]).items() if key not in WEIGHTS
        }
        path.write_text(json.dumps(rows[name]))
    print(summary(rows))


if __name__ == "__main__":
    if sys.argv[2:] == ["theory"]:
        renew(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
