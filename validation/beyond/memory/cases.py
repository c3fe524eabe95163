"""Cells, networks and numbers of the memory study."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy

import rmtrnn as rt
from rmtrnn.sampling.network import Network
from validation import core

DELTA = sympy.Rational(1, 4)
SIZES = {
    "quick": {"steps": 24, "population": 1024, "N": 500, "time": 300, "trials": 2},
    "standard": {"steps": 48, "population": 4096, "N": 1000, "time": 1000, "trials": 3},
}


def leaky() -> rt.Cell:
    """h' = (1 - δ) h + δ tanh(e), δ = 1/4."""
    h, x, e = sympy.symbols("h x e")
    update = (1 - DELTA) * h + DELTA * sympy.tanh(e)
    return rt.Cell("leaky", state=h, input=x, gates=[rt.Gate("e", e, h)], update=[update])


def min_gru() -> rt.Cell:
    """minGRU (Feng et al. 2024): h' = (1 - z) h + z v, z = σ(e_z), v = e_v; the gates see the input only."""
    h, x, z, v = sympy.symbols("h x z v")
    gates = [rt.Gate("z", z, sympy.Integer(0)), rt.Gate("v", v, sympy.Integer(0))]
    update = h / (1 + sympy.exp(z)) + v / (1 + sympy.exp(-z))
    return rt.Cell("mingru", state=h, input=x, gates=gates, update=[update])


def networks() -> dict[str, rt.Ensemble]:
    """The networks whose memory is measured."""
    minimal = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, R=0.46, Sigma=1.0, tied=True)
    slow = rt.Ensemble(leaky(), sigma_v=0.5, Sigma=1.0, tied=True)
    return {
        **{f"minimal {b:+g}": minimal.replace(mu_b=b) for b in (-2.0, 1.0, 3.5)},
        **{f"leaky {w:g}": slow.replace(sigma_w=w) for w in (0.5, 1.5, 2.5)},
    }


