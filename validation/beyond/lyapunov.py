"""Lyapunov spectra: published numbers of the tanh and the leaky map, and sampled gated networks.

Exponents are per unit of time: a step of the leaky map h' = (1 − δ) h + δ W tanh h is δ. The published
numbers are open data of a public repository (N = 4096; N = 16384 at gain 1.5).

The rule of the verdicts, written before any of the networks below was run. A published number x is that of
one network of N units. Sampled networks of 512, 1024 and 2048 units give the mean m(N) of the same number and
its standard deviation s(N) between networks. Least squares, weighted by standard errors, fit
m = m_∞ (1 + c/N), and s = s_1/√N is pooled over N. Theory t reproduces x if

    |t/x − 1| ≤ 3 % + |c|/N + 2 s_1/(m_∞ √N) + 2 e/t,                                                      (*)

with e the standard error of t over draws of sites (0 of a single draw). 3 % is the issue's; the rest says
what one finite network may differ by. Independent of x, theory and networks agree if |t − m_∞| ≤ 2 standard
errors of m_∞ and t together.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import rmtrnn as rt
from rmtrnn import plotting
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
CLOSE = 0.03  # relative, of a published number, besides finite N


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


class FiniteSize(NamedTuple):
    """The fit of (*) to one number: m_∞ and its standard error, c, s_1."""

    limit: float
    error: float
    c: float
    scatter: float

    def tolerance(self, N: int) -> float:
        """Relative: |c|/N + 2 s_1/(m_∞ √N)."""
        return abs(self.c) / N + 2.0 * self.scatter / (abs(self.limit) * math.sqrt(N))


def finite_size(results: dict[str, core.Result]) -> dict[str, FiniteSize]:
    """The fits of (*) to the numbers of sampled networks."""
    tables = {
        meta["settings"]["N"]: arrays["numbers"]
        for key, (meta, arrays) in results.items()
        if key.startswith(NETWORKS)
    }
    if len(tables) < 2:
        return {}
    N = np.array(list(tables), dtype=float)
    found = {}
    for column, name in enumerate(SAMPLED):
        values = [table[:, column] for table in tables.values()]
        spare = np.array([len(one) - 1 for one in values])
        pooled = np.sum(spare * N * [one.var(ddof=1) for one in values]) / spare.sum()  # s_1²
        errors = np.sqrt(pooled / (N * (spare + 1)))
        rows = np.transpose([np.ones_like(N), 1.0 / N]) / errors[:, None]
        means = np.array([one.mean() for one in values])
        limit, slope = np.linalg.lstsq(rows, means / errors, rcond=None)[0]
        error = math.sqrt(np.linalg.inv(rows.T @ rows)[0, 0])
        found[name] = FiniteSize(float(limit), error, float(slope / limit), math.sqrt(pooled))
    return found


def verdicts(results: dict[str, core.Result]) -> list[list[str]]:
    """A row for each published number, by the rule (*)."""
    fits, rows = finite_size(results), []
    for key, (N, numbers) in PUBLISHED.items():
        meta = results[key][0]
        for name, published in zip(NUMBERS, numbers, strict=False):
            found, noise = meta["theory"][name], 2.0 * meta["standard error"][name]
            off = abs(found / published - 1.0)
            allowed = CLOSE + noise / abs(found)
            if key == NEAR_TRANSITION and name in fits:
                allowed += fits[name].tolerance(N)
            verdict = "within 3 % and finite N" if off <= allowed else "not reproduced"
            verdict = "reproduced" if off <= CLOSE else verdict
            cells = f"{published:.5g}", f"{found:.5g}", f"{100 * off:.1f} %", f"{100 * allowed:.1f} %"
            rows.append([key, name, *cells, verdict if meta["converged"] else "not decided"])
    return rows


def _limits(results: dict[str, core.Result]) -> list[list[str]]:
    """A row for each number of (*): networks continued to N = ∞, and theory."""
    rows = []
    for name, fit in finite_size(results).items():
        meta = results[NEAR_TRANSITION][0]
        theory, noise = meta["theory"][name], meta["standard error"][name]
        apart = abs(theory - fit.limit) / math.hypot(fit.error, noise)
        verdict = "agree" if apart <= 2.0 else "differ"
        cells = f"{fit.limit:.3g} ± {fit.error:.1g}", f"{theory:.4g}", f"{apart:.1f}", verdict
        rows.append([name, f"{fit.c:.0f}", f"{fit.scatter / fit.limit:.1f}", *cells])
    return rows


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, figure and ``report.md``."""
    core.save_data(folder, "data", results)
    sampled = [
        [key, f"{meta['distance']:.3f}", f"{meta['error']:.3f}", str(meta["converged"])]
        for key, (meta, _) in results.items()
        if "distance" in meta
    ]
    header = ("network", "number", "published", "theory", "difference", "allowed", "verdict")
    text = [
        f"# Lyapunov spectra ({size})\n",
        "Infinite width by `rt.lyapunov`, per unit of time, against published simulations.\n",
        core.table(header, verdicts(results)),
        f"\nA number is reproduced if it is within {100 * CLOSE:g} % of the published one. What is allowed "
        f"beyond is fitted to sampled networks of the map {NEAR_TRANSITION!r}: m = m_∞ (1 + c/N), standard "
        "deviation s_1/√N between networks (rule (*) of the study, written before they were run).\n",
        core.table(
            ("number", "c", "s_1/m_∞", "m_∞", "theory", "standard errors", "verdict"), _limits(results)
        ),
        "\nOne sampled network each: largest distance of the distribution functions.\n",
        core.table(("network", "distance to sample", "stated error", "converged"), sampled),
        f"\nMade by `python -m validation lyapunov --{size}` with {core.describe(results)}.\n",
    ]
    (folder / "report.md").write_text("\n".join(text))
    if set(networks()) | {"gains"} <= set(results):
        draw(results, folder)


