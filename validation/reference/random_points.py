"""Is the float solver honest? Its cdf at random points of random ensembles against certified intervals.

Activation, weights, σ_w (0.1 to 10), σ_b, μ_b, T (1 to 10⁵) and the probability are drawn; ensembles without
a finite fixed point, or with a law that is a few atoms, are drawn again. At each point the certified cdf and
density are computed; the float cdf must lie in the certified interval widened by the solver's own error.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp

import rmtrnn as rt
from rmtrnn._core import progress as _progress
from rmtrnn.highprec.certified import CertificationError

FILE = Path(__file__).resolve().parent / "random_points.json"
COUNT = 200
SEED = 20261125
ACTIVATIONS = ("linear", "tanh", "erf", "relu", "hard_tanh", "sigmoid", "softsign", "silu", "gelu")
DPS = 20


def draw_ensemble(index: int) -> tuple[rt.Ensemble, int, float]:
    """(ensemble, T, probability) of a point; the same for the same index."""
    rng = np.random.default_rng([SEED, index])
    while True:
        name = str(rng.choice(ACTIVATIONS))
        ens = rt.Ensemble(
            rt.VanillaRNN(name),
            sigma_w=float(np.round(10 ** rng.uniform(-1, 1), 3)),
            sigma_b=float(np.round(10 ** rng.uniform(-2, 0.5), 3)),
            mu_b=float(np.round(rng.choice([0.0, 0.0, rng.normal()]), 2)),
            weights=str(rng.choice(["gaussian", "orthogonal"])),
        )
        T = round(10 ** rng.uniform(0, 5 if rng.random() < 0.5 else 1.5))
        p = float(rng.uniform(0.001, 0.999))
        atoms_only = ens.weights == "orthogonal" and (T == 1 or name == "linear")
        if not atoms_only and rt.mean_field(ens).converged:
            return ens, T, p


def compute(index: int) -> dict[str, Any]:
    """One point: certified cdf and density, the float values, and whether the float solver was honest."""
    ens, T, p = draw_ensemble(index)
    spec = rt.spectrum(ens, T)
    cell: Any = ens.cell  # vanilla
    empty = sum(mass for at, mass in spec.atoms if at == 0)
    top = sum(mass for at, mass in spec.atoms if at > 0)
    u = float(spec.log_s.icdf(empty + (1 - empty - top) * p))
    with mp.workdps(60):
        lam = mp.exp(2 * mp.mpf(u))
        record: dict[str, Any] = {
            "activation": cell.activation.name,
            "ensemble": {key: getattr(ens, key) for key in ("sigma_w", "sigma_b", "mu_b", "weights")},
            "T": T,
            "log_s": u,
            "own_error": float(spec.error),
            "converged": bool(spec.converged),
        }
        start = time.process_time()
        try:
            below = rt.highprec.certified_cdf(ens, T, lam, DPS)
            density = rt.highprec.certified_density(ens, T, lam, DPS)
        except CertificationError as error:
            return {**record, "refused": str(error)[:300]}
        gap = abs(mp.mpf(float(spec.log_s.cdf(u))) - below.midpoint)
        exact = 2 * lam * density.midpoint
        return {
            **record,
            "cdf": str(mp.nstr(below.midpoint, 20)),
            "radius": float(below.radius),
            "cdf_error": float(gap),
            "honest": bool(gap <= below.radius + mp.mpf(float(spec.error))),
            "density_relative_error": float(abs(float(spec.log_s.pdf(u)) / exact - 1)) if exact else None,
            "cpu_seconds": round(time.process_time() - start, 2),
        }


def refresh() -> None:
    """The float solver's values again, the certified ones as they are."""
    points = json.loads(FILE.read_text())
    with mp.workdps(40):
        for index, record in points.items():
            if "honest" in record:
                ens, T, _ = draw_ensemble(int(index))
                spec = rt.spectrum(ens, T)
                gap = abs(mp.mpf(float(spec.log_s.cdf(record["log_s"]))) - mp.mpf(record["cdf"]))
                margin = record["radius"] + mp.mpf(float(spec.error)) + mp.mpf("1e-20")  # 20 digits kept
                record["own_error"], record["cdf_error"] = float(spec.error), float(gap)
                record["honest"] = bool(gap <= margin)
    FILE.write_text(json.dumps(points, indent=1, ensure_ascii=False) + "\n")


def load() -> list[dict[str, Any]]:
    """The points computed so far, those with a number first."""
    points = json.loads(FILE.read_text()) if FILE.exists() else {}
    return [point for point in points.values() if "honest" in point]


def run(count: int, fresh: bool) -> list[dict[str, Any]]:
    """Compute what is missing of the first ``count`` points; kept in ``random_points.json`` every ten."""
    points = json.loads(FILE.read_text()) if FILE.exists() and not fresh else {}
    report = _progress.reporter(True)
    for index in range(count):
        report(index, count, "random points")
        if str(index) not in points:
            points[str(index)] = compute(index)
        if index % 10 == 9 or index == count - 1:
            FILE.write_text(json.dumps(points, indent=1, ensure_ascii=False) + "\n")
    report(count, count, "random points")
    return load()


def summary(points: list[dict[str, Any]]) -> str:
    """How many points are honest, and what was refused."""
    total = len(json.loads(FILE.read_text())) if FILE.exists() else 0
    honest = sum(point["honest"] for point in points)
    largest = max((point["cdf_error"] for point in points), default=0.0)
    return (
        f"random points: {honest} of {len(points)} within their stated error, {total - len(points)} refused; "
        f"largest true error of the cdf {largest:.1e}"
    )
