"""Report and figure of the memory study."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core

GAIN_NOTE = """Gain criterion. arXiv:2605.10650 gives (so its abstract and summaries say) a closed form for
the critical gain as a function of the biases' standard deviation, from the linearisation at the zero state.
Its formula was not at hand. The same linearisation by docs/theory.md (16), one gain g for all weights, gates'
biases N(0, s_b²), none for the candidate: GRU g = E[σ(b)²]^(−1/2), LSTM g = (E[σ(b)²]² E[(1 + e^b)²])^(−1/2).
Largest |eigenvalue| of one step there, networks of 300 units (limit: 1).
"""


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, figure and ``report.md``."""
    core.save_data(folder, "data", results)
    rows = [
        [
            key,
            *(_text(meta[n]) for n in ("untied timescale", "theory", "networks", "largest difference")),
            f"{meta['error of Q']:.3g}",
            meta["status"],
        ]
        for key, (meta, _) in results.items()
        if key != "critical"
    ]
    header = ("network", "untied ξ", "two-time 1/e time", "networks 1/e time", "largest difference")
    text = [
        f"# Memory under tied weights, and critical points ({size})\n",
        "Autocorrelation E[h^t h^{t+lag}]/E[h²] of networks with tied weights: two-time mean field "
        "against simulated networks. Steps until it is 1/e, beside the time scale ξ of untied weights.\n",
        core.table((*header, "error of Q", "status"), rows),
    ]
    if "critical" in results:
        meta = results["critical"][0]
        text += [
            "\nCritical σ_w of the zero fixed point (no drive, no bias), and the growth of |δ|² per step "
            "simulated there (N = 200; 1 at criticality; tied: largest eigenvalue, which is off its limit "
            "by O(1/√N)).\n",
            core.table(
                ("cell", "untied σ_w (χ = 1)", "growth", "tied σ_w (eigenvalue)", "growth"),
                [
                    [row["cell"]]
                    + [
                        f"{row[name]:.4f}"
                        for name in ("untied", "simulated untied", "tied", "simulated tied")
                    ]
                    for row in meta["rows"]
                ],
            ),
            "\nThe tied values 1, 2, 2 of vanilla, GRU and LSTM are those that the zero-bias conditions of "
            "Can, Krishnamurthy and Schwab (2020) imply.\n",
            GAIN_NOTE,
            core.table(
                ("cell", "s_b", "critical gain", "largest eigenvalue"),
                [
                    [r["cell"], r["spread"], f"{r['gain']:.4f}", f"{r['largest']:.3f} ± {r['error']:.3f}"]
                    for r in meta["gain"]
                ],
            ),
            "\nminGRU: J = diag(1 − z), so χ = E[(1 − z)²] < 1: no critical point at finite parameters; "
            "χ → 1 only for μ_z → −∞.\n",
            core.table(
                ("μ_z", "χ (mean field)", "E[(1 − z)²] (Gauss–Hermite)"),
                [[f"{r['mu_z']:g}", f"{r['chi']:.10f}", f"{r['E[(1 - z)^2]']:.10f}"] for r in meta["mingru"]],
            ),
        ]
    text.append(f"\nMade by `python -m validation memory --{size}` with {core.describe(results)}.\n")
    (folder / "report.md").write_text("\n".join(text))
    draw(results, folder)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def draw(results: dict[str, core.Result], folder: Path) -> None:
    """Autocorrelations, theory as lines and networks as points."""
    with plotting.style():
        figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True)
        for ax, cell, symbol in ((panels[0], "minimal", r"\mu_b"), (panels[1], "leaky", r"\sigma_w")):
            chosen = [(key, result) for key, result in results.items() if key.startswith(cell)]
            for colour, (key, (meta, arrays)) in zip(plotting.PALETTE[1:], chosen, strict=False):
                lags = np.arange(len(arrays["theory"]))
                ax.plot(
                    lags, arrays["theory"], color=colour, label=f"${symbol} = {key.split()[1]}$, two-time"
                )
                ax.errorbar(
                    lags[::2],
                    arrays["networks"][::2],
                    arrays["error"][::2],
                    fmt=".",
                    color=colour,
                    markersize=4,
                )
                if meta["untied timescale"] is not None:
                    untied = np.exp(-lags / meta["untied timescale"])
                    ax.plot(lags, untied, ":", color=colour, linewidth=1.2)
            ax.plot([], [], ".", color="0.3", label="networks, tied")
            ax.plot([], [], ":", color="0.3", label=r"$e^{-t/\xi}$, untied $\xi$")
            ax.set(xlabel="lag t (steps)", title=f"{cell}, tied weights")
            ax.legend()
        panels[0].set_ylabel(r"$E[h^s h^{s+t}]\,/\,E[h^2]$")
        core.save_figure(figure, folder, "autocorrelation")
        plt.close(figure)
