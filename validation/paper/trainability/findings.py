"""From trained networks to the longest trainable T, its slope against ξ, the heat maps and the verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patheffects import withStroke

from rmtrnn import plotting
from validation import core
from validation.paper import training
from validation.paper.trainability import cases
from validation.paper.trainability.cases import LEARNED
from validation.paper.trainability.slope import Slope, bounds, regression

INSIDE = 3  # networks whose longest T lies inside the grid, without which a sweep decides nothing
MULTIPLES = (1, 6)
OUTLINE = [withStroke(linewidth=3.2, foreground="black")]  # shows on every colour
LABELS = {
    "vanilla-sigma_w": ("vanilla", r"$\sigma_w$"),
    "minimal-mu_b": ("minimalRNN", r"$\mu_b$"),
    "minimal-sigma_w": ("minimalRNN", r"$\sigma_w$"),
}
THEORIES = {"xi_Sigma0": "independent noise, Σ = 0", "xi_Sigma1": "equal noise, Σ = 1"}


def learned(arrays: dict[str, np.ndarray], budget: float = np.inf) -> np.ndarray:
    """Whether the median seed learned within ``budget`` steps, at every length."""
    steps = np.median(arrays["steps"], axis=1)
    return np.isfinite(steps) & (steps <= budget)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation, ties at their mean rank; nan where one of the two is constant."""
    ranks = [np.array([(v < value).sum() + ((v == value).sum() - 1) / 2 for value in v]) for v in (x, y)]
    deviations = [r - r.mean() for r in ranks]
    scale = np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum())
    return float((deviations[0] * deviations[1]).sum() / scale) if scale > 0 else float("nan")


def of_sweep(results: dict[str, core.Result], sweep: str) -> list[core.Result]:
    """The results of a sweep, by increasing value."""
    own = [result for result in results.values() if result[0]["settings"]["sweep"] == sweep]
    return sorted(own, key=lambda result: result[0]["settings"]["value"])


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
    def judged(self) -> core.Judged:
        """Judge by the interval of the slope: 1 is the claim, 0 is no relation, 2 another one."""
        holds_none, holds_one, holds_two = (
            self.slope.low <= value <= self.slope.high for value in (0.0, 1.0, 2.0)
        )
        if self.seen < INSIDE or (holds_one and (holds_none or holds_two)):
            return {"verdict": core.Verdict.UNDECIDED}
        if holds_one:
            return {"verdict": core.Verdict.REPRODUCED}
        if self.slope.low > 0.0:
            return {"verdict": core.Verdict.DIFFERENCE, "difference": "another power of ξ"}
        return {"verdict": core.Verdict.NOT_REPRODUCED}


