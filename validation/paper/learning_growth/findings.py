"""From training curves to the figures, the table and the verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core
from validation.paper import training
from validation.paper.learning_growth import arms, cases, curves
from validation.paper.learning_growth.read_off import POINTS

ITEM = "Fig. 3"
TARGET = 0.5  # accuracy that a network must reach for its speed to be compared
CELLS = ("vanilla", "minimal")  # in the order of the claims
COLOURS = {
    "published": "black",
    "growth 0": "#009e73",
    "growth -0.05": "#56b4e9",
    "growth -0.1": "#0072b2",
    "growth 0.05": "#e69f00",
    "growth 0.1": "#d55e00",
    "critical": "#cc79a7",
    "initialize": "#999999",
}
DASHED = ("critical", "initialize")
OFF = [arm for arm, growth in arms.GROWTHS.items() if growth]  # networks off the critical point
FAR = [arm for arm, growth in arms.GROWTHS.items() if abs(growth) == max(arms.GROWTHS.values())]


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write the data, ``report.md`` and the curves."""
    core.save_data(folder, "data", results, single=True)
    header = (
        "network", "σ_w of each seed", "growth of each seed", "χ", "rate", "last accuracy",
        "mean over log step", f"step of {TARGET:g}, each seed",
    )  # fmt: skip
    meta = next(meta for meta, _ in results.values())
    used = meta["training"]
    listed = cases.list_cases(size)
    sizes = "; ".join(
        f"T = {T}: N = {own['N']} units, {own['seeds']} seeds, {own['steps']} steps of Adam, batches of "
        f"{own['batch']}, {own['held_out']} test digits"
        for T, own in cases.SIZES[size].items()
    )
    (folder / "report.md").write_text(
        f"# Learning from the critical point and away from it ({size})\n\n"
        f"{len(results)} of {len(listed)} cases were run. {sizes}; digits of {meta['data']}.\n"
        "The growth is that of the logarithm of the gradient per step backwards, measured on the data before "
        "training; each network of a growth has a σ_w of its own. The rate of Adam is chosen for each "
        f"network, on another seed, by {_searched(size)} steps, from a grid of ratio √10 in whose inside it "
        "lies. The paper's off-critical values, widths, optimiser and rates are unknown. In brackets: range "
        "over seeds."
        f"\n\n{core.table(header, [_row(key, one) for key, one in results.items()])}\n\n"
        f"Made by `python -m validation learning_growth --{size}` with {core.describe(results)}, "
        f"PyTorch {used['torch']} on {used['training']}.\n"
    )
    for T, inputs in dict.fromkeys(
        (m["settings"]["T"], m["settings"]["inputs"]) for m, _ in results.values()
    ):
        _figure(results, T, inputs, folder)


def _searched(size: str) -> str:
    return " or ".join(str(n) for n in dict.fromkeys(own["search"] for own in cases.SIZES[size].values()))


def _row(key: str, result: core.Result) -> list[str]:
    meta, arrays = result
    placed = meta["placed"]
    if placed is None:
        return [key, "no σ_w has this growth", *6 * ["-"]]
    finals = arrays["accuracy"][:, -1]
    reached = [training.first_step(arrays["step"], own, TARGET) for own in arrays["accuracy"]]
    areas = training.area(arrays["step"], arrays["accuracy"])
    return [
        key,
        ", ".join(dict.fromkeys(f"{value:.3f}" for value in placed["sigma_w"])),
        ", ".join(map(_signed, placed["growth"])),
        f"{np.mean(placed['chi']):.3f}",
        f"{placed['rate']:.2g}",
        f"{finals.mean():.2f} ({finals.min():.2f} to {finals.max():.2f})",
        f"{areas.mean():.3f} ({areas.min():.3f} to {areas.max():.3f})",
        ", ".join("not reached" if math.isinf(step) else f"{step:.0f}" for step in reached),
    ]


def _signed(growth: float) -> str:
    """Three decimals, a zero without a sign."""
    rounded = round(float(growth), 3)
    return f"{rounded:+.3f}" if rounded else "0.000"


