"""Tables and figures of the saved diagrams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from rmtrnn import plotting
from validation import core
from validation.beyond.phase.cases import right_side

LABELS = {
    "sigma_w": r"$\sigma_w$",
    "sigma_b": r"$\sigma_b$",
    "sigma_v": r"$\sigma_v$",
    "mu_b": r"$\mu_b$",
    "mu_b.u": r"$\mu_b$ of the gate u",
    "mu_b.f": r"$\mu_b$ of the gate f",
}
TIMESCALES = (3.0, 10.0, 30.0)
SPREADS = (0.1, 0.3, 1.0, 3.0, 10.0)
THIN: dict[str, Any] = {"colors": "0.25", "linewidths": 0.8}


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, one figure for each diagram, and ``report.md``."""
    core.save_data(folder, "data", results, single=True)
    text = [
        f"# Phase diagrams ({size})\n",
        "Beside the boundary χ = 1 (equal inputs, untied Gaussian weights), networks with a small "
        "perturbation δ: the mean of log(‖δ'‖²/‖δ‖²) per step against log χ. A point is right if the "
        "networks decay (order) or grow (chaos) by more than three standard errors.\n",
    ]
    for key, (meta, arrays) in results.items():
        x, y = meta["settings"]["axes"]
        text.append(f"\n## {key}: {meta['right side']} of {len(meta['checks'])} points right\n")
        points, used = meta["settings"]["points"], meta.get("cpu seconds of the grid")
        if used is not None:
            text.append(f"Grid of {points} × {points} points: {used:.1f} s of one core, spread included.\n")
        other = arrays.get("chi of the other state", np.full(1, np.nan))
        if np.isfinite(other).any():
            ordered = int(np.sum(other < 1.0))
            text.append(
                f"Two stable states at {np.isfinite(other).sum()} points: networks that start small stay in "
                f"one with a smaller χ, which is ordered at {ordered} of them. Where it ends, χ jumps.\n"
            )
        rows = [
            [
                check["side"],
                f"{check[x]:.4g}",
                f"{check[y]:.4g}",
                f"{check['log chi']:+.4f}",
                f"{check['measured']:+.4f} ± {check['error']:.4f}",
                _verdict(check),
            ]
            for check in meta["checks"]
        ]
        text.append(core.table(("side", x, y, "log χ", "networks", "verdict"), rows))
        draw(key, meta, arrays, folder)
    text.append(
        "\nχ of the LSTM comes from sampled sites (transfer operator, 512 points) and errs by some 1e-3; its "
        f"time scale is drawn where χ < 1 only. Made by `python -m validation "
        f"phase --{size}` with {core.describe(results)}. Parameters and seeds: `data.json`.\n"
    )
    (folder / "report.md").write_text("\n".join(text))


def _verdict(check: dict[str, Any]) -> str:
    """A point whose own χ lies on the other side checks nothing: χ jumps there, the grid is coarse."""
    if (check["log chi"] > 0) != (check["side"] == "chaos"):
        return "not on this side: χ jumps here"
    return "right" if right_side(check) else "NOT right"


