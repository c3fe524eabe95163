"""Closed form against root search, published values, the table, one step, several steps: the computations."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
from scipy.optimize import brentq, root

import rmtrnn as rt
from rmtrnn.criticality.root_search import NoCriticalPointError
from rmtrnn.spectra.minimal_rnn import CriticalFamily
from validation import core

R = 0.46
# Published: the scales as printed, and the state and R said to belong to them.
PRINTED = {"sigma_w": 6.88, "sigma_v": 1.39, "mu_b": 0.0, "q": 16.0, "R": R}
# minimalRNN (μ_b, q*, R) and vanilla q*; "infeasible" lies below the least q* at which σ_v² ≥ 0.
FAMILY = {
    "minimal-printed": ("minimal", {"mu_b": 0.0, "q": 16.0, "R": R}),
    "minimal-other-R": ("minimal", {"mu_b": 0.0, "q": 16.0, "R": 0.4616}),
    "minimal-infeasible": ("minimal", {"mu_b": 0.0, "q": 9.0, "R": R}),
    "minimal-small-q": ("minimal", {"mu_b": 0.0, "q": 15.0, "R": R}),
    "minimal-ordered-bias": ("minimal", {"mu_b": -2.0, "q": 30.0, "R": R}),
    "minimal-open-gate": ("minimal", {"mu_b": 2.0, "q": 16.0, "R": R}),
    "vanilla-printed": ("vanilla", {"q": 0.0671, "R": R}),
    "vanilla-large-q": ("vanilla", {"q": 1.0, "R": 1.0}),
}
# Values to compare with, as given for the printed scales: μ_b: (q*, χ, c*, χ at c*, ξ).
GIVEN = {
    -4.0: ("19.68", ".5449", "1", ".5449", "1.65"),
    -2.0: ("18.07", ".7843", "1", ".7843", "4.1"),
    0.0: ("15.94", ".9988", "1", ".9988", "819"),
    2.0: ("13.06", "1.1213", ".788", ".9122", "10.9"),
    3.5: ("9.94", "1.1189", ".588", ".9190", "11.8"),
    4.5: ("5.84", "1.0506", ".540", ".9617", "25.6"),
    5.5: ("1.10", ".9889", "1", ".9889", "89.9"),
    8.0: (".903", ".9990", "1", ".9990", "964"),
}
GIVEN_VARIANCE = {"orthogonal": "3.09", "gaussian": "3.44"}
VANILLA_SIGMA_V = 0.025
# Steps for which the member of the critical family that is best for this T is tried as well.
TUNED = {"vanilla": (100, 1000)}
SIZES = {
    "quick": {"N": 512, "trials": 16, "steps": {"vanilla": (1, 10, 100, 1000), "minimal": (1, 10)}},
    "full": {"N": 2048, "trials": 32, "steps": {"vanilla": (1, 10, 100, 1000), "minimal": (1, 10, 30)}},
}


def list_cases(size: str) -> list[core.Case]:
    """All cases of a size."""
    listed = [
        core.Case(f"family-{key}", {"kind": "family", "cell": cell, **parameters})
        for key, (cell, parameters) in FAMILY.items()
    ]
    listed.append(core.Case("published", {"kind": "published", **PRINTED}))
    for mu_b in GIVEN:
        ens = printed(mu_b, "gaussian")
        listed.append(core.Case(f"table-{mu_b:g}", {"kind": "table", "ensemble": ens.to_dict()}))
    for seed, weights in enumerate(("orthogonal", "gaussian")):
        sampled = {"N": SIZES[size]["N"], "trials": SIZES[size]["trials"], "seed": 4000 + seed}
        ens = _closed("minimal", PRINTED).replace(weights=weights)
        listed.append(
            core.Case(f"one-step-{weights}", {"kind": "one step", "ensemble": ens.to_dict(), **sampled})
        )
        for cell, steps in SIZES[size]["steps"].items():
            for T in steps:
                settings = {"kind": "isometry", "cell": cell, "weights": weights, "T": T}
                listed.append(core.Case(f"isometry-{cell}-{weights}-T{T}", settings))
    for cell, steps in TUNED.items():
        for T in steps:
            settings = {"kind": "isometry", "cell": cell, "weights": "orthogonal", "T": T, "tuned": True}
            listed.append(core.Case(f"isometry-{cell}-tuned-T{T}", settings))
    return listed


def printed(mu_b: float, weights: str) -> rt.Ensemble:
    """The minimalRNN at the printed scales."""
    scales: dict[str, Any] = {name: PRINTED[name] for name in ("sigma_w", "sigma_v", "R")}
    return rt.Ensemble("minimal", **scales, mu_b=mu_b, Sigma=1.0, weights=weights)


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """One case."""
    kinds = {"family": _family, "published": _published, "table": _table}
    kinds |= {"one step": _one_step, "isometry": _isometry}
    return kinds[case.settings["kind"]](case.settings, workers), {}


def _closed(cell: str, settings: dict[str, Any]) -> rt.Ensemble:
    parameters = {name: settings[name] for name in ("q", "R", "mu_b") if name in settings}
    return rt.critical(cell, 1, **parameters).ensemble


def _family(settings: dict[str, Any], workers: core.Workers) -> dict[str, Any]:
    """The closed form, the mean field at it, and a root search that knows nothing of it."""
    cell = settings["cell"]
    scales = quadrature_30_digits(settings) if cell == "minimal" else None
    try:
        ens = _closed(cell, settings)
    except NoCriticalPointError as error:
        return {"infeasible": str(error), "sigma_v2": scales["sigma_v2"] if scales else "-"}
    mf = rt.mean_field(ens)
    goal = np.array([1.0, settings["q"]])

    def miss(x: np.ndarray) -> np.ndarray:
        state = rt.mean_field(ens.replace(sigma_w=float(np.exp(x[0])), sigma_v=float(np.exp(x[1]))))
        return np.array([state.chi, float(state.q)]) / goal - 1.0  # type: ignore[arg-type]

    found = root(miss, np.log([0.9 * ens.sigma_w, 1.2 * ens.sigma_v]), tol=1e-12)  # type: ignore[operator]
    searched = np.exp(found.x)
    away = [float(abs(a / b - 1.0)) for a, b in zip(searched, (ens.sigma_w, ens.sigma_v), strict=True)]
    meta = {
        "sigma_w": ens.sigma_w,
        "sigma_v": ens.sigma_v,
        "chi": mf.chi,
        "q": mf.q,
        "converged": mf.converged,
        "root": searched.tolist(),
        "root residual": float(np.abs(miss(found.x)).max()),
        "root difference": max(away),
    }
    if scales:
        digits = (float(scales["sigma_w2"]) ** 0.5, float(scales["sigma_v2"]) ** 0.5)
        own = (ens.sigma_w, ens.sigma_v)
        meta["mpmath difference"] = max(abs(a / b - 1.0) for a, b in zip(own, digits, strict=True))  # type: ignore[operator]
    return meta


def quadrature_30_digits(settings: dict[str, Any]) -> dict[str, str]:
    """σ_w² and σ_v² of docs/theory.md (17) by mpmath's quadrature, as text with 20 digits."""
    with mpmath.workdps(30):
        q, mu, second = (mpmath.mpf(settings[name]) for name in ("q", "mu_b", "R"))

        def u(e: Any) -> Any:
            return 1 / (1 + mpmath.exp(-e))

        def mean(f: Any) -> Any:
            width = mpmath.sqrt(q)
            points = [mu + width * k for k in range(-14, 15, 2)]
            return mpmath.quad(lambda e: f(u(e)) * mpmath.npdf(e, mu, width), points)

        kept = 1 - mean(lambda u: u**2)
        Q = second * mean(lambda u: (1 - u) ** 2) / kept
        sigma_w2 = kept / ((Q + second) * mean(lambda u: (u * (1 - u)) ** 2))
        sigma_v2 = (q - sigma_w2 * Q) / second
        return {"sigma_w2": str(mpmath.nstr(sigma_w2, 20)), "sigma_v2": str(mpmath.nstr(sigma_v2, 20))}


