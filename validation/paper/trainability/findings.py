"""From trained cells to the longest trainable T, its slope against ξ, the heat maps and the verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from rmtrnn import plotting
from validation import core
from validation.paper.trainability import cases
from validation.paper.trainability.slope import Slope, bounds, regression

THRESHOLD = 0.5  # accuracy above which a length counts as trainable; chance is 0.1
INSIDE = 3  # networks whose longest T lies inside the grid, without which a sweep decides nothing
MULTIPLES = (1, 6)
OUTLINE = [withStroke(linewidth=3.2, foreground="black")]  # shows on every colour
LABELS = {
    "vanilla-sigma_w": ("vanilla", r"$\sigma_w$"),
    "minimal-mu_b": ("minimalRNN", r"$\mu_b$"),
    "minimal-sigma_w": ("minimalRNN", r"$\sigma_w$"),
}
THEORIES = {"xi_Sigma0": "independent noise, Σ = 0", "xi_Sigma1": "equal noise, Σ = 1"}


def longest_trainable(T: np.ndarray, accuracy: np.ndarray, threshold: float = THRESHOLD) -> tuple[float, int]:
    """The T at which the accuracy falls below ``threshold``, log T interpolated linearly, and its censoring.

    Censoring: 0 found; −1 already the shortest T is below the threshold (that T is returned, an upper bound);
    +1 none is (the longest T is returned, a lower bound). T increasing.
    """
    below = np.flatnonzero(accuracy < threshold)
    if len(below) == 0:
        return float(T[-1]), 1
    first = int(below[0])
    if first == 0:
        return float(T[0]), -1
    high, low = accuracy[first - 1], accuracy[first]
    share = (high - threshold) / (high - low)
    return float(np.exp((1 - share) * np.log(T[first - 1]) + share * np.log(T[first]))), 0


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation, ties at their mean rank; nan where one of the two is constant."""
    ranks = [np.array([(v < value).sum() + ((v == value).sum() - 1) / 2 for value in v]) for v in (x, y)]
    deviations = [r - r.mean() for r in ranks]
    scale = np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum())
    return float((deviations[0] * deviations[1]).sum() / scale) if scale > 0 else float("nan")


def networks(results: dict[str, core.Result]) -> dict[str, core.Result]:
    """The results regrouped: one entry for each network, its accuracy over all T of the sweep."""
    found: dict[str, core.Result] = {}
    for sweep in cases.SWEEPS:
        own = [result for result in results.values() if result[0]["settings"]["sweep"] == sweep]
        own.sort(key=lambda result: result[0]["settings"]["T"])
        if not own:
            continue
        first, T = own[0][0], np.array([meta["settings"]["T"] for meta, _ in own])
        accuracy = np.array([arrays["accuracy"] for _, arrays in own])
        for column, value in enumerate(first["settings"]["values"]):
            meta = {"settings": first["settings"] | {"value": value}}
            meta["theory"] = {name: values[column] for name, values in first["theory"].items()}
            found[f"{sweep}-{value:g}"] = meta, {"T": T, "accuracy": accuracy[:, column]}
    return found


class Finding(NamedTuple):
    """log T* against log ξ over the networks of a sweep: counts, the slope, and the rank correlation."""

    points: int
    too_short: int
    too_long: int
    slope: Slope
    rank: float

    @property
    def seen(self) -> int:
        """Networks with a longest T inside the grid."""
        return self.points - self.too_short - self.too_long

    @property
    def verdict(self) -> core.Verdict:
        """By the interval of the slope: 1 is the claim, 0 is no relation."""
        holds_one, holds_none = (self.slope.low <= value <= self.slope.high for value in (1.0, 0.0))
        if self.seen < INSIDE or (holds_one and holds_none):
            return core.Verdict.UNDECIDED
        if holds_one:
            return core.Verdict.REPRODUCED
        return core.Verdict.DIFFERENCE if self.slope.low > 0.0 else core.Verdict.NOT_REPRODUCED