def _figure(results: dict[str, core.Result], T: int, inputs: str, folder: Path) -> None:
    """One panel for each cell and weight law, one curve for each arm, a band over its seeds."""
    own = {
        key: one
        for key, one in results.items()
        if (one[0]["settings"]["T"], one[0]["settings"]["inputs"]) == (T, inputs)
    }
    panels = list(dict.fromkeys((m["settings"]["cell"], m["settings"]["weights"]) for m, _ in own.values()))
    with plotting.style():
        figure, axes = curves.panels(len(panels))
        for ax, (cell, weights) in zip(axes, panels, strict=True):
            for meta, arrays in own.values():
                settings = meta["settings"]
                if (settings["cell"], settings["weights"]) == (cell, weights) and meta["placed"] is not None:
                    _curve(ax, settings["arm"], meta["placed"], arrays)
            if inputs == "pixels":
                curves.read_off(ax, POINTS.get((cell, weights, T), {}))
            curves.chance(ax)
            ax.set_title(f"{core.CELL_NAMES[cell]}, {core.WEIGHT_NAMES[weights]}, {inputs}, $T = {T}$")
            ax.legend(
                fontsize="xx-small",
                loc="upper left",
                title="initialisation: growth",
                title_fontsize="xx-small",
            )
        core.save_figure(figure, folder, figure_name(T, inputs))
        plt.close(figure)


def figure_name(T: int, inputs: str) -> str:
    """The name of a figure."""
    return f"learning-{inputs}-T{T}"


