"""Table and figure of the saved results."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core
from validation.beyond.torch_jacobian.cases import LEVEL

TITLES = {
    "rnn": "torch.nn.RNN",
    "minimal": "MinimalRNN",
    "gru": "torch.nn.GRU",
    "lstm": "torch.nn.LSTM, (c, h)",
}
LN10 = math.log(10)
PALE = "0.6"


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, figure and ``report.md``."""
    core.save_data(folder, "data", results)
    rows = [_row(TITLES[key], meta) for key, (meta, _) in results.items()]
    header = ("module", "sample", "beside the library's networks", "p", "Kolmogorov")
    header += ("against the law", "p", "Kolmogorov", "the law's own error", "m_1, law", "m_1, autograd")
    settings = next(iter(results.values()))[0]["settings"]
    torch_versions = sorted({meta["torch"] for meta, _ in results.values()})
    text = [
        f"# PyTorch modules after initialize_: autograd's Jacobian ({size})\n",
        "Singular values of the Jacobian of the whole state (LSTM: c and h, 2N × 2N) over "
        f"T = {settings['T']} steps, N = {settings['N']}, {settings['trials']} modules each "
        f"({settings['control_trials']} of a control), after {settings['burn_in']} steps of fresh inputs. "
        "Two checks: beside `rmtrnn.sample` of the same tied ensemble (same size; Welch's t of the modes "
        f"that `rmtrnn.compare` uses, level {LEVEL:g}), and by `rmtrnn.compare` against the law for tied "
        "weights, where that converges. A control is the same module with one mistake; it must disagree.\n",
        core.table(header, [row for pair in rows for row in pair]),
        f"\nMade by `python -m validation torch_jacobian --{size}` with {core.describe(results)}, torch "
        f"{' and '.join(torch_versions)}. Parameters, seeds, all tables of `rmtrnn.compare`: `data.json`.\n",
    ]
    (folder / "report.md").write_text("\n".join(text))
    draw(results, folder)


def _row(title: str, meta: dict) -> list[list[str]]:
    """One line for the module as initialised, one for its control."""
    lines = []
    for label, name in (("right", "initialised"), ("swapped", f"control: {meta['control']}")):
        own = meta[label]
        beside = own["beside the library"]
        known = own["p"] is not None
        lines.append(
            [
                title,
                name,
                "agrees" if beside["agrees"] else "disagrees",
                f"{beside['p']:.2g}",
                f"{beside['kolmogorov']:.4f}",
                own["verdict"],
                f"{own['p']:.2g}" if known else "-",
                f"{own['kolmogorov']:.4f}" if known else "-",
                f"{meta['theory error']:.1e}" if meta["theory converged"] else "not converged",
                f"{meta['m_1']:.4f}" if known else "-",
                f"{own['m_1'][0]:.4f} ± {own['m_1'][1]:.4f}",
            ]
        )
    return lines


def draw(results: dict[str, core.Result], folder: Path) -> None:
    """One panel for each module: theory, autograd, and the control."""
    with plotting.style():
        figure, panels = plt.subplots(2, 2, figsize=(8.2, 5.8))
        for ax, (key, (meta, arrays)) in zip(panels.flat, results.items(), strict=False):
            values = np.concatenate([arrays[label].ravel() for label in ("right", "simulated")])
            low, high = np.quantile(values, 0.003), values.max() + 0.3
            bins = np.linspace(low, high, 70)
            for label, colour, alpha, name in (
                ("right", plotting.SAMPLE, 0.65, "autograd"),
                ("swapped", PALE, 0.35, f"control:\n{meta['control']}"),
            ):
                heights = _heights(arrays[label], bins)
                ax.stairs(heights, bins / LN10, fill=True, color=colour, alpha=alpha, label=name)
            heights = _heights(arrays["simulated"], bins)
            ax.stairs(heights, bins / LN10, color="black", linewidth=0.8, label="rmtrnn.sample")
            if "density" in arrays:
                inside = arrays["u"] >= low
                u, density = arrays["u"][inside], arrays["density"][inside]
                ax.plot(u / LN10, LN10 * density, color=plotting.THEORY, label="theory")
            ax.set(xlabel=plotting.LOG_S, ylabel=f"density of {plotting.LOG_S}")
            settings = meta["settings"]
            ax.set_title(f"{TITLES[key]}, T = {settings['T']}, {settings['trials']} × N = {settings['N']}")
            ax.legend(loc="upper left")
        for ax in panels.flat[len(results) :]:
            ax.set_axis_off()
        core.save_figure(figure, folder, "jacobians")
        plt.close(figure)


def _heights(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(values.ravel(), bins)
    return LN10 * counts / (values.size * np.diff(bins))
