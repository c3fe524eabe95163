"""Gated and tied cells, theory against sampled matrices: Kolmogorov distances, written as JSON.

Run: ``python validation/gated/acceptance.py [--size 2000] [--trials 4] [--out acceptance.json]``. Each
case also states the distance between two halves of the sample, which is its own noise, and for tied weights
the distance of the sample to the law of redrawn weights, which must be the larger one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import sympy

import rmtrnn as rt
from rmtrnn._progress import reporter

LIMIT = 0.01


def leaky(delta: float) -> rt.Cell:
    """h' = (1 - delta) h + delta tanh(e)."""
    h, x, e = sympy.symbols("h x e")
    update = (1 - sympy.Rational(delta)) * h + sympy.Rational(delta) * sympy.tanh(e)
    return rt.Cell("leaky", state=h, input=x, gates=[rt.Gate("e", e, h)], update=[update])


def cases() -> list[tuple[str, rt.Ensemble, int]]:
    base = {"sigma_w": 2.0, "sigma_v": 1.0, "mu_b": 1.0, "R": 0.5}
    mild = {"sigma_w": 1.5, "sigma_v": 0.7, "mu_b": 0.3, "R": 0.5}
    found = []
    for weights in ("gaussian", "orthogonal"):
        for T in (1, 3, 10):
            found.append((f"minimal untied {weights}", rt.Ensemble("minimal", weights=weights, **base), T))
        found.append((f"gru untied {weights}", rt.Ensemble("gru", weights=weights, **mild), 3))
        found.append((f"lstm untied {weights}", rt.Ensemble("lstm", weights=weights, **mild), 3))
        tied = rt.Ensemble("minimal", weights=weights, tied=True, **base)
        found.append((f"minimal tied {weights}", tied, 8))
    found.append(("leaky tied", rt.Ensemble(leaky(0.25), sigma_w=1.5, sigma_v=0.5, tied=True), 16))
    return found


def distance(law, x: np.ndarray) -> float:
    x = np.sort(np.ravel(x))
    below, steps = law.cdf(x), np.arange(x.size + 1) / x.size
    return float(max(np.abs(below - steps[:-1]).max(), np.abs(below - steps[1:]).max()))


def halves(log_s: np.ndarray) -> float:
    first, second = (np.sort(np.ravel(part)) for part in (log_s[::2], log_s[1::2]))
    both = np.concatenate([first, second])
    rank = [np.searchsorted(part, both, side="right") / part.size for part in (first, second)]
    return float(np.abs(rank[0] - rank[1]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=Path("acceptance.json"))
    arguments = parser.parse_args()
    chosen = [case for case in cases() if arguments.only in case[0]]
    report, rows = reporter(True), []
    for done, (name, ens, T) in enumerate(chosen):
        report(done, len(chosen), name)
        spec = rt.spectrum(ens, T=T)
        log_s = rt.sample(ens, T=T, N=arguments.size, trials=arguments.trials, seed=1).log_s
        row = {
            "case": name,
            "T": T,
            "N": arguments.size,
            "trials": arguments.trials,
            "distance": distance(spec.log_s, log_s),
            "sample_noise": halves(log_s),
            "reported_error": spec.error,
            "converged": spec.converged,
            "ensemble": repr(ens),
        }
        if ens.tied:
            other = rt.spectrum(ens.replace(tied=False), T=T)
            row["distance_to_untied"] = distance(other.log_s, log_s)
        row["verdict"] = "pass" if row["distance"] < LIMIT and spec.converged else "fail"
        rows.append(row)
        arguments.out.write_text(json.dumps(rows, indent=1))
    report(len(chosen), len(chosen), "done")
    for row in rows:
        print(f"{row['verdict']:5s} {row['case']:28s} T={row['T']:<3d} {row['distance']:.4f}")


if __name__ == "__main__":
    main()