def quantified(results: dict[str, core.Result]) -> dict[str, dict[str, Finding]]:
    """For each sweep and each theory: the regression of log T* on log ξ."""
    found: dict[str, dict[str, Finding]] = {}
    each = networks(results).values()
    for sweep in cases.SWEEPS:
        rows = [result for result in each if result[0]["settings"]["sweep"] == sweep]
        if len(rows) < 3:
            continue
        ends = [longest_trainable(arrays["T"], arrays["accuracy"]) for _, arrays in rows]
        low, high = np.array([bounds(arrays["T"], arrays["accuracy"], THRESHOLD) for _, arrays in rows]).T
        sides = np.array([side for _, side in ends])
        found[sweep] = {}
        for theory in THEORIES:
            log_xi = np.log([meta["theory"][theory] for meta, _ in rows])
            rank = rank_correlation(log_xi, np.log([end for end, _ in ends]))
            counts = len(rows), int(np.sum(sides < 0)), int(np.sum(sides > 0))
            found[sweep][theory] = Finding(*counts, regression(log_xi, low, high), rank)
    return found


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write the data, ``report.md`` and the heat maps."""
    core.save_data(folder, "data", results)
    rows = []
    each = networks(results)
    lengths = sorted({int(T) for _, arrays in each.values() for T in arrays["T"]})
    for key, (meta, arrays) in each.items():
        end, side = longest_trainable(arrays["T"], arrays["accuracy"])
        shown = {-1: f"< {end:.0f}", 0: f"{end:.0f}", 1: f"≥ {end:.0f}"}[side]
        xi = [f"{meta['theory'][theory]:.3g}" for theory in THEORIES]
        at = {int(T): f"{value:.2f}" for T, value in zip(arrays["T"], arrays["accuracy"], strict=True)}
        rows.append([key, *xi, shown, *(at.get(T, "") for T in lengths)])
    text = core.table(
        ("network", "ξ (Σ = 0)", "ξ (Σ = 1)", "longest T", *(f"T = {T}" for T in lengths)), rows
    )
    summary = []
    for name, theories in quantified(results).items():
        for theory, values in theories.items():
            summary.append([name, THEORIES[theory], *_words(values)])
    header = (
        "sweep",
        "time scale",
        "networks",
        "outside the grid",
        "slope b",
        "95 % interval",
        "T*/ξ",
        "rank correlation",
    )
    meta = next(meta for meta, _ in results.values())
    settings, used = meta["settings"], meta["training"]
    seconds = sum(arrays["seconds"].sum() for _, arrays in results.values())
    (folder / "report.md").write_text(
        f"# Trainability against the time scale ({size})\n\n"
        f"Test accuracy of networks of N = {settings['N']} units with {settings['weights']} weights after "
        f"{settings['steps']} steps of Adam (batches of {settings['batch']}), one network a cell; "
        f"{len(rows)} networks, at up to {len(lengths)} lengths; digits of {meta['data']}.\n"
        "Rates and levels of the noise were chosen in short trial runs: with stronger noise the vanilla "
        "cell recalled less over long sequences at every σ_w tried, and minimalRNN learned little in so few "
        "steps at a lower rate. "
        f"The rule that a sweep needs {INSIDE} lengths inside the grid was added after a first look.\n"
        f"The longest trainable T is where the accuracy falls below {THRESHOLD:g}.\n\n{text}\n\n"
        "Regression log T* = a + b log ξ + s ε, where T* lies between two lengths of the grid or beyond its "
        "ends; interval of the profile likelihood, T*/ξ at the mean of log ξ. The claim is b = 1:"
        f"\n\n{core.table(header, summary)}\n\n"
        f"Training took {seconds / 60:.1f} minutes of one processor. "
        f"Made by `python -m validation trainability --{size}` with {core.describe(results)}, "
        f"PyTorch {used['torch']} on {used['training']}.\n"
    )
    _heat_maps(each, folder)


def _words(found: Finding) -> list[str]:
    slope = found.slope
    return [
        f"{found.points}",
        f"{found.too_short} below, {found.too_long} above",
        f"{slope.b:.2f}",
        f"[{slope.low:.2f}, {slope.high:.2f}]",
        f"{slope.ratio:.2g}",
        f"{found.rank:.2f}",
    ]


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders of cells around increasing centres."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _heat_maps(results: dict[str, core.Result], folder: Path) -> None:
    with plotting.style():
        figure, axes = plt.subplots(1, 3, figsize=(15.0, 5.4), layout="constrained")
        mesh = None
        for ax, sweep in zip(axes, cases.SWEEPS, strict=True):
            rows = sorted(
                (result for result in results.values() if result[0]["settings"]["sweep"] == sweep),
                key=lambda result: result[0]["settings"]["value"],
            )
            if not rows:
                ax.set_axis_off()
                continue
            mesh = _heat_map(ax, sweep, rows)
        if mesh is not None:
            lines, names = next(
                ax.get_legend_handles_labels() for ax in axes if ax.get_legend_handles_labels()[0]
            )
            key = figure.legend(lines, names, loc="outside lower center", ncols=4, frameon=True)
            key.get_frame().set(facecolor="0.6", alpha=1.0)
            figure.colorbar(mesh, ax=axes, label="test accuracy (chance 0.1)", shrink=0.9)
        core.save_figure(figure, folder, "heatmaps")
        plt.close(figure)


def _heat_map(ax: Axes, sweep: str, rows: list[core.Result]) -> Any:
    values = np.array([meta["settings"]["value"] for meta, _ in rows])
    T = rows[0][1]["T"]
    accuracy = np.array([arrays["accuracy"] for _, arrays in rows]).T
    borders = np.exp(_edges(np.log(T)))
    mesh = ax.pcolormesh(_edges(values), borders, accuracy, cmap="cividis", vmin=0.1, vmax=1.0)
    for theory, line in (("xi_Sigma0", "-"), ("xi_Sigma1", "--")):
        xi = np.array([meta["theory"][theory] for meta, _ in rows])
        for multiple, colour in zip(MULTIPLES, ("white", "#e34a33"), strict=True):
            label = f"{multiple}ξ, {THEORIES[theory]}"
            ax.plot(values, multiple * xi, line, color=colour, marker=".", path_effects=OUTLINE, label=label)
    first = rows[0][0]["settings"]
    cell, symbol = LABELS[sweep]
    fixed = rf"$\sigma_v = {first['sigma_v']:g}$"
    if sweep == "minimal-mu_b":
        fixed += rf", $\sigma_w = {first['sigma_w']:g}$"
    if sweep == "minimal-sigma_w":
        fixed += rf", $\mu_b = {first['mu_b']:g}$"
    ax.set(yscale="log", xlabel=symbol, ylabel="sequence length $T$ (steps)")
    ax.set_xlim(*_edges(values)[[0, -1]])
    ax.set_ylim(borders[0], borders[-1])
    size = f"$N = {first['N']}$, {first['steps']} training steps"
    ax.set_title(f"{cell}, {fixed}\n{size}", fontsize="medium")
    ax.set_yticks(T, [str(length) for length in T])
    ax.minorticks_off()
    ax.set_facecolor("0.6")
    ax.grid(False)
    return mesh


def claims(results: dict[str, core.Result]) -> list[core.Claim]:
    """A claim for each panel, T* is proportional to ξ, and one on how broad the regions are."""
    made = [_claim(sweep, theories) for sweep, theories in quantified(results).items()]
    return [*made, _broader(results)]


def _claim(sweep: str, theories: dict[str, Finding]) -> core.Claim:
    own = theories["xi_Sigma0"]
    cell, symbol = LABELS[sweep]
    plain = symbol.strip("$\\").replace("sigma", "σ").replace("mu", "μ")
    numbers = "; ".join(
        f"{THEORIES[name]}: slope {found.slope.b:.2f} [{found.slope.low:.2f}, {found.slope.high:.2f}], "
        f"T*/ξ = {found.slope.ratio:.2g}, rank correlation {found.rank:.2f}"
        for name, found in theories.items()
    )
    return core.Claim(
        item="Fig. 2",
        claim=f"{cell}, {plain} varied: the longest sequence that can be learned is proportional to ξ.",
        numbers=f"{own.points} networks, {own.seen} with a longest T inside the grid; {numbers}",
        verdict=_verdict([found.verdict for found in theories.values()]),
        reason=(
            "slope b of log T* against log ξ, censored at the ends of the grid, with the 95 % interval of "
            "the profile likelihood. Reproduced if the interval holds 1 and not 0; with a difference if it "
            "lies above 0 without 1 (T* grows with another power of ξ); not reproduced if it holds neither "
            f"1 nor lies above 0; not decided if it holds both, or with fewer than {INSIDE} networks inside "
            "the grid. The noise of two sequences has two readings: independent, Σ = 0, as in this task, or "
            "equal, Σ = 1, as in the paper's Fig. 1. Reproduced if both are; with a difference if one is or "
            "both have one. Few steps of training, one network a cell"
        ),
        figures=("heatmaps",),
    )


def _verdict(readings: list[core.Verdict]) -> core.Verdict:
    """One verdict from those of the readings of the noise."""
    if all(verdict == core.Verdict.REPRODUCED for verdict in readings):
        return core.Verdict.REPRODUCED
    if core.Verdict.UNDECIDED in readings and core.Verdict.REPRODUCED not in readings:
        return core.Verdict.UNDECIDED
    if core.Verdict.REPRODUCED in readings or set(readings) == {core.Verdict.DIFFERENCE}:
        return core.Verdict.DIFFERENCE
    return core.Verdict.NOT_REPRODUCED


def _broader(results: dict[str, core.Result]) -> core.Claim:
    """Share of the (hyperparameter, T) grid above the threshold, vanilla over σ_w and minimalRNN over μ_b."""
    shares = {}
    for sweep in ("vanilla-sigma_w", "minimal-mu_b"):
        rows = [
            arrays["accuracy"]
            for meta, arrays in networks(results).values()
            if meta["settings"]["sweep"] == sweep
        ]
        shares[sweep] = float((np.array(rows) >= THRESHOLD).mean())
    return core.Claim(
        item="Abstract",
        claim="Gated networks have a much broader, more robust trainable region.",
        numbers=", ".join(f"{LABELS[sweep][0]}: {share:.0%} of the grid" for sweep, share in shares.items()),
        verdict=core.Verdict.UNDECIDED,
        reason=(
            "share of the grid with accuracy above the threshold; never decided by this alone, because a "
            "share depends on the ranges of σ_w and μ_b and on the noise chosen for each cell"
        ),
        figures=("heatmaps",),
    )
