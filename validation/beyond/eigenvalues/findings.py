"""Report and figures of the eigenvalues."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core
from validation.beyond.eigenvalues.cases import BURN_IN, SIZES, UNTIED

NAMES = {"minimal": "minimalRNN", "gru": "GRU", "lstm": "LSTM", "leaky": "leaky RNN, δ = ¼"}
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
