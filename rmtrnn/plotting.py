"""Pictures of results: every function draws on an axes, returns it, and neither shows nor saves anything.

The palette is that of Okabe and Ito, which colour-blind readers can tell apart; theory is a line, a sample
a filled histogram, an atom a stem at its place whose mass stands in the legend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler

from rmtrnn._core import validate as _validate
from rmtrnn._core.registry import DRAW
from rmtrnn.phase import PICTURED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rmtrnn.ensemble import Ensemble
    from rmtrnn.initialisation.sensitivity import Sensitivity
    from rmtrnn.meanfield import MeanField
    from rmtrnn.phase import PhaseDiagram
    from rmtrnn.sampling.lyapunov import LyapunovSample
    from rmtrnn.sampling.sample import Sample
    from rmtrnn.spectra import Spectrum
    from rmtrnn.spectra.lyapunov import LyapunovSpectrum

# Okabe & Ito: black, vermillion, blue, bluish green, orange, sky blue, reddish purple, yellow.
PALETTE = ("#000000", "#d55e00", "#0072b2", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", "#f0e442")
THEORY, SAMPLE, ATOM = PALETTE[1], PALETTE[5], PALETTE[2]

LN10 = math.log(10)
LOG_S = r"$\log_{10}\,s$"
_ON_ATOM = (
    1e-6  # a sampled log s this close to an atom sits on it: far above rounding, far below a histogram's bin
)

_STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "font.size": 10,
    "legend.fontsize": 8,
    "legend.handlelength": 1.4,
    "legend.frameon": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "figure.figsize": (4.2, 3.0),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
}


def style() -> AbstractContextManager[None]:
    """The package's look: ``with rmtrnn.plotting.style(): ...`` around the making of a figure."""
    return plt.rc_context(_STYLE)


@dataclass(frozen=True)
class SpectrumPicture:
    """The numbers behind a picture of a spectrum, all in log10 s, so that a figure can be drawn from a file.

    x, density : the theory's line, nan between the intervals of the support
    atoms : rows (log10 of the location, −inf for s = 0; mass; the sample's share of it, nan without a sample)
    edges, heights : the sample's histogram (empty without a sample), normalised by all singular values
    window : left and right end of the horizontal axis
    """

    x: np.ndarray
    density: np.ndarray
    atoms: np.ndarray
    edges: np.ndarray
    heights: np.ndarray
    window: np.ndarray

    @classmethod
    def of(
        cls, spec: Spectrum, log_s: np.ndarray | None = None, *, points: int = 400, bins: int | None = None
    ) -> SpectrumPicture:
        """Compute the picture of ``spec`` and, if given, of the sampled log s (any shape)."""
        points = _validate.integer("points", points, low=16)
        low, high = _window(spec)
        sampled = np.empty(0) if log_s is None else np.asarray(log_s, dtype=float).ravel()
        continuous, atoms = _split_off_atoms(spec, sampled)
        if bins is None:
            bins = int(np.clip(math.sqrt(sampled.size), 20, 80))
        if sampled.size:
            high = max(high, continuous.max(initial=high))
            counts, edges = np.histogram(continuous, bins=bins, range=(low, high))
            edges = edges / LN10
            heights = counts / (sampled.size * np.diff(edges))
        else:
            edges = heights = np.empty(0)
        x, density = _curve(spec, low, high, points)
        return cls(x, density, atoms, edges, heights, np.array([low, high]) / LN10)

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name: what to save, and what ``SpectrumPicture(**arrays)`` takes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def draw(self, ax: Axes, *, key: bool = True, **options: Any) -> Axes:
        """Draw on ``ax``; ``options`` are passed to the theory's line. The legend names the atoms and, with
        ``key``, the line and the histogram."""
        if self.edges.size:
            ax.stairs(self.heights, self.edges, fill=True, color=SAMPLE, alpha=0.65, label="sample")
        if self.x.size:
            options = {"color": THEORY, "label": "theory", **options}
            ax.plot(self.x, self.density, **options)
        ax.set_xlim(*self.window)
        ax.set_ylim(0.0, self._height())
        self._draw_atoms(ax)
        ax.set(xlabel=LOG_S, ylabel=f"density of {LOG_S}")
        handles, labels = ax.get_legend_handles_labels()
        first = 0 if key else len(handles) - len(self.atoms)
        if handles[first:]:
            ax.legend(handles[first:], labels[first:], loc="upper left")
        return ax

    def _height(self) -> float:
        """Height of the axis: all that is drawn, unless the line diverges at an edge; then what most of the
        mass needs."""
        if not self.x.size:
            return 1.25 * self.heights.max(initial=0.8)
        known = np.isfinite(self.density)
        # A point that would carry more than half the mass alone is a peak narrower than the line resolves.
        known &= np.gradient(self.x) * np.where(known, self.density, 0.0) < 0.5
        x, density = self.x[known], self.density[known]
        mass = np.cumsum(np.gradient(x) * density)
        typical = density[(mass > 0.03 * mass[-1]) & (mass < 0.7 * mass[-1])]
        highest = max(float(density.max()), self.heights.max(initial=0.0))
        return 1.1 * min(highest, 2.0 * float(typical.max(initial=0.0)) or highest)

    def _draw_atoms(self, ax: Axes) -> None:
        for place, mass, share in self.atoms:
            x = self.window[0] if place == -math.inf else place
            where = "$s = 0$" if place == -math.inf else f"$s = {10**place:.4g}$"
            text = f"atom {where}: {mass:.4f}" + (f"\n(sampled {share:.4f})" if share == share else "")
            (stem,) = ax.plot([x, x], [0.0, 0.6 * ax.get_ylim()[1]], color=ATOM, linewidth=2.2, label=text)
            stem.set(marker="o", markevery=[1], markersize=5, clip_on=False)


