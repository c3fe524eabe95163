"""Report and figure of the honesty of the Dyson solver's errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core
from validation.dyson_error.cases import FACTOR

_HEADER = ("network", "cell", "weights", "T", "reported", "true", "honest", "default reports")
AIM = 1e-3  # of the error at default settings


def summary(results: dict[str, core.Result]) -> dict[str, Any]:
    """Counts over the networks."""
    metas = [meta for meta, _ in results.values()]
    done = [meta for meta in metas if meta["converged"]]
    reported, true = (np.array([meta[name] for meta in done]) for name in ("reported", "true"))
    return {
        "networks": len(metas),
        "converged": len(done),
        "honest": int(np.sum(true <= reported)),
        "default_below_1e-3": int(np.sum([meta["default"] <= AIM for meta in metas])),
        "default_median": float(np.median([meta["default"] for meta in metas])),
        "default_largest": float(np.max([meta["default"] for meta in metas])),
        "default_seconds": float(np.median([meta["default seconds"] for meta in metas])),
        "median_reported": float(np.median(reported)),
        "largest_reported": float(np.max(reported)),
        "median_true": float(np.median(true)),
        "largest_true": float(np.max(true)),
    }


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write ``data``, ``report.md`` and the figure of true against reported error."""
    core.save_data(folder, "data", results, single=True)
    groups: dict[str, dict[str, core.Result]] = {}
    for key, result in results.items():
        name = "tied weights" if result[0]["ensemble"]["tied"] else "untied weights"
        groups.setdefault(name, {})[key] = result
    text = "\n\n".join(
        (
            f"# The error of Dyson spectra ({size})",
            *(_part(*group) for group in groups.items()),
            f"Made by `python -m validation dyson_error --{size}` with {core.describe(results)}.\n",
        )
    )
    (folder / "report.md").write_text(text)
    _figure(groups, folder)


def _part(name: str, results: dict[str, core.Result]) -> str:
    """Counts in words, then the table."""
    found = summary(results)
    population = next(iter(results.values()))[0]["settings"]["population"]
    rows = [
        [
            key,
            meta["cell"],
            meta["ensemble"]["weights"],
            meta["T"],
            f"{meta['reported']:.1e}",
            f"{meta['true']:.1e}",
            "yes" if meta["true"] <= meta["reported"] else "**no**",
            f"{meta['default']:.1e}",
        ]
        for key, (meta, _) in results.items()
    ]
    return (
        f"## {name.capitalize()}\n\n"
        f"{found['networks']} random networks, {population} sites against {FACTOR} times as many; "
        f"{found['converged']} pairs converged. The true error is below the reported one in "
        f"{found['honest']}; "
        f"reported: median {found['median_reported']:.1e}, largest {found['largest_reported']:.1e}; "
        f"true: median {found['median_true']:.1e}, largest {found['largest_true']:.1e}.\n\n"
        f"At default settings, where the population has a free size, the reported error is at most {AIM:g} "
        f"in {found['default_below_1e-3']} of {found['networks']} (median {found['default_median']:.1e}, "
        f"largest {found['default_largest']:.1e}; median time {found['default_seconds']:.1f} s of one "
        "thread).\n\n"
        f"{core.table(_HEADER, rows)}"
    )


def _figure(groups: dict[str, dict[str, core.Result]], folder: Path) -> None:
    """One panel for untied and one for tied weights."""
    with plotting.style():
        figure, axes = plt.subplots(1, len(groups), figsize=(4.6 * len(groups), 4.2), squeeze=False)
        for ax, (name, results) in zip(axes[0], groups.items(), strict=True):
            _panel(ax, name, results)
        core.save_figure(figure, folder, "errors")
        plt.close(figure)


def _panel(ax: Any, name: str, results: dict[str, core.Result]) -> None:
    metas = [meta for meta, _ in results.values() if meta["converged"]]
    for cell, marker in (("minimal", "o"), ("gru", "s"), ("leaky", "^")):
        some = [meta for meta in metas if meta["cell"] == cell]
        pairs = [meta["reported"] for meta in some], [meta["true"] for meta in some]
        ax.plot(*pairs, marker, markersize=4, label=cell)
    low, high = min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])
    low = max(low, 1e-6)
    ax.plot([low, high], [low, high], "k-", linewidth=1, label="equal")
    population = metas[0]["settings"]["population"]
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="reported error of the cdf",
        ylabel=f"distance from {FACTOR} times as many sites",
        title=f"{name}: {len(results)} random networks, {population} sites",
    )
    ax.legend()