def draw(results: dict[str, core.Result], folder: Path) -> None:
    """Spectra against rank, theory as lines and samples as circles; dimension and entropy against gain."""
    with plotting.style():
        figure, axes = plt.subplots(1, 3, figsize=(9.0, 3.0), layout="constrained")
        for ax, cells in zip(axes, (("tanh map", "leaky"), ("gru", "lstm")), strict=False):
            keys = [key for key in networks() if key.split(",")[0] in cells]
            for colour, key in zip(plotting.PALETTE, keys, strict=False):
                arrays = results[key][1]
                ax.plot(1.0 - arrays["levels"], arrays["quantiles"], color=colour, label=key)
                found = arrays["sample"]
                some = slice(0, None, max(1, len(found) // 24))
                ranks = (np.arange(len(found)) + 0.5) / len(found)
                ax.plot(ranks[some], found[some], "o", ms=3, mfc="none", color=colour)
            ax.axhline(0.0, color="0.7", lw=0.8)
            ax.set(xlabel="rank / size of the state", ylabel="exponent per unit of time", ylim=(-4.0, 0.6))
            ax.legend(loc="lower left")
        _draw_gains(axes[2], results)
        core.save_figure(figure, folder, "spectra")
        plt.close(figure)


def _draw_gains(ax: Axes, results: dict[str, core.Result]) -> None:
    """Dimension and entropy: the closed form of the tanh map, the leaky map at two gains."""
    gains = results["gains"][1]
    labels = {"kaplan_yorke": "Kaplan–Yorke dimension / N", "entropy_rate": "entropy rate / N"}
    for name, label in labels.items():
        (line,) = ax.plot(gains["gains"], gains[name], label=f"{label}, tanh map")
        for key in ("leaky, gain 1.5", "leaky, gain 3"):
            gain = float(key.split()[-1])
            ax.plot(gain, results[key][0]["theory"][name], "s", ms=4, color=line.get_color())
    ax.plot([], [], "s", ms=4, color="0.3", label=r"leaky map, $\delta = 0.25$")
    ax.set(xlabel=r"gain $\sigma_w$")
    ax.legend(loc="upper left")


STUDY = core.Study(
    name="lyapunov",
    summary="Lyapunov spectra of the tanh and the leaky map, GRU and LSTM against published and own samples",
    cost={"quick": "about 8 minutes of one core"},
    cases=list_cases,
    compute=compute,
    report=report,
)
