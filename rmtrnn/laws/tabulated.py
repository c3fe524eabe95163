"""A law of u = log s known only through its density: panels of Chebyshev series in an edge-adapted angle.

On an interval [a, b] of the support the angle θ in [0, π] is defined by

    u = a + (b − a) sin²(θ/2)                  (finite ends)
    u = b + log(sin²(θ/2)) / κ                 (a = −∞, density ~ e^{κu}: a hard edge at s = 0)

so that g(θ) = p(u) du/dθ is smooth at square-root edges, at inverse-square-root edges and at the hard
edge at once, and about 60 values of p give the law to many digits. `tabulate` chooses the points.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from rmtrnn._core.status import Status
from rmtrnn.laws.moments import Moments

Density = Callable[[np.ndarray], np.ndarray]

_LEVELS = (
    15,
    31,
    63,
)  # interior Chebyshev points cos(jπ/n), n = 16, 32, 64: each set contains the one before


@dataclass(frozen=True)
class Interval:
    """One interval of the support in u = log s, and the map between u and the angle θ.

    ``left`` may be −∞; then ``rate`` is the κ of the density's tail e^{κu}.
    """

    left: float
    right: float
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not (self.left < self.right and math.isfinite(self.right)):
            raise ValueError(
                f"interval = ({self.left!r}, {self.right!r}): the ends must satisfy left < right < inf"
            )
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"rate = {self.rate!r}: must be a finite number in (0, inf)")

    def u(self, angle: np.ndarray) -> np.ndarray:
        """u(θ)."""
        sine2, cosine2 = np.sin(angle / 2) ** 2, np.cos(angle / 2) ** 2
        if self.left == -math.inf:
            with np.errstate(divide="ignore"):
                return self.right + np.log(sine2) / self.rate
        width = self.right - self.left
        return np.where(sine2 < cosine2, self.left + width * sine2, self.right - width * cosine2)

    def slope(self, angle: np.ndarray) -> np.ndarray:
        """du/dθ."""
        if self.left == -math.inf:
            with np.errstate(divide="ignore"):
                return 1 / (self.rate * np.tan(angle / 2))
        return (self.right - self.left) / 2 * np.sin(angle)

    def angle(self, u: np.ndarray) -> np.ndarray:
        """θ(u), with u outside the interval taken to the nearer end."""
        u = np.clip(u, self.left, self.right)
        if self.left == -math.inf:
            x = np.exp(self.rate * (u - self.right))
            return 2 * np.arctan2(np.sqrt(x), np.sqrt(-np.expm1(self.rate * (u - self.right))))
        return 2 * np.arctan2(np.sqrt(u - self.left), np.sqrt(self.right - u))


@dataclass(frozen=True)
class Panel:
    """g(θ) on one panel of one interval as a Chebyshev series in t = (2θ − lo − hi)/(hi − lo)."""

    lo: float
    hi: float
    series: np.ndarray
    integral: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        integral = chebyshev.chebint(self.series, lbnd=-1) * (self.hi - self.lo) / 2
        object.__setattr__(self, "integral", integral)

    def local(self, angle: np.ndarray) -> np.ndarray:
        return (2 * angle - self.lo - self.hi) / (self.hi - self.lo)

    def density(self, angle: np.ndarray) -> np.ndarray:
        return chebyshev.chebval(self.local(angle), self.series)

    def mass_below(self, angle: np.ndarray) -> np.ndarray:
        return chebyshev.chebval(np.clip(self.local(angle), -1, 1), self.integral)

    @property
    def mass(self) -> float:
        return float(np.sum(self.integral))  # every Chebyshev polynomial is 1 at t = 1


def monotone_panels(angle: np.ndarray, value: np.ndarray, slope: np.ndarray) -> list[Panel]:
    """Panels between points of F(θ) with slopes: monotone cubics (Fritsch and Carlson 1980)."""
    panels = []
    for i in range(len(angle) - 1):
        width = angle[i + 1] - angle[i]
        if width <= 0:
            continue
        mean = max(float(value[i + 1] - value[i]), 0.0) / width
        g0, g1 = min(slope[i], 3 * mean), min(slope[i + 1], 3 * mean)
        curve = 1.5 * (0.5 * (g0 + g1) - mean)
        series = np.array([mean + curve / 6, 0.5 * (g1 - g0), 0.5 * curve])
        panels.append(Panel(float(angle[i]), float(angle[i + 1]), series))
    return panels


class TabulatedLaw:
    """Law of u = log s made of tabulated intervals and atoms (the second form of `LogLaw`).

    Parameters: ``pieces``, pairs of an `Interval` and its panels (in order of θ, covering [0, π]);
    ``atoms``, pairs (u, mass) with u = −∞ for s = 0; ``error``, the caller's estimate of the error of the
    cdf (interpolation included); ``status``; ``support``, the true support where it is larger than the
    tabulated intervals (density too small to matter beyond them).

    The continuous part is scaled so that the total mass is 1; ``mass`` is the total before scaling and
    |mass − 1| is added to ``error``.

    ``known``: first two moments of s² where they were found without the table; None otherwise. A law does not
    change: `restated` returns another one.
    """

    def __init__(
        self,
        pieces: Sequence[tuple[Interval, Sequence[Panel]]],
        *,
        atoms: Sequence[tuple[float, float]] = (),
        error: float = 0.0,
        status: Status = Status.CONVERGED,
        support: Sequence[tuple[float, float]] | None = None,
        known: Moments | None = None,
    ) -> None:
        self._pieces = [
            (interval, tuple(panels)) for interval, panels in sorted(pieces, key=lambda p: p[0].left)
        ]
        self._atoms = tuple(sorted((float(u), float(mass)) for u, mass in atoms))
        tabulated = [(interval.left, interval.right) for interval, _ in self._pieces]
        self._support = tuple((float(a), float(b)) for a, b in (tabulated if support is None else support))
        raw = sum(panel.mass for _, panels in self._pieces for panel in panels)
        atomic = sum(mass for _, mass in self._atoms)
        self._mass = raw + atomic
        self._scale = (1 - atomic) / raw if raw > 0 else 0.0
        self._stated_error, self._status, self._known = float(error), status, known

    def restated(
        self, *, more_error: float = 0.0, status: Status | None = None, known: Moments | None = None
    ) -> TabulatedLaw:
        """Return the same law with an ``error`` larger by ``more_error``, and what else is given."""
        other = copy.copy(self)
        other._stated_error = self._stated_error + float(more_error)
        other._status = self._status if status is None else status
        other._known = self._known if known is None else known
        return other

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (u, mass) in increasing order."""
        return self._atoms

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of u, in increasing order."""
        return self._support

    @property
    def mass(self) -> float:
        """Total mass before the continuous part was scaled."""
        return self._mass

    @property
    def error(self) -> float:
        """Estimated largest error of the cdf, the defect of the mass among it."""
        return self._stated_error + abs(self._mass - 1)

    @property
    def status(self) -> Status:
        """How the computation ended."""
        return self._status

    @property
    def known(self) -> Moments | None:
        """First two moments of s², found without the table."""
        return self._known

    @property
    def points(self) -> int:
        """How many values of the density the law was made from."""
        return sum(len(panel.series) for _, panels in self._pieces for panel in panels)

    @np.errstate(under="ignore")  # deep in a tail, where 0 is the right answer
    def pdf(self, u: np.ndarray) -> np.ndarray:
        """Density of u = log s (atoms left out); 0 outside the intervals."""
        u = np.asarray(u, dtype=float)
        density = np.zeros(u.shape)
        for interval, panels in self._pieces:
            inside = (u > interval.left) & (u < interval.right)
            lifted, decay = _lift(interval, panels, u[inside])
            angle = interval.angle(lifted)
            value = np.zeros(angle.shape)
            for panel in panels:
                here = (angle >= panel.lo) & (angle <= panel.hi)
                value[here] = panel.density(angle[here])
            with np.errstate(divide="ignore", invalid="ignore"):
                density[inside] = self._scale * decay * np.fmax(value / interval.slope(angle), 0.0)
        return density

    @np.errstate(under="ignore")  # deep in a tail, where 0 is the right answer
    def cdf(self, u: np.ndarray) -> np.ndarray:
        """P(log s ≤ u), atoms included; nan for the law of a solve that found nothing."""
        u = np.asarray(u, dtype=float)
        if not (self._pieces or self.atoms):
            return np.full(u.shape, np.nan)
        total = np.zeros(u.shape)
        for interval, panels in self._pieces:
            lifted, decay = _lift(interval, panels, u)
            angle = interval.angle(lifted)
            # Rounding must not lower an atom's own mass.
            below = np.sum([panel.mass_below(angle) for panel in panels], axis=0)
            total += self._scale * decay * np.maximum(below, 0.0)
        for location, mass in self.atoms:
            total += mass * (u >= location)
        return np.clip(total, 0.0, 1.0)

    def icdf(self, p: np.ndarray) -> np.ndarray:
        """Smallest u with cdf(u) ≥ p; nan for the law of a solve that found nothing."""
        p = np.asarray(p, dtype=float)
        knots = self._knots
        if knots.size == 0:
            return np.full(p.shape, np.nan)
        below = self.cdf(knots) - sum(mass * (knots == u) for u, mass in self.atoms)
        index = np.clip(np.searchsorted(np.maximum.accumulate(self.cdf(knots)), p), 0, len(knots) - 1)
        result = knots[index]
        inside = (p < below[index]) & (index > 0)  # else p falls on an atom or on the first knot
        if np.any(inside):
            lo, hi = knots[index[inside] - 1], knots[index[inside]]
            result = result.copy()
            result[inside] = self._bisect(p[inside], lo, hi)
        return result

    def moment(self, k: float) -> float:
        """E[s^{2k}], atoms included; ∞ beyond the range of doubles."""
        return self._scaled(lambda x: x**k, k)

    def variance(self) -> float:
        """Variance of s²; ∞ beyond the range of doubles."""
        with np.errstate(under="ignore"):
            mean = self.weighted(lambda u: np.exp(2 * (u - self._top)))
        return self._scaled(lambda x: (x - mean) ** 2, 2.0)

    def _scaled(self, f: Callable[[np.ndarray], np.ndarray], degree: float) -> float:
        """E[f(s²)] for homogeneous f, whose arguments are first divided by the largest s²."""
        with np.errstate(over="ignore", under="ignore"):
            value = self.weighted(lambda u: f(np.exp(2 * (u - self._top))))
            return float(np.exp(2 * degree * self._top) * value) if value else 0.0

    @property
    def _top(self) -> float:
        """The largest log s with mass."""
        ends = [interval.right for interval, _ in self._pieces] + [u for u, _ in self.atoms]
        return max((end for end in ends if math.isfinite(end)), default=0.0)

    def weighted(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """E[f(u)]; f must have a limit at −∞ if there is mass at s = 0."""
        total = sum(mass * float(f(np.asarray(u))) for u, mass in self.atoms)
        nodes, weights = _legendre(24)
        for interval, panels in self._pieces:
            for panel in panels:
                cuts = np.linspace(panel.lo, panel.hi, 9)
                half = (cuts[1:] - cuts[:-1])[:, None] / 2
                angle = cuts[:-1, None] + half * (1 + nodes)
                total += self._scale * float(
                    np.sum(half * weights * panel.density(angle) * f(interval.u(angle)))
                )
        return total

    def nodes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points u and masses of a quadrature rule for the law: the atoms, ``count`` Gauss nodes a panel."""
        nodes, weights = _legendre(count)
        points, masses = [np.array([u for u, _ in self.atoms])], [np.array([m for _, m in self.atoms])]
        for interval, panels in self._pieces:
            for panel in panels:
                half = (panel.hi - panel.lo) / 2
                angle = panel.lo + half * (1 + nodes)
                points.append(interval.u(angle))
                masses.append(self._scale * half * weights * np.maximum(panel.density(angle), 0.0))
        return np.concatenate(points), np.concatenate(masses)

    @property
    def _knots(self) -> np.ndarray:
        """Increasing points between which the cdf has no jump inside, for bracketing quantiles."""
        points = [u for u, _ in self.atoms]
        for interval, panels in self._pieces:
            for panel in panels:
                points.extend(interval.u(np.linspace(panel.lo, panel.hi, 4 * len(panel.series))))
        return np.unique(points)

    def _bisect(self, p: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
        """Root of cdf(u) = p in a bracket, by bisection with the regula falsi (Illinois) step."""
        lo = np.where(np.isneginf(lo), hi - 1.0, lo)
        for _ in range(1100):  # walk out of an unbounded bracket: the tail is exponential
            outside = self.cdf(lo) > p
            if not np.any(outside):
                break
            lo = np.where(outside, hi - 2 * (hi - lo), lo)
        for _ in range(64):
            middle = 0.5 * (lo + hi)
            below = self.cdf(middle) < p
            lo, hi = np.where(below, middle, lo), np.where(below, hi, middle)
            if np.all(hi - lo <= 2e-16 * np.maximum(np.abs(lo), np.abs(hi))):
                break
        return hi

    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The law as JSON types and arrays; `from_parts` is the inverse."""
        meta = {
            "intervals": [[_encode(i.left), i.right, i.rate, len(panels)] for i, panels in self._pieces],
            "atoms": [[_encode(u), mass] for u, mass in self.atoms],
            "error": _encode(self._stated_error),
            "status": int(self.status),
            "support": [[_encode(a), _encode(b)] for a, b in self.support],
            "known": None if self.known is None else [*self.known[:2], *self.known.error],
        }
        panels = [panel for _, panels in self._pieces for panel in panels]
        arrays = {
            "panel_ends": np.array([[panel.lo, panel.hi] for panel in panels]).reshape(-1, 2),
            "panel_sizes": np.array([len(panel.series) for panel in panels], dtype=int),
            "panel_series": np.concatenate([panel.series for panel in panels]) if panels else np.zeros(0),
        }
        return meta, arrays

    @classmethod
    def from_parts(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> TabulatedLaw:
        """Build the law again from what `to_parts` gave."""
        series = np.split(arrays["panel_series"], np.cumsum(arrays["panel_sizes"])[:-1])
        panels = [
            Panel(float(lo), float(hi), s) for (lo, hi), s in zip(arrays["panel_ends"], series, strict=False)
        ]
        pieces, start = [], 0
        for left, right, rate, count in meta["intervals"]:
            pieces.append((Interval(_decode(left), right, rate), panels[start : start + count]))
            start += count
        known = meta.get("known")
        return cls(
            pieces,
            atoms=[(_decode(u), mass) for u, mass in meta["atoms"]],
            error=_decode(meta["error"]),
            status=Status(meta["status"]),
            support=[(_decode(a), _decode(b)) for a, b in meta["support"]],
            known=Moments(known[0], known[1], (known[2], known[3])) if known else None,
        )

    @classmethod
    def from_nodes(
        cls,
        u: np.ndarray,
        density: np.ndarray,
        intervals: Sequence[Interval],
        *,
        atoms: Sequence[tuple[float, float]] = (),
        error: float = 0.0,
        status: Status = Status.CONVERGED,
        support: Sequence[tuple[float, float]] | None = None,
    ) -> TabulatedLaw:
        """Law through given points (u, density): shape-preserving cubics in θ.

        For densities whose points were chosen by someone else; `tabulate` needs far fewer points.
        ``error`` must include the interpolation error. Needs two or more points inside every interval.
        """
        from scipy.interpolate import PchipInterpolator  # scipy only where it is used

        u, density = np.asarray(u, dtype=float), np.asarray(density, dtype=float)
        if u.ndim != 1 or u.shape != density.shape:
            raise ValueError(f"density: shape {density.shape} must equal the shape {u.shape} of u, one axis")
        order = np.argsort(u)
        u, density = u[order], density[order]
        nodes, to_series = _interior(4)
        pieces = []
        for interval in intervals:
            inside = (u > interval.left) & (u < interval.right)
            if np.count_nonzero(inside) < 2:
                raise ValueError(f"u: needs two points or more inside {(interval.left, interval.right)}")
            angle = interval.angle(u[inside])
            g = density[inside] * interval.slope(angle)
            curve = PchipInterpolator(angle, g)
            cuts = np.concatenate([[0.0], angle, [np.pi]])
            panels = []
            for lo, hi in itertools.pairwise(cuts):
                value = np.clip(curve(lo + (hi - lo) / 2 * (1 + nodes)), 0, None)
                panels.append(Panel(lo, hi, to_series @ value))
            pieces.append((interval, panels))
        return cls(pieces, atoms=atoms, error=error, status=status, support=support)


def tabulate(
    density: Density,
    intervals: Sequence[Interval],
    *,
    atoms: Sequence[tuple[float, float]] = (),
    tol: float = 1e-6,
    max_points: int = 2000,
    error: float = 0.0,
    status: Status = Status.CONVERGED,
    support: Sequence[tuple[float, float]] | None = None,
) -> TabulatedLaw:
    """Tabulate the law with density p(u), u = log s, on ``intervals`` of its support.

    ``density(u)`` is called a few times, each time with an increasing array of new points, none at an end
    of an interval. Points are added until both the cdf and its first moment ∫ e^{2u} p du (relative to its
    total) change by less than ``tol`` on halving the spacing, or ``max_points`` is reached (then the status
    is MAX_ITERATIONS, unless ``status`` is already worse). The error of the law is the last change of the
    cdf, plus the given ``error`` (of the density itself, as an error of the cdf), plus the mass defect.
    A density that is not finite somewhere gives the status NOT_FINITE and an infinite error.
    """
    pieces: list[tuple[Interval, list[Panel]]] = []
    count, change, bad = 0, 0.0, False
    for interval in intervals:
        work, done = [(0.0, np.pi)], []
        while work:
            lo, hi = work.pop(0)
            panel, shift, used, finite = _fit_panel(density, interval, lo, hi, tol, max_points - count)
            count += used
            bad = bad or not finite
            if shift > tol and finite and count < max_points:
                middle = 0.5 * (lo + hi)
                work[:0] = [(lo, middle), (middle, hi)]
                continue
            change += shift
            done.append(panel)
        pieces.append((interval, done))
    if bad:
        status, change = Status.NOT_FINITE, math.inf
    elif change > 10 * tol and status is Status.CONVERGED:
        status = Status.MAX_ITERATIONS
    return TabulatedLaw(pieces, atoms=atoms, error=error + change, status=status, support=support)


def _lift(interval: Interval, panels: Sequence[Panel], u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move points of an exponential tail up to its first tabulated point; return (points, e^{κ·distance}).

    Below that point the series knows the tail only in absolute terms, the pure exponential in relative ones.
    """
    if interval.left > -math.inf:
        return u, np.ones(u.shape)
    lo, hi, size = panels[0].lo, panels[0].hi, len(panels[0].series)
    first = float(interval.u(np.asarray(lo + (hi - lo) * np.sin(np.pi / (2 * size + 2)) ** 2)))
    return np.maximum(u, first), np.exp(interval.rate * np.minimum(u - first, 0.0))


def _fit_panel(
    density: Density, interval: Interval, lo: float, hi: float, tol: float, budget: int
) -> tuple[Panel, float, int, bool]:
    """Fit g on one panel with nested points; return (panel, last change, values used, all finite)."""
    values: np.ndarray | None = None
    previous: Panel | None = None
    panel = Panel(lo, hi, np.zeros(1))
    shift = math.inf
    for level in _LEVELS:
        nodes, to_series = _interior(level)
        angle = lo + (hi - lo) / 2 * (1 + nodes)
        fresh = np.ones(level, dtype=bool)
        if values is not None:
            fresh[1::2] = False
        g = np.empty(level)
        g[fresh] = density(interval.u(angle[fresh])) * interval.slope(angle[fresh])
        if values is not None:
            g[1::2] = values
        if not np.all(np.isfinite(g)):
            return Panel(lo, hi, to_series @ np.nan_to_num(g, posinf=0.0, neginf=0.0)), math.inf, level, False
        values, previous, panel = g, panel, Panel(lo, hi, to_series @ g)
        if level > _LEVELS[0]:
            shift = _difference(interval, panel, previous)
            if shift <= tol or level >= budget:
                return panel, shift, level, True
    return panel, shift, _LEVELS[-1], True


def _difference(interval: Interval, panel: Panel, other: Panel) -> float:
    """Largest change of the cdf and of the (relative) first moment below θ between two fits of one panel."""
    angle = np.linspace(panel.lo, panel.hi, 129)
    cdf = np.max(np.abs(panel.mass_below(angle) - other.mass_below(angle)))
    weight = np.exp(2 * (interval.u(angle) - interval.right))
    first, second = weight * panel.density(angle), weight * other.density(angle)
    total = np.sum(np.abs(first))
    moment = np.abs(np.sum(first - second)) / total if total > 0 else 0.0
    # The relative first moment of a panel far below the edge does not matter: weigh it by its share.
    share = min(1.0, float(np.max(weight)))
    return float(max(cdf, moment * share))


@lru_cache(maxsize=8)
def _interior(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points −cos(jπ/(n+1)), j = 1..n, and the matrix from values there to Chebyshev coefficients."""
    nodes = -np.cos(np.pi * np.arange(1, n + 1) / (n + 1))
    return nodes, np.linalg.inv(chebyshev.chebvander(nodes, n - 1))


@lru_cache(maxsize=2)
def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n)


def _encode(x: float) -> float | str:
    """Infinities as strings, because JSON has none."""
    return x if math.isfinite(x) else repr(x)


def _decode(x: float | str) -> float:
    return float(x)