def _published(settings: dict[str, Any], workers: core.Workers) -> dict[str, Any]:
    """What the printed, rounded scales are, and which q* or R would round to both of them."""
    mf = rt.mean_field(printed(settings["mu_b"], "gaussian"))
    exact = _closed("minimal", settings)
    return {
        "chi at the printed scales": mf.chi,
        "q at the printed scales": mf.q,
        "closed form": {"sigma_w": exact.sigma_w, "sigma_v": exact.sigma_v},
        "least q": _least_q(settings),
        "R that rounds to both": _rounding(settings, "R", np.linspace(0.455, 0.468, 131)),
        "q that rounds to both": _rounding(settings, "q", np.linspace(15.7, 16.3, 121)),
    }


def _rounding(settings: dict[str, Any], name: str, values: np.ndarray) -> list[float]:
    """Ends of the range of ``name`` in which both scales round to the printed ones; empty if none."""
    good = []
    for value in values:
        point = settings | {name: float(value)}
        family = CriticalFamily.at(np.array([point["q"]]), np.array([point["mu_b"]]), point["R"])
        scales = math.sqrt(family.sigma_w2[0]), math.sqrt(max(family.drive[0], 0.0) / point["R"])
        if all(round(a, 2) == PRINTED[b] for a, b in zip(scales, ("sigma_w", "sigma_v"), strict=True)):
            good.append(round(float(value), 6))
    return [min(good), max(good)] if good else []


