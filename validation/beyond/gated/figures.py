"""Figures of the study of gated networks: theory over histograms, and two theories against each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

import rmtrnn as rt
from rmtrnn import plotting
from validation import core
from validation.beyond.gated import laws, networks

_WRONG = plotting.PALETTE[0]
_NAMES = {
    "minimal": "minimalRNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "leaky": "leaky RNN, δ = ¼",
    "mingru": "minGRU",
}
_WEIGHTS = {"tied": "tied weights", "untied": "untied weights"}
_X, _Y = r"$\log s$", "density"
_FULL = 0.7  # of the panels of a grid: with fewer it is not one
_SEEN = 0.005  # error of the cdf of a law: its density has ripples that one sees


def draw(results: dict[str, core.Result], folder: Path) -> None:
    """One figure for each cell, and the two comparisons."""
    for cell, name in _NAMES.items():
        own = {key: result for key, result in results.items() if key.startswith(f"{cell}-")}
        if own:
            _cell(own, folder, cell, f"{name}: {_parameters(own)}")
    _comparison(results, folder, "tied_untied", "tied", laws.UNTIED, "Networks with tied weights")
    _comparison(results, folder, "free", "untied", laws.FREE, "Untied weights: exact law and free factors")


def _parameters(results: dict[str, core.Result]) -> str:
    meta = next(iter(results.values()))[0]
    ens = rt.Ensemble.from_dict(meta["settings"]["ensemble"])
    values = {symbol: getattr(ens, name) for name, symbol in networks.SYMBOLS.items()} | {"R": ens.R}
    shown = [f"${_tex(symbol)}$ = {_number(value)}" for symbol, value in values.items() if value != 0.0]
    N = sorted({one["settings"]["N"] for one, _ in results.values()})
    return ", ".join([*shown, f"samples of $N$ = {', '.join(map(str, N))}"])


def _tex(symbol: str) -> str:
    """σ_w → \\sigma_w."""
    return symbol.replace("σ", r"\sigma").replace("μ", r"\mu")


def _number(value: Any) -> str:
    if hasattr(value, "items"):
        return " and ".join(f"{one:g} ({gate})" for gate, one in value.items())
    return f"{value:g}"


def _cell(results: dict[str, core.Result], folder: Path, file: str, title: str) -> None:
    """Rows: weight law, tied or untied; in each the panels of growing T. One flow if these are unequal."""
    kinds = {key: tuple(key.split("-")[1:3]) for key in results}
    rows = [[key for key in results if kinds[key] == kind] for kind in dict.fromkeys(kinds.values())]
    in_rows = len(results) >= _FULL * len(rows) * max(map(len, rows))
    if not in_rows:
        keys, width = list(results), math.ceil(math.sqrt(len(results)))
        rows = [keys[i : i + width] for i in range(0, len(keys), width)]
    columns = max(map(len, rows))
    height = 1.5 if in_rows else 1.75
    with plotting.style():
        figure, grid = plt.subplots(
            len(rows),
            columns,
            figsize=(1.2 + 1.9 * columns, 1.2 + height * len(rows)),
            squeeze=False,
            layout="constrained",
        )
        for ax in grid.flat:
            ax.set_axis_off()
        for axes, keys in zip(grid, rows, strict=True):
            ties, weights = kinds[keys[0]]
            axes[0].set_ylabel(f"{weights},\n{_WEIGHTS[ties]}\n{_Y}" if in_rows else _Y, fontsize="small")
            for ax, key in zip(axes, keys, strict=False):
                ax.set_axis_on()
                _panel(ax, *results[key])
                ties, weights = kinds[key]
                heading = _heading(results[key][0])
                ax.set_title(
                    heading if in_rows else f"{heading}\n{weights}, {_WEIGHTS[ties]}",
                    fontsize="medium" if in_rows else "small",
                )
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        for column in grid.T:
            [ax for ax in column if ax.axison][-1].set_xlabel(_X)
        figure.suptitle(title, fontsize="medium")
        core.save_figure(figure, folder, file)
        plt.close(figure)


def _heading(meta: dict[str, Any]) -> str:
    """T, and the error that the law states of itself where it is large enough to be seen."""
    error = meta["theory"].get("cdf error", 1.0)
    doubt = f", its error {error:.2g}" if error >= _SEEN else ""
    return f"$T = {meta['settings']['T']}${doubt}"


def _comparison(
    results: dict[str, core.Result], folder: Path, file: str, ties: str, wrong: str, title: str
) -> None:
    """One panel for each cell, at its longest T with a smooth law, with the theory and one wrong law."""
    longest: dict[str, str] = {}
    for key, (meta, arrays) in results.items():
        cell, own, weights, _ = key.split("-")
        rough = meta["theory"].get("cdf error", 1.0) >= _SEEN or cell == "mingru"
        if own == ties and weights == "gaussian" and wrong in arrays and not rough:
            before = results[longest[cell]][0]["settings"]["T"] if cell in longest else 0
            longest[cell] = key if meta["settings"]["T"] > before else longest[cell]
    if not longest:
        return
    columns = min(2, len(longest))
    rows = -(-len(longest) // columns)
    with plotting.style():
        figure, grid = plt.subplots(
            rows, columns, figsize=(3.4 * columns, 0.9 + 2.3 * rows), squeeze=False, layout="constrained"
        )
        for ax in grid.flat:
            ax.set_axis_off()
        for ax, (cell, key) in zip(grid.flat, longest.items(), strict=False):
            meta, arrays = results[key]
            ax.set_axis_on()
            _panel(ax, meta, arrays, wrong)
            ax.set_title(f"{_NAMES[cell]}, $T = {meta['settings']['T']}$", fontsize="medium")
            ax.set_xlabel(_X)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.suptitle(title, fontsize="medium")
        figure.supylabel(_Y, fontsize="medium")
        core.save_figure(figure, folder, file)
        plt.close(figure)


def _panel(ax: Any, meta: dict[str, Any], arrays: dict[str, np.ndarray], wrong: str = "") -> None:
    label = "sampled networks"  # log s is the natural logarithm throughout
    ax.stairs(arrays["histogram"], arrays["edges"], fill=True, color=plotting.SAMPLE, alpha=0.6, label=label)
    if "theory" in arrays:
        ax.plot(arrays["u"], arrays["theory"], color=plotting.THEORY, lw=1.4, label=r"theory, $N \to \infty$")
    if wrong:
        ax.plot(arrays["u"], arrays[wrong], color=_WRONG, lw=1.2, ls="--", label=wrong)
    ax.tick_params(labelsize="x-small")
    ax.yaxis.set_major_locator(MaxNLocator(3))
    shown = [arrays[name].max() for name in ("histogram", "theory", wrong) if name in arrays]
    ax.set_ylim(0, 1.08 * min(max(shown), 1.8 * arrays["histogram"].max()))
