"""Report of the training from five initialisations."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core
from validation.initialisation.cases import CELLS, METHODS, VARIANCE, smooth


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Curves, and the table of steps to the target."""
    core.save_data(folder, "data", results)
    settings = next(iter(results.values()))[0]["settings"]
    rows = []
    with plotting.style():
        figure, axes = plt.subplots(1, len(CELLS), figsize=(8.4, 3.2), sharey=True)
        for ax, cell in zip(axes, CELLS, strict=True):
            for method in METHODS:
                if f"{cell} {method}" not in results:
                    continue
                meta, arrays = results[f"{cell} {method}"]
                curves = np.array([smooth(curve) for curve in arrays["losses"]])
                ax.plot(np.median(curves, axis=0), label=method)
                ax.fill_between(
                    np.arange(curves.shape[1]), curves.min(axis=0), curves.max(axis=0), alpha=0.15
                )
                reached = ["not reached" if step < 0 else str(step) for step in meta["steps to target"]]
                last = ", ".join(f"{value:.4f}" for value in meta["last loss"])
                rows.append([cell, method, f"{meta['rate']:g}", ", ".join(reached), last])
            ax.axhline(VARIANCE, color="0.6", lw=0.8, ls=":")
            ax.set(
                title=f"{cell}, adding, T = {settings['T']}, N = {settings['N']}", xlabel="step", yscale="log"
            )
        axes[0].set_ylabel("squared error")
        axes[-1].legend()
        core.save_figure(figure, folder, "curves")
    text = [
        f"# Initialisation: the adding problem ({size})\n",
        f"T = {settings['T']}, N = {settings['N']}, batches of {settings['batch']}, "
        f"{settings['steps']} steps, {settings['seeds']} seeds. "
        "The dotted line is the variance of the answer, the target half of it.\n",
        core.table(("cell", "initialisation", "rate", "steps to target", "last loss"), rows),
        "\n" + _sentence(results) + "\n",
        f"\nMade by `python -m validation initialisation --{size}` with {core.describe(results)}.\n",
    ]
    (folder / "report.md").write_text("\n".join(text), encoding="utf-8")


def _sentence(results: dict[str, core.Result]) -> str:
    """For each cell, who reached the target first, by the rule in the module's text."""
    found = []
    for cell in CELLS:
        steps = {
            method: float(
                np.median(
                    [s if s >= 0 else np.inf for s in results[f"{cell} {method}"][0]["steps to target"]]
                )
            )
            for method in METHODS
            if f"{cell} {method}" in results
        }
        first = min(steps, key=lambda method: steps[method])
        own = steps.get("initialize", np.inf)
        if not math.isfinite(steps[first]):
            found.append(f"{cell}: no initialisation reached the target.")
        elif own <= 1.1 * steps[first]:
            found.append(f"{cell}: `rt.initialize` is first, or within 10 % of the first ({first}).")
        else:
            found.append(
                f"{cell}: {first} is first after {steps[first]:g} steps; `rt.initialize` needs {own:g}."
            )
    return " ".join(found)
