"""Tables and figures from the saved cases."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import t as student

from rmtrnn import plotting
from validation import core
from validation.paper import isometry
from validation.paper.criticality import finite_size
from validation.paper.criticality.cases import DECAYS, PROBABILITIES, list_cases

Results = dict[str, core.Result]
BAND = (0.9, 1.1)
STEPS = (10, 100, 1000)
USABLE = 0.02  # error of the cdf of a law that a sample is compared with
LEVEL = 0.05  # chance that a right theory fails anywhere in the table
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # safe for the colour-blind


def report(results: Results, size: str, folder: Path) -> None:
    """Write data, ``report.md`` and the figures."""
    core.save_data(folder, "data", results, single=True)
    parts = [f"# Which critical points are isometric ({size})\n"]
    parts += ["## Vanilla tanh, T = 100: what `critical` returns, sampled\n", _vanilla_table(results)]
    parts += ["\n## minimalRNN: sampled against theory\n", _minimal_note(results), _minimal_table(results)]
    if "finite-size" in results:
        law = results.get("law-returned-T10-untied")
        text = finite_size.table(results["finite-size"], law, PROBABILITIES)
        parts += ["\n## minimalRNN: what the finite size of the networks does\n", text]
    parts += ["\n## minimalRNN: m₁ of single networks\n", _HEAVY_NOTE, _heavy_table(results)]
    if "minimal-family" in results:
        parts += ["\n## minimalRNN: the critical family\n", _FAMILY_NOTE, _family_table(results)]
    drawn = {key: meta for key, (meta, _) in results.items() if key.startswith("boxes-")}
    if drawn:
        parts += ["\n## Random boxes\n", _BOXES_NOTE, _boxes_table(drawn)]
    if "correlations" in results:
        parts += ["\n## ξ against simulated correlations\n", _DECAY_NOTE, _decay_table(results)]
    missing = [case.key for case in list_cases(size) if case.key not in results]
    if missing:
        parts.append(f"\nNot computed in this run: {', '.join(missing)}.\n")
    parts.append(
        f"\nMade by `python -m validation criticality --{size}` with {core.describe(results)}. "
        "Parameters, seeds and all numbers: `data.json`, `data.npz`.\n"
    )
    (folder / "report.md").write_text("\n".join(parts))
    with plotting.style():
        if "vanilla-family" in results:
            _save(_vanilla_figure(results["vanilla-family"][1]), folder, "vanilla")
        if "minimal-family" in results:
            _save(_family_figure(results), folder, "minimal_family", shades=True)
        if "published-T10-untied" in results and "returned-T10-untied" in results:
            _save(_difference_figure(results), folder, "minimal_difference")
        if "finite-size" in results:
            law = results.get("law-returned-T10-untied")
            drawn = finite_size.figure(results["finite-size"], law, PROBABILITIES, COLOURS)
            _save(drawn, folder, "finite_size")
        if "correlations" in results:
            _save(_decay_figure(results["correlations"]), folder, "correlations")


_MINIMAL_NOTE = """"published" is σ_w = 6.88, σ_v = 1.39, μ_b = 0, R = 0.46 (q* = 15.94, χ = 0.9988);
"returned" is `rmtrnn.critical("minimal", T, R=0.46)` with its default bounds −4 ≤ μ_b ≤ 8. With untied
weights the law comes from the Dyson equation, for T = 100 and 1000 in splines of the step
(`rmtrnn.dyson.quantiles`). Tied networks have another law; it costs T³, so it is solved for T = 10
only. Beyond that the sampled numbers stand alone.

