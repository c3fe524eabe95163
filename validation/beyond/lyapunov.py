"""Lyapunov spectra: published numbers of the tanh and the leaky map, and sampled gated networks.

Exponents are per unit of time: a step of the leaky map h' = (1 − δ) h + δ W tanh h is δ. The published
numbers are open data of a public repository (N = 4096; N = 16384 at gain 1.5).

The rule of the verdicts, written before any of the networks below was run. A published number x is that of one
network of N units. Sampled networks of 512, 1024 and 2048 units give the mean m(N) of the same number and its
standard deviation s(N) between networks. Least squares, weighted by standard errors, fit m = m_∞ (1 + c/N), and
s = s_1/√N is pooled over N. Theory t reproduces x if

    |t/x − 1| ≤ 3 % + |c|/N + 2 s_1/(m_∞ √N) + 2 e/t,                                                      (*)

with e the standard error of t over draws of sites. 3 % is the issue's; the rest says what one finite network may
differ by. Independent of x, theory and networks agree if |t − m_∞| ≤ 2 standard errors of m_∞ and t together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from rmtrnn import plotting
from validation import core

NUMBERS = ("largest", "unstable_fraction", "entropy_rate", "kaplan_yorke", "mean")
PUBLISHED: dict[str, tuple[float, ...]] = {
    "tanh map, gain 3": (0.3096, 0.15259, 0.025106, 0.28717, -2.27390),
    "leaky, gain 3": (0.22422, 0.03516, 0.0036905, 0.071692, -1.15096),
    "leaky, gain 1.5": (0.04591, 0.0077515, 0.00016864, 0.016162),
}
SIZES = {
    "quick": {"sites": {"gru": 64, "lstm": 128}, "N": 96, "steps": 300, "draws": 1},
    "standard": {"sites": {"gru": 256, "lstm": 512}, "N": 256, "steps": 1000, "draws": 4},
}
CLOSE = 0.03  # relative, of a published number, besides finite N
POWERS = (0, 1, 2, 1, 0)  # of the largest exponent, to which NUMBERS are proportional near the transition


def networks() -> dict[str, tuple[rt.Ensemble, float]]:
    """Ensembles and the time of a step."""
    leaky = rt.Ensemble(rt.Leaky(0.25, form="current"), tied=True)
    return {
        "tanh map, gain 3": (rt.Ensemble("vanilla", sigma_w=3.0, tied=True), 1.0),
        "leaky, gain 3": (leaky.replace(sigma_w=3.0), 0.25),
        "leaky, gain 1.5": (leaky.replace(sigma_w=1.5), 0.25),
        "gru": (rt.Ensemble("gru", sigma_w=3.0, sigma_v=0.5, sigma_b=0.3, tied=True), 1.0),
        "lstm": (rt.Ensemble("lstm", sigma_w=3.0, sigma_v=0.5, sigma_b=0.2, tied=True), 1.0),
    }


def list_cases(size: str) -> list[core.Case]:
    """One for each network, and the tanh map against gain."""
    cases = [
        core.Case(key, {"ensemble": ens.to_dict(), "step": step, "key": key, **SIZES[size], "seed": 70 + k})
        for k, (key, (ens, step)) in enumerate(networks().items())
    ]
    return [*cases, core.Case("gains", {"gains": [1.0 + 0.1 * k for k in range(1, 41)]})]


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Theory, mean over draws of sites, and one sampled network."""
    settings = case.settings
    if case.key == "gains":
        laws = [rt.lyapunov(rt.Ensemble("vanilla", sigma_w=gain)) for gain in settings["gains"]]
        arrays = {name: np.array([getattr(law, name) for law in laws]) for name in NUMBERS[1:4]}
        return {}, arrays | {"gains": np.array(settings["gains"])}
    ens, step = rt.Ensemble.from_dict(settings["ensemble"]), settings["step"]
    sites, draws = settings["sites"].get(case.key), settings["draws"]
    laws = [rt.lyapunov(ens, sites=sites, seed=seed) for seed in range(draws)]
    found = np.array([_numbers(law, step) for law in laws])
    sample = rt.sample_lyapunov(ens, N=settings["N"], steps=settings["steps"], seed=settings["seed"])
    levels = np.linspace(0.002, 0.998, 250)
    meta: dict[str, Any] = {
        "theory": dict(zip(NUMBERS, found.mean(axis=0).tolist(), strict=True)),
        "spread": dict(zip(NUMBERS, np.std(found, axis=0).tolist(), strict=True)),
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


def verdicts(results: dict[str, core.Result]) -> list[list[str]]:
    """A row for each published number.

    The published largest exponent misses ½ log χ, which is exact, by finite N. Numbers that are proportional
    to a power of it near the transition may miss theory by so much more.
    """
    rows = []
    for key, numbers in PUBLISHED.items():
        meta = results[key][0]
        finite = abs(meta["theory"]["largest"] / numbers[0] - 1.0)
        for name, power, published in zip(NUMBERS, POWERS, numbers, strict=False):
            found = meta["theory"][name]
            off = abs(found / published - 1.0)
            within = "reproduced" if off <= CLOSE else "within 3 % and finite N"
            verdict = within if off <= CLOSE + power * finite else "not reproduced"
            rows.append([key, name, f"{published:.5g}", f"{found:.5g}", f"{100 * off:.1f} %", verdict])
    return rows


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, figure and ``report.md``."""
    core.save_data(folder, "data", results)
    rule = (
        f"A number is reproduced if it is within {100 * CLOSE:g} % of the published one. Finite N is the "
        "relative difference of the published largest exponent from the exact one, once for shares near the "
        "top and twice for the entropy rate."
    )
    sampled = [
        [key, f"{meta['distance']:.3f}", f"{meta['error']:.3f}", str(meta["converged"])]
        for key, (meta, _) in results.items()
        if key != "gains"
    ]
    text = [
        f"# Lyapunov spectra ({size})\n",
        "Infinite width by `rt.lyapunov`, per unit of time, against published simulations.\n",
        core.table(("network", "number", "published", "theory", "difference", "verdict"), verdicts(results)),
        f"\n{rule}\n\nOne sampled network each: largest distance of the distribution functions.\n",
        core.table(("network", "distance to sample", "stated error", "converged"), sampled),
        f"\nMade by `python -m validation lyapunov --{size}` with {core.describe(results)}.\n",
    ]
    (folder / "report.md").write_text("\n".join(text))
    draw(results, folder)


def draw(results: dict[str, core.Result], folder: Path) -> None:
    """Spectra against rank, theory as lines and samples as circles; the tanh map against gain."""
    with plotting.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
        for colour, (key, (_, arrays)) in zip(plotting.PALETTE, results.items(), strict=False):
            if key == "gains":
                continue
            left.plot(1.0 - arrays["levels"], arrays["quantiles"], color=colour, label=key)
            found = arrays["sample"]
            some = slice(0, None, max(1, len(found) // 30))
            ranks = (np.arange(len(found)) + 0.5) / len(found)
            left.plot(ranks[some], found[some], "o", ms=3, mfc="none", color=colour)
        left.axhline(0.0, color="0.7", lw=0.8)
        left.set(xlabel="rank / size of the state", ylabel="exponent per unit of time", ylim=(-4.0, 0.6))
        left.legend(loc="lower left")
        gains = results["gains"][1]
        for name, label in (
            ("kaplan_yorke", "Kaplan–Yorke dimension / N"),
            ("entropy_rate", "entropy rate / N"),
        ):
            (line,) = right.plot(gains["gains"], gains[name], label=f"{label}, tanh map")
            for key in ("leaky, gain 1.5", "leaky, gain 3"):
                gain = float(key.split()[-1])
                right.plot(gain, results[key][0]["theory"][name], "s", ms=4, color=line.get_color())
        right.plot([], [], "s", ms=4, color="0.3", label=r"leaky map, $\delta = 0.25$")
        right.set(xlabel=r"gain $\sigma_w$")
        right.legend(loc="upper left")
        core.save_figure(figure, folder, "spectra")
        plt.close(figure)


STUDY = core.Study(
    name="lyapunov",
    summary="Lyapunov spectra of the tanh and the leaky map, GRU and LSTM against published and own samples",
    cost={"quick": "about 6 minutes of one core", "standard": "about 40 minutes of one core"},
    cases=list_cases,
    compute=compute,
    report=report,
    draft=True,
)
