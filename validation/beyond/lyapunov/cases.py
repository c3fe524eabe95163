"""Cases of `validation.beyond.lyapunov`: theory by `rt.lyapunov`, networks by `rt.sample_lyapunov`."""

from __future__ import annotations

from typing import Any

import numpy as np

import rmtrnn as rt
from validation import core

NUMBERS = ("largest", "unstable_fraction", "entropy_rate", "kaplan_yorke", "mean")
PER_TIME = np.array([True, False, True, False, True])  # of these, those in units of 1/time
PUBLISHED: dict[str, tuple[int, tuple[float, ...]]] = {
    "tanh map, gain 3": (4096, (0.3096, 0.15259, 0.025106, 0.28717, -2.27390)),
    "leaky, gain 3": (4096, (0.22422, 0.03516, 0.0036905, 0.071692, -1.15096)),
    "leaky, gain 1.5": (16384, (0.04591, 0.0077515, 0.00016864, 0.016162)),
}
AGAINST_GAIN = ", against gain"  # ends the keys of the cases at many gains
LARGER = ", larger network"  # ends the keys of networks of more units, where few units differ much from many
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "sites": {"gru": 64, "lstm": 64},
        "N": 128,
        "steps": 400,
        "larger": {"leaky, gain 1.5": 512, "leaky, gain 3": 512},
        "gains": {
            "tanh map": [1.0 + 0.1 * k for k in range(1, 41)],
            "leaky": [1.25, 2.0, 2.5, 3.5, 4.0, 5.0],
            "gru": [3.5, 4.0, 5.0],  # two minutes each
            "lstm": [3.5, 4.0, 5.0],
        },
    },
}


def ensembles() -> dict[str, tuple[rt.Ensemble, float]]:
    """One of each cell, and the time of a step."""
    return {
        "tanh map": (rt.Ensemble("vanilla", tied=True), 1.0),
        "leaky": (rt.Ensemble(rt.Leaky(0.25, form="current"), tied=True), 0.25),
        "gru": (rt.Ensemble("gru", sigma_v=0.5, sigma_b=0.3, tied=True), 1.0),
        "lstm": (rt.Ensemble("lstm", sigma_v=0.5, sigma_b=0.2, tied=True), 1.0),
    }


def networks() -> dict[str, tuple[rt.Ensemble, float]]:
    """Ensembles and the time of a step, on both sides of the transition to chaos or just above and far."""
    of = ensembles()
    found = {"tanh map, gain 0.9": (of["tanh map"][0].replace(sigma_w=0.9, sigma_v=0.5), 1.0)}
    gains = {"tanh map": (3.0,), "leaky": (1.5, 3.0), "gru": (1.5, 3.0), "lstm": (1.5, 3.0)}
    for name, (ens, step) in of.items():
        found |= {f"{name}, gain {gain:g}": (ens.replace(sigma_w=gain), step) for gain in gains[name]}
    return found


def list_cases(size: str) -> list[core.Case]:
    """One for each network, for larger ones, and for each cell against gain."""
    sizes, cases = SIZES[size], []
    for k, (key, (ens, step)) in enumerate(networks().items()):
        own = {"ensemble": ens.to_dict(), "step": step, "sites": sizes["sites"].get(key.split(",")[0])}
        cases.append(core.Case(key, own | {"N": sizes["N"], "steps": sizes["steps"], "seed": 70 + k}))
    for key, N in sizes["larger"].items():
        ens, step = networks()[key]
        own = {"ensemble": ens.to_dict(), "step": step, "N": N, "steps": sizes["steps"], "seed": N}
        cases.append(core.Case(key + LARGER, own))
    for name, (ens, step) in ensembles().items():
        own = {"ensemble": ens.to_dict(), "step": step, "gains": sizes["gains"][name]}
        cases.append(core.Case(name + AGAINST_GAIN, own))
    return cases


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Theory and one sampled network; or a network alone; or theory at many gains, on few sites."""
    settings = case.settings
    ens, step = rt.Ensemble.from_dict(settings["ensemble"]), settings["step"]
    if case.key.endswith(AGAINST_GAIN):
        laws = [rt.lyapunov(ens.replace(sigma_w=gain), sites=64) for gain in settings["gains"]]
        table = np.array([numbers(law, step) for law in laws]).reshape(-1, 2, len(NUMBERS))
        meta = {"converged": [law.converged for law in laws]}
        return meta, {"numbers": table[:, 0], "errors": table[:, 1]}
    if case.key.endswith(LARGER):
        sample = _network(ens, settings)
        return {"network": _numbers_of(sample, step)}, {"sample": sample.exponents[0] / step}
    law = rt.lyapunov(ens, sites=settings["sites"])
    sample = _network(ens, settings)
    found, errors = numbers(law, step)
    ranks = (np.arange(sample.exponents.size) + 0.5) / sample.exponents.size
    apart = law.spectrum.cdf(np.sort(sample.exponents[0])) - ranks
    meta: dict[str, Any] = {
        "theory": dict(zip(NUMBERS, found.tolist(), strict=True)),
        "errors": dict(zip(NUMBERS, errors.tolist(), strict=True)),
        "network": _numbers_of(sample, step),
        "error": law.error,
        "distance": float(np.abs(apart).max()),
        "converged": law.converged,
    }
    levels = np.linspace(0.002, 0.998, 250)
    return meta, {
        "levels": levels,
        "quantiles": law.spectrum.icdf(levels) / step,
        "sample": sample.exponents[0] / step,
    }


def _network(ens: rt.Ensemble, settings: dict[str, Any]) -> rt.LyapunovSample:
    return rt.sample_lyapunov(ens, **{name: settings[name] for name in ("N", "steps", "seed")})


def _numbers_of(sample: rt.LyapunovSample, step: float) -> dict[str, float]:
    """`NUMBERS` of networks per unit of time, but the mean."""
    found = [getattr(sample, name).value for name in NUMBERS[:-1]]
    return dict(zip(NUMBERS, (found / np.where(PER_TIME[:-1], step, 1.0)).tolist(), strict=False))


def numbers(law: rt.LyapunovSpectrum, step: float) -> tuple[np.ndarray, np.ndarray]:
    """`NUMBERS` of a law per unit of time, and their errors."""
    found = np.array([getattr(law, name) for name in NUMBERS[:-1]] + [law.spectrum.mean])
    errors = np.array([law.errors[name] for name in NUMBERS])
    return found / np.where(PER_TIME, step, 1.0), errors / np.where(PER_TIME, step, 1.0)
