"""Certified numbers to cite, and the float solver's error against them.

``python -m validation.reference_values --quick`` (tanh and erf, T ≤ 64) or ``--full``. Entries already in
the table are kept, so an interrupted run continues; ``--fresh`` starts over, ``--draw`` only draws. Writes
``table.json``, ``random_points.json`` (see `validation.reference_values.random_points`), ``errors.png`` and
``errors.pdf`` beside this file.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp

import rmtrnn as rt
from rmtrnn import _progress
from rmtrnn.highprec.certified import CertificationError, Certified
from validation import study
from validation.reference_values import random_points

HERE = Path(__file__).resolve().parent
TABLE = HERE / "table.json"
DEPTHS = (1, 2, 4, 16, 64, 256, 1024)
LAMBDAS = ("0.001", "0.01", "0.1", "0.5", "1", "2")
SMALL_LAMBDAS = ("1e-100", "1e-30", "1e-10", "1e-5")
"""Tabulated as well for T ≥ 64, where most of the law lies there."""
ENSEMBLES = {
    "linear": {"sigma_w": 1.0, "sigma_b": 0.05},
    "tanh": {"sigma_w": 1.05, "sigma_b": 0.05},
    "erf": {"sigma_w": 1.0, "sigma_b": 0.2},
    "relu": {"sigma_w": 1.4, "sigma_b": 0.1},
    "hard_tanh": {"sigma_w": 1.05, "sigma_b": 0.05},
    "sigmoid": {"sigma_w": 4.0, "sigma_b": 0.1},
    "softsign": {"sigma_w": 1.3, "sigma_b": 0.2},
    "silu": {"sigma_w": 1.5, "sigma_b": 0.3},
    "gelu": {"sigma_w": 1.4, "sigma_b": 0.3},
}
DPS = 30


def entries(quick: bool) -> list[tuple[str, str, str, int]]:
    """(kind, activation, weights, T) of every entry; kind is "fixed point" or "spectrum"."""
    found: list[tuple[str, str, str, int]] = []
    for name in ("tanh", "erf") if quick else ENSEMBLES:
        if name != "linear":
            found.append(("fixed point", name, "gaussian", 0))
        for weights in ("gaussian", "orthogonal"):
            for T in DEPTHS:
                single = weights == "orthogonal" and (T == 1 or name == "linear")
                if not single and not (quick and T > 64):
                    found.append(("spectrum", name, weights, T))
    return found


def compute(kind: str, name: str, weights: str, T: int) -> dict[str, Any]:
    """One entry: certified numbers as decimal text, and the float solver's values beside them."""
    ens = rt.Ensemble(rt.VanillaRNN(name), weights=weights, **ENSEMBLES[name])
    if kind == "fixed point":
        mf = rt.mean_field(ens)
        return {
            "q": text(rt.highprec.certified_fixed_point(ens, DPS)),
            "q_float": mf.q,
            "chi": text(rt.highprec.certified_chi(ens, DPS)),
            "chi_float": mf.chi,
        }
    spec = rt.spectrum(ens, T)
    record: dict[str, Any] = {"float_error": spec.error, "float_converged": spec.converged, "points": []}
    record["edge"] = attempt(lambda: rt.highprec.certified_edge(ens, T, DPS))
    record["edge_float"] = max([spec.support[-1][1], *[at for at, _ in spec.atoms]]) ** 2
    for lam in (*(SMALL_LAMBDAS if T >= 64 else ()), *LAMBDAS):
        s = float(lam) ** 0.5
        density = attempt(lambda lam=lam: rt.highprec.certified_density(ens, T, lam, DPS))
        below = attempt(lambda lam=lam: rt.highprec.certified_cdf(ens, T, lam, DPS))
        record["points"].append(
            {
                "lambda": lam,
                "density": density,
                "density_float": float(spec.pdf(s)) / (2 * s),
                "cdf": below,
                "cdf_float": float(spec.cdf(s)),
            }
        )
    return record


def attempt(call: Any) -> dict[str, str]:
    """The certified number as text, or the reason why there is none."""
    try:
        return text(call())
    except CertificationError as error:
        return {"refused": str(error)}


def text(number: Certified) -> dict[str, str]:
    """Midpoint and radius as decimals; the radius is enlarged by what the decimal midpoint drops."""
    with mp.workdps(80):
        if number.midpoint == 0 and number.radius == 0:
            return {"midpoint": "0", "radius": "0", "proof": number.proof}
        midpoint = str(mp.nstr(number.midpoint, DPS))
        radius = number.radius + abs(number.midpoint - mp.mpf(midpoint))
        return {
            "midpoint": midpoint,
            "radius": str(mp.nstr(radius * mp.mpf("1.01"), 3)),
            "proof": number.proof,
        }


