"""The paper's networks: singular values of J_T at and off criticality, predicted and sampled.

Vanilla (tanh) and minimalRNN, Gaussian and orthogonal weights, one ordered, one critical and one chaotic
network each. Vanilla networks up to T = 1000, the last predicted only. The minimalRNN needs the matrix Dyson
equation, whose cost and error grow with T: the steps of a run are those below, and nothing is said beyond.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import rmtrnn as rt
from rmtrnn import plotting
from validation import core
from validation.core import spectrum_case

R = 0.46
_VANILLA, _MINIMAL = {"sigma_v": 0.025, "R": R}, {"sigma_w": 6.8917, "sigma_v": 1.3923, "R": R}
# Critical: the closed forms, rounded, at σ_v = 0.025 (vanilla) and q* = 16, μ_b = 0 (minimalRNN).
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "vanilla-ordered": ("vanilla", {**_VANILLA, "sigma_w": 0.95}),
    "vanilla-critical": ("vanilla", {**_VANILLA, "sigma_w": 1.0598}),
    "vanilla-chaotic": ("vanilla", {**_VANILLA, "sigma_w": 1.3}),
    "minimal-ordered": ("minimal", {**_MINIMAL, "mu_b": -2.0}),
    "minimal-critical": ("minimal", {**_MINIMAL, "mu_b": 0.0}),
    "minimal-chaotic": ("minimal", {**_MINIMAL, "mu_b": 2.0}),
}
WEIGHTS = ("gaussian", "orthogonal")
# For each cell, T: units and networks of the sample.
SIZES: dict[str, dict[str, dict[int, tuple[int, int]]]] = {
    "quick": {
        "vanilla": {1: (128, 8), 10: (128, 8), 100: (128, 4)},
        "minimal": {1: (256, 8), 10: (128, 8)},
    },
    "standard": {
        "vanilla": {1: (256, 8), 10: (256, 8), 100: (256, 8)},
        "minimal": {1: (512, 16), 10: (256, 8)},
    },
    "full": {
        "vanilla": {1: (1024, 16), 10: (1024, 16), 100: (1024, 16), 300: (1024, 16)},
        "minimal": {1: (1024, 16), 10: (1024, 16), 100: (1024, 16)},
    },
}
# What `rmtrnn.spectrum` is asked for where its default takes minutes: by size, for minimalRNN from this T on.
COARSE: dict[str, tuple[int, dict[str, Any]]] = {
    "quick": (10, {"population": 2048, "tol": 4e-3}),
}
PREDICTED_ONLY = 1000
CONTROL = 1.10
MEAN_ERROR = 0.01


def list_cases(size: str) -> list[core.Case]:
    """All cases of a size; every sampled case has its own seed."""
    listed: list[core.Case] = []
    least, coarse = COARSE.get(size, (0, {}))
    first = 5000
    for name, (cell, parameters) in NETWORKS.items():
        for weights in WEIGHTS:
            ens = rt.Ensemble(cell, weights=weights, **parameters)
            # A range for every network, so that the lengths of a size do not move the seeds of the others.
            seeds, first = itertools.count(first), first + (4 if cell == "vanilla" else 3)
            for T, (N, trials) in SIZES[size][cell].items():
                sampled: dict[str, Any] = {"N": N, "trials": trials, "seed": next(seeds)}
                sampled |= {"burn_in": 400, "control": CONTROL}
                sampled |= {"accuracy": coarse if cell == "minimal" and least <= T else None}
                listed.append(spectrum_case.spectrum_case(f"{name}-{weights}-T{T}", ens, T=T, **sampled))
            if cell == "vanilla":
                key = f"{name}-{weights}-T{PREDICTED_ONLY}"
                listed.append(core.Case(key, {"ensemble": ens.to_dict(), "T": PREDICTED_ONLY}))
    return listed


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Prediction and sample, or where the settings name no sample the prediction alone; with χ."""
    ens, T = rt.Ensemble.from_dict(case.settings["ensemble"]), case.settings["T"]
    if "N" in case.settings:
        meta, arrays = spectrum_case.compute(case, workers)
    else:
        spec = rt.spectrum(ens, T)
        theory = {"method": spec.method, "converged": spec.converged, "cdf error": float(spec.error)}
        meta = {"title": plotting.spectrum_title(spec), "theory": theory}
        arrays = plotting.SpectrumPicture.of(spec).arrays()
    return meta | {"chi": rt.mean_field(ens).chi}, arrays


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, ``report.md`` and one figure for each network."""
    core.save_data(folder, "data", results, single=True)
    sampled = _sampled(results)
    sizes = "; ".join(
        f"{cell}: " + ", ".join(f"T = {T}: {trials} of N = {N} units" for T, (N, trials) in own.items())
        for cell, own in SIZES[size].items()
    )
    text = (
        f"# Singular values of J_T for the networks of the paper ({size})\n\n"
        f"Theory against sampled networks, {sizes}; vanilla networks at T = {PREDICTED_ONLY} are predicted "
        f"only.\nControl: the theory with σ_w × {CONTROL:g}.\n\n"
        f"{core.table(spectrum_case.VERDICT_HEADER, spectrum_case.verdict_rows(sampled))}\n\n"
        f"Made by `python -m validation jacobian_spectra --{size}` with {core.describe(results)}. "
        "Parameters, seeds and all numbers: `data.json`, `data.npz`.\n"
    )
    (folder / "report.md").write_text(text)
    for name in NETWORKS:
        if any(key.startswith(name) for key in results):
            _figure(name, results, folder)


def claims(results: dict[str, core.Result]) -> list[core.Claim]:
    """One claim for each cell, and one for what was not computed."""
    return [_claim(results, cell) for cell in ("vanilla", "minimal")]


def _sampled(results: dict[str, core.Result]) -> dict[str, core.Result]:
    return {key: saved for key, saved in results.items() if "verdict" in saved[0]}


def _claim(results: dict[str, core.Result], cell: str) -> core.Claim:
    own = {key: saved for key, saved in results.items() if key.startswith(cell)}
    metas = {key: meta for key, (meta, _) in _sampled(own).items()}
    states = {key: _state(meta) for key, meta in metas.items()}
    agree = sum(state == "agrees" for state in states.values())
    differ = [key for key, state in states.items() if state == "differs"]
    unsure = [key for key, state in states.items() if state == "undecided"]
    rejected = sum(_state_of_control(meta) for meta in metas.values())
    kolmogorov = max(float(meta["verdict"]["Kolmogorov"]) for meta in metas.values())
    error = max(float(meta["theory"]["cdf error"]) for meta, _ in own.values())
    means = [_mean_error(meta) for meta in metas.values()]
    steps = sorted({meta["settings"]["T"] for meta, _ in own.values()})
    alone = sorted({meta["settings"]["T"] for key, (meta, _) in own.items() if key not in metas})
    lists = "".join(
        f"; {word}: {', '.join(keys)}"
        for word, keys in (("different", differ), ("undecided", unsure))
        if keys
    )
    whole = agree == rejected == len(metas) and max(means) < MEAN_ERROR
    verdict = core.Verdict.REPRODUCED if whole else core.Verdict.DIFFERENCE
    if len(unsure) > len(metas) // 2:
        verdict = core.Verdict.UNDECIDED
    what = {
        "vanilla": "beyond the largest sampled T the prediction stands alone",
        "minimal": "larger T are not decided by this run",
    }[cell]
    return core.Claim(
        item=f"Spectra, {cell}",
        claim=f"Random matrix theory predicts the singular values of the {cell} network's Jacobian, at "
        f"and off "
        "criticality, for Gaussian and orthogonal weights.",
        numbers=f"{agree} of {len(metas)} sampled cases agree (T = {', '.join(map(str, steps))}"
        + (f", of which {', '.join(map(str, alone))} predicted only" if alone else "")
        + f"); largest Kolmogorov distance {kolmogorov:.4f}; largest stated error of a predicted cdf "
        f"{error:.1e}; "
        f"m₁ of the predicted density differs from χ^T by up to {max(means):.1e} (relative); "
        f"theory with σ_w × {CONTROL:g} rejected in {rejected} of {len(metas)}{lists}",
        verdict=verdict,
        reason="reproduced if every sampled case agrees by `rmtrnn.compare` at its 1 % level, every "
        f"control is rejected, and m₁ of the laws is χ^T to {MEAN_ERROR:g}; else a difference. Where "
        "a control is not rejected, the run is too small to decide; where m₁ is off, the law lacks a part of "
        f"its far right tail, and its density there is not to be trusted; {what}",
        figures=tuple(name for name in NETWORKS if name.startswith(cell)),
    )


def _mean_error(meta: dict[str, Any]) -> float:
    """How far m₁ of the predicted density is from χ^T, which is exact."""
    exact = meta["chi"] ** meta["settings"]["T"]
    # Vanilla cases computed before the density had a moment of its own: their law and its density are one.
    found = meta["theory"].get("m_1 of the density", meta["verdict"]["moments"][0]["theory"])
    return abs(float(found) / exact - 1.0)


def _state(meta: dict[str, Any]) -> str:
    text = spectrum_case.theory_verdict(meta["theory"], meta["verdict"]).strip("*")
    return "undecided" if text == "not converged" else text


def _state_of_control(meta: dict[str, Any]) -> bool:
    return not meta["control"]["agrees"] and meta["control"]["decided"]


def _figure(name: str, results: dict[str, core.Result], folder: Path) -> None:
    own = {key: saved for key, saved in results.items() if key.startswith(name)}
    steps = sorted({meta["settings"]["T"] for meta, _ in own.values()})
    with plotting.style():
        figure = spectrum_case.draw_grid(results, name, steps, width=3.1 * len(steps))
        cell, state = name.split("-")
        chi = next(iter(own.values()))[0]["chi"]
        values = ", ".join(f"${_SYMBOLS[key]} = {value:g}$" for key, value in NETWORKS[name][1].items())
        figure.suptitle(f"{cell}, {state} ($\\chi = {chi:.4f}$)\n{values}", fontsize=10)
        core.save_figure(figure, folder, name)
        plt.close(figure)


_SYMBOLS = {"sigma_w": r"\sigma_w", "sigma_v": r"\sigma_v", "mu_b": r"\mu_b", "R": "R"}

STUDY = core.Study(
    name="jacobian_spectra",
    summary="singular values of J_T at and off criticality, both cells, both weight laws, predicted and "
    "sampled",
    cost={
        "quick": "about 2 minutes of one core",
        "standard": "about 6 minutes of one core",
        "full": "not timed; hours",
    },
    cases=list_cases,
    compute=compute,
    report=report,
    claims=claims,
)