def quantified(results: dict[str, core.Result], budget: float = np.inf) -> dict[str, dict[str, Finding]]:
    """For each sweep and each theory: the regression of log T* on log ξ, with so many steps of training."""
    found: dict[str, dict[str, Finding]] = {}
    for sweep in cases.SWEEPS:
        rows = of_sweep(results, sweep)
        if len(rows) < 3:
            continue
        low, high = np.array([bounds(own["T"], learned(own, budget)) for _, own in rows]).T
        counts = len(rows), int(np.isinf(low).sum()), int(np.isinf(high).sum())
        longest = np.where(np.isfinite(low), low, high - np.log(2.0))
        found[sweep] = {}
        for theory in THEORIES:
            log_xi = np.log([meta["theory"][theory] for meta, _ in rows])
            rank = rank_correlation(log_xi, longest)
            found[sweep][theory] = Finding(*counts, regression(log_xi, low, high), rank)
    return found


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write the data, ``report.md`` and the heat maps."""
    core.save_data(folder, "data", results, single=True)
    lengths = sorted({int(T) for _, arrays in results.values() for T in arrays["T"]})
    header = ("network", "ξ (Σ = 0)", "ξ (Σ = 1)", "longest T", *(f"T = {T}" for T in lengths))
    text = core.table(header, [_row(key, one, lengths) for key, one in results.items()])
    meta = next(meta for meta, _ in results.values())
    settings, used = meta["settings"], meta["training"]
    summary = [
        [name, f"{budget:.0f}", THEORIES[theory], *_words(values)]
        for budget in budgets(settings["steps"])
        for name, theories in quantified(results, budget).items()
        for theory, values in theories.items()
    ]
    columns = (
        "sweep", "training steps", "time scale", "points", "outside the grid", "slope b", "95 % interval",
        "T*/ξ", "rank correlation",
    )  # fmt: skip
    rates = {one["settings"]["cell"]: one["settings"]["rates"] for one, _ in results.values()}
    seconds = sum(float(arrays["seconds"]) for _, arrays in results.values())
    count = len(cases.list_cases(size))
    (folder / "report.md").write_text(
        f"# Trainability against the time scale ({size})\n\n"
        f"{len(results)} of {count} cases were run. Steps of Adam (batches of {settings['batch']}) until a "
        f"network of N = {settings['N']} units with {settings['weights']} weights gives {LEARNED:.0%} right "
        f"answers, at the best of the rates {_listed(rates)}; median of {settings['seeds']} seeds, –: more "
        f"than {settings['steps']}. Digits of {meta['data']}. The first length that no seed learns is the "
        "last one trained; the longest T is the longest that the median seed learns.\n"
        "Levels of the noise and the rates were chosen in short trial runs: with stronger noise the vanilla "
        "cell recalled less over long sequences at every σ_w tried. "
        f"The rule that a sweep needs {INSIDE} points inside the grid was added after a first look.\n\n"
        f"{text}\n\n"
        "Regression log T* = a + b log ξ + s ε, where T*, the longest T that can be learned, lies between "
        "two lengths of the grid or beyond its ends; interval of the profile likelihood, T*/ξ at the mean "
        f"of log ξ. The claim is b = 1:\n\n{core.table(columns, summary)}\n\n"
        f"Training took {seconds / 60:.1f} minutes of one processor. "
        f"Made by `python -m validation trainability --{size}` with {core.describe(results)}, "
        f"PyTorch {used['torch']} on {used['training']}.\n"
    )
    _heat_maps(results, lengths, folder)


def budgets(steps: int) -> tuple[int, ...]:
    """Numbers of training steps for which T* is read off: a tenth of them, and all."""
    return steps // 10, steps


def _listed(rates: dict[str, list[float]]) -> str:
    return "; ".join(f"{', '.join(f'{rate:g}' for rate in own)} ({cell})" for cell, own in rates.items())


def _row(key: str, result: core.Result, lengths: list[int]) -> list[str]:
    meta, arrays = result
    steps = np.median(arrays["steps"], axis=1)
    at = {
        int(T): f"{value:.0f}" if np.isfinite(value) else "–"
        for T, value in zip(arrays["T"], steps, strict=True)
    }
    xi = [f"{meta['theory'][theory]:.3g}" for theory in THEORIES]
    low, high = np.exp(bounds(arrays["T"], learned(arrays)))
    longest = (
        f"≥ {low:.0f}" if np.isinf(high) else f"{low:.0f} to {high:.0f}" if low > 0.0 else f"< {high:.0f}"
    )
    return [key, *xi, longest, *(at.get(T, "") for T in lengths)]


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


def _heat_maps(results: dict[str, core.Result], lengths: list[int], folder: Path) -> None:
    with plotting.style():
        figure, axes = plt.subplots(1, 3, figsize=(15.0, 5.4), layout="constrained")
        mesh = None
        for ax, sweep in zip(axes, cases.SWEEPS, strict=True):
            rows = of_sweep(results, sweep)
            if len(rows) < 2:
                ax.set_axis_off()
                continue
            mesh = _heat_map(ax, sweep, rows, np.array(lengths))
        if mesh is not None:
            lines, names = next(
                ax.get_legend_handles_labels() for ax in axes if ax.get_legend_handles_labels()[0]
            )
            key = figure.legend(lines, names, loc="outside lower center", ncols=4, frameon=True)
            key.get_frame().set(facecolor="0.6", alpha=1.0)
            figure.colorbar(mesh, ax=axes, label=f"training steps to {LEARNED:.0%} right answers", shrink=0.9)
        core.save_figure(figure, folder, "heatmaps")
        plt.close(figure)


def _heat_map(ax: Axes, sweep: str, rows: list[core.Result], T: np.ndarray) -> Any:
    """Steps of the median seed; grey where it does not learn, or a shorter length was not learned."""
    values = np.array([meta["settings"]["value"] for meta, _ in rows])
    steps = np.full((len(T), len(rows)), np.nan)
    for k, (_, arrays) in enumerate(rows):
        steps[: len(arrays["T"]), k] = np.median(arrays["steps"], axis=1)
    steps[np.isinf(steps)] = np.nan
    borders = np.exp(_edges(np.log(T)))
    norm = LogNorm(training.marks(1000)[0], rows[0][0]["settings"]["steps"])
    mesh = ax.pcolormesh(_edges(values), borders, steps, cmap="cividis_r", norm=norm)
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
    first_edge, last_edge = _edges(values)[[0, -1]]
    ax.set_xlim(max(first_edge, 0.0) if values[0] > 0.0 else first_edge, last_edge)
    ax.set_ylim(borders[0], borders[-1])
    size = f"$N = {first['N']}$, median of {first['seeds']} seeds; grey: more than {first['steps']} steps"
    ax.set_title(f"{cell}, {fixed}\n{size}", fontsize="medium")
    ax.set_yticks(T, [str(length) for length in T])
    ax.minorticks_off()
    ax.set_facecolor("0.6")
    ax.grid(False)
    return mesh


def claims(results: dict[str, core.Result]) -> list[core.Claim]:
    """For each panel and reading of ξ, T* is proportional to ξ; and how broad the regions are."""
    settings = next(meta for meta, _ in results.values())["settings"]
    few, _ = budgets(settings["steps"])
    early, late = quantified(results, few), quantified(results)
    made = []
    for sweep, theories in late.items():
        planned = len(cases.SIZES[settings["size"]][sweep])
        first, second = theories.values()
        same = bool(np.isclose(first.slope.b, second.slope.b, rtol=0.02))
        network = f"{LABELS[sweep][0]}, {_plain(sweep)} varied"
        new = "" if same else _new(network, theories)
        for theory, own in theories.items():
            if theory != "xi_Sigma0" and same:
                continue  # both readings have one ξ, and are one claim
            noise = "both readings of the noise" if same else THEORIES[theory]
            made.append(_claim(network, noise, own, early[sweep][theory], few, planned, new))
            new = ""
    return [*made, _broader(results)]


def _plain(sweep: str) -> str:
    return LABELS[sweep][1].strip("$\\").replace("sigma", "σ").replace("mu", "μ")


def _claim(
    network: str, noise: str, own: Finding, early: Finding, few: int, planned: int, new: str
) -> core.Claim:
    enough = own.seen >= INSIDE
    slope = f"slope of log T* on log ξ {_interval(own.slope)}" if enough else "too few for a slope"
    return core.Claim(
        item="Fig. 2",
        claim=f"{network}: the longest T that can be learned is proportional to ξ ({noise}).",
        found=f"{slope}; {own.seen} of {own.points} networks have T* inside the grid"
        + (f", {planned - own.points} not run" if planned > own.points else ""),
        numbers=f"T*/ξ = {own.slope.ratio:.2g}, rank correlation {own.rank:.2f}; after {few} steps of "
        f"training the slope is {_interval(early.slope)}"
        if enough
        else "",
        new=new,
        **own.judged,
        reason=(
            "slope b of log T* against log ξ, censored at the ends of the grid, with the 95 % interval of "
            "the profile likelihood in brackets. Reproduced if it holds 1 and neither 0 nor 2; with a "
            "difference if it lies above 0 without 1 (T* grows with another power of ξ); not reproduced "
            "if it holds neither 1 nor lies above 0; not decided if it holds 1 beside 0 or 2, or with "
            f"fewer than {INSIDE} networks inside the grid. The noise of two sequences has two readings: "
            "independent, Σ = 0, as in this task, or equal, Σ = 1, as in the paper's Fig. 1"
        ),
        figures=("heatmaps",),
    )


def _interval(slope: Slope) -> str:
    return f"{slope.b:.2f} ({slope.low:.2f} to {slope.high:.2f})"


def _new(network: str, theories: dict[str, Finding]) -> str:
    """Where T* grows with one of the two time scales and not with the other."""
    grows = {name: found for name, found in theories.items() if found.slope.low > 0.0}
    if len(grows) != 1:
        return ""
    ((name, own),) = grows.items()
    (other,) = set(theories) - {name}
    return (
        f"{network}: what can be learned goes with the time scale of {THEORIES[name]} (rank correlation "
        f"{own.rank:.2f}), not with that of {THEORIES[other]} ({theories[other].rank:.2f})."
    )


def breadth(rows: list[core.Result], T: int) -> tuple[float, float]:
    """Factor of σ_w over which sequences of T steps are learned: lower and upper bound.

    It is that of the values around the one of the longest T* that learn T; the region ends between the last
    of them and the next value of the sweep, or beyond its end.
    """
    values = np.array([meta["settings"]["value"] for meta, _ in rows])
    longest = np.array([bounds(arrays["T"], learned(arrays))[0] for _, arrays in rows])
    there = longest >= np.log(T) - 1e-9
    if not there.any():
        return 1.0, float((values[1:] / values[:-1]).max())
    first = last = int(np.argmax(longest))
    while first > 0 and there[first - 1]:
        first -= 1
    while last < len(values) - 1 and there[last + 1]:
        last += 1
    ends = np.concatenate([[0.0], values, [np.inf]])
    below, above = ends[first], ends[last + 2]
    return float(values[last] / values[first]), float(above / below) if below > 0.0 else np.inf


def _broader(results: dict[str, core.Result]) -> core.Claim:
    """For every T, the factor of σ_w that is learned: minimalRNN at its gate bias against vanilla."""
    gated, plain = of_sweep(results, "minimal-sigma_w"), of_sweep(results, "vanilla-sigma_w")
    lengths = sorted({int(T) for _, arrays in (*gated, *plain) for T in arrays["T"]})
    found: dict[str, list[int]] = {"agree": [], "differ": [], "silent": []}
    shown = ""
    for T in lengths:
        (low, high), (other_low, other_high) = breadth(gated, T), breadth(plain, T)
        state = "agree" if low > other_high else "differ" if high < other_low else "silent"
        found[state].append(T)
        if state != "silent":
            shown = (
                f"; T = {T}: σ_w over a factor {_range(low, high)}, vanilla {_range(other_low, other_high)}"
            )
    known = {state: [f"T = {T}" for T in steps] for state, steps in found.items()}
    return core.Claim(
        item="Abstract",
        claim="Gated networks have a broader trainable region: minimalRNN, μ_b = "
        f"{cases.MU_OF_SIGMA_SWEEP:g}, in σ_w.",
        found=f"broader at {len(found['agree'])} of {len(found['agree']) + len(found['differ'])} T that "
        f"can tell{shown}",
        **core.by_cases(known["agree"], known["differ"]),
        reason=(
            "a T agrees if the factor between the largest and the smallest σ_w that learn it is larger "
            "than that of vanilla networks, whatever lies between two values of the sweep or beyond its "
            f"end; it cannot tell where the bounds overlap; {core.BY_KNOWN_CASES}; not "
            "decided if no T can tell. One gate bias; noise and rates are chosen for each cell"
        ),
        figures=("heatmaps",),
    )


def _range(low: float, high: float) -> str:
    return f"{low:.2g} to {high:.2g}" if np.isfinite(high) else f"{low:.2g} or more"