def plot_spectrum(spec: Spectrum, ax: Axes | None = None, *, points: int = 400, **options: Any) -> Axes:
    """Draw the density of log10 s, s a singular value of J_T; each atom is a stem at its place.

    spec : what `rmtrnn.spectrum` returned
    ax : the axes to draw on; a new figure if None
    points : number of points of the line, at least 16
    options : passed to ``ax.plot``

    The stem's height says nothing; the mass of the atom stands in the legend. An atom at s = 0 is drawn at
    the left end of the axis.
    """
    ax = SpectrumPicture.of(spec, points=points).draw(_axes(ax), **options)
    ax.set_title(spectrum_title(spec))
    return ax


def plot_comparison(
    spec: Spectrum, mc: Sample, ax: Axes | None = None, *, bins: int | None = None, **options: Any
) -> Axes:
    """Draw the histogram of a sample's log10 s under the theory's line, as in `plot_spectrum`.

    spec, mc : what `rmtrnn.spectrum` and `rmtrnn.sample` returned, for the same number of steps
    bins : number of bins of the histogram; by default the square root of the number of singular values, at
        least 20 and at most 80
    options : passed to the theory's line

    The histogram is normalised by all singular values, so that it and the line share one vertical axis;
    those that sit on an atom are counted in the legend instead.

    ``ax``: matplotlib axes (default: new ones); returned.
    """
    log_s = np.atleast_2d(mc.log_s)
    ax = SpectrumPicture.of(spec, log_s, bins=bins).draw(_axes(ax), **options)
    ax.set_title(f"{spectrum_title(spec)}; sample {log_s.shape[0]} × $N = {mc.N}$")
    return ax


def plot_sample(mc: Sample, ax: Axes | None = None, *, bins: int | None = None, **options: Any) -> Axes:
    """Draw the histogram of a sample's log10 s, exact zeros left out.

    mc : what `rmtrnn.sample` returned
    bins : number of bins; by default the square root of the number of singular values, 20 to 80
    options : passed to ``ax.stairs``

    ``ax``: matplotlib axes (default: new ones); returned.

    >>> mc = rt.sample(rt.Ensemble("vanilla", sigma_b=0.1), T=2, N=32, trials=2, burn_in=20)
    >>> rt.plotting.plot_sample(mc).get_ylabel().startswith("density")
    True
    """
    log_s = np.asarray(mc.log_s, dtype=float).ravel()
    finite = log_s[np.isfinite(log_s)] / LN10
    bins = int(np.clip(math.sqrt(log_s.size), 20, 80)) if bins is None else bins
    counts, edges = np.histogram(finite, bins=bins)
    ax = _axes(ax)
    look = {"fill": True, "color": SAMPLE, "alpha": 0.65} | options
    ax.stairs(counts / (log_s.size * np.diff(edges)), edges, **look)
    ax.set(xlabel=LOG_S, ylabel=f"density of {LOG_S}")
    ax.set_title(f"{_title(mc.ensemble)}, $T = {mc.T}$; sample {mc.trials} × $N = {mc.N}$")
    return ax