def list_cases(size: str) -> list[core.Case]:
    """One case for each network, and one for the critical points."""
    cases = [
        core.Case(key, {"ensemble": ens.to_dict(), **SIZES[size], "seed": 9000 + k})
        for k, (key, ens) in enumerate(networks().items())
    ]
    return [*cases, core.Case("critical", {"delta": str(DELTA)})]


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Autocorrelations of a network, or the table of critical points."""
    if case.key == "critical":
        return {"rows": critical_rows(), "mingru": min_gru_rows(), "gain": gain_rows()}, {}
    settings = case.settings
    ens = rt.Ensemble.from_dict(settings["ensemble"])
    law = rt.mean_field(ens, sites=settings["population"], seed=settings["seed"])
    theory = _centred(law.autocovariance()[: settings["steps"]])
    rows = [_simulated(ens, settings, trial) for trial in range(settings["trials"])]
    found = np.mean(rows, axis=0)
    error = np.std(rows, axis=0, ddof=1) / math.sqrt(len(rows))
    untied = rt.mean_field(ens.replace(tied=False))
    meta = {
        "untied timescale": untied.timescale if math.isfinite(untied.timescale) else None,
        "theory": decay_time(theory),
        "networks": decay_time(found),
        "largest difference": float(np.abs(found - theory).max()),
        "error of Q": law.error,
        "converged": law.converged,
        "status": law.status.name,
    }
    return meta, {"theory": theory, "networks": found, "error": error}


def _centred(autocovariance: np.ndarray) -> np.ndarray:
    return autocovariance / autocovariance[0]


def decay_time(correlation: np.ndarray) -> float | None:
    """Steps until the autocorrelation has fallen to 1/e, log-linear between steps; None if it has not."""
    below = np.flatnonzero(correlation <= math.exp(-1.0))
    if not below.size:
        return None
    k = int(below[0])
    high, low = math.log(correlation[k - 1]), math.log(max(float(correlation[k]), 1e-3))
    return k - 1 + (high + 1.0) / (high - low)


def _simulated(ens: rt.Ensemble, settings: dict[str, Any], trial: int) -> np.ndarray:
    """Autocorrelation over the units and times of one network with tied weights."""
    network = Network(ens, settings["N"], settings["seed"], trial, np, "float64")
    network.run(200)
    states = np.empty((settings["time"], settings["N"]))
    for t in range(len(states)):
        network.run(1)
        states[t] = network.state[0]
    count = len(states) - settings["steps"]
    sums = [float(np.mean(states[:count] * states[lag : lag + count])) for lag in range(settings["steps"])]
    return _centred(np.array(sums))


def critical_rows() -> list[dict[str, Any]]:
    """σ_w at which the zero fixed point turns critical (no drive, no bias), all gates with one σ_w.

    With a step J = a + b W at the zero state, untied: a² + σ_w² b² = 1 (χ = 1); tied: a + σ_w b = 1 (Gaussian
    weights: the largest eigenvalue). vanilla a, b = 0, 1; leaky 1 - δ, δ; GRU 1/2, 1/4; LSTM, whose
    c' = c/2 + W h/2 and h' = c'/2, the same 1/2, 1/4.
    """
    rows = []
    for name, cell, a, b in (
        ("vanilla", "vanilla", 0.0, 1.0),
        ("leaky, δ = 1/4", leaky(), 0.75, 0.25),
        ("GRU", "gru", 0.5, 0.25),
        ("LSTM", "lstm", 0.5, 0.25),
    ):
        untied, tied = math.sqrt(1.0 - a * a) / b, (1.0 - a) / b
        ens = rt.Ensemble(cell, sigma_w=untied, R=1.0)
        grown, error = growth(ens)
        rows.append(
            {"cell": name, "untied": untied, "tied": tied, "simulated untied": grown, "untied error": error}
            | {"simulated tied": largest_eigenvalue(ens.replace(sigma_w=tied))}
        )
    return rows


def largest_eigenvalue(ens: rt.Ensemble, n: int = 200, seed: int = 11) -> float:
    """Squared largest eigenvalue modulus of one step at the zero state, for one draw of finite size."""
    network = Network(ens.replace(tied=True), n, seed, 0, np, "float64")
    network.state[:] = 0.0
    return float(np.abs(np.linalg.eigvals(network.step()(np.eye(len(ens.cell.state) * n)))).max() ** 2)


def growth(ens: rt.Ensemble, n: int = 200, steps: int = 260) -> tuple[float, float]:
    """Growth of |δ|² per step at the zero state with untied weights, and its standard error.

    By products of the cell's own linearisation there. The logarithm of one step's growth has a variance v of
    order 1/n, so its mean is log χ − v/2.
    """
    size = len(ens.cell.state)
    network = Network(ens, n, 11, 0, np, "float64")
    network.state[:] = 0.0
    vector = np.random.default_rng(0).standard_normal((size * n, 1))
    logs = []
    for _ in range(steps):
        vector = network.step()(vector)
        norm = float(np.linalg.norm(vector))
        logs.append(2.0 * math.log(norm))
        vector /= norm
    kept = np.array(logs[10:])
    value = math.exp(float(kept.mean() + kept.var(ddof=1) / 2))
    return value, value * float(kept.std(ddof=1)) / math.sqrt(kept.size)


def gain(cell: str, spread: float) -> float:
    """Gain g of all weights at which the zero state of a tied network turns unstable.

    The gates' biases are N(0, spread²). The candidate has none, so that h = 0 stays a fixed point. By
    docs/theory.md (16) the boundary of the eigenvalues λ of a step there is where a mean over units is 1:
    GRU: |λ − u|⁻² g² (1 − u)² r²; LSTM (c' = f c + i g W h, h' = o c'): |λ − f|⁻² g² o² i².
    At λ = 1: g = E[r²]^(−1/2), and g = (E[o²] E[i²] E[(1 − f)⁻²])^(−1/2) with (1 − f)⁻¹ = 1 + e^b.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    gate = 1.0 / (1.0 + np.exp(-spread * nodes))
    second = float(np.sum(weights * gate**2) / np.sum(weights))
    if cell == "gru":
        return second**-0.5
    slow = 1.0 + 2.0 * math.exp(spread**2 / 2) + math.exp(2 * spread**2)
    return (second**2 * slow) ** -0.5


def gain_rows(n: int = 300, draws: int = 4) -> list[dict[str, Any]]:
    """The gain by `gain`, and the largest eigenvalue modulus of finite networks there (its limit is 1)."""
    rows = []
    for cell, candidate in (("gru", "c"), ("lstm", "g")):
        for spread in (0.0, 0.5, 1.0):
            critical = gain(cell, spread)
            gates = rt.Ensemble(cell).cell.gates
            biases = {gate: 0.0 if gate == candidate else spread for gate in gates}
            ens = rt.Ensemble(cell, critical, 0.0, 0.0, biases, tied=True)
            found = [math.sqrt(largest_eigenvalue(ens, n, seed=12 + k)) for k in range(draws)]
            row = {"cell": cell, "spread": spread, "gain": critical, "largest": float(np.mean(found))}
            rows.append(row | {"error": float(np.std(found, ddof=1) / math.sqrt(draws))})
    return rows


def min_gru_rows() -> list[dict[str, float]]:
    """χ = E[(1 - z)²] of the minGRU, whose Jacobian is diag(1 - z): below one for every finite parameter."""
    rows = []
    for mu_z in (-8.0, -4.0, -2.0, 0.0, 2.0):
        ens = rt.Ensemble(min_gru(), 0.0, 1.0, {"z": mu_z, "v": 0.0}, Sigma=1.0)
        nodes, weights = np.polynomial.hermite_e.hermegauss(120)
        direct = float(np.sum(weights / (1.0 + np.exp(mu_z + nodes)) ** 2) / np.sum(weights))
        rows.append({"mu_z": mu_z, "chi": rt.mean_field(ens).chi, "E[(1 - z)^2]": direct})
    return rows
