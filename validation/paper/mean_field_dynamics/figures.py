"""The figures of the study, drawn from its saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator

from rmtrnn import plotting
from validation import core
from validation.paper.mean_field_dynamics.cases import (
    CORRELATIONS,
    EVOLUTION,
    FIGURE_BIASES,
    MINIMAL,
    SCALES,
    TIMESCALES,
)

# From blue to red, as in the paper; the order also goes from dark to light and back, for grey prints.
COLOURS = ("#053061", "#4393c3", "#7f7f7f", "#f4a582", "#b2182b")
Results = dict[str, core.Result]


def draw(results: Results, folder: Path) -> None:
    """All figures whose cases are among the results."""
    with plotting.style():
        for start in ("stationary", "zero"):
            if any(key.startswith(f"figure1-{start}") for key in results):
                _correlation(results, folder, start)
        if any(key.startswith("evolution") for key in results):
            for quantity in ("q", "c"):
                for cell in ("vanilla", "minimal"):
                    _evolution(results, folder, quantity, cell)
            _map(results, folder)
        if any(key.startswith("decay") for key in results):
            _decay(results, folder)


def _finish(figure: Any, folder: Path, name: str, title: str) -> None:
    figure.suptitle(title, fontsize=11)
    core.save_figure(figure, folder, name)
    plt.close(figure)


def _correlation(results: Results, folder: Path, start: str) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(8.6, 3.6), sharey=True)
    for ax, weights in zip(panels, ("untied", "tied"), strict=True):
        for mu_b, colour in zip(FIGURE_BIASES, COLOURS, strict=True):
            saved = results.get(f"figure1-{start}-{mu_b:g}-{weights}")
            if saved is None:
                continue
            meta, arrays = saved
            steps = np.arange(1, meta["steps"] + 1)
            mean, error = arrays["c"], 2.0 * arrays["c_error"]
            ax.plot(steps, mean, color=colour, linewidth=3.2, alpha=0.5, label=rf"$\mu_b = {mu_b:g}$")
            ax.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
            ax.plot(steps, arrays["c_theory"], color=colour, linestyle="--", linewidth=1.2)
            trials = f"{meta['settings']['trials']} networks of $N = {meta['settings']['N']}$"
            ax.set_title(f"{weights}, {trials}")
        ax.set(xlabel="step $t$", xlim=(0, 100), ylim=(-0.1, 1.04))
    panels[0].set_ylabel("correlation $c^t$ of the pre-activations")
    panels[1].plot([], [], color="0.2", linewidth=3.2, alpha=0.5, label="simulation, ± 2 s.e.")
    panels[1].plot([], [], color="0.2", linestyle="--", linewidth=1.2, label="theory")
    panels[1].legend(loc="lower right", ncols=2)
    parameters = ", ".join(
        f"${symbol} = {MINIMAL[name]:g}$"
        for name, symbol in (("sigma_w", r"\sigma_w"), ("sigma_v", r"\sigma_v"), ("R", "R"))
    )
    first = r"$h^0 \sim N(0, Q^*)$" if start == "stationary" else "$h^0 = 0$"
    title = f"minimalRNN, {parameters}; {first}; inputs independent for 10 steps, then equal"
    _finish(figure, folder, f"correlation-{start}", title)


def _evolution(results: Results, folder: Path, quantity: str, cell: str) -> None:
    starts = SCALES if quantity == "q" else CORRELATIONS
    row, offset = (0, 0) if quantity == "q" else (1, len(SCALES))
    names = [name for name in EVOLUTION if name.startswith(cell)]
    shape = 2, len(names)
    figure, panels = plt.subplots(
        *shape, figsize=(8.0, 5.0), sharex=True, squeeze=False, layout="constrained"
    )
    for column, name in enumerate(names):
        for ax, weights in zip(panels[:, column], ("untied", "tied"), strict=True):
            saved = results.get(f"evolution-{name}-{weights}")
            if saved is None:
                ax.set_axis_off()
                continue
            meta, arrays = saved
            for i, (start, colour) in enumerate(zip(starts, COLOURS[:2] + COLOURS[3:], strict=True)):
                theory = arrays["theory"][offset + i, row]
                mean = arrays[quantity][:, offset + i]
                error = 2.0 * arrays[f"{quantity}_error"][:, offset + i]
                steps = np.arange(1, len(theory) + 1)
                text = rf"$Q^0 = {start:g}\,\max(Q^*, R)$" if quantity == "q" else rf"$c_h^0 = {start:g}$"
                ax.errorbar(
                    steps[::2], mean[::2], error[::2], fmt="o", markersize=2.6, color=colour, linewidth=0.8
                )
                ax.plot(steps, theory, color=colour, linewidth=1.4, label=text)
            ax.axhline(meta[f"{quantity}_star"], color="0.4", linestyle=":", linewidth=1.0)
            ax.set_title(f"{name.split('-')[1]}, {weights}", fontsize=9)
            if quantity == "q":
                ax.set_yscale("log")
                ax.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
                ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                ax.tick_params(axis="y", which="minor", labelsize=7)
            if weights == "tied":
                ax.set_xlabel("step $t$")
    symbol = "variance $q^t$" if quantity == "q" else "correlation $c^t$"
    for ax in panels[:, 0]:
        ax.set_ylabel(f"{symbol} of $e^t$")
    panels[0, 0].legend(loc="best", fontsize=7)
    called = "minimalRNN" if cell == "minimal" else "vanilla RNN"
    title = f"{called}, equal inputs: points, simulation ± 2 s.e.; lines, theory; dotted, its fixed point"
    _finish(figure, folder, f"evolution-{quantity}-{cell}", title)


def _map(results: Results, folder: Path) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(8.2, 3.9), sharey=True)
    for ax, cell in zip(panels, ("vanilla", "minimal"), strict=True):
        names = [name for name in EVOLUTION if name.startswith(cell)]
        for name, colour in zip(names, (COLOURS[0], COLOURS[2], COLOURS[4]), strict=True):
            saved = results.get(f"evolution-{name}-untied")
            if saved is None:
                continue
            meta, arrays = saved
            xi = meta["timescale"] if isinstance(meta["timescale"], str) else f"{meta['timescale']:.3g}"
            label = rf"{name.split('-')[1]}: $c^* = {meta['c_star']:.3g}$, $\xi = {xi}$"
            ax.plot(*arrays["map_theory"].T, color=colour, label=label)
            ax.errorbar(
                *arrays["map"],
                2.0 * arrays["map_error"][1],
                fmt="o",
                markersize=3.5,
                color=colour,
                linewidth=1,
            )
        ax.plot([-1, 1], [-1, 1], color="0.5", linestyle=":", linewidth=1.0)
        ax.set(xlabel="$c^t$", title=f"{cell}RNN" if cell == "minimal" else "vanilla RNN (tanh)")
        ax.legend(loc="upper left")
    panels[0].set_ylabel("$c^{t+1} = f(c^t)$")
    title = r"Correlation map at $q^*$, equal inputs: lines, theory; points, one step of simulated networks"
    _finish(figure, folder, "correlation-map", title)


def _decay(results: Results, folder: Path) -> None:
    figure, panels = plt.subplots(1, 3, figsize=(12.4, 3.8))
    palette = (*COLOURS, plotting.PALETTE[3])
    for ax, cell in zip(panels[:2], ("vanilla", "minimal"), strict=True):
        names = [name for name in TIMESCALES if name.startswith(cell)]
        symbol = r"\sigma_w" if cell == "vanilla" else r"\mu_b"
        for name, colour in zip(names, palette, strict=True):
            saved = results.get(f"decay-{name}-untied")
            if saved is None:
                continue
            meta, arrays = saved
            value = name.removeprefix(f"{cell}-")
            seen = np.arange(len(arrays["simulation"]))
            ax.semilogy(
                arrays["theory"],
                color=colour,
                label=rf"${symbol} = {value}$, $\xi = {meta['timescale']:.3g}$",
            )
            ax.semilogy(seen, arrays["simulation"], "o", markersize=2.4, color=colour)
        ax.set(
            xlabel="step $t$", ylabel=r"$|c^t - c^*|$", title=f"{cell}: theory (line), simulation (points)"
        )
        ax.set(ylim=(1e-5, 2.0), xlim=(0, 200))
        ax.legend(fontsize=7, loc="upper right")
    for cell, marker, colour in (("vanilla", "o", COLOURS[0]), ("minimal", "s", COLOURS[4])):
        metas = [meta for key, (meta, _) in results.items() if key.startswith(f"decay-{cell}")]
        fits = np.array([[m["fit on theory"], m["fit on simulation"], 2.0 * m["error"]] for m in metas])
        if len(fits):
            panels[2].errorbar(*fits.T, fmt=marker, color=colour, markersize=4, label=cell)
    panels[2].plot([0.7, 60.0], [0.7, 60.0], color="0.5", linestyle=":")
    panels[2].set(xscale="log", yscale="log", xlabel="decay time fitted on theory (steps)")
    panels[2].set(ylabel="fitted on simulation ± 2 s.e.", title="the same window of steps")
    panels[2].legend()
    _finish(figure, folder, "decay", "Approach of the correlation to its fixed point, untied weights")