Quantiles of log s: sample ± standard error over networks; theory ± its error; how far apart they are in
units of standard error plus theory's error; F of the theory at the sample's quantile (for T ≥ 100 from F
and density at the theory's quantile) ± the error of F. Within: |sample − theory| ≤ t × standard error +
theory's error, t the two-sided quantile of Student's law at 1 − {level}/{count} for the {count} comparisons
of the table, with one degree of freedom less than networks: a right theory fails anywhere with probability
{level} at most. N is finite: the quantiles of N units differ from the limit's by O(1/N), and by more where
T is not small beside N.
"""
_HEAVY_NOTE = """m₁ and the variance of s² are exact for infinite N and untied weights (closed recursion). m₁
of one network is a sum that few singular values dominate, the more so the longer the product: for large T a
typical network lies far from the mean over networks, and the quantiles above are the better statistic.
"""
_FAMILY_NOTE = """For each μ_b the q with the least variance of s² at T = 10 among states that are stable,
unique, and carried by at least 1/64 of the sites. κ = 1 − E[u²] is the share of the squared state that a step
overwrites; the variance grows by at least 2κ(1 − κ) a step, so the spread is small only where the network
hardly writes.
"""
_BOXES_NOTE = """A cell (six vanilla cells, minimalRNN, GRU, a leaky cell; LSTM apart), one free parameter
with random bounds, all others random. `critical` returns a point whose χ is 1 to 1e-8, computed by the
moments for one replica, the full mean field, and its own record (the LSTM's χ comes from sampled sites:
1e-8 on its own, and within twice the stated error on others); or it says why there is none, and a scan on
other points is on the side named.
"""
_DECAY_NOTE = """Two networks of N = 16384 units with the same untied weights and inputs, from independent
states; mean of four. The time scale is fitted to |c − c*| over the window of steps, and to the mean-field
recursion over the same window: the two can be compared, while ξ itself is the limit of late times.
"""


def _vanilla_table(results: Results) -> str:
    rows, size = [], 0
    for weights in ("orthogonal", "gaussian"):
        meta = results.get(f"vanilla-{weights}", ({}, {}))[0]
        if not meta:
            continue
        sample, theory = meta["sample"], meta["theory"]
        size = sample["N"]
        for p in PROBABILITIES:
            u, error = sample[f"{p:g}"]
            rows.append(
                [
                    weights,
                    f"{meta['q']:.5g}",
                    f"{100 * p:g} %",
                    f"{theory[f'{p:g}']:.5g}",
                    f"{math.exp(u):.5g} ± {math.exp(u) * error:.1g}",
                    "yes" if meta["isometric"] else "no",
                ]
            )
    return core.table(("weights", "q*", "quantile of s", "theory", f"N = {size}", "in band"), rows)


def _minimal_note(results: Results) -> str:
    return _MINIMAL_NOTE.format(level=f"{LEVEL:g}", count=len(_compared(results)))


def _minimal_table(results: Results) -> str:
    rows = []
    count = len(_compared(results))
    for key, (meta, _) in results.items():
        if "exact" not in meta:
            continue
        sample, law = meta["sample"], _law(results, key)
        for k, p in enumerate(PROBABILITIES):
            cells = [key, f"{sample['N']}, {sample['trials']}", f"{100 * p:g} %", _pm(sample[f"{p:g}"])]
            if law is None or not law[0]["converged"]:
                cells += ["not solved", "-", "-", "-"]
            elif not _known(law, k):
                cells += ["tail not resolved", "-", "-", "-"]
            else:
                verdict = "yes" if _within(sample, law, p, count) else "NO"
                level = f"{100 * _level(sample, law, k):.2f} % ± {100 * law[0]['error'][k]:.2g}"
                theory = _pm(law[0]["theory"][f"{p:g}"])
                cells += [theory, f"{_apart(sample, law, p):.2f}", verdict, level]
            rows.append(cells)
    names = ("case", "N, networks", "quantile", "log s, sample", "log s, theory", "apart", "within")
    return core.table((*names, "F there"), rows)


def _law(results: Results, key: str) -> core.Result | None:
    """The law that belongs to a sampled case, if it was computed."""
    return results.get(f"law-{key}")


def _known(law: core.Result, k: int) -> bool:
    """Whether the law is known well enough at a quantile to say anything."""
    meta = law[0]
    return meta["theory"].get(f"{PROBABILITIES[k]:g}") is not None and meta["error"][k] <= USABLE


def _compared(results: Results) -> list[tuple[str, float]]:
    """All comparisons that the table makes: (case, probability)."""
    found = []
    for key in results:
        law = _law(results, key)
        if law is not None:
            found += [(key, p) for k, p in enumerate(PROBABILITIES) if _known(law, k)]
    return found


def _apart(sample: dict[str, Any], law: core.Result, p: float) -> float:
    """Distance of sample and theory in units of the standard error plus the theory's error."""
    (u, error), (exact, own) = sample[f"{p:g}"], law[0]["theory"][f"{p:g}"]
    return abs(u - exact) / (error + own)


def _within(sample: dict[str, Any], law: core.Result, p: float, count: int) -> bool:
    """The two-sided test at `LEVEL` for ``count`` comparisons (Bonferroni)."""
    (u, error), (exact, own) = sample[f"{p:g}"], law[0]["theory"][f"{p:g}"]
    multiple = float(student.isf(0.5 * LEVEL / count, sample["trials"] - 1))
    return abs(u - exact) <= multiple * error + own


def _level(sample: dict[str, Any], law: core.Result, k: int) -> float:
    """F of the theory at the sample's quantile: from its table, or to first order from its quantile."""
    (meta, arrays), p = law, PROBABILITIES[k]
    u = sample[f"{p:g}"][0]
    if "cdf" in arrays:
        return float(np.interp(u, arrays["u"], arrays["cdf"]))
    return float(np.clip(p + arrays["density"][k] * (u - meta["theory"][f"{p:g}"][0]), 0.0, 1.0))


def _pm(pair: list[float]) -> str:
    value, error = pair
    return f"{value:.4g} ± {error:.1g}"


def _heavy_table(results: Results) -> str:
    rows = []
    for key, (meta, _) in results.items():
        if "exact" in meta:
            sample, exact = meta["sample"], meta["exact"]
            each = ", ".join(f"{m:.3g}" for m in sample["m_1 of each"])
            share = np.median(sample["share of the largest s² in m_1"])
            untied = key.endswith("untied")
            known = [f"{exact['m_1']:.4g}", f"{exact['variance']:.4g}"] if untied else ["-", "-"]
            rows.append([key, *known, _pm(sample["m_1"]), each, f"{share:.2g}"])
    header = ("case", "m₁ exact", "Var(s²) exact", "m₁ sample", "m₁ of each network")
    return core.table((*header, "share of the largest s² (median)"), rows)


def _family_table(results: Results) -> str:
    _, arrays = results["minimal-family"]
    rows = [
        [f"{mu:g}", f"{q:.4g}", f"{kappa:.3g}", f"{variance:.4g}", f"{2 * 10 * kappa * (1 - kappa):.3g}"]
        + [f"{math.exp(u):.3g}" for u in logs]
        + [f"{error:.1g}"]
        for mu, q, kappa, variance, error, *logs in arrays["line"].tolist()
    ]
    quantiles = (f"{100 * p:g} % of s" for p in PROBABILITIES)
    return core.table(("μ_b", "q", "κ", "Var(s²), T = 10", "its lower bound", *quantiles, "cdf error"), rows)


def _boxes_table(drawn: dict[str, dict[str, Any]]) -> str:
    sides = ("found", "ordered", "chaotic", "jump", "none")
    rows = [
        [
            key.removeprefix("boxes-"),
            str(meta["boxes"]),
            *(str(meta["sides"].get(side, 0)) for side in sides),
            f"{meta['largest miss']:.1g}",
            str(len(meta["wrong"])),
        ]
        for key, meta in drawn.items()
    ]
    none = ("all ordered", "all chaotic", "χ jumps over 1", "no stationary state")
    return core.table(("cells", "boxes", "χ = 1 found", *none, "largest miss of χ = 1", "wrong"), rows)


def _decay_table(results: Results) -> str:
    meta, _ = results["correlations"]
    rows = [
        [
            name,
            f"{meta[name]['c_star']:.4f}",
            f"{meta[name]['xi']:.4g}",
            f"{meta[name]['mean field, same window']:.4g}",
            f"{meta[name]['measured']:.4g}",
            "{}–{}".format(*meta[name]["window"]),
        ]
        for name in DECAYS
    ]
    return core.table(("network", "c*", "ξ", "mean field, window", "simulated, window", "steps"), rows)


def claims(results: Results) -> list[core.Claim]:
    """Isometry of the vanilla cell and of the minimalRNN, and the time scale."""
    return [_vanilla_claim(results), _minimal_claim(results), _time_claim(results)]


def _vanilla_claim(results: Results) -> core.Claim:
    text, met = [], {}
    for weights in ("orthogonal", "gaussian"):
        meta, _ = results[f"vanilla-{weights}"]
        low, high = (meta["sample"][f"{p:g}"] for p in (PROBABILITIES[0], PROBABILITIES[-1]))
        ends = [math.exp(low[0]), math.exp(high[0])]
        slack = [ends[0] * low[1], ends[1] * high[1]]
        met[weights] = ends[0] >= BAND[0] - 2 * slack[0] and ends[1] <= BAND[1] + 2 * slack[1]
        text.append(
            f"{weights}, T = 100, q* = {meta['q']:.4g}: 5–95 % of s {ends[0]:.4g} to {ends[1]:.4g} "
            f"sampled at N = {meta['sample']['N']}, {meta['theory']['0.05']:.4g} to "
            f"{meta['theory']['0.95']:.4g} exact"
        )
    arrays = results["vanilla-family"][1]
    width = arrays["log_s"][0, 1, :, 2] - arrays["log_s"][0, 1, :, 0]  # orthogonal, T = 100
    shrinks = bool(np.all(np.diff(width) > 0))
    text.append(
        f"orthogonal, T = 100: 95 % over 5 % of s falls from {math.exp(width[-1]):.3g} at q* = "
        f"{arrays['q'][-1]:.2g} to {math.exp(width[0]):.4g} at q* = {arrays['q'][0]:.2g}"
    )
    parts = {
        "no orthogonal network within the band": met["orthogonal"],
        "a Gaussian network within the band": not met["gaussian"],
        "the spread does not grow with q*": shrinks,
    }
    found: core.Judged = {"verdict": core.Verdict.REPRODUCED}
    if not met["orthogonal"] and not shrinks:
        found = {"verdict": core.Verdict.NOT_REPRODUCED}
    elif not all(parts.values()):
        others = "; ".join(words for words, holds in parts.items() if not holds)
        found = {"verdict": core.Verdict.DIFFERENCE, "difference": others}
    return core.Claim(
        item="Isometry of vanilla networks",
        claim="Orthogonal critical vanilla networks reach isometry, as q* → 0; Gaussian ones never.",
        found=text[0],
        numbers="; ".join(text[1:]),
        **found,
        reason="reproduced if the orthogonal point that `critical` returns keeps 5–95 % of s in "
        f"[{BAND[0]:g}, {BAND[1]:g}] (sampled, two standard errors), the Gaussian one does not, and the "
        "exact spread grows with q*; not reproduced if the orthogonal one does not and the spread does "
        "not grow; else with a difference",
        figures=("vanilla",),
    )


def _minimal_claim(results: Results) -> core.Claim:
    text, ends = [], {}
    near: dict[str, dict[int, bool]] = {"published": {}, "returned": {}}
    for point in ("published", "returned"):
        for T in STEPS:
            meta, _ = results[f"{point}-T{T}-untied"]
            low, middle, high = (meta["sample"][f"{p:g}"][0] for p in PROBABILITIES)
            if T in (STEPS[0], STEPS[-1]):
                text.append(f"{point}, T = {T}: {low:.3g}, {middle:.3g}, {high:.3g}")
            ends[point, T] = math.exp(low), math.exp(middle), math.exp(high)
            near[point][T] = isometry.near(low, high)
    pairs = [
        (results[key][0]["sample"], law, p)
        for key, p in _compared(results)
        if (law := _law(results, key)) is not None
    ]
    within = sum(_within(*pair, len(pairs)) for pair in pairs)
    return core.Claim(
        item="Isometry of the minimalRNN",
        claim="The minimalRNN's critical initialisation achieves dynamical isometry.",
        found="published point, T = {}: median s {:.1g}, 95 % below {:.2f}; that chosen for T is near one "
        "at {} of T = {}".format(
            STEPS[0],
            *ends["published", STEPS[0]][1:],
            isometry.listed([T for T, found in near["returned"].items() if found]),
            isometry.listed(list(STEPS)),
        ),
        numbers="log s at 5, 50, 95 %, sampled, untied orthogonal weights: "
        + "; ".join(text)
        + f"; {within} of {len(pairs)} quantiles agree with the law at level {LEVEL:g}",
        **isometry.by_steps(near["published"], near["returned"]),
        reason=f"{isometry.RULE}. On the whole critical family the variance of s² grows by at "
        "least 2κ(1 − κ) a step, κ the share of the squared state that a step overwrites",
        new="The published minimalRNN is critical and not isometric: the mean of s² is one, but over "
        "{} steps half of the singular values lie below {:.1g}; at the critical point that "
        "`rmtrnn.critical` returns for these steps 90 % of them lie between {:.2f} and {:.2f}.".format(
            STEPS[0], ends["published", STEPS[0]][1], *ends["returned", STEPS[0]][::2]
        ),
        figures=("minimal_difference", "minimal_family"),
    )


def _time_claim(results: Results) -> core.Claim:
    meta, _ = results["correlations"]
    rows = {name: (meta[name]["measured"], meta[name]["mean field, same window"]) for name in DECAYS}
    off = {name: abs(own / exact - 1.0) for name, (own, exact) in rows.items()}
    return core.Claim(
        item="Time scale",
        claim="Correlations of two networks decay to c* with the time scale ξ = −1/log χ_{c*}.",
        found=f"simulated decay times are those of the recursion to {100 * min(off.values()):.2g} to "
        f"{100 * max(off.values()):.2g} % ({max(off, key=lambda name: off[name])})",
        numbers="decay time by the recursion, and simulated: "
        + "; ".join(f"{exact:.4g}, {own:.4g} ({name})" for name, (own, exact) in rows.items()),
        **core.by_cases(*([name for name in off if (off[name] < 0.05) == good] for good in (True, False))),
        reason="a network agrees if its simulated decay is that of the recursion to 5 % in the same window; "
        f"{core.BY_CASES}. Where c* < 1 the fluctuations of finite networks hide the late decay",
        figures=("correlations",),
    )


def _save(figure: Any, folder: Path, name: str, *, shades: bool = False) -> None:
    core.save_figure(figure, folder, name, shades=shades)
    plt.close(figure)


def _vanilla_figure(arrays: dict[str, np.ndarray]) -> Any:
    """Above, log s per step; below, what is near to isometry."""
    figure, axes = plt.subplots(2, 2, figsize=(9.0, 6.4), sharex=True, sharey="row", layout="constrained")
    for column, log_s, weights in zip(axes.T, arrays["log_s"], ("orthogonal", "gaussian"), strict=True):
        for ax, per_step in zip(column, (True, False), strict=True):
            for T, quantiles, colour in zip(arrays["steps"], log_s, COLOURS, strict=False):
                shown = quantiles / np.log(10.0) / (T if per_step else 1.0)
                ax.fill_between(arrays["q"], shown[:, 0], shown[:, 2], color=colour, alpha=0.25, lw=0)
                ax.plot(arrays["q"], shown[:, 1], color=colour, label=f"$T = {T}$: median, 5–95 %")
            ax.set_xscale("log")
        column[1].axhspan(*np.log10(BAND), color="0.85", zorder=0, lw=0, label="$0.9 < s < 1.1$")
        column[0].set_title(f"{weights} weights")
        column[1].set(ylim=(-0.5, 0.5), xlabel=r"variance $q^*$ of the pre-activation")
    axes[0, 0].set_ylabel(r"$(\log_{10} s)/T$ of $J_T$")
    axes[1, 0].set_ylabel(r"$\log_{10} s$ of $J_T$, near 0")
    axes[1, 0].legend(loc="lower left")
    figure.suptitle(r"Critical tanh networks ($\chi_1 = 1$, $R = 0.46$): exact quantiles of $\log_{10} s$")
    return figure


def _family_figure(results: Results) -> Any:
    meta, a = results["minimal-family"]
    figure = plt.figure(figsize=(11.0, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    ax = figure.add_subplot(grid[:, 0])
    field = np.where(a["drive"] >= 0.0, np.log10(a["variance"]), np.nan)
    shown = ax.pcolormesh(a["mu_b"], a["q"], field, cmap="cividis", shading="nearest", rasterized=True)
    figure.colorbar(shown, ax=ax, label=rf"$\log_{{10}}$ Var$(s^2)$ at $T = {meta['T']}$")
    ax.contour(a["mu_b"], a["q"], a["slope"], levels=[1.0], colors="white", linestyles="--")
    ax.contour(
        a["mu_b"], a["q"], a["participation"], levels=[meta["least participation"]], colors="white",
        linestyles=":",
    )  # fmt: skip
    ax.plot([], [], "--", color="0.4", label="state unstable below")
    ax.plot([], [], ":", color="0.4", label="carried by fewer than 1/64 of the sites below")
    ax.plot(a["line"][:, 0], a["line"][:, 1], "o", color=COLOURS[1], label=r"least spread at given $\mu_b$")
    ax.plot(0.0, 15.94, "*", ms=13, color="white", markeredgecolor="black", label="published")
    ax.set(yscale="log", xlabel=r"gate bias $\mu_b$", ylabel=r"variance $q$ of the pre-activation")
    ax.legend(loc="upper right", fontsize=7)
    ax.set_title(r"critical family $\chi_1 = 1$; blank: $\sigma_v^2 < 0$")
    line = a["line"]
    near, whole = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    for ax in (near, whole):
        for k, p in enumerate(PROBABILITIES):
            ax.plot(line[:, 0], line[:, 5 + k], "o-", color=COLOURS[k], label=f"{100 * p:g} %")
        ax.axhline(0.0, color="0.5", lw=0.8, label="isometry")
        ax.set_ylabel(r"$\log s$ of $J_T$")
    near.set(ylim=(-1.5, 1.2), xticklabels=[])
    near.set_title(rf"exact law at the least spread, $T = {meta['T']}$, orthogonal")
    whole.set_xlabel(r"gate bias $\mu_b$")
    whole.legend(loc="lower right", ncols=2)
    return figure


def _difference_figure(results: Results) -> Any:
    """Distribution functions of log s, sampled and exact, published beside returned point."""
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 4.2), sharey=True)
    for ax, point in zip(axes, ("published", "returned"), strict=True):
        for k, T in enumerate(STEPS):
            saved = results.get(f"{point}-T{T}-untied")
            if saved is None:
                continue
            log_s = np.sort(saved[1]["log_s"].ravel())
            level = (np.arange(log_s.size) + 0.5) / log_s.size
            ax.plot(log_s, level, color=COLOURS[k], lw=3.0, alpha=0.6, label=f"sampled, $T = {T}$")
            law = results.get(f"law-{point}-T{T}-untied")
            if law is None or not law[0]["converged"]:
                continue
            if "cdf" in law[1]:
                ax.plot(law[1]["u"], law[1]["cdf"], color="black", lw=1.0, label="exact" if k == 0 else None)
                continue
            known = [p for i, p in enumerate(PROBABILITIES) if _known(law, i)]
            at, error = np.array([law[0]["theory"][f"{p:g}"] for p in known]).reshape(-1, 2).T
            ax.errorbar(
                at, known, xerr=error, fmt="o", color="black", ms=4, capsize=2, zorder=5,
                label="exact quantiles" if STEPS[1] == T else None,
            )  # fmt: skip
        near = "${:g} < s < {:g}$".format(*isometry.NEAR)
        ax.axvspan(*np.log(isometry.NEAR), color="0.85", lw=0, label=near)
        ax.set(xlabel=r"$\log s$ of $J_T$", ylim=(0.0, 1.0))
        ax.set_xscale("asinh", linear_width=1.0)
        limits = ax.get_xlim()
        ax.set_xticks([-1e4, -1e3, -1e2, -10.0, -1.0, 0.0, 1.0, 10.0], minor=False)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlim(limits)
        ax.set_title(f"{point} critical point")
    axes[0].set_ylabel("share of singular values below")
    axes[0].legend(loc="lower right")
    figure.suptitle("minimalRNN, untied orthogonal weights")
    return figure


def _decay_figure(saved: core.Result) -> Any:
    meta, arrays = saved
    figure, ax = plt.subplots(figsize=(6.4, 4.4))
    for k, name in enumerate(DECAYS):
        gap, exact = arrays[f"gap {k}"], arrays[f"theory {k}"]
        t = np.arange(gap.size)
        ax.plot(t, gap, ".", ms=3, color=COLOURS[k])
        ax.plot(t, exact, color=COLOURS[k], label=rf"{_symbols(name)}: $\xi = {meta[name]['xi']:.3g}$")
    ax.set(yscale="log", ylim=(1e-6, 2.0), xlabel="step $t$", ylabel=r"$|c^t - c^*|$")
    ax.set_title("Correlation of two networks, $N = 16384$ (dots), mean field (lines)", fontsize=9)
    ax.legend(fontsize=7)
    return figure


def _symbols(name: str) -> str:
    """The name of a network as it stands in a figure."""
    return name.replace("μ_b", r"$\mu_b$").replace("σ_w", r"$\sigma_w$")
