"""Figures of learning: test accuracy against training step, a panel for each network."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def panels(count: int) -> tuple[Any, list[Any]]:
    """A figure with ``count`` panels, two in a row, for `band` and `chance`."""
    columns = min(2, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.6 * columns, 4.2 * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    for ax in axes.flat[:count]:
        ax.set(xscale="log", ylim=(0.0, 1.0), xlabel="training step", ylabel="test accuracy")
    return figure, list(axes.flat[:count])


def band(ax: Any, steps: np.ndarray, accuracy: np.ndarray, line: str, colour: str, label: str) -> None:
    """The mean of the seeds, accuracy (seeds, steps), and their range."""
    ax.plot(steps, accuracy.mean(axis=0), line, color=colour, label=label)
    ax.fill_between(steps, accuracy.min(axis=0), accuracy.max(axis=0), color=colour, alpha=0.15, lw=0)


def read_off(ax: Any, points: dict[str, list[tuple[int, float]]]) -> None:
    """Points of the paper's curves: full where the network is critical, open where it is not."""
    for name, face in {"critical": "black", "off-critical": "white"}.items():
        if name in points:
            steps, accuracy = zip(*points[name], strict=True)
            label = f"paper's figure, by eye: {name}"
            ax.plot(steps, accuracy, "o", color="black", markerfacecolor=face, markersize=4.5, label=label)


def chance(ax: Any) -> None:
    """The accuracy of a guess among ten digits, after the curves are drawn."""
    ax.axhline(0.1, color="0.6", linewidth=0.8, linestyle=":")