def plot_phase_diagram(
    pd: PhaseDiagram, quantity: str = "chi", ax: Axes | None = None, **options: Any
) -> Axes:
    """Draw ``quantity`` of a phase diagram over its two parameters, and the boundary of chaos χ = 1.

    pd : what `rmtrnn.phase_diagram` returned for two parameters
    quantity : "chi", "chi_star", "timescale", "q", "Q" or "c_star"
    options : passed to ``ax.pcolormesh``

    Points whose mean field did not converge stay blank. The time scale is drawn as its logarithm.
    """
    _validate.choice("quantity", quantity, PICTURED)
    if len(pd.axes) != 2:
        raise ValueError(f"pd: has the parameters {list(pd.axes)}; a picture needs exactly two")
    if isinstance(getattr(pd, quantity), Mapping):
        raise ValueError(f"quantity = {quantity!r}: has several components here; draw 'chi' or 'timescale'")
    (x_name, x), (y_name, y) = pd.axes.items()
    values = np.where(pd.converged, getattr(pd, quantity), np.nan)
    label = _NAMES.get(quantity, quantity)
    if quantity == "timescale":
        values, label = np.log10(values), rf"$\log_{{10}}$ {label}"
        values = np.where(np.isfinite(values), values, np.nan)
    ax = _axes(ax)
    mesh = ax.pcolormesh(
        x, y, values.T, **{"cmap": "viridis", "shading": "nearest", "rasterized": True} | options
    )
    ax.figure.colorbar(mesh, ax=ax, label=label)
    chi = np.where(pd.converged, pd.chi, np.nan)
    if np.nanmin(chi) < 1.0 < np.nanmax(chi):
        ax.contour(x, y, chi.T, levels=[1.0], colors=PALETTE[1], linewidths=1.6)
        ax.plot([], [], color=PALETTE[1], label=r"$\chi = 1$")
        ax.legend(loc="upper left")
    title = f"{pd.ensemble.cell.name}, {pd.theory} weights"
    ax.set(xlabel=_NAMES.get(x_name, x_name), ylabel=_NAMES.get(y_name, y_name), title=title)
    return ax


