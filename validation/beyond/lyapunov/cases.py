"""Cases of `validation.beyond.lyapunov`: theory by `rt.lyapunov`, networks by `rt.sample_lyapunov`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import rmtrnn as rt
from validation import core

NUMBERS = ("largest", "unstable_fraction", "entropy_rate", "kaplan_yorke", "mean")
SAMPLED = NUMBERS[:3]  # of networks whose largest exponents alone are followed
PUBLISHED: dict[str, tuple[int, tuple[float, ...]]] = {
    "tanh map, gain 3": (4096, (0.3096, 0.15259, 0.025106, 0.28717, -2.27390)),
    "leaky, gain 3": (4096, (0.22422, 0.03516, 0.0036905, 0.071692, -1.15096)),
    "leaky, gain 1.5": (16384, (0.04591, 0.0077515, 0.00016864, 0.016162)),
}
NETWORKS = "networks of "  # begins the keys of the cases of (*)
NEAR_TRANSITION = "leaky, gain 1.5"
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "sites": {"gru": 64, "lstm": 64},
        "N": 128,
        "steps": 400,
        "draws": 1,
        "networks": {512: (6, 10000), 1024: (4, 8000), 2048: (2, 5000)},
    },
}


def networks() -> dict[str, tuple[rt.Ensemble, float]]:
    """Ensembles and the time of a step, each cell on both sides of its transition to chaos."""
    leaky = rt.Ensemble(rt.Leaky(0.25, form="current"), tied=True)
    gru = rt.Ensemble("gru", sigma_v=0.5, sigma_b=0.3, tied=True)
    lstm = rt.Ensemble("lstm", sigma_v=0.5, sigma_b=0.2, tied=True)
    tanh = rt.Ensemble("vanilla", tied=True)
    return {
        "tanh map, gain 0.9": (tanh.replace(sigma_w=0.9, sigma_v=0.5), 1.0),
        "tanh map, gain 3": (tanh.replace(sigma_w=3.0), 1.0),
        NEAR_TRANSITION: (leaky.replace(sigma_w=1.5), 0.25),
        "leaky, gain 3": (leaky.replace(sigma_w=3.0), 0.25),
        "gru, gain 1.5": (gru.replace(sigma_w=1.5), 1.0),
        "gru, gain 3": (gru.replace(sigma_w=3.0), 1.0),
        "lstm, gain 1.5": (lstm.replace(sigma_w=1.5), 1.0),
        "lstm, gain 3": (lstm.replace(sigma_w=3.0), 1.0),
    }


def list_cases(size: str) -> list[core.Case]:
    """One for each network, one for each N of (*), and the tanh map against gain."""
    sizes, cases = SIZES[size], []
    for k, (key, (ens, step)) in enumerate(networks().items()):
        own = {"ensemble": ens.to_dict(), "step": step, "sites": sizes["sites"].get(key.split(",")[0])}
        own |= {name: sizes[name] for name in ("N", "steps", "draws")}
        cases.append(core.Case(key, own | {"seed": 70 + k}))
    ens, step = networks()[NEAR_TRANSITION]
    for N, (trials, steps) in sizes["networks"].items():
        own = {"ensemble": ens.to_dict(), "step": step, "N": N, "trials": trials, "steps": steps}
        cases.append(core.Case(f"{NETWORKS}{N}", own | {"count": N // 40, "seed": N}))
    return [*cases, core.Case("gains", {"gains": [1.0 + 0.1 * k for k in range(1, 41)]})]


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Theory, mean over draws of sites, and one sampled network; or networks of one N; or laws by gain."""
    if case.key == "gains":
        gains = case.settings["gains"]
        laws = [rt.lyapunov(rt.Ensemble("vanilla", sigma_w=gain)) for gain in gains]
        arrays = {name: np.array([getattr(law, name) for law in laws]) for name in NUMBERS[1:4]}
        return {}, arrays | {"gains": np.array(gains)}
    if case.key.startswith(NETWORKS):
        return _networks_of_one_size(case.settings, workers)
    return _theory_and_network(case.settings)


def _networks_of_one_size(settings: dict[str, Any], workers: core.Workers) -> core.Result:
    """The numbers of (*) of every network, (trials, 3)."""
    sample = rt.sample_lyapunov(
        rt.Ensemble.from_dict(settings["ensemble"]),
        burn_in=2000,
        dtype="float32",
        executor=workers.executor,
        **{name: settings[name] for name in ("N", "steps", "trials", "count", "seed")},
    )
    u = sample.exponents / settings["step"]
    found = u[:, 0], np.mean(u > 0.0, axis=1) * u.shape[1] / sample.size
    return {}, {"numbers": np.transpose([*found, np.maximum(u, 0.0).sum(axis=1) / sample.size])}


def _theory_and_network(settings: dict[str, Any]) -> core.Result:
    ens, step = rt.Ensemble.from_dict(settings["ensemble"]), settings["step"]
    laws = [rt.lyapunov(ens, sites=settings["sites"], seed=seed) for seed in range(settings["draws"])]
    found = np.array([_numbers(law, step) for law in laws])
    sample = rt.sample_lyapunov(ens, N=settings["N"], steps=settings["steps"], seed=settings["seed"])
    levels = np.linspace(0.002, 0.998, 250)
    draws = len(laws)
    spread = found.std(axis=0, ddof=1) / math.sqrt(draws) if draws > 1 else np.zeros(len(NUMBERS))
    meta: dict[str, Any] = {
        "theory": dict(zip(NUMBERS, found.mean(axis=0).tolist(), strict=True)),
        "standard error": dict(zip(NUMBERS, spread.tolist(), strict=True)),
        "largest_error": laws[0].largest_error / step,
        "error": laws[0].error,
        "converged": all(law.converged for law in laws),
    }
    arrays = {
        "levels": levels,
        "quantiles": np.mean([law.spectrum.icdf(levels) for law in laws], axis=0) / step,
        "sample": sample.exponents[0] / step,
    }
    ranks = (np.arange(sample.exponents.size) + 0.5) / sample.exponents.size
    apart = laws[0].spectrum.cdf(np.sort(sample.exponents[0])) - ranks
    return meta | {"distance": float(np.abs(apart).max())}, arrays


def _numbers(law: rt.LyapunovSpectrum, step: float) -> list[float]:
    in_time = law.largest / step, law.unstable_fraction, law.entropy_rate / step, law.kaplan_yorke
    return [*in_time, law.spectrum.mean / step]
