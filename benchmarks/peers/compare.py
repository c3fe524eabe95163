"""The same two laws by rmtrnn, freealg, rmtool, finitefree and plain NumPy: accuracy and time, in one run.

The other packages are no dependency of rmtrnn. In an environment of its own:

    python3 -m venv peers && peers/bin/pip install . freealg rmtool finitefree
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 peers/bin/python benchmarks/peers/compare.py

writes results.json, table.md and peers.png beside this script. A package that is missing is left out, and the
table says so.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mpmath
import numpy as np
from matplotlib.lines import Line2D

from rmtrnn import free, plotting

HERE = Path(__file__).resolve().parent
POINTS = 200
PLACES, MASSES = (1.0, 2.0), (0.5, 0.5)
DEGREES = (32, 64, 128)
SIZES = (128, 256, 512)
EIGENVALUES = 10_240  # of each Monte Carlo run
REPEATS = 2
PACKAGES = ("rmtrnn", "freealg", "rmtool", "finitefree", "numpy", "scipy", "sympy", "python-flint")

# --- the truth: nothing of rmtrnn or of the other packages -------------------------------------------------


def product_truth(T: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x and density of the Fuss-Catalan law at POINTS places, and a fine grid (x, cdf).

    x = sin^{T+1}((T+1)φ) / (sin φ sin^T(Tφ)), ρ = sin²φ sin^{T−1}(Tφ) / (π sin^T((T+1)φ)), 0 < φ < π/(T+1).
    """

    def curve(phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        up, down = np.sin((T + 1) * phi), np.sin(T * phi)
        return up ** (T + 1) / (np.sin(phi) * down**T), np.sin(phi) ** 2 * down ** (T - 1) / (np.pi * up**T)

    phi = np.pi / (T + 1) * (np.arange(200_000) + 0.5)[::-1] / 200_000  # x increases
    x, density = curve(phi)
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(x))])
    cdf += 1.0 - cdf[-1]  # what lies below the first x
    places = np.interp(np.linspace(0.02, 0.98, POINTS), cdf, phi)
    return *curve(places), x, cdf


