"""Report of the training from five initialisations: a table, a sentence for each pair, the curves."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from rmtrnn import plotting
from validation import core
from validation.initialisation import cases

OWN = "initialize"
SHORT = {"orthogonal, bias 1": "orthogonal"}
MEANING = {
    "first": "the plan is first, or within 10 % of the first",
    "later": "another arm is first by more than 10 %",
    "fails": "the plan does not learn what another arm learns",
    "undecided": "no arm learns within the budget",
    "not run": "not run",
}


def median(arm: dict[str, Any]) -> float:
    """Steps to the target: the median of the seeds, where those that do not reach it are infinite."""
    return float(np.median([step if step >= 0 else np.inf for step in arm["steps"]]))


def medians(meta: dict[str, Any]) -> dict[str, float]:
    """Steps of the arms that exist for the cell."""
    return {name: median(arm) for name, arm in meta["arms"].items() if "missing" not in arm}


def verdict(meta: dict[str, Any]) -> str:
    """What `validation.initialisation.cases.Rule` says: a key of `MEANING`."""
    steps = medians(meta)
    fewest = min(steps.values())
    if math.isinf(fewest):
        return "undecided"
    if math.isinf(steps[OWN]):
        return "fails"
    return "first" if steps[OWN] <= meta["margin"] * fewest else "later"


def sentence(key: str, meta: dict[str, Any]) -> str:
    """One line on a pair."""
    steps, found = medians(meta), verdict(meta)
    others = {name: value for name, value in steps.items() if name != OWN}
    best = min(others, key=lambda name: others[name])
    task, T, cell = key.split()
    own = meta["arms"][OWN]["steps"]
    start = f"{core.CELL_NAMES[cell]}, {task}, T = {T}: "
    if found == "undecided":
        seeds = ", ".join(
            f"{name} {sum(s >= 0 for s in arm['steps'])}"
            for name, arm in meta["arms"].items()
            if any(s >= 0 for s in arm.get("steps", []))
        )
        some = f" (single seeds do: {seeds})" if seeds else ""
        return start + f"no initialisation learns within {meta['settings']['steps']} steps{some}."
    if found == "fails":
        return start + (
            f"`rt.initialize` fails within {meta['settings']['steps']} steps "
            f"({sum(s >= 0 for s in own)} of {len(own)} seeds reach the target); "
            f"{best} needs {others[best]:g}."
        )
    if math.isinf(others[best]):
        return start + f"`rt.initialize` alone learns, in {steps[OWN]:g} steps."
    if steps[OWN] <= others[best]:
        return start + f"`rt.initialize` is first with {steps[OWN]:g} steps; {best} needs {others[best]:g}."
    ratio = steps[OWN] / others[best] - 1.0
    word = "within 10 % of" if found == "first" else f"{100 * ratio:.0f} % behind"
    return start + f"`rt.initialize` needs {steps[OWN]:g} steps, {word} {best} with {others[best]:g}."


def _entry(arm: dict[str, Any]) -> str:
    """Median steps, and how many seeds reached the target where not all did."""
    if "missing" in arm:
        return "–"
    own = median(arm)
    there, seeds = sum(step >= 0 for step in arm["steps"]), len(arm["steps"])
    text = f"{own:g}" if math.isfinite(own) else "not"
    return text if there == seeds else f"{text} ({there} of {seeds})"


def _rows(results: dict[str, core.Result], size: str) -> list[list[str]]:
    rows = []
    for case in cases.list_cases(size):
        own = case.settings
        head = [own["task"], str(own["T"]), core.CELL_NAMES[own["cell"]]]
        if case.key not in results:
            rows.append([*head, *[""] * len(_arms(results)), "not run"])
            continue
        meta, _ = results[case.key]
        rows.append([*head, *(_entry(arm) for arm in meta["arms"].values()), verdict(meta)])
    return rows


def _arms(results: dict[str, core.Result]) -> list[str]:
    return list(next(iter(results.values()))[0]["arms"])


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write the data, the table, the sentences and the curves; pairs not in ``results`` are named so."""
    core.save_data(folder, "data", {key: (_slim(meta), arrays) for key, (meta, arrays) in results.items()})
    listed = cases.list_cases(size)
    counts = Counter(verdict(results[case.key][0]) if case.key in results else "not run" for case in listed)
    text = [f"# Training from five initialisations ({size})\n", _setup(results)]
    text.append(
        f"Of {len(listed)} pairs of a task and a cell: "
        + "; ".join(f"{counts[name]} {name}" for name in MEANING)
        + ". "
        + "; ".join(f"{name}: {words}" for name, words in MEANING.items() if name != words)
        + ".\n"
    )
    header = ["task", "T", "cell", *(SHORT.get(name, name) for name in _arms(results)), "plan"]
    text.append(core.table(header, _rows(results, size)) + "\n")
    text += [f"- {sentence(case.key, results[case.key][0])}" for case in listed if case.key in results]
    text.append("\n" + _rates(results))
    text.append(
        "Curves (`curves.png`): loss, logarithmic, against step; lines are medians of the seeds, bands "
        "their ranges. A network ends at the target (dotted), and its last loss is held.\n"
    )
    seconds = sum(meta["seconds"] for meta, _ in results.values())
    steps = sum(meta["network steps"] for meta, _ in results.values())
    text.append(
        f"{steps} steps of a network took {seconds / 3600:.2f} hours of one core. "
        f"Made by `python -m validation initialisation --{size}` with {core.describe(results)}, "
        f"PyTorch {next(iter(results.values()))[0]['torch']}.\n"
    )
    (folder / "report.md").write_text("\n".join(text), encoding="utf-8")
    with plotting.style():
        core.save_figure(figure := _figure(results, size), folder, "curves")
        plt.close(figure)


