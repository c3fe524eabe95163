"""From training curves to the figure, the table and the verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core
from validation.paper import accuracy_figures, training
from validation.paper.learning import cases

TARGET = 0.5  # the accuracy whose step is compared
COLOURS = {"orthogonal": "#0072b2", "gaussian": "#d55e00"}
LINES = {"critical": "-", "ordered": "--", "chaotic": ":"}
NAMES = {"vanilla": "vanilla", "minimal": "minimalRNN"}


def separation(faster: np.ndarray, slower: np.ndarray) -> float:
    """Least of the faster seeds minus greatest of the slower ones."""
    return float(faster.min() - slower.max())


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write the data, ``report.md`` and the curves."""
    core.save_data(folder, "data", results)
    rows = []
    for key, (meta, arrays) in results.items():
        finals, theory = arrays["accuracy"][:, -1], meta["theory"]
        reached = [training.first_step(arrays["step"], own, TARGET) for own in arrays["accuracy"]]
        shown = ", ".join("not reached" if np.isinf(step) else f"{step:.0f}" for step in reached)
        areas = [training.area(arrays["step"], own) for own in arrays["accuracy"]]
        spread = f"{finals.mean():.2f} ({finals.min():.2f} to {finals.max():.2f})"
        mean = f"{np.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})"
        rows.append([key, f"{theory['sigma_w']:.4f}", f"{theory['chi']:.4f}", spread, mean, shown])
    header = ("network", "σ_w", "χ", "last accuracy", "mean over log step", f"step of {TARGET:g}, each seed")
    meta = next(meta for meta, _ in results.values())
    used = meta["training"]
    sizes = "; ".join(
        f"T = {T}: N = {own['N']} units, {own['seeds']} seeds, {own['steps']} steps of Adam, batches of "
        f"{own['batch']}"
        for T, own in cases.SIZES[size].items()
    )
    minutes = sum(arrays["seconds"].sum() for _, arrays in results.values()) / 60
    (folder / "report.md").write_text(
        f"# Learning from the critical point and away from it ({size})\n\n"
        f"{sizes}; digits of {meta['data']}.\n"
        "One learning rate for each cell, chosen on its orthogonal critical network and the same for all of "
        "it: an advantage for that one.\n"
        f"Ordered: σ_w times {cases.REGIMES['ordered']:g}; chaotic: times {cases.REGIMES['chaotic']:g}. "
        "The paper's off-critical values, widths, optimiser and rates are unknown. In brackets: range over "
        f"seeds.\n\n{core.table(header, rows)}\n\n"
        f"Training took {minutes:.1f} minutes of one processor. "
        f"Made by `python -m validation learning --{size}` with {core.describe(results)}, "
        f"PyTorch {used['torch']} on {used['training']}.\n"
    )
    _figure(results, folder)


def _figure(results: dict[str, core.Result], folder: Path) -> None:
    panels = list(dict.fromkeys((m["settings"]["cell"], m["settings"]["T"]) for m, _ in results.values()))
    with plotting.style():
        figure, axes = accuracy_figures.panels(len(panels))
        for ax, (cell, T) in zip(axes, panels, strict=True):
            for meta, arrays in results.values():
                settings = meta["settings"]
                if (settings["cell"], settings["T"]) == (cell, T):
                    _curve(ax, settings, meta["theory"], arrays)
            accuracy_figures.chance(ax)
            width, seeds = settings_of(results, cell, T)
            ax.set_title(f"{NAMES[cell]}, $T = {T}$, $N = {width}$, {seeds} seeds")
            ax.legend(fontsize="small", loc="upper left")
        core.save_figure(figure, folder, "learning")
        plt.close(figure)


def settings_of(results: dict[str, core.Result], cell: str, T: int) -> tuple[int, int]:
    """Width and number of seeds of a panel."""
    own = next(
        meta["settings"]
        for meta, _ in results.values()
        if (meta["settings"]["cell"], meta["settings"]["T"]) == (cell, T)
    )
    return own["N"], own["seeds"]


