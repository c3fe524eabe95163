"""What the cases of `validation.beyond.lyapunov` show: verdicts, table and figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from rmtrnn import plotting
from validation import core
from validation.beyond.lyapunov.cases import NEAR_TRANSITION, NETWORKS, NUMBERS, PUBLISHED, SAMPLED, networks

CLOSE = 0.03  # relative, of a published number, besides finite N


class FiniteSize(NamedTuple):
    """The fit of (*) to one number: m_∞ and its standard error, c, s_1."""

    limit: float
    error: float
    c: float
    scatter: float

    def tolerance(self, N: int) -> float:
        """Relative: |c|/N + 2 s_1/(m_∞ √N)."""
        return abs(self.c) / N + 2.0 * self.scatter / (abs(self.limit) * math.sqrt(N))


def finite_size(results: dict[str, core.Result]) -> dict[str, FiniteSize]:
    """The fits of (*) to the numbers of sampled networks."""
    tables = {
        meta["settings"]["N"]: arrays["numbers"]
        for key, (meta, arrays) in results.items()
        if key.startswith(NETWORKS)
    }
    if len(tables) < 2:
        return {}
    N = np.array(list(tables), dtype=float)
    found = {}
    for column, name in enumerate(SAMPLED):
        values = [table[:, column] for table in tables.values()]
        spare = np.array([len(one) - 1 for one in values])
        pooled = np.sum(spare * N * [one.var(ddof=1) for one in values]) / spare.sum()  # s_1²
        errors = np.sqrt(pooled / (N * (spare + 1)))
        rows = np.transpose([np.ones_like(N), 1.0 / N]) / errors[:, None]
        means = np.array([one.mean() for one in values])
        limit, slope = np.linalg.lstsq(rows, means / errors, rcond=None)[0]
        error = math.sqrt(np.linalg.inv(rows.T @ rows)[0, 0])
        found[name] = FiniteSize(float(limit), error, float(slope / limit), math.sqrt(pooled))
    return found


def verdicts(results: dict[str, core.Result]) -> list[list[str]]:
    """A row for each published number, by the rule (*)."""
    fits, rows = finite_size(results), []
    for key, (N, numbers) in PUBLISHED.items():
        meta = results[key][0]
        for name, published in zip(NUMBERS, numbers, strict=False):
            found, noise = meta["theory"][name], 2.0 * meta["standard error"][name]
            off = abs(found / published - 1.0)
            allowed = CLOSE + noise / abs(found)
            if key == NEAR_TRANSITION and name in fits:
                allowed += fits[name].tolerance(N)
            verdict = "within 3 % and finite N" if off <= allowed else "not reproduced"
            verdict = "reproduced" if off <= CLOSE else verdict
            cells = f"{published:.5g}", f"{found:.5g}", f"{100 * off:.1f} %", f"{100 * allowed:.1f} %"
            rows.append([key, name, *cells, verdict if meta["converged"] else "not decided"])
    return rows


def _limits(results: dict[str, core.Result]) -> list[list[str]]:
    """A row for each number of (*): networks continued to N = ∞, and theory."""
    rows = []
    for name, fit in finite_size(results).items():
        meta = results[NEAR_TRANSITION][0]
        theory, noise = meta["theory"][name], meta["standard error"][name]
        apart = abs(theory - fit.limit) / math.hypot(fit.error, noise)
        verdict = "agree" if apart <= 2.0 else "differ"
        cells = f"{fit.limit:.3g} ± {fit.error:.1g}", f"{theory:.4g}", f"{apart:.1f}", verdict
        rows.append([name, f"{fit.c:.0f}", f"{fit.scatter / fit.limit:.1f}", *cells])
    return rows


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, figure and ``report.md``."""
    core.save_data(folder, "data", results)
    sampled = [
        [key, f"{meta['distance']:.3f}", f"{meta['error']:.3f}", str(meta["converged"])]
        for key, (meta, _) in results.items()
        if "distance" in meta
    ]
    header = ("network", "number", "published", "theory", "difference", "allowed", "verdict")
    text = [
        f"# Lyapunov spectra ({size})\n",
        "Infinite width by `rt.lyapunov`, per unit of time, against published simulations.\n",
        core.table(header, verdicts(results)),
        f"\nA number is reproduced if it is within {100 * CLOSE:g} % of the published one. What is allowed "
        f"beyond is fitted to sampled networks of the map {NEAR_TRANSITION!r}: m = m_∞ (1 + c/N), standard "
        "deviation s_1/√N between networks (rule (*) of the study, written before they were run).\n",
        core.table(
            ("number", "c", "s_1/m_∞", "m_∞", "theory", "standard errors", "verdict"), _limits(results)
        ),
        "\nOne sampled network each: largest distance of the distribution functions.\n",
        core.table(("network", "distance to sample", "stated error", "converged"), sampled),
        f"\nMade by `python -m validation lyapunov --{size}` with {core.describe(results)}.\n",
    ]
    (folder / "report.md").write_text("\n".join(text))
    if set(networks()) | {"gains"} <= set(results):
        draw(results, folder)


def draw(results: dict[str, core.Result], folder: Path) -> None:
    """Spectra against rank, theory as lines and samples as circles; dimension and entropy against gain."""
    with plotting.style():
        figure, axes = plt.subplots(1, 3, figsize=(9.0, 3.0), layout="constrained")
        for ax, cells in zip(axes, (("tanh map", "leaky"), ("gru", "lstm")), strict=False):
            keys = [key for key in networks() if key.split(",")[0] in cells]
            for colour, key in zip(plotting.PALETTE, keys, strict=False):
                arrays = results[key][1]
                ax.plot(1.0 - arrays["levels"], arrays["quantiles"], color=colour, label=key)
                found = arrays["sample"]
                some = slice(0, None, max(1, len(found) // 24))
                ranks = (np.arange(len(found)) + 0.5) / len(found)
                ax.plot(ranks[some], found[some], "o", ms=3, mfc="none", color=colour)
            ax.axhline(0.0, color="0.7", lw=0.8)
            ax.set(xlabel="rank / size of the state", ylabel="exponent per unit of time", ylim=(-4.0, 0.6))
            ax.legend(loc="lower left")
        _draw_gains(axes[2], results)
        core.save_figure(figure, folder, "spectra")
        plt.close(figure)


def _draw_gains(ax: Axes, results: dict[str, core.Result]) -> None:
    """Dimension and entropy: the closed form of the tanh map, the leaky map at two gains."""
    gains = results["gains"][1]
    labels = {"kaplan_yorke": "Kaplan–Yorke dimension / N", "entropy_rate": "entropy rate / N"}
    for name, label in labels.items():
        (line,) = ax.plot(gains["gains"], gains[name], label=f"{label}, tanh map")
        for key in ("leaky, gain 1.5", "leaky, gain 3"):
            gain = float(key.split()[-1])
            ax.plot(gain, results[key][0]["theory"][name], "s", ms=4, color=line.get_color())
    ax.plot([], [], "s", ms=4, color="0.3", label=r"leaky map, $\delta = 0.25$")
    ax.set(xlabel=r"gain $\sigma_w$")
    ax.legend(loc="upper left")
