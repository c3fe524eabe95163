"""Table and figure of the saved results."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import study

TITLES = {
    "rnn": "torch.nn.RNN",
    "minimal": "MinimalRNN",
    "gru": "torch.nn.GRU",
    "lstm": "torch.nn.LSTM, (c, h)",
}
LN10 = math.log(10)
NOISE = 0.01  # several times the distance of a rigid spectrum of 6 x 1000 values from its law


def report(results: dict[str, study.Result], size: str, folder: Path) -> None:
    """Write data, figure and ``report.md``."""
    study.save_data(folder, "data", results)
    rows = []
    for key, (meta, _) in results.items():
        right, swapped = meta["right"], meta["swapped"]
        rows.append(
            [
                TITLES[key],
                f"{meta['theory error']:.1e}",
                right["verdict"],
                f"{right['p']:.2g}",
                f"{right['kolmogorov']:.4f}",
                "yes" if right["kolmogorov"] <= meta["theory error"] + NOISE else "NO",
                f"{meta['m_1']:.4f}",
                f"{right['m_1'][0]:.4f} ± {right['m_1'][1]:.4f}",
                meta["control"],
                swapped["verdict"],
                f"{swapped['p']:.1g}",
                f"{swapped['kolmogorov']:.3f}",
            ]
        )
    header = ("module", "theory's own error", "verdict", "p", "Kolmogorov", "within", "m_1", "m_1 (autograd)")
    header += ("control", "verdict", "p", "Kolmogorov")
    settings = next(iter(results.values()))[0]["settings"]
    torch_versions = sorted({meta["torch"] for meta, _ in results.values()})
    text = [
        f"# PyTorch modules after initialize_: autograd's Jacobian against the theory ({size})\n",
        f"T = {settings['T']} steps, N = {settings['N']}, {settings['trials']} modules each "
        f"({settings['control_trials']} of a control), after {settings['burn_in']} steps of fresh inputs; "
        'the theory is the law for tied weights. "within": the Kolmogorov distance is at most the error that '
        f"the theory states of itself plus {NOISE:g}, more than the sample's own noise. A control is the "
        "same module with one mistake; it must disagree.\n",
        study.table(header, rows),
        f"\nMade by `python -m validation torch_jacobian --{size}` with {study.describe(results)}, torch "
        f"{' and '.join(torch_versions)}. Parameters, seeds, all tables of `rmtrnn.compare`: `data.json`.\n",
    ]
    (folder / "report.md").write_text("\n".join(text))
    draw(results, folder)


def draw(results: dict[str, study.Result], folder: Path) -> None:
    """One panel for each module: theory, autograd, and the control."""
    with plotting.style():
        figure, panels = plt.subplots(2, 2, figsize=(8.2, 5.8))
        for ax, (key, (meta, arrays)) in zip(panels.flat, results.items(), strict=False):
            u = arrays["u"]
            bins = np.linspace(u[0], u[-1], 70)
            for label, colour, alpha, name in (
                ("right", plotting.SAMPLE, 0.65, "autograd"),
                ("swapped", "0.6", 0.35, f"control:\n{meta['control']}"),
            ):
                values = arrays[label].ravel()
                counts, _ = np.histogram(values, bins)
                heights = LN10 * counts / (values.size * np.diff(bins))
                ax.stairs(heights, bins / LN10, fill=True, color=colour, alpha=alpha, label=name)
            ax.plot(u / LN10, LN10 * arrays["density"], color=plotting.THEORY, label="theory")
            ax.set(xlabel=plotting.LOG_S, ylabel=f"density of {plotting.LOG_S}")
            settings = meta["settings"]
            ax.set_title(f"{TITLES[key]}, T = {settings['T']}, {settings['trials']} × N = {settings['N']}")
            ax.legend(loc="upper left")
        for ax in panels.flat[len(results) :]:
            ax.set_axis_off()
        study.save_figure(figure, folder, "jacobians")
        plt.close(figure)
