"""Gated networks, redrawn and kept weights: the matrix Dyson equation over sampled matrices.

minimalRNN, GRU, LSTM, a leaky RNN written as a user's cell, minGRU; Gaussian and orthogonal weights. For kept
weights the law of redrawn ones is the control, for redrawn ones the free approximation is drawn beside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn.spectra import Spectrum, free_approximation
from validation import study
from validation.gated import figures, samples
from validation.gated.networks import PLANS, list_cases

LIMIT = {"quick": 0.03, "full": 0.01}  # of the Kolmogorov distance
_POINTS = 400
_BINS = 60
_NOTES = """The noise of a sample is the distance that it is expected to have from a right theory, from the
spread of its trials; a finite N adds a bias of its own. A law of which the cdf has a larger error than the
limit is no verdict. For kept weights the other theory is that of redrawn weights, for redrawn weights it is
the free approximation, which for T = 1 is the law itself; "rejected" means that its distance is beyond the
limit and beyond three times the noise. Where the other law hardly differs, it cannot be rejected.
"""


def compute(case: study.Case, workers: study.Workers) -> study.Result:
    """Theory, the other theory, the sample, their distances, and the curves of the picture."""
    ens, T = rt.Ensemble.from_dict(case.settings["ensemble"]), case.settings["T"]
    mc = samples.draw(case, workers)
    theory = rt.spectrum(ens, T)
    other = rt.spectrum(ens.replace(tied=False), T) if ens.tied else free_approximation(ens, T)
    first = mc.moment(1)
    meta: dict[str, Any] = {
        "theory": _summary(theory, mc.log_s),
        "other": _summary(other, mc.log_s),
        "noise": samples.noise(mc.log_s),
        "m1 sample": [first.value, first.error],
        "sample": mc.provenance,
    }
    low, high = np.quantile(mc.log_s, [0.002, 1.0])
    margin = 0.08 * (high - low)
    u = np.linspace(low - margin, high + margin, _POINTS)
    histogram, edges = np.histogram(mc.log_s, bins=_BINS, range=(low - margin, high + margin))
    arrays = {
        "u": u,
        "theory": theory.log_s.pdf(u),
        "other": other.log_s.pdf(u),
        "edges": edges,
        "histogram": histogram / (mc.log_s.size * np.diff(edges)),
    }
    return meta, arrays


def _summary(spec: Spectrum, log_s: np.ndarray) -> dict[str, Any]:
    """What the table says of a theory, in JSON types."""
    if not spec.converged:
        return {"method": spec.method, "converged": False}
    x = np.sort(log_s, axis=None)
    at = spec.log_s.cdf(x)
    below = at - sum(mass * (x == u) for u, mass in spec.log_s.atoms)
    return {
        "method": spec.method,
        "converged": True,
        "cdf error": spec.error,
        "mass": spec.mass,
        "m1": spec.moment(1),
        "distance": samples.distance(below, at),
    }


def report(results: dict[str, study.Result], size: str, folder: Path) -> None:
    """Write ``data.npz``, ``data.json``, ``report.md`` and the figures."""
    study.save_data(folder, "data", results)
    limit = LIMIT[size]
    rows = [_row(key, meta, limit) for key, (meta, _) in results.items()]
    within = sum(row[-2] == "within" for row in rows)
    sizes = sorted({meta["settings"]["N"] for meta, _ in results.values()})
    text = (
        f"# Spectra of gated networks: theory against sampled matrices ({size})\n\n"
        f"Each case compares `rmtrnn.spectrum` (matrix Dyson equation, N → ∞) with 4 networks of N = "
        f"{', '.join(map(str, sizes))} units.\nThe theory is within a Kolmogorov distance of {limit:g} in "
        f"{within} of {len(rows)} cases.\n{_NOTES}\n{study.table(_HEADER, rows)}\n\n"
        f"Made by `python -m validation gated --{size}` with {study.describe(results)}. "
        "Parameters, seeds and all numbers: `data.json`, `data.npz`.\n"
    )
    (folder / "report.md").write_text(text)
    figures.draw(results, folder)


_HEADER = (
    "case",
    "N",
    "cdf error",
    "distance",
    "noise",
    "m₁: theory / sample",
    "other theory",
    "its distance",
    "theory",
    "other",
)


def _row(key: str, meta: dict[str, Any], limit: float) -> list[str]:
    theory, other, (m1, m1_error) = meta["theory"], meta["other"], meta["m1 sample"]
    start = [key, str(meta["settings"]["N"])]
    if not theory["converged"]:
        return [*start, "-", "-", f"{meta['noise']:.4f}", "-", other["method"], "-", "**not converged**", "-"]
    name = "redrawn weights" if meta["settings"]["ensemble"]["tied"] else other["method"]
    apart = f"{other['distance']:.4f}" if other["converged"] else "not converged"
    rejected = other["converged"] and other["distance"] > max(limit, 3 * meta["noise"])
    verdict = "within" if theory["distance"] < limit else "**beyond**"
    return [
        *start,
        f"{theory['cdf error']:.1e}",
        f"{theory['distance']:.4f}",
        f"{meta['noise']:.4f}",
        f"{theory['m1']:.4g} / {m1:.4g} ± {m1_error:.1g}",
        name,
        apart,
        verdict if theory["cdf error"] < limit or verdict != "within" else "**undecided**",
        "rejected" if rejected else "not rejected",
    ]


STUDY = study.Study(
    name="gated",
    summary="gated cells and a user's cell, kept and redrawn weights: matrix Dyson equation over samples",
    cost={
        "quick": "about 3 minutes on 2 cores",
        "full": "not timed as a whole; several hours, most of them for samples",
    },
    cases=list_cases,
    compute=compute,
    report=report,
)
__all__ = ["PLANS", "STUDY"]
