"""Pictures of singular values: laws, samples, both together.

Theory is a line, a sample a filled histogram, an atom a stem at its place whose mass stands in the legend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn.plotting.look import ATOM, LN10, LOG_S, SAMPLE, THEORY, ensemble_title, new_axes, spectrum_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rmtrnn.sampling.given_network import TrajectoryJacobian
    from rmtrnn.sampling.sample import Sample
    from rmtrnn.spectra import Spectrum

_ON_ATOM = (
    1e-6  # a sampled log s this close to an atom sits on it: far above rounding, far below a histogram's bin
)


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
    ax = SpectrumPicture.of(spec, points=points).draw(new_axes(ax), **options)
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
    ax = SpectrumPicture.of(spec, log_s, bins=bins).draw(new_axes(ax), **options)
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
    ax = _histogram(mc.log_s, new_axes(ax), bins, options)
    ax.set_title(f"{ensemble_title(mc.ensemble)}, $T = {mc.T}$; sample {mc.trials} × $N = {mc.N}$")
    return ax


def plot_given(
    found: TrajectoryJacobian, ax: Axes | None = None, *, bins: int | None = None, **options: Any
) -> Axes:
    """Draw the histogram of the log10 s of a given network, exact zeros left out.

    found : what `rmtrnn.jacobian_log_s` returned; all sequences are counted together
    ax, bins, options : as for `plot_sample`
    """
    ax = _histogram(found.log_s, new_axes(ax), bins, options)
    ax.set_title(f"given network, $T = {found.T}$; {found.log_s.size} singular values")
    return ax


def _histogram(log_s: np.ndarray, ax: Axes, bins: int | None, options: dict[str, Any]) -> Axes:
    """The histogram of log10 s, normalised by all singular values."""
    values = np.asarray(log_s, dtype=float).ravel()
    finite = values[np.isfinite(values)] / LN10
    bins = int(np.clip(math.sqrt(values.size), 20, 80)) if bins is None else bins
    counts, edges = np.histogram(finite, bins=bins)
    look: dict[str, Any] = {"fill": True, "color": SAMPLE, "alpha": 0.65} | options
    ax.stairs(counts / (values.size * np.diff(edges)), edges, **look)
    ax.set(xlabel=LOG_S, ylabel=f"density of {LOG_S}")
    return ax


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
