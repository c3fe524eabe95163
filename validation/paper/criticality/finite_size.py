"""How the quantiles of log s of the returned minimalRNN point approach the law as the networks grow."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from validation import core
from validation.core import Result, Workers, places

NOTE = """The table above compares networks of 1024 units with the law of infinitely many. Here are the same
quantiles at the returned point, T = 10, untied weights, for networks of several sizes (seeds of their own)
and their line in 1/N, fitted by least squares with the standard errors as weights: its value at 1/N = 0, its
slope, and χ² of the fit for {degrees} degrees of freedom. "law − limit" is in units of the standard error of
the limit and the error of the law together (root of the sum of squares).

The state of these networks fluctuates slowly and with a long upper tail, and all three quantiles with it: a
few networks without a large one look narrow and certain. Of N = 1024 there were 16 at first; their median and
that of the 16 other networks in the table above lay on different sides of the law, further apart than their
standard errors allow, and 32 more were drawn then.
"""


def compute(
    workers: Workers,
    ens: rt.Ensemble,
    T: int,
    sizes: list[list[int]],
    seed: int,
    burn_in: int,
    probabilities: tuple[float, ...],
) -> Result:
    """Quantiles of log s and their standard errors for each (N, number of networks)."""
    table = np.empty((len(sizes), len(probabilities), 2))
    for own, (N, trials) in zip(table, sizes, strict=True):
        folder = places.CHECKPOINTS / "criticality" / "finite size" / f"T{T}-N{N}-seed{seed}-{burn_in}"
        mc = rt.sample(
            ens, T, N=N, trials=trials, seed=seed, burn_in=burn_in, executor=workers.executor,
            checkpoint=folder,
        )  # fmt: skip
        own[:] = [mc.log_quantile(p) for p in probabilities]
    return {"ensemble": repr(ens)}, {"quantiles": table}


def limits(saved: Result) -> list[dict[str, float]]:
    """For each quantile the line in 1/N: ``limit`` and its ``error``, ``slope``, ``chi2``."""
    meta, arrays = saved
    x = np.array([1.0 / N for N, _ in meta["settings"]["sizes"]])
    found = []
    for value, error in np.moveaxis(arrays["quantiles"], 0, 2):
        design = np.stack([np.ones_like(x), x], axis=1) / error[:, None]
        covariance = np.linalg.inv(design.T @ design)
        limit, slope = covariance @ design.T @ (value / error)
        chi2 = float(np.sum(((value - limit - slope * x) / error) ** 2))
        found.append(
            {
                "limit": float(limit),
                "error": float(np.sqrt(covariance[0, 0])),
                "slope": float(slope),
                "chi2": chi2,
            }
        )
    return found


def table(saved: Result, law: Result | None, probabilities: tuple[float, ...]) -> str:
    """The note and a table: one row per quantile."""
    meta, arrays = saved
    sizes = meta["settings"]["sizes"]
    rows = []
    for k, (p, line) in enumerate(zip(probabilities, limits(saved), strict=True)):
        cells = [f"{u:.4g} ± {error:.1g}" for u, error in arrays["quantiles"][:, k]]
        cells += [f"{line['limit']:.4g} ± {line['error']:.1g}", f"{line['slope']:.3g}", f"{line['chi2']:.2g}"]
        pair = None if law is None else law[0]["theory"].get(f"{p:g}")
        if pair is None:
            cells += ["not solved", "-"]
        else:
            apart = (pair[0] - line["limit"]) / np.hypot(line["error"], pair[1])
            cells += [f"{pair[0]:.4g} ± {pair[1]:.1g}", f"{apart:+.2f}"]
        rows.append([f"{100 * p:g} %", *cells])
    names = [f"N = {N}, {trials} networks" for N, trials in sizes]
    header = ("quantile", *names, "limit", "slope in 1/N", "χ²", "law", "law − limit")
    return NOTE.format(degrees=len(sizes) - 2) + "\n" + core.table(header, rows)


def figure(saved: Result, law: Result | None, probabilities: tuple[float, ...], colours: Any) -> Any:
    """Each quantile against 1/N, its line, and the law at 1/N = 0."""
    meta, arrays = saved
    x = np.array([1.0 / N for N, _ in meta["settings"]["sizes"]])
    drawn, axes = plt.subplots(1, len(probabilities), figsize=(10.0, 3.8))
    for k, (ax, p, line) in enumerate(zip(axes, probabilities, limits(saved), strict=True)):
        value, error = arrays["quantiles"][:, k].T
        ax.errorbar(1e3 * x, value, yerr=error, fmt="o", capsize=3, color=colours[0], label="sampled ± s.e.")
        ends = np.array([0.0, x.max()])
        ax.plot(1e3 * ends, line["limit"] + line["slope"] * ends, color=colours[0], lw=1, label="line in 1/N")
        pair = None if law is None else law[0]["theory"].get(f"{p:g}")
        if pair is not None:
            ax.errorbar([0.0], [pair[0]], yerr=[pair[1]], fmt="D", capsize=3, color=colours[1], label="law")
        ax.set(xlabel=r"$1000/N$", title=f"{100 * p:g} % of $\\log s$")
    axes[0].set_ylabel(r"$\log s$ of $J_T$")
    axes[0].legend()
    drawn.suptitle("minimalRNN, returned point, $T = 10$, untied orthogonal weights")
    return drawn