def plot_correlation(mf: MeanField, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw the correlation c^t of two sequences against the step t, with its fixed point c* dashed.

    mf : what ``rmtrnn.mean_field(ens, steps=...)`` returned; ValueError if it holds no trajectories.
    options : passed to ``ax.plot``
    """
    if mf.c_t is None:
        raise ValueError("mf: holds no trajectories; call rmtrnn.mean_field(ens, steps=...) with steps ≥ 1")
    named = mf.c_t if isinstance(mf.c_t, Mapping) else {"": mf.c_t}
    fixed = mf.c_star if isinstance(mf.c_star, Mapping) else {"": mf.c_star}
    ax = _axes(ax)
    for name, trajectory in named.items():
        symbol = f"c({name})" if name else "c"
        options["label"] = f"{symbol} at step t"
        (line,) = ax.plot(np.arange(len(trajectory)), trajectory, **options)
        ax.axhline(float(fixed[name]), color=line.get_color(), linestyle="--", linewidth=1.0)
    ax.plot([], [], color="0.3", linestyle="--", linewidth=1.0, label=r"fixed point $c^*$")
    ax.set(xlabel="step t", ylabel="correlation", title=_title(mf.ensemble))
    ax.legend(loc="lower right")
    return ax


def plot_lyapunov(result: LyapunovSpectrum | LyapunovSample, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw Lyapunov exponents against their rank over N, largest first: theory as a line, samples as circles.

    result : from ``rmtrnn.lyapunov`` or ``rmtrnn.sample_lyapunov``; draw both into one ``ax`` to compare them
    options : passed to ``ax.plot``
    """
    ax, numbers = _axes(ax), cast(Any, result)
    if hasattr(result, "spectrum"):
        rank = np.linspace(0.0, 1.0, 501)[1:-1]
        drawn: dict[str, Any] = {"label": "theory"} | options
        ax.plot(rank, numbers.spectrum.icdf(1.0 - rank), **drawn)
    else:
        exponents = numbers.exponents.mean(axis=0)
        rank = (np.arange(len(exponents)) + 0.5) / (len(result.ensemble.cell.state) * numbers.N)
        drawn = {"ls": "", "marker": "o", "mfc": "none", "label": "sample"} | options
        ax.plot(rank, exponents, **drawn)
    ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    ax.set(xlabel="rank / N", ylabel="exponent per step", title=_title(result.ensemble))
    ax.legend(loc="lower left")
    return ax


def plot_sensitivity(
    profile: Sensitivity, ax: Axes | None = None, *, to: str = "input", band: bool = True, **options: Any
) -> Axes:
    """Draw the sensitivity of the state against the lag: root mean square, median, and the 5–95 % band.

    profile : from ``rmtrnn.sensitivity``, or ``rmtrnn.initialize(...).profile``
    ax : axes to draw on, else new ones
    to : "input" or "state"
    band : whether to draw the quantiles of the singular values
    options : passed to the line of the root mean square
    """
    side = getattr(profile, _validate.choice("to", to, ("input", "state")))
    ax, lag = _axes(ax), np.arange(profile.T + 1)
    drawn: dict[str, Any] = {"label": "root mean square"} | options
    (line,) = ax.plot(lag, np.sqrt(side.mean_square), **drawn)
    if band:
        color = line.get_color()
        ax.plot(lag, side.typical, color=color, ls="--", lw=1.0, label="median singular value")
        ax.fill_between(lag, side.low, side.high, color=color, alpha=0.15, lw=0, label="5–95 %")
    ax.set(xlabel="lag $k$ (steps)", yscale="log", title=_title(profile.ensemble))
    earlier = {"input": "x", "state": "h"}[to]
    ax.set_ylabel(rf"size of $\partial h^T / \partial {earlier}^{{T-k}}$")
    ax.legend()
    return ax


_NAMES = {
    "sigma_w": r"$\sigma_w$",
    "sigma_v": r"$\sigma_v$",
    "mu_b": r"$\mu_b$",
    "sigma_b": r"$\sigma_b$",
    "chi": r"$\chi$",
    "chi_star": r"$\chi$ at $c^*$",
    "c_star": r"$c^*$",
    "timescale": r"time scale $\xi$ (steps)",
    "q": r"variance $q^*$ of the pre-activation",
    "Q": r"second moment $Q^*$ of the state",
}


for _kind, _draw in {
    "lyapunov sample": plot_lyapunov,
    "lyapunov spectrum": plot_lyapunov,
    "mean field": plot_correlation,
    "phase diagram": plot_phase_diagram,
    "sensitivity": plot_sensitivity,
    "sample": plot_sample,
    "spectrum": plot_spectrum,
}.items():
    DRAW.register(_kind, _draw)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    with style():
        return plt.subplots()[1]


def _window(spec: Spectrum) -> tuple[float, float]:
    """The interval of u = log s to show: from the 1 % quantile of what is not zero to the right edge."""
    zero = spec.log_s.cdf(-math.inf)
    ends = [right for _, right in spec.log_s.support] + [u for u, _ in spec.log_s.atoms if u > -math.inf]
    if not ends:
        return -1.0, 1.0
    low, high = spec.log_s.icdf(zero + 0.01 * (1.0 - zero)), max(ends)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _curve(spec: Spectrum, low: float, high: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The line (log10 s, density of log10 s), nan between intervals; closer points where edges are steep."""
    pieces = []
    for left, right in spec.log_s.support:
        a, b = max(left, low), min(right, high)
        if a >= b:
            continue
        u = 0.5 * (a + b) - 0.5 * (b - a) * np.cos(np.linspace(0.0, math.pi, points))
        density = LN10 * spec.log_s.pdf(u)
        drawn = np.isfinite(density)
        pieces.append(np.array([u[drawn] / LN10, density[drawn]]))
        pieces.append(np.full((2, 1), math.nan))
    x, density = np.concatenate(pieces[:-1], axis=1) if pieces else np.empty((2, 0))
    return x, density


def _split_off_atoms(spec: Spectrum, sampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sampled log s that sit on no atom, and the atoms with the share of the sample that sits on them."""
    rows, rest = [], sampled
    for u, mass in spec.log_s.atoms:
        on_atom = (rest == -math.inf) if u == -math.inf else np.abs(rest - u) < _ON_ATOM
        share = np.count_nonzero(on_atom) / sampled.size if sampled.size else math.nan
        rows.append((u / LN10, mass, share))
        rest = rest[~on_atom]
    return rest[np.isfinite(rest)], np.array(rows, dtype=float).reshape(-1, 3)


def spectrum_title(spec: Spectrum) -> str:
    """Cell, weight law, parameters and number of steps, in two short lines.

    ``spec``: a `Spectrum`.
    """
    return f"{_title(spec.ensemble)}, $T = {spec.T}$"


def _title(ens: Ensemble) -> str:
    """The ensemble in one or two short lines: cell, weight law, and the parameters that are not zero."""
    activation = getattr(ens.cell, "activation", None)
    cell = f"{ens.cell.name} {activation.name}" if activation is not None else ens.cell.name
    weights = ens.weights if isinstance(ens.weights, str) else "mixed weights"
    values = [
        f"{_NAMES[name]} = {getattr(ens, name):.4g}"
        for name in ("sigma_w", "sigma_v", "mu_b", "sigma_b")
        if not isinstance(getattr(ens, name), Mapping) and getattr(ens, name) != 0
    ]
    tied = ", tied" if ens.tied else ""
    return f"{cell}, {weights}{tied}\n{', '.join(values)}"
