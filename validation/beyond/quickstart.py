"""The main job in small: predict the spectra of several cells, sample them, compare, and draw."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

import rmtrnn as rt
from rmtrnn import plotting
from validation import core
from validation.core import spectrum_case

# The vanilla cell at its critical point for inputs of second moment R = 0.46, a value used for MNIST;
# for the others, ordinary parameters.
_CRITICAL = {"sigma_w": 1.0598, "sigma_v": 0.025, "R": 0.46}
_HARD = {"sigma_w": 1.05, "sigma_b": 0.4}
_MINIMAL = {"sigma_w": 3.0, "sigma_v": 1.2, "mu_b": 2.0, "R": 0.46}
NETWORKS = {
    "tanh-gaussian": ("vanilla", 16, {**_CRITICAL, "weights": "gaussian"}),
    "tanh-orthogonal": ("vanilla", 16, {**_CRITICAL, "weights": "orthogonal"}),
    "relu-gaussian": (rt.VanillaRNN("relu"), 4, {"sigma_w": 2.0**0.5}),
    "hard-tanh-orthogonal": (rt.VanillaRNN("hard_tanh"), 4, {**_HARD, "weights": "orthogonal"}),
    "minimal-gaussian": ("minimal", 4, {**_MINIMAL, "weights": "gaussian"}),
    "minimal-orthogonal": ("minimal", 4, {**_MINIMAL, "weights": "orthogonal"}),
}
N, TRIALS, CONTROL = 512, 8, 1.10


def list_cases(size: str) -> list[core.Case]:
    """One case for each network."""
    listed = []
    for seed, (key, (cell, T, parameters)) in enumerate(NETWORKS.items()):
        ens = rt.Ensemble(cell, **parameters)
        sizes = {"T": T, "N": N, "trials": TRIALS, "seed": seed, "burn_in": 300}
        listed.append(spectrum_case.spectrum_case(key, ens, **sizes, control=CONTROL))
    return listed


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Print the comparison; write it with its data and one figure of all cases."""
    core.save_data(folder, "data", results, single=True)
    text = core.table(spectrum_case.VERDICT_HEADER, spectrum_case.verdict_rows(results))
    print(
        f"\nTheory against {TRIALS} sampled networks of N = {N} units (control: σ_w × {CONTROL:g}):\n\n{text}"
    )
    (folder / "report.md").write_text(
        f"# Quick start: predicted and sampled spectra\n\n{text}\n\n"
        f"{TRIALS} networks of N = {N} units; the control is the theory with σ_w × {CONTROL:g}. "
        "Made by `python -m validation quickstart` "
        f"with {core.describe(results)}.\n"
    )
    columns = min(2, len(results))  # readable on a page of 400 pixels
    rows = -(-len(results) // columns)
    with plotting.style():
        figure, grid = plt.subplots(rows, columns, figsize=(2.9 * columns, 2.5 * rows), squeeze=False)
        for ax in grid.flat[len(results) :]:
            ax.set_axis_off()
        for ax, (meta, arrays) in zip(grid.flat, results.values(), strict=False):
            spectrum_case.picture(arrays).draw(ax)
            ax.set_title(meta["title"])
        core.save_figure(figure, folder, "spectra")
        plt.close(figure)


STUDY = core.Study(
    name="quickstart",
    summary="vanilla and minimalRNN: predicted spectra over sampled ones, one table, one figure",
    cost={"quick": "about 1 minute on 2 cores"},
    cases=list_cases,
    compute=spectrum_case.compute,
    report=report,
    draft=True,
)
