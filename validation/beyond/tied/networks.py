"""Networks that keep their weights against `mean_field` of tied ensembles: four cells, three of each.

``python -m validation.beyond.tied.networks FOLDER [N [TRIALS]]`` compares Q, q, the autocovariance at five
lags and the growth of E s² over 50 steps, for Gaussian and orthogonal weights, each within four standard
errors over networks plus the stated error of the theory. The redrawn theory has to fail the same test.
Cases that are in FOLDER are read again.
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
from rmtrnn._core import random as _random
from rmtrnn.initialisation.tied import tied_mean_squares

LAGS = (1, 2, 5, 10, 20)
GROWTH = 50  # steps
LIMIT = 4.0  # standard errors
BURN_IN, STEPS, VECTORS = 200, 150, 16  # of a network; tangent vectors that see the growth
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
    """Values and stated errors of `names`, with kept weights."""
    found = rt.mean_field(ens, sites=sites)
    lags = found.autocovariance(ens.cell.state[0].name)[list(LAGS)]
    squares = tied_mean_squares(ens, GROWTH, sites, 0)
    growth, growth_error = squares.to_state[GROWTH], squares.state_error[GROWTH]
    values = [_first(found.Q), _first(found.q), *lags, math.log(growth)]
    errors = [found.errors["Q"], found.errors["q"], *[found.errors["Q"]] * len(LAGS), growth_error / growth]
    return np.array(values), np.array(errors)


def redrawn(ens: rt.Ensemble) -> np.ndarray:
    """Q, q and the growth with redrawn weights; nan for the autocovariance, which that theory has not."""
    found = rt.mean_field(ens.replace(tied=False))
    growth = GROWTH * math.log(found.chi)
    return np.array([_first(found.Q), _first(found.q), *[np.nan] * len(LAGS), growth])


def _first(value: Any) -> float:
    return float(next(iter(value.values())) if isinstance(value, Mapping) else value)


def sampled(ens: rt.Ensemble, N: int, trials: int, seed: int) -> np.ndarray:
    """`names` of networks of N units, (trials, quantities)."""
    return np.array([_network(ens, N, _random.stream(seed, trial)) for trial in range(trials)])


def _matrix(law: Any, N: int, rng: np.random.Generator) -> np.ndarray:
    entries = rng.standard_normal((N, N), dtype=np.float32)
    if law.weights != "orthogonal":
        return np.float32(law.sigma_w / math.sqrt(N)) * entries
    basis, upper = np.linalg.qr(entries)
    return np.float32(law.sigma_w) * basis * np.sign(np.diag(upper))


def _network(ens: rt.Ensemble, N: int, rng: np.random.Generator) -> np.ndarray:
    """One network: averages over time, and tangent vectors from the end of the first third."""
    laws = [ens.gate(name) for name in ens.cell.gates]
    steps = BURN_IN + STEPS
    inputs = ens.sample_input(rng, (steps, N))
    W = [_matrix(law, N, rng) for law in laws]
    drives = []
    for law in laws:
        drive = law.mu_b + law.sigma_b * rng.standard_normal(N)
        if law.sigma_v > 0.0 and ens.R > 0.0:
            V = np.float32(law.sigma_v / math.sqrt(N)) * rng.standard_normal((N, N), dtype=np.float32)
            drive = drive + inputs.astype(np.float32) @ V.T
        drives.append(np.broadcast_to(drive, (steps, N)))
    state, change, size = rng.standard_normal((len(ens.cell.state), N)), None, math.nan
    states, variances, growth = np.empty((STEPS, N)), [], math.nan
    for t in range(steps):
        if t == BURN_IN:
            change = rng.standard_normal((len(state), N, VECTORS))
            size = float(np.sum(change**2))
        state, change, e = _step(ens, W, [drive[t] for drive in drives], inputs[t], state, change)
        if t >= BURN_IN:
            states[t - BURN_IN] = state[0]
            variances.append(np.mean((e - laws[0].mu_b) ** 2))
        if change is not None and t == BURN_IN + GROWTH - 1:
            growth, change = math.log(np.sum(change**2) / size), None
    lags = [np.mean(states[: STEPS - lag] * states[lag:]) for lag in (0, *LAGS)]
    return np.array([lags[0], np.mean(variances), *lags[1:], growth])


def _step(
    ens: rt.Ensemble,
    W: list[np.ndarray],
    drives: list[np.ndarray],
    x: np.ndarray,
    site: np.ndarray,
    change: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The state, the tangent vectors (None: none) and the first gate's e after a step."""
    first, shown = 0, None
    for symbolic, stage in zip(ens.cell.stages, ens.cell.numeric(np).stages, strict=True):
        gates = range(first, first + len(symbolic.gates))
        first = gates.stop
        reads = stage.read(site)
        e = np.array([W[k] @ reads[i].astype(np.float32) + drives[k] for i, k in enumerate(gates)])
        e = e.reshape(len(gates), site.shape[-1]).astype(float)
        shown = e[0] if shown is None and len(e) else shown
        if change is not None:
            a, b, c = stage.linearize(site, x, e)
            read = np.einsum("kjn,jnv->knv", c, change).astype(np.float32)
            moved = np.array([W[k] @ read[i] for i, k in enumerate(gates)]).reshape(len(e), *change.shape[1:])
            change = np.einsum("ijn,jnv->inv", a, change) + np.einsum("kin,knv->inv", b, moved)
        site = stage.update(site, x, e)
    assert shown is not None
    return site, change, shown


def compute(name: str, N: int, trials: int) -> dict[str, Any]:
    """One case: theory, redrawn theory, and networks with both kinds of weights."""
    values, errors = theory(CASES[name])
    row: dict[str, Any] = {"theory": values, "error": errors, "redrawn": redrawn(CASES[name])}
    row |= {"N": N, "trials": trials, "seed": 17}
    for weights in ("gaussian", "orthogonal"):
        row[weights] = sampled(CASES[name].replace(weights=weights), N, trials, row["seed"])
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in row.items()}


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
        for weights in ("gaussian", "orthogonal"):
            own, wrong = scores(row, weights), scores(row, weights, "redrawn")
            worst = int(np.argmax(own))
            held += bool(own[worst] <= 1.0)
            rejected += bool(np.nanmax(wrong) > 1.0)
            lines.append(
                f"{name:16} {weights:10} worst {own[worst]:5.2f} ({names()[worst]}), "
                f"redrawn {np.nanmax(wrong):6.1f}"
            )
    lines.append(f"{held} of {2 * len(rows)} within; redrawn weights rejected in {rejected}")
    return "\n".join(lines)


def main(folder: Path, N: int = 1024, trials: int = 6) -> None:
    """Compute what is missing in the folder, and print the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in CASES:
        path = folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(compute(name, N, trials)))
        rows[name] = json.loads(path.read_text())
        print(summary({name: rows[name]}), flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