def _curve(ax: Any, arm: str, placed: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    name = f"{arm.partition(' ')[0]}: {_signed(np.mean(placed['growth']))}"
    line = "--" if arm in DASHED else "-"
    curves.band(ax, arrays["step"], arrays["accuracy"], line, COLOURS[arm], name)


def claims(results: dict[str, core.Result]) -> list[core.Claim]:
    """For each cell, weights, inputs and T: critical learns faster; vanilla: orthogonal faster than Gaussian.

    Networks of which no case was run are one claim.
    """
    size = next(meta["settings"]["size"] for meta, _ in results.values())
    made, absent = [], []
    for T, own in cases.SIZES[size].items():
        new = {cell: _new(results, cell, T) for cell in CELLS}
        for inputs in own["inputs"]:
            for weights in own["weights"]:
                for cell in CELLS:
                    key = (cell, weights, inputs, T)
                    if any(cases.key_of(*key[:2], arm, inputs, T) in results for arm in arms.ARMS):
                        made.append(_claim(results, key, new.pop(cell, "")))
                    else:
                        absent.append(
                            f"{core.CELL_NAMES[cell]}, {core.WEIGHT_NAMES[weights]}, {inputs}, T = {T}"
                        )
            if len(own["weights"]) < 2:
                continue
            first, other = (
                _areas(results, cases.key_of("vanilla", weights, "published", inputs, T))
                for weights in cases.WEIGHTS
            )
            if first is None or other is None:
                absent.append(f"vanilla, orthogonal against Gaussian, {inputs}, T = {T}")
            else:
                made.append(_orthogonal(first, other, inputs, T))
    if absent:
        made.append(
            core.Claim(
                item=ITEM,
                claim="Both statements, for the other networks of this study.",
                found=f"{len(absent)} were not run ({absent[0]} and so on)",
                verdict=core.Verdict.UNDECIDED,
                reason="nothing is said of what was not run",
            )
        )
    return made


def _claim(results: dict[str, core.Result], key: tuple[str, str, str, int], new: str) -> core.Claim:
    """Whether networks of growth 0 on the data learn faster than those off the critical point."""
    cell, weights, inputs, T = key
    found = _areas_of_arms(results, *key)
    first = found["growth 0"]
    others = {arm: one for arm in OFF if (one := found[arm]) is not None}
    network = f"{core.CELL_NAMES[cell]}, {core.WEIGHT_NAMES[weights]} weights, {inputs}, T = {T}"
    text = f"{network}: the critical initialisation learns faster."
    if first is None or not set(FAR) <= set(others):
        missing = ", ".join(arm for arm in ("growth 0", *FAR) if found[arm] is None)
        absent = f"not run, or without a σ_w: {missing}"
        return core.Claim(ITEM, text, absent, core.Verdict.UNDECIDED, RULE, new=new)
    ahead = [arm for arm, one in others.items() if first.areas.min() > one.areas.max()]
    behind = [arm for arm, one in others.items() if first.areas.max() < one.areas.min()]
    areas = {arm: f"{one.areas.mean():.3f}" for arm, one in found.items() if one is not None}
    order = dict.fromkeys(ahead, "every seed slower") | dict.fromkeys(behind, "every seed faster")
    far = [
        f"{areas[arm]} at {arm.partition(' ')[2]}" + (f" ({order[arm]})" if arm in order else "")
        for arm in FAR
    ]
    rest = [
        f"{mean} ({', '.join([arm, *([order[arm]] if arm in order else [])])})"
        for arm, mean in areas.items()
        if arm not in ("growth 0", *FAR)
    ]
    published = found["published"]
    learned = max(one.last for one in (first, *others.values())) >= TARGET
    judged = verdict(learned, ahead, behind)
    return core.Claim(
        item=ITEM,
        claim=text,
        found=f"mean accuracy {areas['growth 0']} at growth 0, {', '.join(far)}",
        numbers=f"others {', '.join(rest)}; {len(first.areas)} seeds"
        + (f"; published growth {published.growths}" if published else ""),
        new=new,
        verdict=judged,
        reason=RULE,
        difference=f"not faster than at {_others(ahead)}" if judged == core.Verdict.DIFFERENCE else "",
        figures=(figure_name(T, inputs),),
    )


def _others(ahead: list[str]) -> str:
    return ", ".join(arm.partition(" ")[2] for arm in FAR if arm not in ahead)


def _new(results: dict[str, core.Result], cell: str, T: int) -> str:
    """Where each seed of `rmtrnn.initialize` learns faster than all others: one sentence for a cell and T."""
    where = []
    for inputs in cases.INPUTS:
        for weights in cases.WEIGHTS:
            others = _areas_of_arms(results, cell, weights, inputs, T)
            own = others.pop("initialize")
            rest = [one.areas for one in others.values() if one is not None]
            if own is not None and rest and own.areas.min() > max(areas.max() for areas in rest):
                best = max(areas.mean() for areas in rest)
                name = f"{core.WEIGHT_NAMES[weights]}, {inputs}"
                where.append(f"{own.areas.mean():.3f} against {best:.3f} ({name})")
    if not where:
        return ""
    return (
        f"{core.CELL_NAMES[cell]}, T = {T}: the networks of `rmtrnn.initialize` learn faster than all of "
        f"these: mean accuracy over log step {', '.join(where)}, each against the best of the others."
    )


RULE = (
    "critical: growth 0 of the gradient, measured on the data. Where a network reaches a mean accuracy "
    "over log step of 0.5: not reproduced if every seed of a network of growth ±0.05 or ±0.1 learns "
    "faster than every seed of the critical one; reproduced if none does and every seed of the critical "
    "one learns faster than those of both networks of growth ±0.1; with a difference if that holds of "
    "one of them; else not decided. Three seeds against three come out in one given order by chance "
    "once in 20 times, two against two once in 6. Every network has a rate of its own. The paper's "
    "off-critical parameters and rates are unknown; only the start is seen, not 10⁵ steps"
)


def verdict(learned: bool, ahead: list[str], behind: list[str]) -> core.Verdict:
    """The verdict by `RULE`; ``ahead``, ``behind``: of which networks every seed is."""
    if not learned:
        return core.Verdict.UNDECIDED
    if behind:
        return core.Verdict.NOT_REPRODUCED
    if set(FAR) <= set(ahead):
        return core.Verdict.REPRODUCED
    return core.Verdict.DIFFERENCE if set(FAR) & set(ahead) else core.Verdict.UNDECIDED


class _Areas:
    """What is compared: the `training.area` of every seed, the last accuracy, the growths in words."""

    def __init__(self, result: core.Result) -> None:
        meta, arrays = result
        self.areas = training.area(arrays["step"], arrays["accuracy"])
        self.last = float(arrays["accuracy"][:, -1].mean())
        self.growths = ", ".join(map(_signed, meta["placed"]["growth"]))


def _areas_of_arms(
    results: dict[str, core.Result], cell: str, weights: str, inputs: str, T: int
) -> dict[str, _Areas | None]:
    return {arm: _areas(results, cases.key_of(cell, weights, arm, inputs, T)) for arm in arms.ARMS}


def _areas(results: dict[str, core.Result], key: str) -> _Areas | None:
    return _Areas(results[key]) if key in results and results[key][0]["placed"] is not None else None


def _orthogonal(first: _Areas, other: _Areas, inputs: str, T: int) -> core.Claim:
    """Whether orthogonal vanilla networks learn faster than Gaussian ones at the critical point."""
    text = f"vanilla, critical, {inputs}, T = {T}: orthogonal weights learn faster than Gaussian ones."
    reason = (
        "at the published point: reproduced if every seed of the orthogonal network learns faster than every "
        "seed of the Gaussian one, not reproduced if every seed is slower; else, or where neither has a mean "
        "accuracy of 0.5, not decided"
    )
    found = core.Verdict.UNDECIDED
    if max(first.last, other.last) >= TARGET:
        if first.areas.min() > other.areas.max():
            found = core.Verdict.REPRODUCED
        elif first.areas.max() < other.areas.min():
            found = core.Verdict.NOT_REPRODUCED
    return core.Claim(
        item=ITEM,
        claim=text,
        found=f"mean accuracy {first.areas.mean():.3f} and {other.areas.mean():.3f}",
        numbers=f"last accuracy {first.last:.2f} and {other.last:.2f}",
        verdict=found,
        reason=reason,
        figures=(figure_name(T, inputs),),
    )
