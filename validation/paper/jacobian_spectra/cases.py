"""Networks of the paper, their predicted and sampled singular values."""

from __future__ import annotations

import itertools
from typing import Any

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
