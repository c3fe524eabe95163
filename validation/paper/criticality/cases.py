"""The cases: sampled points, the families, the decay of correlations."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn.criticality.closed_form import FAMILY
from rmtrnn.dyson.quantiles import log_quantiles
from rmtrnn.isometry_report import variance_growth
from rmtrnn.spectra.minimal_rnn import CriticalFamily, minimal_moments
from validation.core import Case, Result, Workers, places
from validation.paper.criticality import boxes, finite_size

R = 0.46
PROBABILITIES = (0.05, 0.5, 0.95)
POINTS = ("returned", "published")
PUBLISHED: dict[str, Any] = {"sigma_w": 6.88, "sigma_v": 1.39, "mu_b": 0.0}
TIED_STEPS = 10  # the tied law costs T³: beyond this it is out of reach of a study
LONG = 100  # from here on only the quantiles are solved for (`rmtrnn.dyson.quantiles`)
# From N(0, 1) the state of the returned point settles slowly, in some 1/(0.1 κ) steps. With tied weights the
# gates of a site hardly change, and those that stay open forget in 1/(1 − u) steps only.
BURN_IN = {
    ("published", False): 300,
    ("published", True): 300,
    ("returned", False): 4000,
    ("returned", True): 8000,
}
SIZES: dict[str, Any] = {
    "quick": {
        # T: N, networks with untied and with tied weights
        "steps": {10: (256, 4, 4), 100: (128, 3, 3), 1000: (64, 2, 2)},
        # The law by T; with few sites the errors are large, and stated.
        "law": {10: {"population": 4096, "tol": 2e-3}, 100: {"population": 2048}},  # T = 1000: minutes
        "tied law": None,
        "vanilla": {"N": 256, "trials": 2},
        "family": {"population": 2048, "tol": 3e-3},
        "boxes": {"drawn": 30},
        "finite": [[32, 32], [64, 32], [128, 16]],
        "N": 4096,
    },
    "standard": {
        "steps": {10: (1024, 16, 4), 100: (1024, 3, 3), 1000: (1024, 4, 2)},
        "law": {10: {}, 100: {"population": 16384}, 1000: {"population": 16384}},
        "tied law": {"published": {"seed": 0}, "returned": {"seed": 0, "population": 16384}},
        "vanilla": {"N": 1024, "trials": 4},
        "family": {"population": 4096, "tol": 1e-3},
        "boxes": {"drawn": 300, "lstm": 8},
        "finite": [[128, 64], [256, 64], [512, 32], [1024, 48]],
        "N": 16384,
    },
}
MU_B = (-2.0, 0.0, 2.0, 4.0, 6.0, 8.0)
DECAYS = {
    "minimal, μ_b = −2": {"cell": "minimal", "sigma_w": 6.88, "sigma_v": 1.39, "mu_b": -2.0},
    "minimal, μ_b = 2": {"cell": "minimal", "sigma_w": 6.88, "sigma_v": 1.39, "mu_b": 2.0},
    "minimal, μ_b = 5.5": {"cell": "minimal", "sigma_w": 6.88, "sigma_v": 1.39, "mu_b": 5.5},
    "vanilla, σ_w = 0.9": {"cell": "vanilla", "sigma_w": 0.9, "sigma_v": 0.3},
    "vanilla, σ_w = 1.3": {"cell": "vanilla", "sigma_w": 1.3, "sigma_v": 0.1},
}


def list_cases(size: str) -> list[Case]:
    """Sampled points first, then what is exact, then the decay of correlations."""
    own = SIZES[size]
    found = []
    for weights in ("orthogonal", "gaussian"):
        settings = {"kind": "vanilla", "weights": weights, "T": 100, **own["vanilla"], "seed": 1}
        found.append(Case(f"vanilla-{weights}", settings))
    for point in POINTS:
        for T, (N, untied, tied_networks) in own["steps"].items():
            for tied in (False, True):
                settings = {"kind": "minimal", "point": point, "T": T, "N": N, "seed": 2, "tied": tied}
                settings["trials"] = tied_networks if tied else untied
                settings["burn_in"] = BURN_IN[point, tied]
                found.append(Case(f"{point}-T{T}-{_weights(tied)}", settings))
    for point in POINTS:
        laws = [(T, False, law) for T, law in own["law"].items()]
        laws += [(TIED_STEPS, True, own["tied law"][point])] if own["tied law"] else []
        for T, tied, accuracy in laws:
            settings = {"kind": "law", "point": point, "T": T, "tied": tied, "accuracy": accuracy}
            found.append(Case(f"law-{point}-T{T}-{_weights(tied)}", settings))
    settings = {"kind": "finite size", "T": 10, "sizes": own["finite"], "seed": 5}
    found.append(Case("finite-size", settings | {"burn_in": BURN_IN["returned", False]}))
    found.append(Case("vanilla-family", {"kind": "vanilla family"}))
    found.append(Case("minimal-family", {"kind": "minimal family", "T": 10, "accuracy": own["family"]}))
    for name, count in own["boxes"].items():
        cell = None if name == "drawn" else name
        found.append(Case(f"boxes-{name}", {"kind": "boxes", "boxes": count, "cell": cell, "seed": 1}))
    found.append(Case("correlations", {"kind": "correlations", "N": own["N"], "steps": 240, "seed": 3}))
    return found


def compute(case: Case, workers: Workers) -> Result:
    """One case."""
    settings = dict(case.settings)
    kind = settings.pop("kind")
    if kind == "vanilla":
        return _vanilla(workers, **settings)
    if kind == "minimal":
        return _minimal(workers, **settings)
    if kind == "law":
        return _law(**settings)
    if kind == "finite size":
        ens = minimal_point("returned", settings["T"])
        return finite_size.compute(workers, ens, probabilities=PROBABILITIES, **settings)
    if kind == "boxes":
        return boxes.compute(**settings)
    return {"vanilla family": _vanilla_family, "minimal family": _minimal_family, "correlations": _decay}[
        kind
    ](**settings)


def minimal_point(point: str, T: int) -> rt.Ensemble:
    """The published critical point, or what `rmtrnn.critical` returns for T."""
    if point == "published":
        return rt.Ensemble("minimal", R=R, weights="orthogonal", **PUBLISHED)
    return rt.critical("minimal", T=T, R=R).ensemble


def _vanilla(workers: Workers, weights: str, T: int, N: int, trials: int, seed: int) -> Result:
    cp = rt.critical("vanilla", T=T, R=R, weights=weights)
    # Tied orthogonal networks have the same law, and one matrix to draw; tied Gaussian ones are far from it
    # at T > √N. The state settles within some 1/q steps.
    mc = rt.sample(
        cp.ensemble.replace(tied=weights == "orthogonal"), T, N=N, trials=trials, seed=seed, burn_in=3000,
        executor=workers.executor,
    )  # fmt: skip
    record = cp.isometry
    meta = {
        "ensemble": repr(cp.ensemble),
        "q": cp.field.q_of("e"),
        "chi": cp.chi,
        "isometric": cp.isometric,
        "message": cp.message,
        "theory": {"m_1": record.m_1.value, "variance": record.variance.value}
        | {f"{p:g}": q.value for p, q in record.quantiles.items()},
        "distance": record.distance.value,
        "sample": _sampled(mc),
    }
    return meta, {"log_s": mc.log_s}


def _weights(tied: bool) -> str:
    return "tied" if tied else "untied"


def _minimal(
    workers: Workers, point: str, T: int, N: int, trials: int, seed: int, tied: bool, burn_in: int
) -> Result:
    """Sampled networks, and the moments of their law."""
    ens = minimal_point(point, T)
    tied_as = ens.replace(tied=tied)
    arguments: dict[str, Any] = {"T": T, "N": N, "seed": seed, "burn_in": burn_in}
    name = hashlib.sha256(repr((tied_as.to_dict(), arguments)).encode()).hexdigest()[:12]
    mc = rt.sample(
        tied_as, trials=trials, executor=workers.executor,
        checkpoint=places.CHECKPOINTS / "criticality" / "samples" / name, **arguments,
    )  # fmt: skip
    _, m_1, variance = variance_growth(ens, T)[-1]
    meta = {
        "ensemble": repr(ens),
        "chi": rt.mean_field(ens).chi,
        "exact": {"m_1": m_1.value, "variance": variance.value},
        "sample": _sampled(mc),
    }
    return meta, {"log_s": mc.log_s}


def _law(point: str, T: int, tied: bool, accuracy: dict[str, Any]) -> Result:
    """Quantiles of log s, their errors, error of the cdf and density there; for T < LONG all of the law."""
    ens = minimal_point(point, T).replace(tied=tied)
    if T >= LONG:
        found = log_quantiles(ens, T, PROBABILITIES, **accuracy)
        pairs = zip(found.log_s.tolist(), found.error.tolist(), strict=True)
        theory = {f"{p:g}": list(pair) for p, pair in zip(PROBABILITIES, pairs, strict=True)}
        meta = {
            "converged": found.converged,
            "residual": float(found.residual.max()),
            "error": found.cdf_error.tolist(),
            "theory": theory if found.converged else {},
        }
        return meta, {"density": found.density}
    spec = rt.spectrum(ens, T, **accuracy)
    meta = {"converged": spec.converged, "error": [spec.error] * len(PROBABILITIES), "theory": {}}
    if not spec.converged:
        return meta, {}
    meta["theory"] = {f"{p:g}": _quantile(spec, p) for p in PROBABILITIES}
    u = np.linspace(spec.log_s.icdf(0.001), spec.log_s.support[-1][1], 400)
    at = spec.log_s.icdf(np.array(PROBABILITIES))
    return meta, {"u": u, "cdf": spec.log_s.cdf(u), "density": spec.log_s.pdf(at)}


def _quantile(spec: Any, p: float) -> list[float] | None:
    """Quantile of log s, and how far it moves when the cdf moves by its error; None below a lost tail."""
    if p <= spec.error:
        return None
    low, value, high = (spec.log_s.icdf(min(p + d, 1.0)) for d in (-spec.error, 0.0, spec.error))
    return [float(value), float(max(value - low, high - value))]


def _sampled(mc: Any) -> dict[str, Any]:
    """m_1 and quantiles of log s: value, standard error over trials; m_1 of every trial."""
    table = {f"{p:g}": list(mc.log_quantile(p)) for p in PROBABILITIES}
    each = np.mean(np.exp(2 * mc.log_s), axis=1)
    largest = np.max(np.exp(2 * mc.log_s), axis=1) / np.sum(np.exp(2 * mc.log_s), axis=1)
    return table | {
        "N": mc.N,
        "trials": mc.trials,
        "m_1": list(mc.moment(1)),
        "m_1 of each": each.tolist(),
        "share of the largest s² in m_1": largest.tolist(),
    }


def _vanilla_family() -> Result:
    """5, 50 and 95 % of s against q, orthogonal and Gaussian, T = 10, 100, 1000."""
    q = np.geomspace(1e-4, 0.3, 11)
    steps = np.array([10, 100, 1000])
    log_s = np.empty((2, steps.size, q.size, 3))
    for w, weights in enumerate(("orthogonal", "gaussian")):
        for k, value in enumerate(q):
            ens = rt.critical("vanilla", T=1, R=R, weights=weights, q=float(value)).ensemble
            for t, T in enumerate(steps):
                log_s[w, t, k] = rt.spectrum(ens, int(T)).log_s.icdf(np.array(PROBABILITIES))
    return {}, {"q": q, "steps": steps, "log_s": log_s}


def _minimal_family(T: int, accuracy: dict[str, Any]) -> Result:
    """Exact spread over (q, μ_b); for some μ_b the law of s at the least spread."""
    q, mu_b = np.geomspace(1.0, 200.0, 90), np.linspace(-4.0, 10.0, 71)
    family = CriticalFamily.at(*np.meshgrid(q, mu_b, indexing="ij"), R)
    x = (1.0, 0.0, R, 0.0, 3 * R * R)
    _, m_2 = minimal_moments(family.q, family.mu_b, family.sigma_w2, x, T, True)
    stable = np.where(family.drive >= 0.0, _slope(family), np.nan)
    rows, kept = [], []
    for value in MU_B:
        cp = rt.critical("minimal", T=T, R=R, mu_b=value)
        spec = rt.spectrum(cp.ensemble, T, **accuracy)
        kept.append(bool(spec.converged))
        _, _, variance = variance_growth(cp.ensemble, T)[-1]
        u = spec.log_s.icdf(np.array(PROBABILITIES)) if spec.converged else np.full(3, math.nan)
        point = CriticalFamily.at(np.array(cp.field.q_of("e")), np.array(value), R)
        rows.append([value, float(point.q), float(point.kappa), variance.value, spec.error, *u])
    arrays = {
        "q": q,
        "mu_b": mu_b,
        "variance": m_2[-1] - 1.0,
        "kappa": family.kappa,
        "drive": family.drive,
        "slope": stable,
        "participation": family.participation,
        "line": np.array(rows),
    }
    return {"T": T, "converged": kept, "least participation": FAMILY.participation}, arrays


def _slope(family: CriticalFamily) -> np.ndarray:
    """Slope of the map of Q at the fixed point, by a difference: above 1 the state is unstable."""
    small = 1e-5 * family.Q
    shifted = family.q + family.sigma_w2 * small
    moved = CriticalFamily.at(shifted, family.mu_b, R)
    following = (family.Q + small) * (1.0 - moved.kappa) + moved.Q * moved.kappa
    return (following - family.Q) / small


def _decay(N: int, steps: int, seed: int) -> Result:
    """1 − c or |c − c*| of two networks that share all weights and inputs; fitted and predicted ξ."""
    meta, arrays = {}, {}
    for k, (name, parameters) in enumerate(DECAYS.items()):
        ens = rt.Ensemble(**parameters, R=R, Sigma=1.0)
        state = rt.mean_field(ens)
        c_star: Any = state.c_star  # one gate: a number
        c = np.mean([_correlations(ens, N, steps, [seed, k, trial]) for trial in range(4)], axis=0)
        gap = np.abs(c - float(c_star))
        exact = np.abs(np.asarray(_theory(ens, steps)) - float(c_star))
        # The late part, as long as it is well above the fluctuations of finite networks (none at c* = 1).
        floor = 1e-6 if c_star == 1.0 else 8.0 / math.sqrt(N)
        fit = (exact < 0.5 * exact[0]) & (exact > floor)
        if np.sum(fit) < 3:  # networks too small to see the decay
            fit = exact > 0.5 * floor
        t = np.arange(steps)
        meta[name] = {
            "c_star": float(c_star),
            "xi": state.timescale,
            "measured": float(-1.0 / np.polyfit(t[fit], np.log(gap[fit]), 1)[0]),
            "mean field, same window": float(-1.0 / np.polyfit(t[fit], np.log(exact[fit]), 1)[0]),
            "window": [int(t[fit][0]), int(t[fit][-1])],
        }
        arrays[f"gap {k}"], arrays[f"theory {k}"] = gap, exact
    return meta, arrays


def _theory(ens: rt.Ensemble, steps: int) -> np.ndarray:
    return np.asarray(rt.mean_field(ens, steps=steps - 1, C0=0.0).c_t)


def _correlations(ens: rt.Ensemble, N: int, steps: int, seed: list[int]) -> np.ndarray:
    """Correlation of the pre-activations of two networks with the same fresh Gaussian W, V and input.

    W is new at every step, so that given the two states (W h_a, W h_b) is Gaussian at every site with the
    states' own overlaps as covariance: drawn so, it has the law of the product with a drawn matrix.
    """
    rng = np.random.default_rng(seed)
    Q: Any = rt.mean_field(ens).Q  # one state: a number
    gate = ens.gate("e")
    h = math.sqrt(float(Q)) * rng.standard_normal((2, N))
    found = []
    stage = ens.cell.numeric(np).stages[0]
    for _ in range(steps):
        size, basis = np.linalg.eigh(h @ h.T / N)
        root = basis * np.sqrt(np.maximum(size, 0.0))
        x = ens.sample_input(rng, N)
        drive = rng.standard_normal(N) * gate.sigma_v * math.sqrt(np.mean(x**2))
        e = gate.sigma_w * (root @ rng.standard_normal((2, N))) + drive
        found.append(np.sum(e[0] * e[1]) / math.sqrt(np.sum(e[0] ** 2) * np.sum(e[1] ** 2)))
        h = np.array([stage.update(h[i][None], x, (gate.mu_b + e[i])[None])[0] for i in range(2)])
    return np.array(found)
