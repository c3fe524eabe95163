"""Certified numbers to cite, and the float solver's error against them.

``python -m validation.reference --quick`` (tanh and erf, T ≤ 64) or ``--full``. Entries already in
the table are kept, so an interrupted run continues; ``--fresh`` starts over, ``--draw`` only draws. Writes
``table.json``, ``random_points.json`` (see `validation.reference.random_points`), ``errors.png`` and
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
from rmtrnn._core import progress as _progress
from rmtrnn.highprec.certified import CertificationError, Certified
from validation import core
from validation.reference import random_points

HERE = Path(__file__).resolve().parent
TABLE = HERE / "table.json"
DEPTHS = (1, 2, 4, 16, 64, 256, 1024)
LAMBDAS = ("0.001", "0.01", "0.1", "0.5", "1", "2")
SMALL_LAMBDAS = ("1e-100", "1e-30", "1e-10", "1e-5")
"""Tabulated as well for T ≥ 64, where most of the law lies there."""
ENSEMBLES: dict[str, dict[str, Any]] = {
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
    record: dict[str, Any] = {"points": [], "edge": attempt(lambda: rt.highprec.certified_edge(ens, T, DPS))}
    for lam in (*(SMALL_LAMBDAS if T >= 64 else ()), *LAMBDAS):
        density = attempt(lambda lam=lam: rt.highprec.certified_density(ens, T, lam, DPS))
        below = attempt(lambda lam=lam: rt.highprec.certified_cdf(ens, T, lam, DPS))
        record["points"].append({"lambda": lam, "density": density, "cdf": below})
    return add_floats(ens, T, record)


def add_floats(ens: rt.Ensemble, T: int, record: dict[str, Any]) -> dict[str, Any]:
    """The float solver's values beside the certified ones."""
    spec = rt.spectrum(ens, T)
    record["float_error"], record["float_converged"] = spec.error, spec.converged
    right = max([spec.log_s.support[-1][1], *[at for at, _ in spec.log_s.atoms]])
    with mp.workdps(20):
        record["edge_float"] = mp.nstr(mp.exp(2 * mp.mpf(float(right))), 17)
    for point in record["points"]:
        s = float(point["lambda"]) ** 0.5
        point["density_float"], point["cdf_float"] = float(spec.pdf(s)) / (2 * s), float(spec.cdf(s))
    return record


def refresh() -> None:
    """Compute the float solver's values of a finished table and of the random points again."""
    table = json.loads(TABLE.read_text())
    for key, record in table["entries"].items():
        kind, name, weights, T = key.split(" | ")
        if kind == "spectrum":
            ens = rt.Ensemble(rt.VanillaRNN(name), weights=weights, **ENSEMBLES[name])
            add_floats(ens, int(T), record)
    TABLE.write_text(json.dumps(table, indent=0, ensure_ascii=False) + "\n")
    random_points.refresh()


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
        partial.write_text(json.dumps(table, indent=0, ensure_ascii=False) + "\n")
        partial.replace(TABLE)
    report(len(todo), len(todo), "reference values")
    return table