def draw(key: str, meta: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> None:
    """χ in colour, its boundary with the checked points, contours of the time scale; isometry beside it."""
    xs, ys = arrays["x"], arrays["y"]
    columns = 2 if "spread" in arrays else 1
    with plotting.style():
        figure, axes = plt.subplots(1, columns, figsize=(4.6 * columns, 3.7), squeeze=False)
        ax = axes[0, 0]
        _background(figure, ax, xs, ys, np.log(arrays["chi"]).T, r"$\log \chi$")
        if "timescale" in arrays:
            _timescales(ax, xs, ys, arrays["timescale"])
        _boundary(ax, xs, ys, arrays["chi"])
        _gain(ax, key, xs, ys)
        if "chi of the other state" in arrays:
            _two_states(ax, xs, ys, arrays["chi of the other state"])
        _points(ax, meta)
        ax.set_title(
            _title(key, meta) + r": $\chi$" + (r" and $\xi$ (steps)" if "timescale" in arrays else "")
        )
        if columns == 2:
            ax = axes[0, 1]
            few_x, few_y = arrays.get("spread x", xs), arrays.get("spread y", ys)
            _background(
                figure, ax, few_x, few_y, np.log10(_positive(arrays["spread"])).T,
                r"$\log_{10}$ Var$(s^2)/m_1^2$",
            )  # fmt: skip
            lines = ax.contour(few_x, few_y, arrays["spread"].T, SPREADS, **THIN)
            ax.clabel(lines, fmt="%g", fontsize=7)
            _boundary(ax, xs, ys, arrays["chi"])
            weights = core.WEIGHT_NAMES[meta["settings"]["ensemble"]["weights"]]
            ax.set_title(_title(key, meta) + f": spread of $s^2$, one step,\n{weights} weights (0: isometry)")
        for ax in axes[0]:
            ax.set(xlabel=LABELS[meta["settings"]["axes"][0]], ylabel=LABELS[meta["settings"]["axes"][1]])
        core.save_figure(figure, folder, key, shades=True)
        plt.close(figure)


def _positive(values: np.ndarray) -> np.ndarray:
    """nan where there is no spread at all: a state of zeros under orthogonal weights."""
    return np.where(values > 0.0, values, np.nan)


def _background(figure: Any, ax: Any, xs: np.ndarray, ys: np.ndarray, values: np.ndarray, label: str) -> None:
    limit = float(np.nanmax(np.abs(values[np.isfinite(values)])))
    options: dict[str, Any] = {"cmap": "viridis"}
    if label.startswith(r"$\log \chi"):
        options = {"cmap": "PuOr_r", "vmin": -min(limit, 1.5), "vmax": min(limit, 1.5)}
    mesh = ax.pcolormesh(xs, ys, values, shading="nearest", rasterized=True, **options)
    figure.colorbar(mesh, ax=ax, label=label)


def _boundary(ax: Any, xs: np.ndarray, ys: np.ndarray, chi: np.ndarray) -> None:
    if np.nanmin(chi) < 1.0 < np.nanmax(chi):
        ax.contour(xs, ys, chi.T, [1.0], colors=plotting.PALETTE[0], linewidths=2.0)
        ax.plot([], [], color=plotting.PALETTE[0], linewidth=2.0, label=r"$\chi = 1$")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _timescales(ax: Any, xs: np.ndarray, ys: np.ndarray, timescale: np.ndarray) -> None:
    """Contours of ξ, by 1/ξ, which has no pole at the boundary and so is smooth on a grid."""
    with np.errstate(divide="ignore"):
        rate = 1.0 / timescale
    styles = dict(zip(TIMESCALES, ("-", "--", ":"), strict=True))
    for xi, style in styles.items():
        ax.contour(xs, ys, rate.T, [1.0 / xi], linestyles=style, **THIN)
        ax.plot([], [], style, color=THIN["colors"], linewidth=THIN["linewidths"], label=rf"$\xi = {xi:g}$")


def _two_states(ax: Any, xs: np.ndarray, ys: np.ndarray, other: np.ndarray) -> None:
    """Hatch where a network that starts from a small state stays in another one."""
    there = np.isfinite(other)
    if there.any():
        ax.contourf(xs, ys, there.T.astype(float), [0.5, 1.5], colors="none", hatches=["////"])
        ax.fill([], [], facecolor="none", edgecolor="black", hatch="////", label="two stable states")


def _gain(ax: Any, key: str, xs: np.ndarray, ys: np.ndarray) -> None:
    """Where the zero state of a tied network without drive turns unstable (Can et al. 2020).

    GRU: σ(b_u) + (1 − σ(b_u)) σ(b_r) g = 1; LSTM: σ(b_f) + σ(b_o) σ(b_i) g = 1, all biases 0 but that of y.
    """
    if key.startswith("gru"):
        gain = np.full(ys.size, 2.0)
    elif key.startswith("lstm"):
        gain = 4.0 / (1.0 + np.exp(ys))
    else:
        return
    shown = (gain >= xs[0]) & (gain <= xs[-1])
    ax.plot(gain[shown], ys[shown], "-.", color="black", linewidth=1.2, label="zero state, tied")


def _points(ax: Any, meta: dict[str, Any]) -> None:
    x, y = meta["settings"]["axes"]
    for grows, marker, name in ((True, "^", "networks: δ grows"), (False, "v", "networks: δ decays")):
        shown = [check for check in meta["checks"] if (check["measured"] > 0) == grows]
        if shown:
            colour = plotting.PALETTE[1 if grows else 2]
            ax.plot(
                [check[x] for check in shown],
                [check[y] for check in shown],
                marker,
                color=colour,
                markersize=5,
                markeredgecolor="white",
                label=name,
            )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _title(key: str, meta: dict[str, Any]) -> str:
    fixed = meta["settings"]["ensemble"]
    values = [
        f"{LABELS[name]} = {fixed[name]:g}"
        for name in ("sigma_v", "R")
        if isinstance(fixed.get(name), int | float)
        and name not in meta["settings"]["axes"]
        and name in LABELS
    ]
    return core.CELL_NAMES[key.split("-")[0]] + (f", {', '.join(values)}" if values else "")