def _least_q(settings: dict[str, Any]) -> float:
    """The q below which σ_v² of the closed form is negative."""

    def drive(q: float) -> float:
        return float(CriticalFamily.at(np.array([q]), np.array([settings["mu_b"]]), settings["R"]).drive[0])

    return float(brentq(drive, 5.0, settings["q"], xtol=1e-12))  # type: ignore[arg-type]


def _table(settings: dict[str, Any], workers: core.Workers) -> dict[str, Any]:
    """One row of the table: q*, χ, c*, χ at c*, ξ."""
    mf = rt.mean_field(rt.Ensemble.from_dict(settings["ensemble"]))
    found = [mf.q, mf.chi, mf.c_star, mf.chi_star, mf.timescale]
    return {"row": [float(value) for value in found], "converged": mf.converged, "residual": mf.residual}


def _one_step(settings: dict[str, Any], workers: core.Workers) -> dict[str, Any]:
    """Variance of s² after one step: recursion, the density of the spectrum, sample."""
    ens = rt.Ensemble.from_dict(settings["ensemble"])
    sizes = {name: settings[name] for name in ("N", "trials", "seed")}
    spec = rt.spectrum(ens, 1)
    mc = rt.sample(ens, 1, **sizes, burn_in=300, executor=workers.executor)
    squares = np.exp(2.0 * mc.log_s)
    variances = np.mean(squares**2, axis=1) - np.mean(squares, axis=1) ** 2
    exact = rt.isometry(ens, 1, spec)
    return {
        "exact": [exact.variance.value, exact.variance.error],
        "m_1": exact.m_1.value,
        "spectrum": [spec.density_moment(2) - spec.density_moment(1) ** 2, spec.error],
        "converged": spec.converged,
        "sample": [float(variances.mean()), float(variances.std(ddof=1) / math.sqrt(len(variances)))],
    }


def _isometry(settings: dict[str, Any], workers: core.Workers) -> dict[str, Any]:
    """m_1, the spread of s² and the range of s over T steps, at the printed point or the best one for T."""
    if settings.get("tuned"):
        weights = settings["weights"]
        ens = rt.critical(settings["cell"], settings["T"], weights=weights, R=R).ensemble
    elif settings["cell"] == "minimal":
        ens = _closed("minimal", PRINTED).replace(weights=settings["weights"])
    else:
        ens = vanilla_at(VANILLA_SIGMA_V).replace(weights=settings["weights"])
    # tol: the lowest tail of the minimalRNN (log s below -50 at T = 10) is not reached to the default 1e-4.
    law = rt.spectrum(ens, settings["T"], tol=1e-3) if settings["cell"] == "minimal" else None
    found = rt.isometry(ens, settings["T"], law)
    return {
        "ensemble": ens.to_dict(),
        "m_1": found.m_1.value,
        "variance": found.variance.value,
        "distance": found.distance.value,
        "log10 s": [found.log_quantiles[p].value / math.log(10.0) for p in (0.05, 0.5, 0.95)],
        "converged": found.converged,
        "cdf error": found.error,
    }


def vanilla_at(sigma_v: float) -> rt.Ensemble:
    """The critical vanilla network with this σ_v, R = 0.46: one equation in q, solved by bisection."""
    low, high = 1e-4, 2.0
    for _ in range(60):
        q = math.sqrt(low * high)
        ens = rt.critical("vanilla", 1, R=R, q=q).ensemble
        low, high = (q, high) if ens.sigma_v < sigma_v else (low, q)  # type: ignore[operator]
    return rt.critical("vanilla", 1, R=R, q=math.sqrt(low * high)).ensemble.replace(Sigma=1.0)