def sum_truth() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same for the semicircle (variance 1) plus masses at PLACES: G = Σ w/(z − a − G), with 30 digits."""

    def density(x: float) -> float:
        z, (a, b), (v, w) = mpmath.mpf(x), PLACES, MASSES
        # G (z−a−G)(z−b−G) = v (z−b−G) + w (z−a−G)
        p, q = z - a, z - b
        cubic = [1, -(p + q), p * q + v + w, -(v * q + w * p)]
        roots = mpmath.polyroots(cubic, maxsteps=200, extraprec=200)
        return float(max(abs(root.imag) for root in roots) / mpmath.pi)

    with mpmath.workdps(30):
        low, high = -0.999999, 3.999999  # the support lies inside
        grid = low + (high - low) * (1 - np.cos(np.linspace(0, np.pi, 801))) / 2
        values = np.array([density(x) for x in grid])
        cdf = np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(grid))])
        x = np.interp(np.linspace(0.02, 0.98, POINTS), cdf / cdf[-1], grid)
        return x, np.array([density(float(place)) for place in x]), grid, cdf / cdf[-1]


# --- the packages: a function of no arguments that builds the law and answers ----------------


def nearest(candidates: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """From each row the value next to the truth: what a package could give to a user who knows which root."""
    chosen = np.argmin(np.abs(candidates - truth[:, None]), axis=1)
    return candidates[np.arange(truth.size), chosen]


def rmtrnn_runs(x: np.ndarray, truth: np.ndarray, T: int) -> dict[str, Callable[[], Any]]:
    def run() -> np.ndarray:
        law = free.MarchenkoPastur() ** T if T else free.Semicircle(2.0) + free.Discrete(PLACES, MASSES)
        return law.pdf(x)

    return {"rmtrnn": run}


def freealg_runs(x: np.ndarray, truth: np.ndarray, T: int) -> dict[str, Callable[[], Any]]:
    from freealg import distributions

    def law() -> Any:
        return (
            distributions.FussCatalan(p=T)
            if T
            else distributions.DeformedWigner(list(PLACES), list(MASSES), sigma=1.0)
        )

    def by_hand() -> np.ndarray:
        return nearest(np.array([law().roots(place + 1e-12j).imag for place in x]) / np.pi, truth)

    default = 2e-4 if T else 1e-3
    return {
        f"freealg, η = {default:g} (default)": lambda: law().density(x, eta=default),
        "freealg, η = 1e-8": lambda: law().density(x, eta=1e-8),
        **({"freealg, root chosen by hand": by_hand} if T else {}),
    }


def rmtool_runs(x: np.ndarray, truth: np.ndarray, T: int) -> dict[str, Callable[[], Any]]:
    import rmtool

    def solved() -> Any:
        if T:
            law = rmtool.wishartpol(1)
            for _ in range(T - 1):
                law = rmtool.AtimesWish(law, 1)
        else:
            law = rmtool.AplusB(rmtool.wignerpol(), rmtool.atomLmz(list(PLACES), list(MASSES)))
        return rmtool.Lmz2pdf(law, x)

    def run() -> np.ndarray:
        info = solved()
        return np.asarray(info.density if np.ndim(info.density) == 1 else info.best_density())

    def by_hand() -> np.ndarray:
        return nearest(np.abs(solved().rr.imag) / np.pi, truth)

    # Above degree 3 its documentation asks the user to isolate the right root.
    return {"rmtool": run, **({"rmtool, root chosen by hand": by_hand} if T > 2 else {})}


def finitefree_runs(x: np.ndarray, truth: np.ndarray, T: int) -> dict[str, Callable[[], Any]]:
    import finitefree
    from finitefree import convolutions

    def run(d: int) -> np.ndarray:
        if T:
            one = finitefree.wishart_expected_poly(d, d)
            law = one
            for _ in range(T - 1):
                law = convolutions.multiplicative(law, one, d)
        else:
            halves = [int(PLACES[0])] * (d // 2) + [int(PLACES[1])] * (d // 2)
            two = finitefree.RealRootedPolynomial.from_roots(halves)
            law = convolutions.symmetric_additive(finitefree.gue_expected_poly(d), two, d)
        return np.sort(np.asarray(law.evaluate_roots_float64(), dtype=float))

    return {f"finitefree, degree {d}": (lambda d=d: run(d)) for d in DEGREES}


def numpy_runs(x: np.ndarray, truth: np.ndarray, T: int) -> dict[str, Callable[[], Any]]:
    def run(n: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        rows = []
        for _ in range(EIGENVALUES // n):
            if T:
                J = np.eye(n)
                for _ in range(T):
                    J = rng.standard_normal((n, n)) / np.sqrt(n) @ J
                rows.append(np.linalg.svd(J, compute_uv=False) ** 2)
            else:
                A = rng.standard_normal((n, n))
                H = (A + A.T) / np.sqrt(2 * n)
                rows.append(np.linalg.eigvalsh(H + np.diag(np.repeat(PLACES, n // 2))))
        return np.sort(np.concatenate(rows))

    return {f"NumPy Monte Carlo, N = {n} × {EIGENVALUES // n}": (lambda n=n: run(n)) for n in SIZES}


RUNS = {
    "rmtrnn": rmtrnn_runs,
    "freealg": freealg_runs,
    "rmtool": rmtool_runs,
    "finitefree": finitefree_runs,
    "numpy": numpy_runs,
}


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The answer and the least time of up to two calls (one where a call takes more than five seconds)."""
    best = np.inf
    for _ in range(REPEATS):
        start = time.process_time()
        answer = run()
        best = min(best, time.process_time() - start)
        if best > 5.0:
            break
    return answer, best


