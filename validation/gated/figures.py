"""Figures of the study of gated networks: theory over histograms, and two theories against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from rmtrnn import plotting
from validation import study

# Okabe and Ito's palette: told apart by colour-blind readers.
_THEORY, _OTHER, _SAMPLE = "#0072B2", "#D55E00", "#BBBBBB"
_COLUMNS = 4
NAMES = {
    "minimal": "minimalRNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "leaky": "leaky RNN, δ = 1/4",
    "mingru": "minGRU",
}


def draw(results: dict[str, study.Result], folder: Path) -> None:
    """One figure for each cell, and the two comparisons."""
    for cell, name in NAMES.items():
        own = {key: result for key, result in results.items() if key.startswith(f"{cell}-")}
        if own:
            _panels(own, folder, cell, f"{name}: {_parameters(own)}", "")
    tied = {key: r for key, r in results.items() if "-tied-" in key and key.startswith(("leaky", "minimal"))}
    if tied:
        _panels(tied, folder, "tied_untied", "kept weights against redrawn ones", "redrawn weights")
    free = {
        key: r
        for key, r in results.items()
        if "-untied-" in key and r[0]["settings"]["T"] > 1 and key.startswith(("leaky", "minimal"))
    }
    if free:
        _panels(free, folder, "free", "redrawn weights: exact law against free factors", "free approximation")


def _parameters(results: dict[str, study.Result]) -> str:
    meta = next(iter(results.values()))[0]
    ens = rt.Ensemble.from_dict(meta["settings"]["ensemble"])
    symbols = {"sigma_w": r"\sigma_w", "sigma_v": r"\sigma_v", "mu_b": r"\mu_b", "sigma_b": r"\sigma_b"}
    values = {symbol: getattr(ens, name) for name, symbol in symbols.items()} | {"R": ens.R}
    parts = [f"${symbol} = {_number(value)}$" for symbol, value in values.items() if value != 0.0]
    return ", ".join(parts)


def _number(value: Any) -> str:
    if hasattr(value, "items"):
        return r",\ ".join(f"{one:g}\\ ({gate})" for gate, one in value.items())
    return f"{value:g}"


def _panels(results: dict[str, study.Result], folder: Path, file: str, title: str, other: str) -> None:
    rows = -(-len(results) // _COLUMNS)
    with plotting.style():
        figure, grid = plt.subplots(
            rows, min(_COLUMNS, len(results)), figsize=(12.0, 2.7 * rows + 0.8), squeeze=False
        )
        for ax in grid.flat:
            ax.set_axis_off()
        for ax, (key, (meta, arrays)) in zip(grid.flat, results.items(), strict=False):
            ax.set_axis_on()
            _panel(ax, key, meta, arrays, other)
        grid[0, 0].legend(loc="upper left", fontsize="x-small")
        figure.suptitle(f"{title}\nsingular values $s$ of the $T$-step Jacobian", fontsize="medium")
        figure.supxlabel("log s (natural logarithm, dimensionless)", fontsize="small")
        figure.supylabel("density of log s", fontsize="small")
        study.save_figure(figure, folder, file)
        plt.close(figure)


def _panel(ax: Any, key: str, meta: dict[str, Any], arrays: dict[str, np.ndarray], other: str) -> None:
    settings = meta["settings"]
    ax.stairs(
        arrays["histogram"],
        arrays["edges"],
        fill=True,
        color=_SAMPLE,
        label=f"sample, {settings['trials']} × N = {settings['N']}",
    )
    if meta["theory"]["converged"]:
        ax.plot(arrays["u"], arrays["theory"], color=_THEORY, lw=1.4, label="theory, N → ∞")
    if other and meta["other"]["converged"]:
        ax.plot(arrays["u"], arrays["other"], color=_OTHER, lw=1.2, ls="--", label=other)
    cell, tied, weights, steps = key.split("-")
    ax.set_title(f"{cell}, {tied}, {weights}, {steps[0]} = {steps[1:]}", fontsize="small")