def _slim(meta: dict[str, Any]) -> dict[str, Any]:
    """The record with the search and the last losses in one line each."""
    arms = {}
    for name, arm in meta["arms"].items():
        arms[name] = dict(arm)
        if "missing" not in arm and not isinstance(arm["search"], str):
            arms[name]["search"] = ", ".join(str(one["steps"]) for one in arm["search"])
            arms[name]["last loss"] = ", ".join(
                "–" if loss is None else f"{loss:.4g}" for loss in arm["last loss"]
            )
    return meta | {"arms": arms}


def _setup(results: dict[str, core.Result]) -> str:
    own, rule = next(iter(results.values()))[0]["settings"], cases.RULE
    rates = ", ".join(f"{rate:g}" for rate in own["rates"])
    return (
        f"N = {own['N']} units, batches of {own['batch']} sequences, Adam, gradients clipped at norm 1, "
        f"{own['seeds']} seeds; the budget of steps is the same for all initialisations and cells. Each "
        f"initialisation has the rate of {rates} that reaches the target first on another seed. Target: the "
        f"mean loss of 20 batches is {rule.adding:g} (adding), {rule.copy:g} (copy), {rule.digits:g} "
        "(digits) of the loss without learning. Table: steps to the target, the median of the seeds; in "
        "brackets how many seeds reach it, where not all do; “not”: fewer than half. –: there is no such "
        "initialisation for the cell. The whole rule: `validation/initialisation/cases.py`, the tasks: "
        "`tasks.py`, the initialisations: `arms.py` beside it.\n"
    )


def _rates(results: dict[str, core.Result]) -> str:
    """How often each initialisation took each rate, and why some do not exist."""
    taken = {name: Counter() for name in _arms(results)}
    missing: dict[str, list[str]] = {}
    for key, (meta, _) in results.items():
        for name, arm in meta["arms"].items():
            if "missing" in arm:
                missing.setdefault(f"{name}: {arm['missing']}", []).append(key)
            else:
                taken[name][arm["rate"]] += 1
    words = (
        f"{name} " + ", ".join(f"{rate:g} ({count})" for rate, count in sorted(own.items()))
        for name, own in taken.items()
    )
    gone = "".join(f" No {reason} ({', '.join(keys)})." for reason, keys in missing.items())
    return f"Rates that were taken, and how often: {'; '.join(words)}.{gone}\n"


def _figure(results: dict[str, core.Result], size: str) -> Any:
    """Loss against step, a panel for each pair that was run: medians and ranges of the seeds."""
    tasks = list(dict.fromkeys((c.settings["task"], c.settings["T"]) for c in cases.list_cases(size)))
    tasks = [t for t in tasks if any(f"{t[0]} {t[1]} {cell}" in results for cell in cases.CELLS)]
    shape = (len(cases.CELLS), len(tasks))
    figure, axes = plt.subplots(
        *shape, figsize=(max(0.95 * len(tasks) + 0.5, 3.6), 4.2), squeeze=False, layout="constrained"
    )
    for row, cell in enumerate(cases.CELLS):
        for column, (task, T) in enumerate(tasks):
            ax, key = axes[row, column], f"{task} {T} {cell}"
            if row == 0:
                ax.set_title(f"{task} {T}", fontsize=6)
            if column == 0:
                ax.set_ylabel(core.CELL_NAMES[cell], fontsize=6)
            if key not in results:
                ax.text(0.5, 0.5, "not run", ha="center", va="center", fontsize=6, transform=ax.transAxes)
                ax.set(xticks=[], yticks=[])
                continue
            _panel(ax, *results[key])
    handles = [
        Line2D([], [], color=colour, lw=1.2, label=name)
        for name, colour in zip(_arms(results), plotting.PALETTE, strict=False)
    ]
    figure.supxlabel("training step", fontsize=7)
    figure.supylabel("loss (logarithmic)", fontsize=7)
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=6)
    return figure


def _panel(ax: Any, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for own, colour in zip(arrays["losses"].astype(float), plotting.PALETTE, strict=False):
        if np.isnan(own).all():
            continue
        steps, own = arrays["steps"], np.where(np.isnan(own), np.inf, own)
        ax.fill_between(steps, own.min(0), np.minimum(own.max(0), 1e3), color=colour, alpha=0.2, lw=0)
        ax.plot(steps, np.median(own, axis=0), color=colour, lw=0.9)
    target = meta["target loss"]
    ax.axhline(target, color="0.4", lw=0.6, ls=":")
    ax.set_yscale("log")
    ax.set_ylim(0.8 * target, 1.6 * target / meta["settings"]["target"])
    last = _last_change(arrays)
    ax.set_xlim(0, last)
    ax.set_xticks([0, last])
    ax.set_yticks([])
    ax.minorticks_off()
    ax.tick_params(labelsize=4, length=2)


def _last_change(arrays: dict[str, np.ndarray]) -> int:
    """The first step that is kept after which no median changes."""
    middle = np.median(arrays["losses"].astype(float), axis=1)
    changing = np.flatnonzero((np.abs(np.diff(middle, axis=1)) > 0.0).any(axis=0))
    return int(arrays["steps"][changing[-1] + 1 if len(changing) else -1])