def float_errors(table: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(activation, λρ, relative error of the float density) of every positive certified density."""
    found = []
    for key, record in table["entries"].items():
        kind, name, _, _ = key.split(" | ")
        for point in record.get("points", []) if kind == "spectrum" else []:
            exact = mp.mpf(point["density"].get("midpoint", "0"))
            if exact > 0:
                size = float(exact * mp.mpf(point["lambda"]))
                found.append((name, size, float(abs(point["density_float"] / exact - 1))))
    return found


COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#7A4F9A"),
)


def draw(table: dict[str, Any], points: list[dict[str, Any]]) -> None:
    """Left: the float density's error at every certified point, by λρ. Right: the float cdf's true error at
    random points against the error it states.
    """
    import matplotlib.pyplot as plt

    figure, (ax, honest) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    errors = float_errors(table)
    for index, name in enumerate(ENSEMBLES):
        style = {"ls": "", "marker": "osD^v<>PX"[index], "ms": 5, "color": COLOURS[index]}
        found = [(max(x, 1e-22), min(max(y, 1e-17), 1.0)) for other, x, y in errors if other == name]
        ax.plot(*np.array(found).T, label=name, **style)
        pairs = [(p["own_error"], max(p["cdf_error"], 1e-18)) for p in points if p["activation"] == name]
        if pairs:
            honest.plot(*np.array(pairs).T, **style)
    size = np.array([1e-22, 1e2])
    ax.plot(size, np.maximum(2.2e-16, np.minimum(1e-16 / size, 1.0)), color="0.5", lw=1)
    ax.text(1e-12, 1e-1, "line: 1e-16/(λρ)", fontsize=9, color="0.3")
    ax.set(xscale="log", yscale="log", xlabel="λρ(λ) (below 1e-22: drawn there)")
    ax.set_ylabel("relative error of the float density")
    ax.set_title(f"{len(errors)} certified densities (error drawn within 1e-17 … 1)", fontsize=10)
    if points:
        low, high = (f(p["own_error"] for p in points) for f in (min, max))
        honest.plot([low, high], [low, high], color="0.5", lw=1)
        honest.text(low, low * 300, "line: true = stated", fontsize=9, color="0.3")
    honest.set(xscale="log", yscale="log", xlabel="error of the cdf that the float solver states")
    honest.set_ylabel("true error of the cdf")
    honest.set_title(f"{len(points)} random points (below 1e-18: drawn there)", fontsize=10)
    figure.legend(loc="outside lower center", ncols=9, fontsize=9, frameon=False)
    core.save_figure(figure, HERE, "errors")
    plt.close(figure)


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m validation.reference", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tanh and erf, T ≤ 64")
    parser.add_argument("--full", action="store_true", help="all activations and depths (the default)")
    parser.add_argument("--fresh", action="store_true", help="recompute every entry and point")
    parser.add_argument("--draw", action="store_true", help="only draw the figure again")
    parser.add_argument("--floats", action="store_true", help="only the float solver's values, and draw")
    options = parser.parse_args()
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    if options.floats:
        refresh()
    if options.draw or options.floats:
        table, points = json.loads(TABLE.read_text()), random_points.load()
    else:
        table = run(options.quick, options.fresh)
        points = random_points.run(20 if options.quick else random_points.COUNT, options.fresh)
    draw(table, points)
    text = summary(table, points)
    (HERE / "summary.txt").write_text(text + "\n")
    print(text)


def summary(table: dict[str, Any], points: list[dict[str, Any]]) -> str:
    """What the table holds, and how far off the float solver was."""
    errors = float_errors(table)
    plain = [error for _, size, error in errors if size > 1e-6]
    refused = [
        (f"{key} | λ = {point['lambda']} | {what}", point[what]["refused"])
        for key, record in table["entries"].items()
        for point in record.get("points", [])
        for what in ("density", "cdf")
        if "refused" in point[what]
    ]
    refused += [
        (f"{key} | edge", record["edge"]["refused"])
        for key, record in table["entries"].items()
        if "refused" in record.get("edge", {})
    ]
    example = table["entries"]["spectrum | tanh | gaussian | 16"]["points"][4]
    versions = table["versions"]
    return "\n".join(
        [
            f"{len(table['entries'])} of {len(entries(False))} entries, {len(errors)} positive densities",
            f"float density, relative error where λρ > 1e-6 ({len(plain)} points): "
            f"median {np.median(plain):.1e}, largest {max(plain):.1e}",
            random_points.summary(points),
            f"to cite: ρ({example['lambda']}) = {example['density']['midpoint']} ± "
            f"{example['density']['radius']} (proven), tanh, σ_w = 1.05, σ_b = 0.05, Gaussian weights, "
            f"T = 16; rmtrnn {versions['rmtrnn']}, python-flint {versions['python-flint']}",
            f"{len(refused)} refusals:",
            *(f"  {where}: {why}" for where, why in refused),
        ]
    )


if __name__ == "__main__":
    main()