def run(quick: bool, fresh: bool) -> dict[str, Any]:
    """Compute what is missing; the table is written after every entry."""
    table: dict[str, Any] = {"entries": {}}
    if TABLE.exists() and not fresh:
        table = json.loads(TABLE.read_text())
    todo = entries(quick)
    report = _progress.reporter(True)
    for done, entry in enumerate(todo):
        key = " | ".join(map(str, entry))
        report(done, len(todo), key)
        if key in table["entries"]:
            continue
        start = time.process_time()
        table["entries"][key] = {**compute(*entry), "cpu_seconds": round(time.process_time() - start, 1)}
        table["ensembles"], table["digits"] = ENSEMBLES, DPS
        table["versions"] = {p: importlib.metadata.version(p) for p in ("rmtrnn", "mpmath", "python-flint")}
        table["python"] = platform.python_version()
        partial = TABLE.with_suffix(".part")
        partial.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
        partial.replace(TABLE)
    report(len(todo), len(todo), "reference values")
    return table


def float_errors(table: dict[str, Any]) -> list[tuple[str, int, float]]:
    """(activation, T, relative error of the float density) of every positive certified density."""
    found = []
    for key, record in table["entries"].items():
        kind, name, _, T = key.split(" | ")
        for point in record.get("points", []) if kind == "spectrum" else []:
            exact = mp.mpf(point["density"].get("midpoint", "0"))
            if exact > 0:
                found.append((name, int(T), float(abs(point["density_float"] / exact - 1))))
    return found


COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#7A4F9A"),
)


def draw(table: dict[str, Any], points: list[dict[str, Any]]) -> None:
    """Left: the float density's error at every certified point, by T. Right: the float cdf's true error at
    random points against the error it states.
    """
    import matplotlib.pyplot as plt

    figure, (ax, honest) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained", width_ratios=(3, 2))
    errors = float_errors(table)
    names = list(ENSEMBLES)
    for index, name in enumerate(names):
        style = {"ls": "", "marker": "osD^v<>PX"[index], "ms": 5, "color": COLOURS[index]}
        found = [(T, max(error, 1e-17)) for other, T, error in errors if other == name]
        if found:
            T, error = np.array(found).T
            ax.plot(T * 1.06 ** (index - len(names) / 2), error, label=name, **style)
        pairs = [(p["own_error"], max(p["cdf_error"], 1e-18)) for p in points if p["activation"] == name]
        if pairs:
            honest.plot(*np.array(pairs).T, **style)
    ax.axhline(2.2e-16, color="0.5", lw=0.8)
    ax.text(0.9, 2.2e-16, "2.2e-16: one unit in the last place of a double", fontsize=8, va="bottom")
    ax.set(xscale="log", yscale="log", xlabel="steps T", ylabel="relative error of the float density")
    ax.set_xticks(DEPTHS, [str(T) for T in DEPTHS])
    ax.minorticks_off()
    ax.set_title("certified densities (below 1e-17: drawn there)", fontsize=10)
    if points:
        low, high = 3e-16, 1.0
        high = 3 * max(p["own_error"] for p in points)
        honest.plot([low, high], [low, high], color="0.5", lw=0.8)
        honest.text(high, high, "error = stated error ", fontsize=8, ha="right", va="bottom", color="0.3")
    honest.set(xscale="log", yscale="log", xlabel="error the float solver states (cdf)")
    honest.set_ylabel("its true error")
    honest.set_title(f"{len(points)} random points (below 1e-18: drawn there)", fontsize=10)
    figure.legend(loc="outside lower center", ncols=9, fontsize=9, frameon=False)
    study.save_figure(figure, HERE, "errors")
    plt.close(figure)


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m validation.reference_values", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tanh and erf, T ≤ 64")
    parser.add_argument("--full", action="store_true", help="all activations and depths (the default)")
    parser.add_argument("--fresh", action="store_true", help="recompute every entry and point")
    parser.add_argument("--draw", action="store_true", help="only draw the figure again")
    options = parser.parse_args()
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    if options.draw:
        table, points = json.loads(TABLE.read_text()), random_points.load()
    else:
        table = run(options.quick, options.fresh)
        points = random_points.run(20 if options.quick else random_points.COUNT, options.fresh)
    draw(table, points)
    print(summary(table, points))


def summary(table: dict[str, Any], points: list[dict[str, Any]]) -> str:
    """What the table holds, and how far off the float solver was."""
    errors = [error for _, _, error in float_errors(table)]
    refused = sum(json.dumps(record).count('"refused"') for record in table["entries"].values())
    return "\n".join(
        [
            f"{len(table['entries'])} of {len(entries(False))} entries ({refused} refusals)",
            f"{len(errors)} positive densities; float solver's relative error: "
            f"median {np.median(errors):.1e}, largest {max(errors):.1e}",
            random_points.summary(points),
        ]
    )


if __name__ == "__main__":
    main()
