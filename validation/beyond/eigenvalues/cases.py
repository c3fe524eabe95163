"""Networks, predicted curves and sampled eigenvalues."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy

import rmtrnn as rt
from rmtrnn._core import progress as _progress
from rmtrnn._core import trials as _trials
from rmtrnn.sampling.network import Network
from rmtrnn.spectra.eigenvalues import boundary, one_step
from validation import core
from validation.beyond.gated.networks import leaky

BURN_IN = 500
POINTS = 192
# N (half of it for the LSTM, which has two states), networks, sites of the theory
SIZES = {"quick": (256, 2, 2**10), "standard": (1000, 4, 2**13)}
CASES = ("minimal-gaussian", "minimal-orthogonal", "gru-gaussian", "lstm-gaussian", "leaky-gaussian")
QUICK = ("minimal-gaussian", "gru-gaussian", "leaky-gaussian")
UNTIED = "untied weights"


def networks() -> dict[str, rt.Ensemble]:
    """One ensemble for each cell, tied Gaussian weights, wide enough for the gates to matter."""
    wide = {"sigma_w": 3.0, "sigma_v": 0.7, "mu_b": 0.3, "R": 0.5, "tied": True}
    return {
        "minimal": rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.0, R=0.5, tied=True),
        "gru": rt.Ensemble("gru", **wide),
        "lstm": rt.Ensemble("lstm", **wide),
        "leaky": rt.Ensemble(leaky(sympy.Rational(1, 4)), sigma_w=1.5, sigma_v=0.5, tied=True),
    }


def list_cases(size: str) -> list[core.Case]:
    """Cells and weight laws, each with a seed of its own."""
    n, trials, sites = SIZES[size]
    listed = []
    for key in CASES if size == "standard" else QUICK:
        cell, weights = key.split("-")
        ens = networks()[cell].replace(weights=weights)
        sizes = {"N": n // len(ens.cell.state), "trials": trials, "burn_in": BURN_IN, "sites": sites}
        listed.append(core.Case(key, {"ensemble": ens.to_dict(), **sizes, "seed": 6100 + CASES.index(key)}))
    return listed


def eigenvalues(parameters: dict[str, Any], trial: int) -> np.ndarray:
    """Real, then imaginary parts of the eigenvalues of one network's one-step Jacobian after the burn-in."""
    ens = rt.Ensemble.from_dict(parameters["ensemble"])
    network = Network(ens, parameters["N"], parameters["seed"], trial, np, "float64")
    network.run(parameters["burn_in"])
    z = np.linalg.eigvals(network.step()(np.eye(parameters["N"] * len(ens.cell.state))))
    return np.concatenate([z.real, z.imag])


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Sampled eigenvalues, the right curve and the wrong ones."""
    ens = rt.Ensemble.from_dict(case.settings["ensemble"])
    rows = _trials.run_trials(
        eigenvalues,
        case.settings,
        case.settings["trials"],
        executor=workers.executor,
        checkpoint=None,
        report=_progress.reporter(None),
        label=case.key,
    )
    sampled = np.array([row[: row.size // 2] + 1j * row[row.size // 2 :] for row in rows])
    curves, judged = {}, {}
    for name, own in {"theory": ens, **_wrong(ens)}.items():
        step = one_step(own, sites=case.settings["sites"])
        curves[name] = boundary(step, points=POINTS)
        judged[name] = {
            "radius": float(np.abs(curves[name]).max()),
            "outside": float(np.mean(step.gain(sampled) < 1)),
            **_gap(curves[name], sampled),
        }
    radii = np.abs(sampled).max(axis=1)
    meta = {
        "curves": judged,
        "width": sampled.shape[1],
        "sampled radius": [float(radii.mean()), float(radii.std(ddof=1) / math.sqrt(len(radii)))],
    }
    return meta, {"eigenvalues": sampled.astype(np.complex64), **curves}


def _wrong(ens: rt.Ensemble) -> dict[str, rt.Ensemble]:
    widths = {name: {gate: f * ens.gate(gate).sigma_w for gate in ens.cell.gates} for name, f in _WIDTHS}
    scaled = {name: ens.replace(sigma_w=own) for name, own in widths.items()}
    return {**scaled, UNTIED: ens.replace(tied=False)}


_WIDTHS = (("σ_w × 0.9", 0.9), ("σ_w × 1.1", 1.1))


def _gap(curve: np.ndarray, sampled: np.ndarray) -> dict[str, float]:
    """Mean distance from the curve (off the axis) to the nearest eigenvalue, and what to expect."""
    nearest = np.min(np.abs(curve[:, None] - sampled.ravel()[None]), axis=1)
    length = 0.5 * (np.abs(curve - np.roll(curve, 1)) + np.abs(curve - np.roll(curve, -1)))
    x, y = np.real(curve), np.imag(curve)
    off = np.abs(y) > 1e-9
    area = 0.5 * abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)))
    expected = math.sqrt(area / (2 * sampled.size))
    return {"gap": float(np.sum((nearest * length)[off]) / np.sum(length[off])), "expected gap": expected}
