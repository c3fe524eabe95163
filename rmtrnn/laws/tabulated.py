"""A law of u = log s known through its density: intervals of panels (`rmtrnn.laws.panels`), and atoms."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.laws.moments import Moments
from rmtrnn.laws.panels import Interval, Panel, Piece, monotone_panels
from rmtrnn.laws.tabulation import fit
from rmtrnn.numerics.bisection import root_between

__all__ = ["Interval", "Panel", "TabulatedLaw", "monotone_panels", "tabulate"]


class TabulatedLaw:
    """Law of u = log s made of tabulated intervals and atoms (the second form of `LogLaw`).

    Parameters: ``pieces``, pairs of an `Interval` and its panels (in order of θ, covering [0, π]);
    ``atoms``, pairs (u, mass) with u = −∞ for s = 0; ``error``, the caller's estimate of the error of the
    cdf (interpolation included); ``status``; ``support``, the true support where it is larger than the
    tabulated intervals (density too small to matter beyond them).

    The continuous part is scaled so that the total mass is 1; ``mass`` is the total before scaling and
    |mass − 1| is added to ``error``.

    ``cause``: what stood in the way of the solver, in words.
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
        cause: str = "",
    ) -> None:
        self._pieces = [Piece(*pair) for pair in sorted(pieces, key=lambda pair: pair[0].left)]
        self._atoms = tuple(sorted((float(u), float(mass)) for u, mass in atoms))
        tabulated = [(piece.interval.left, piece.interval.right) for piece in self._pieces]
        self._support = tuple((float(a), float(b)) for a, b in (tabulated if support is None else support))
        raw = sum(piece.mass for piece in self._pieces)
        atomic = sum(mass for _, mass in self._atoms)
        self._mass = raw + atomic
        self._scale = (1 - atomic) / raw if raw > 0 else 0.0
        self._stated_error, self._status, self._known = float(error), status, known
        self._cause = cause

    def restated(
        self,
        *,
        more_error: float = 0.0,
        status: Status | None = None,
        known: Moments | None = None,
        cause: str = "",
    ) -> TabulatedLaw:
        """Return the same law with an ``error`` larger by ``more_error``, and what else is given."""
        other = copy.copy(self)
        other._stated_error = self._stated_error + float(more_error)
        other._status = self._status if status is None else status
        other._known = self._known if known is None else known
        other._cause = cause or self._cause
        return other

    def with_zeros(self, share: float) -> TabulatedLaw:
        """Return the mixture of ``share`` of an atom at s = 0 with 1 − ``share`` of this law."""
        if share == 0.0 or not (self._pieces or self._atoms):
            return self
        kept, atoms = 1.0 - share, dict(self._atoms)
        atoms[-math.inf] = share + kept * atoms.pop(-math.inf, 0.0)
        for u in atoms.keys() - {-math.inf}:
            atoms[u] *= kept
        panels = [
            (piece.interval, [Panel(panel.lo, panel.hi, kept * panel.series) for panel in piece.panels])
            for piece in self._pieces
        ]
        return TabulatedLaw(
            panels,
            atoms=list(atoms.items()),
            error=self._stated_error,
            status=self._status,
            support=self._support,
            cause=self._cause,
        )

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
    def cause(self) -> str:
        """What stood in the way of the solver, in words; empty where nothing did."""
        return self._cause

    @property
    def known(self) -> Moments | None:
        """First two moments of s², found without the table."""
        return self._known

    @property
    def panels(self) -> int:
        """How many panels the law is made of."""
        return sum(len(piece.panels) for piece in self._pieces)

    @property
    def points(self) -> int:
        """How many values of the density the law was made from."""
        return sum(len(panel.series) for piece in self._pieces for panel in piece.panels)

    @np.errstate(under="ignore")  # deep in a tail, where 0 is the right answer
    def pdf(self, u: np.ndarray) -> np.ndarray:
        """Density of u = log s (atoms left out); 0 outside the intervals."""
        u = np.asarray(u, dtype=float)
        return self._scale * sum((piece.density(u) for piece in self._pieces), np.zeros(u.shape))

    def cdf(self, u: np.ndarray) -> np.ndarray:
        """P(log s ≤ u), atoms included; nan for the law of a solve that found nothing."""
        u = np.asarray(u, dtype=float)
        if not (self._pieces or self._atoms):
            return np.full(u.shape, np.nan)
        atomic = sum((mass * (u >= location) for location, mass in self._atoms), np.zeros(u.shape))
        return np.clip(self._continuous(u) + atomic, 0.0, 1.0)

    def icdf(self, p: np.ndarray) -> np.ndarray:
        """Smallest u with cdf(u) ≥ p; nan for the law of a solve that found nothing.

        In a hard edge's tail by its exponential, elsewhere by Chandrupatla's bracketed search between knots.
        """
        p = np.asarray(p, dtype=float)
        knots, at, below = self._knots
        if knots.size == 0:
            return np.full(p.shape, np.nan)
        index = np.clip(np.searchsorted(at, p), 0, len(knots) - 1)
        result = knots[index]
        inside = (p < below[index]) & (index > 0)  # else p falls on an atom or on the first knot
        low, high = knots[np.maximum(index - 1, 0)], knots[index]
        tail = inside & np.isneginf(low)
        if np.any(tail):
            result[tail] = self._tail_quantile(p[tail], high[tail], below[index[tail]])
        search = inside & ~tail
        if np.any(search):
            found = root_between(lambda u, p: self.cdf(u) - p, (low[search], high[search]), args=(p[search],))
            # Without a change of sign p is, to rounding, the value at the upper knot.
            result[search] = np.where(found.success, found.x, high[search])
        return result

    def moment(self, k: float) -> float:
        """E[s^{2k}], atoms included; ∞ beyond the range of doubles."""
        return self._scaled(lambda x: x**k, k)

    def variance(self) -> float:
        """Variance of s²; ∞ beyond the range of doubles."""
        with np.errstate(under="ignore"):
            mean = self.expectation(lambda u: np.exp(2 * (u - self._top)))
        return self._scaled(lambda x: (x - mean) ** 2, 2.0)

    def expectation(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """E[f(u)]; f must have a limit at −∞ if there is mass at s = 0."""
        total = sum(mass * float(f(np.asarray(u))) for u, mass in self._atoms)
        return total + self._scale * sum(piece.integral(f) for piece in self._pieces)

    def nodes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points u and masses of a quadrature rule for the law: the atoms, ``count`` Gauss nodes a panel."""
        points, masses = [np.array([u for u, _ in self._atoms])], [np.array([m for _, m in self._atoms])]
        for piece in self._pieces:
            u, mass = piece.nodes(count)
            points.append(u)
            masses.append(self._scale * mass)
        return np.concatenate(points), np.concatenate(masses)

    @np.errstate(under="ignore")  # deep in a tail, where 0 is the right answer
    def _continuous(self, u: np.ndarray) -> np.ndarray:
        return self._scale * sum((piece.mass_below(u) for piece in self._pieces), np.zeros(u.shape))

    def _scaled(self, f: Callable[[np.ndarray], np.ndarray], degree: float) -> float:
        """E[f(s²)] for homogeneous f, whose arguments are first divided by the largest s²."""
        with np.errstate(over="ignore", under="ignore"):
            value = self.expectation(lambda u: f(np.exp(2 * (u - self._top))))
            return float(np.exp(2 * degree * self._top) * value) if value else 0.0

    @property
    def _top(self) -> float:
        """The largest log s with mass."""
        ends = [piece.interval.right for piece in self._pieces] + [u for u, _ in self._atoms]
        return max((end for end in ends if math.isfinite(end)), default=0.0)

    @functools.cached_property
    def _knots(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Increasing points between which the cdf has no jump inside, the cdf there, and just below them."""
        atoms = np.array([u for u, _ in self._atoms])
        knots = np.unique(np.concatenate([atoms, *(piece.knots() for piece in self._pieces)]))
        at = self.cdf(knots)
        below = at - sum((mass * (knots == u) for u, mass in self._atoms), np.zeros(knots.shape))
        return knots, np.maximum.accumulate(at), below

    def _tail_quantile(self, p: np.ndarray, knot: np.ndarray, below: np.ndarray) -> np.ndarray:
        """The quantile in the tail C e^{κu} of a hard edge under its first knot."""
        at_zero = sum(mass for u, mass in self._atoms if u == -math.inf)
        return knot + np.log((p - at_zero) / (below - at_zero)) / self._pieces[0].interval.rate

    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The law as JSON types and arrays; `from_parts` is the inverse."""
        intervals = [(piece.interval, len(piece.panels)) for piece in self._pieces]
        meta = {
            "intervals": [[_encode(i.left), i.right, i.rate, count] for i, count in intervals],
            "atoms": [[_encode(u), mass] for u, mass in self._atoms],
            "error": _encode(self._stated_error),
            "status": int(self._status),
            "support": [[_encode(a), _encode(b)] for a, b in self._support],
            "known": None if self._known is None else [*self._known[:2], *self._known.error],
            "cause": self._cause,
        }
        panels = [panel for piece in self._pieces for panel in piece.panels]
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
            cause=meta.get("cause", ""),
        )


def tabulate(
    density: Callable[[np.ndarray], np.ndarray],
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
    pieces, change, finite = fit(density, intervals, tol, max_points)
    if not finite:
        status, change = Status.NOT_FINITE, math.inf
    elif change > 10 * tol and status is Status.CONVERGED:
        status = Status.MAX_ITERATIONS
    return TabulatedLaw(pieces, atoms=atoms, error=error + change, status=status, support=support)


def _encode(x: float) -> float | str:
    """Infinities as strings, because JSON has none."""
    return x if math.isfinite(x) else repr(x)


def _decode(x: float | str) -> float:
    return float(x)
