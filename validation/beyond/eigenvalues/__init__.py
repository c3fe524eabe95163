"""Eigenvalues of the one-step Jacobian: the curve of theory.md (16) over those of sampled networks.

minimalRNN, GRU, LSTM and a leaky RNN with tied weights, Gaussian and orthogonal. Two statistics: the
share of sampled eigenvalues outside the curve, and how far the curve is from the nearest of them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import sympy

import rmtrnn as rt
from rmtrnn import plotting
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
NAMES = {"minimal": "minimalRNN", "gru": "GRU", "lstm": "LSTM", "leaky": "leaky RNN, δ = ¼"}
UNTIED = "untied weights"
_OUTSIDE, _GAP = (0.1, 1.0), 2.0
_RULE = """\
Rule. For a Ginibre matrix the expected share of eigenvalues outside the disc is 0.40/√N, and the distance
from a smooth edge to the nearest of n points per area scattered at random is 0.71/√n. A curve **agrees**
if the share outside is between {low:g} and {high:g} times 1/√N, and the mean over the curve of the
distance to the nearest eigenvalue, all networks together, is below {gap:g} times 0.71/√n with the mean
density n inside the curve; else it is **rejected**. Only points of the curve off the real axis count. The
wrong curves: all σ_w smaller or larger by a tenth, and the state of a network with untied weights, which
is the same where the cell forgets fast. The spectral radius is not judged: where gates come close to 1 it
is set by the largest gate of the N sites.
"""


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


def agrees(own: dict[str, float], width: int) -> bool:
    """The rule of the report."""
    share = own["outside"] * math.sqrt(width)
    return _OUTSIDE[0] <= share <= _OUTSIDE[1] and own["gap"] < _GAP * own["expected gap"]


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write ``data.npz``, ``data.json``, ``report.md`` and the figure."""
    core.save_data(folder, "data", results)
    rows = []
    for key, (meta, _) in results.items():
        for name, own in meta["curves"].items():
            radius, error = meta["sampled radius"]
            found = agrees(own, meta["width"])
            rows.append(
                (
                    key if name == "theory" else "",
                    name,
                    f"{own['outside']:.4f}",
                    f"{own['outside'] * math.sqrt(meta['width']):.2f}",
                    f"{own['gap']:.4f}",
                    f"{own['gap'] / own['expected gap']:.2f}",
                    f"{own['radius']:.4f}",
                    f"{radius:.4f} ± {error:.1g}" if name == "theory" else "",
                    _word(name, found),
                )
            )
    header = (
        "case",
        "curve",
        "share outside",
        "times √N",
        "gap",
        "/ expected",
        "radius",
        "sampled",
        "verdict",
    )
    n, trials, sites = SIZES[size]
    text = (
        f"# Eigenvalues of the one-step Jacobian of networks with tied weights ({size})\n\n"
        f"{trials} networks of {n} units (LSTM {n // 2}, with two states each) after {BURN_IN} steps; the "
        f"curve is\n`rmtrnn.eigenvalue_curve` over {sites} sites.\n\n"
        f"{_RULE.format(low=_OUTSIDE[0], high=_OUTSIDE[1], gap=_GAP)}\n"
        f"{core.table(header, rows)}\n\n![curves over eigenvalues](eigenvalues.png)\n\n"
        f"Made by `python -m validation eigenvalues --{size}` with {core.describe(results)}.\n"
        "Parameters, seeds, eigenvalues and curves: `data.json`, `data.npz`.\n"
    )
    (folder / "report.md").write_text(text)
    gaussian = {key: result for key, result in results.items() if key.endswith("gaussian")}
    _draw(gaussian or results, folder)


def _word(name: str, found: bool) -> str:
    if name == "theory":
        return "agrees" if found else "**rejected**"
    return "not told apart" if found else "rejected"


def _draw(results: dict[str, core.Result], folder: Path) -> None:
    with plotting.style():
        columns = min(2, len(results))
        lines = -(-len(results) // columns)
        figure, grid = plt.subplots(
            lines, columns, figsize=(3.6 * columns, 0.7 + 3.1 * lines), squeeze=False, layout="constrained"
        )
        for ax in grid.flat:
            ax.set_axis_off()
        for ax, (key, (_, arrays)) in zip(grid.flat, results.items(), strict=False):
            ax.set_axis_on()
            z = arrays["eigenvalues"][0]
            ax.plot(z.real, z.imag, ".", ms=2.5, color=plotting.SAMPLE, label="eigenvalues of one network")
            for name, color, style, label in (
                ("theory", plotting.THEORY, "-", "theory, tied weights"),
                (UNTIED, plotting.PALETTE[0], "--", "theory, untied weights"),
            ):
                curve = np.append(arrays[name], arrays[name][0])
                ax.plot(np.real(curve), np.imag(curve), style, color=color, lw=1.4, label=label)
            ax.set_aspect("equal", "datalim")
            ax.set_title(NAMES[key.split("-")[0]], fontsize="medium")
            ax.set_xlabel("Re z")
            ax.set_ylabel("Im z")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=1)
        core.save_figure(figure, folder, "eigenvalues")
        plt.close(figure)


STUDY = core.Study(
    name="eigenvalues",
    summary="eigenvalues of the one-step Jacobian of gated networks: the spectral curve over sampled ones",
    cost={"quick": "under a minute on 2 cores", "standard": "about 3 minutes on 2 cores"},
    cases=list_cases,
    compute=compute,
    report=report,
)