def _curve(
    ax: Any, settings: dict[str, Any], theory: dict[str, float], arrays: dict[str, np.ndarray]
) -> None:
    name = rf"{settings['weights']}, {settings['regime']}, $\chi = {theory['chi']:.2f}$"
    line, colour = LINES[settings["regime"]], COLOURS[settings["weights"]]
    accuracy_figures.band(ax, arrays["step"], arrays["accuracy"], line, colour, name)


def claims(results: dict[str, core.Result]) -> list[core.Claim]:
    """For each cell and T: critical learns faster than off-critical; vanilla: orthogonal than Gaussian."""
    made = []
    for T in sorted({meta["settings"]["T"] for meta, _ in results.values()}):
        for cell, name in NAMES.items():
            for weights in cases.WEIGHTS:
                first, *others = (f"{cell}-{weights}-{regime}-T{T}" for regime in cases.REGIMES)
                text = f"{name}, {weights} weights, T = {T}: the critical initialisation learns faster."
                made.append(_claim(text, results, first, others))
        first, other = (f"vanilla-{weights}-critical-T{T}" for weights in cases.WEIGHTS)
        text = f"Vanilla, critical, T = {T}: orthogonal weights learn faster than Gaussian ones."
        made.append(_claim(text, results, first, [other]))
    return made


def _claim(text: str, results: dict[str, core.Result], first: str, others: list[str]) -> core.Claim:
    """Whether ``first`` learns faster than each of the others."""
    areas, lasts = {}, {}
    for key in (first, *others):
        _, arrays = results[key]
        areas[key] = np.array([training.area(arrays["step"], own) for own in arrays["accuracy"]])
        lasts[key] = float(arrays["accuracy"][:, -1].mean())
    words, ahead, behind = [], [], []
    for other in others:
        worst = separation(areas[first], areas[other])
        opposite = separation(areas[other], areas[first])
        ahead += [other] if worst > 0 else []
        behind += [other] if opposite > 0 else []
        order = "every seed faster" if worst > 0 else "every seed slower" if opposite > 0 else "seeds mixed"
        words.append(
            f"against {other.rpartition('-T')[0]}: last accuracy {lasts[first]:.2f} and {lasts[other]:.2f}, "
            f"mean over log step {areas[first].mean():.3f} and {areas[other].mean():.3f}, {order}"
        )
    learned = max(lasts.values()) >= TARGET
    own_rates = all(results[key][0]["settings"].get("rate of") == "each network" for key in (first, *others))
    return core.Claim(
        item="Fig. 3",
        claim=text,
        numbers=f"{'; '.join(words)} ({len(areas[first])} seeds each)",
        verdict=_verdict(learned, own_rates, ahead, behind),
        reason=_reason(len(areas[first])),
        figures=("learning",),
    )


def _verdict(learned: bool, own_rates: bool, ahead: list[str], behind: list[str]) -> core.Verdict:
    """Where none has ``learned`` enough, the order of the beginnings says little about speed.

    Where one rate serves all networks of a cell, a slow one may be slow for want of its own.
    """
    if learned and behind:
        return core.Verdict.NOT_REPRODUCED if own_rates else core.Verdict.UNDECIDED
    if learned and ahead:
        return core.Verdict.DIFFERENCE
    return core.Verdict.UNDECIDED


def _reason(seeds: int) -> str:
    return (
        "not reproduced if one of the others learns faster in every seed and each network has a rate of its "
        "own; with a difference if every seed learns faster than every seed of at least one of the others; "
        f"else not decided, as where none has a mean accuracy of {TARGET:g} at the end. The difference: the "
        "paper's off-critical parameters and rates are unknown; one rate, chosen on the orthogonal critical "
        "network, serves all networks of a cell; digits are not independent in time, for which these "
        f"networks are critical; only the start is seen, not 10⁵ steps. By chance {seeds} seeds against "
        f"{seeds} come out in one given order once in {math.comb(2 * seeds, seeds)} times"
    )
