"""Vanilla networks: the exact spectrum over sampled matrices.

Activations linear, tanh, erf, relu, hard_tanh; Gaussian and orthogonal weights; T = 1, 4, 16, 64 steps.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

import rmtrnn as rt
from rmtrnn import plotting
from validation import core
from validation.core import spectrum_case

STEPS = (1, 4, 16, 64)
# Near the point where the mean squared singular value neither grows nor decays, with a bias that keeps
# saturating cells away from the trivial fixed point q* = 0.
NETWORKS = {
    "linear": {"sigma_w": 1.0},
    "tanh": {"sigma_w": 1.05, "sigma_b": 0.05},
    "erf": {"sigma_w": 0.93, "sigma_b": 0.05},
    "relu": {"sigma_w": 2.0**0.5},
    "hard_tanh": {"sigma_w": 1.05, "sigma_b": 0.05},
}
_NOTES = """A right theory fails about one case in a hundred by chance. Two effects of finite N are known and
allowed for by `rmtrnn.compare`: where φ' can vanish, J_T has as many zeros as the step with the most of them,
more than the limit's atom; and counting statistics have a bias of order 1. A control that is not rejected is
one whose deviation is smaller than these at this N: there the study is too small to tell, and says so.
"""
SIZES = {
    "quick": {"N": 256, "trials": 8, "control": 1.10},
    "full": {"N": 1024, "trials": 16, "control": 1.03},
}
WEIGHTS = ("gaussian", "orthogonal")


def list_cases(size: str) -> list[core.Case]:
    """All 40 cases of a size; every case has its own seed."""
    listed: list[core.Case] = []
    for activation, parameters in NETWORKS.items():
        for weights in WEIGHTS:
            ens = rt.Ensemble(rt.VanillaRNN(activation), weights=weights, **parameters)
            for T in STEPS:
                key = f"{activation}-{weights}-T{T}"
                seed = 1000 + len(listed)
                listed.append(
                    spectrum_case.spectrum_case(key, ens, T=T, seed=seed, burn_in=400, **SIZES[size])
                )
    return listed


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write ``data.npz``, ``data.json``, ``report.md``, and one figure for each activation."""
    core.save_data(folder, "data", results, single=True)
    agree = sum(meta["verdict"]["agrees"] for meta, _ in results.values())
    rejected = sum(not meta["control"]["agrees"] for meta, _ in results.values())
    sizes = SIZES[size]
    text = (
        f"# Spectra of vanilla networks: theory against sampled matrices ({size})\n\n"
        f"Each case compares `rmtrnn.spectrum` with {sizes['trials']} networks of N = {sizes['N']} units. "
        f"The theory agrees in {agree} of {len(results)} cases (`rmtrnn.compare` at its 1 % level);\n"
        f"as a control, the theory with σ_w × {sizes['control']:g} is rejected in {rejected}.\n"
        f"{_NOTES}\n"
        f"{core.table(spectrum_case.VERDICT_HEADER, spectrum_case.verdict_rows(results))}\n\n"
        f"Made by `python -m validation spectra --{size}` with {core.describe(results)}. "
        "Parameters, seeds and all numbers: `data.json`, `data.npz`.\n"
    )
    (folder / "report.md").write_text(text)
    for activation in NETWORKS:
        if any(key.startswith(f"{activation}-") for key in results):
            _figure(activation, results, folder)


def _figure(activation: str, results: dict[str, core.Result], folder: Path) -> None:
    with plotting.style():
        figure = spectrum_case.draw_grid(results, activation, STEPS, width=12.0)
        figure.suptitle(
            f"{activation} network, {_parameters(activation)}: singular values $s$ of the $T$-step Jacobian"
        )
        core.save_figure(figure, folder, activation)
        plt.close(figure)


def _parameters(activation: str) -> str:
    symbols = {"sigma_w": r"\sigma_w", "sigma_b": r"\sigma_b"}
    return ", ".join(f"${symbols[name]} = {value:.4g}$" for name, value in NETWORKS[activation].items())


STUDY = core.Study(
    name="spectra",
    summary="vanilla cells, 5 activations × 2 weight laws × 4 numbers of steps: exact spectrum over samples",
    cost={"quick": "about 2 minutes on 2 cores", "full": "not timed; an hour or more"},
    cases=list_cases,
    compute=spectrum_case.compute,
    report=report,
)
