"""What the cases of `validation.beyond.lyapunov` show: verdicts, tables and figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from rmtrnn import plotting
from validation import core
from validation.beyond.lyapunov.cases import AGAINST_GAIN, LARGER, NUMBERS, PUBLISHED, ensembles, networks

CLOSE = 0.03  # relative, of a published number
TITLES = {"tanh map": "tanh map", "leaky": r"leaky map, $\delta = 0.25$", "gru": "GRU", "lstm": "LSTM"}
LOWEST = {"tanh map": -5.0, "leaky": -2.5, "gru": -2.5, "lstm": -2.5}  # of the axes; exponents go on below

MARKERS = {"": "o", LARGER: "x"}  # of networks, by the ending of their keys


def _keys(ending: str) -> list[str]:
    return [key + ending for key in networks()]


def verdicts(results: dict[str, core.Result]) -> list[list[str]]:
    """A row for each published number whose case was computed."""
    rows = []
    for key in [key for key in PUBLISHED if key in results]:
        meta, (N, published) = results[key][0], PUBLISHED[key]
        for name, x in zip(NUMBERS, published, strict=False):
            t, error = meta["theory"][name], meta["errors"][name]
            verdict = "reproduced" if abs(t / x - 1.0) <= CLOSE else "not reproduced"
            cells = f"{x:.5g}", f"{t:.5g}", f"{error:.1g}", f"{100 * (t / x - 1.0):+.1f} %"
            rows.append([f"{key} (N = {N})", name, *cells, verdict if meta["converged"] else "not decided"])
    return rows


def _of_networks(results: dict[str, core.Result]) -> list[list[str]]:
    """A row for each sampled network."""
    rows = []
    for key in [key for key in networks() if key in results]:
        meta = results[key][0]
        theory, network, error = (meta[name]["largest"] for name in ("theory", "network", "errors"))
        largest = f"{theory:.4f} ± {error:.1g}", f"{network:.4f}"
        rows.append(
            [key, *largest, f"{meta['distance']:.3f}", f"{meta['error']:.3f}", str(meta["converged"])]
        )
    return rows


def _of_gains(name: str, result: core.Result) -> str:
    """How many laws of a cell are known to their lower end."""
    converged = result[0]["converged"]
    rest = "" if all(converged) else "; the lowest exponents of the others are not, and no figure shows them"
    return f"- {name}: {sum(converged)} of {len(converged)} laws are known to their lower end{rest}."


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, figures and ``report.md``."""
    core.save_data(folder, "data", results, single=True)
    header = ("network", "number", "published", "theory", "stated error", "difference", "verdict")
    columns = ("network", "largest, theory", "network", "distance", "stated error", "converged")
    text = [
        f"# Lyapunov spectra ({size})\n",
        "Infinite width by `rt.lyapunov`, per unit of time, against published simulations.\n",
        core.table(header, verdicts(results)),
        f"\nA number is reproduced if it is within {100 * CLOSE:g} % of the published one; nothing is "
        "allowed for finite N.\n",
        "One sampled network each: its largest exponent, and the largest distance of the distribution "
        "functions.\n",
        core.table(columns, _of_networks(results)),
        "\nAgainst gain:\n",
        *[
            _of_gains(name, results[name + AGAINST_GAIN])
            for name in ensembles()
            if name + AGAINST_GAIN in results
        ],
        f"\nMade by `python -m validation lyapunov --{size}` with {core.describe(results)}.\n",
    ]
    (folder / "report.md").write_text("\n".join(text))
    if set(networks()) | {name + AGAINST_GAIN for name in ensembles()} <= set(results):
        draw(results, folder)


def draw(results: dict[str, core.Result], folder: Path) -> None:
    """Spectra against rank, theory as lines and networks as markers; dimension and entropy against gain."""
    with plotting.style():
        figure, axes = plt.subplots(1, 4, figsize=(10.0, 2.7), layout="constrained")
        for ax, (name, title) in zip(axes, TITLES.items(), strict=True):
            _draw_spectra(ax, results, name)
            ax.set(title=title, xlabel="rank / size of the state")
        axes[0].set_ylabel("exponent per unit of time")
        core.save_figure(figure, folder, "spectra")
        plt.close(figure)
        figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.7), layout="constrained")
        labels = {"kaplan_yorke": "Kaplan–Yorke dimension / size", "entropy_rate": "entropy rate / size"}
        for ax, (number, label) in zip(axes, labels.items(), strict=True):
            for colour, name in zip(plotting.PALETTE, TITLES, strict=False):
                _draw_against_gain(ax, results, name, number, colour)
            ax.set(xlabel=r"gain $\sigma_w$", ylabel=label)
        axes[0].set_ylim(0.0, 0.75)
        axes[1].set(yscale="log", ylim=(3e-6, 0.1))
        for ending, marker in MARKERS.items():
            (N,) = {own["settings"]["N"] for key, (own, _) in results.items() if key in _keys(ending)}
            axes[0].plot([], [], marker, ms=4, mfc="none", color="0.3", label=f"network, N = {N}")
        axes[0].legend(loc="upper left", ncols=2)
        core.save_figure(figure, folder, "gains")
        plt.close(figure)


def _draw_spectra(ax: Axes, results: dict[str, core.Result], name: str) -> None:
    keys, marked = [key for key in networks() if key.split(",")[0] == name], dict[str, str]()
    for colour, key in zip(plotting.PALETTE, keys, strict=False):
        arrays = results[key][1]
        ax.plot(1.0 - arrays["levels"], arrays["quantiles"], color=colour, label=key.split(", ")[1])
        for ending, marker in MARKERS.items():
            place = key + ending
            if place in results:
                found, N = results[place][1]["sample"], results[place][0]["settings"]["N"]
                some = slice(0, None, max(1, len(found) // 24))
                ranks = (np.arange(len(found)) + 0.5) / len(found)
                ax.plot(ranks[some], found[some], marker, ms=3, mfc="none", color=colour)
                marked[marker] = f"network, N = {N}"
    for marker, label in list(marked.items())[0 if name == "tanh map" else 1 :]:
        ax.plot([], [], marker, ms=3, mfc="none", color="0.3", label=label)
    ax.axhline(0.0, color="0.7", lw=0.8, zorder=0)
    ax.set(xlim=(0.0, 1.0), ylim=(LOWEST[name], 0.5))
    ax.legend(loc="lower left")


def _draw_against_gain(
    ax: Axes, results: dict[str, core.Result], name: str, number: str, colour: str
) -> None:
    """Theory with its errors, with the gains of the networks; these as markers where chaotic."""
    meta, arrays = results[name + AGAINST_GAIN]
    place = NUMBERS.index(number)
    points = list(
        zip(meta["settings"]["gains"], arrays["numbers"][:, place], arrays["errors"][:, place], strict=True)
    )
    for key in networks():
        own = results[key][0]
        if key.split(",")[0] == name and own["theory"]["largest"] > 0.0:
            gain = float(key.split()[-1])
            points.append((gain, own["theory"][number], own["errors"][number]))
            for ending, marker in MARKERS.items():
                if key + ending in results:
                    value = results[key + ending][0]["network"][number]
                    ax.plot(gain, value, marker, ms=4, mfc="none", color=colour)
    gains, values, errors = np.array(sorted(points)).T
    if len(gains) == 1:
        ax.errorbar(gains, values, errors, fmt=".", color=colour, capsize=2, label=TITLES[name])
        return
    ax.plot(gains, values, color=colour, label=TITLES[name])
    ax.fill_between(gains, values - errors, values + errors, color=colour, alpha=0.25, lw=0.0)