def measure(T: int) -> list[dict[str, Any]]:
    x, density, grid, cdf = product_truth(T) if T else sum_truth()
    rows = []
    for package, make in RUNS.items():
        try:
            runs = make(x, density, T)
        except ImportError as missing:
            rows.append({"package": package, "settings": package, "note": f"not installed: {missing.name}"})
            continue
        for settings, run in runs.items():
            row: dict[str, Any] = {"package": package, "settings": settings}
            try:
                answer, row["seconds"] = timed(run)
            except Exception as failure:  # a failure of one package is a result, and is shown
                row["note"] = f"{type(failure).__name__}: {str(failure).splitlines()[0][:80]}"
                rows.append(row)
                continue
            if package in ("finitefree", "numpy"):
                steps = (np.arange(answer.size) + 0.5) / answer.size
                row["cdf_error"] = float(np.max(np.abs(np.interp(answer, grid, cdf) - steps)))
            else:
                error = np.abs(answer - density)
                row["density_error"] = float(np.max(error / density))
                row["wrong"] = int(np.sum(~(error < 0.01 * density)))
            rows.append(row)
            print(row, flush=True)
    return rows


# --- what is written -------------------------------------------------------------------------

TITLES = {
    "product of 2": "free product of 2 Marchenko–Pastur laws",
    "product of 4": "free product of 4 Marchenko–Pastur laws",
    "sum": "semicircle + masses 1/2 at 1 and 2",
}


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    lines: list[str] = []
    for key, rows in results.items():
        lines += [f"### {TITLES[key][0].upper()}{TITLES[key][1:]}", ""]
        head = "largest relative error of the density | points wrong by 1 % or more, of 200"
        lines += [f"| what | CPU time | {head} | largest error of the cdf |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for row in rows:
            if "note" in row:
                lines.append(f"| {row['settings']} | – | {row['note']} | – | – |")
                continue
            density = f"{row['density_error']:.1e}" if "density_error" in row else "–"
            cdf = f"{row['cdf_error']:.1e}" if "cdf_error" in row else "–"
            wrong = row.get("wrong", "–")
            lines.append(f"| {row['settings']} | {row['seconds']:.3g} s | {density} | {wrong} | {cdf} |")
        lines.append("")
    return "\n".join(lines)


def draw(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    colors = dict(zip(RUNS, [plotting.PALETTE[k] for k in (1, 2, 3, 4, 5)], strict=True))
    with plotting.style():
        figure, axes = plt.subplots(3, 1, figsize=(4.6, 8.2), sharex=True)
        for ax, (key, rows) in zip(axes, results.items(), strict=True):
            for row in rows:
                if "note" in row:
                    continue
                density = "density_error" in row
                error = max(row["density_error"] if density else row["cdf_error"], 1e-16)
                chosen = "by hand" in row["settings"]
                ax.loglog(
                    row["seconds"], error, color=colors[row["package"]], linestyle="", markersize=7,
                    marker="D" if chosen else "o" if density else "s",
                    fillstyle="full" if density and not chosen else "none",
                )  # fmt: skip
            ax.set(title=TITLES[key], xlim=(3e-3, 3), ylim=(1e-16, 1e2), ylabel="largest error")
        axes[-1].set_xlabel("CPU time (s)")
        handles = [
            Line2D([], [], color=color, linewidth=5, label=package) for package, color in colors.items()
        ]
        shapes = (
            ("o", "full", "density, relative"),
            ("D", "none", "density, root by hand"),
            ("s", "none", "cdf"),
        )
        handles += [
            Line2D([], [], color="0.3", marker=marker, fillstyle=fill, linestyle="", label=label)
            for marker, fill, label in shapes
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        figure.savefig(path, dpi=200)


def main() -> None:
    results = {"product of 2": measure(2), "product of 4": measure(4), "sum": measure(0)}
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    record = {"versions": versions, "machine": platform.machine(), "results": results}
    (HERE / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    (HERE / "table.md").write_text(f"{table(results)}\n{listed}\n")
    draw(results, HERE / "peers.png")
    print(table(results), listed, sep="\n")


if __name__ == "__main__":
    main()
