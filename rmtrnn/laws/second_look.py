"""A second look at a law: what holds for every law, and what no construction of the package enforces.

The mass is 1; F lies in [0, 1], rises, is flat off the support, 0 on its left and 1 on its right; the
density is not negative, which is the sign of Im G; and E[g] of one bounded g is what the first moment says. A
law errs by at least what fails here, a *defect*, in units of F.

Letters: u, the variable of the law: log s for spectra.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rmtrnn._core.status import Status


class Distribution(Protocol):
    """What is looked at: a law of any variable as functions of arrays."""

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def support(self) -> tuple[tuple[float, float], ...]: ...

    def pdf(self, u: np.ndarray, /) -> Any: ...
    def cdf(self, u: np.ndarray, /) -> Any: ...


@dataclass(frozen=True)
class LookSettings:
    """Numbers of the second look; moved by three both ways in tests/laws/test_second_look.py."""

    # Gauss nodes between two marks, and half as many for the error of the quadrature. Empirical: 1e-9 for
    # smooth densities between square-root edges.
    nodes: int = 48
    # Times the difference of the two, below which a first moment agrees. Derived: 2 for F with a kink.
    quadrature: float = 10.0
    # Stated errors that a defect may have, since these are estimates, and what it may have beside them. The
    # second is empirical: ten times the rounding of log s at T = 10^5.
    errors: float = 3.0
    rounding: float = 1e-6
    # Distance from the ends of intervals, relative to 1 + |u|, at which F is looked at. Empirical: the error
    # of an edge at T = 10^5.
    beside: float = 1e-6
    # Decay of the weight of the first moment at which it ends, and where its range is cut. Derived: e^-40 is
    # rounding of rounding.
    cuts: tuple[float, ...] = (1.0, 3.0, 8.0, 20.0, 40.0)


SETTINGS = LookSettings()


@dataclass(frozen=True)
class KnownMean:
    """E[g] = ``value`` for the increasing g with derivative ``slope``, g = 0 at the bottom and 1 at the top.

    ``uncertainty``: absolute error of the value. ``cuts``: where to cut the range of the quadrature.
    """

    slope: Callable[[np.ndarray], np.ndarray]
    value: float
    uncertainty: float = 0.0
    cuts: tuple[float, ...] = ()


@dataclass(frozen=True)
class SecondLook:
    """What was found: pairs of a name and a defect in units of F; and the ``error`` that is stated."""

    error: float
    defects: tuple[tuple[str, float], ...]

    @property
    def defect(self) -> float:
        """The largest defect."""
        return max((size for _, size in self.defects), default=0.0)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of what fails by more than the stated error explains."""
        allowed = SETTINGS.errors * self.error + SETTINGS.rounding
        return tuple(name for name, size in self.defects if not size <= allowed)

    @property
    def covering_error(self) -> float:
        """The stated error, or the largest defect beyond rounding."""
        return max(self.error, self.defect) if self.defect > SETTINGS.rounding else self.error

    @property
    def status(self) -> Status:
        """INCONSISTENT if anything fails."""
        return Status.INCONSISTENT if self.failed else Status.CONVERGED

    @property
    def message(self) -> str:
        """What fails and by how much, then what the status says."""
        return "; ".join(part for part in (self.cause, self.status.message) if part)

    @property
    def cause(self) -> str:
        """What fails and by how much; empty if nothing does."""
        sizes = dict(self.defects)
        return "; ".join(f"{name} off by {sizes[name]:.1e}" for name in self.failed)


def second_look(
    law: Distribution, *, error: float, mass: float = 1.0, mean: KnownMean | None = None, floor: float = 0.0
) -> SecondLook:
    """Look at a law that states an ``error`` of F and has a computed ``mass``.

    ``law`` is any law with pdf, cdf, support and atoms as functions of arrays. ``floor``: the least value
    of the density in units of mass, where ``law.pdf`` cuts it off at 0.
    """
    found = [("mass", abs(mass - 1.0)), ("support", _worst(np.array(_outside(law))))]
    marks = _marks(law)
    if len(marks) > 1:
        marks += [cut for cut in (mean.cuts if mean else ()) if marks[0] < cut < marks[-1]]
        u, weights = _rule(sorted(marks), SETTINGS.nodes)
        values = law.cdf(u)
        excess = [float(values.max()) - 1.0, -float(values.min())]
        found.append(("distribution function", _worst(np.append(-np.diff(values), excess))))
        found.append(("sign of Im G", max(-floor, _worst(-law.pdf(u)))))
        if mean is not None:
            coarse, w = _rule(sorted(marks), SETTINGS.nodes // 2)
            fine = 1.0 - float(np.sum(weights * values * mean.slope(u)))
            other = 1.0 - float(np.sum(w * law.cdf(coarse) * mean.slope(coarse)))
            slack = SETTINGS.quadrature * abs(fine - other) + mean.uncertainty
            found.append(("first moment", _worst(np.array([abs(fine - mean.value) - slack]))))
    return SecondLook(error, tuple((name, float(size)) for name, size in found))


def mean_of_power(
    law: Distribution, power: float, log_mean: float, relative_error: float = 0.0
) -> KnownMean | None:
    """E[e^{power·u}] = e^log_mean in units of its largest value; None where there is none."""
    top = max([end for piece in law.support for end in piece] + [u for u, _ in law.atoms], default=-math.inf)
    if not math.isfinite(top) or not math.isfinite(relative_error):
        return None
    with np.errstate(under="ignore"):
        value = float(np.exp(min(log_mean - power * top, 1.0)))

    def slope(u: np.ndarray) -> np.ndarray:
        with np.errstate(under="ignore"):
            return power * np.exp(power * (u - top))

    cuts = tuple(top - cut / power for cut in SETTINGS.cuts)
    return KnownMean(slope, value, value * relative_error, cuts)


def mean_on_line(law: Distribution, mean: float) -> KnownMean | None:
    """E[x] = ``mean`` in units of the length of the law; None for a single point."""
    ends = [end for piece in law.support for end in piece] + [x for x, _ in law.atoms]
    low, high = min(ends), max(ends)
    if not high > low:
        return None
    return KnownMean(lambda x: np.full(x.shape, 1.0 / (high - low)), (mean - low) / (high - low))


def _ends(law: Distribution) -> list[float]:
    """Ends of the support, and atoms."""
    return sorted({end for piece in law.support for end in piece} | {u for u, _ in law.atoms})


def _marks(law: Distribution) -> list[float]:
    """The finite ones of `_ends`, with stand-ins for −∞ and ∞."""
    ends = _ends(law)
    finite = [end for end in ends if math.isfinite(end)]
    if not finite:
        return []
    below = [finite[-1] - SETTINGS.cuts[-1]] if ends[0] == -math.inf else []
    above = [finite[0] + SETTINGS.cuts[-1]] if ends[-1] == math.inf else []
    return sorted({*below, *finite, *above})


def _outside(law: Distribution) -> list[float]:
    """F left of all, 1 − F right of all, and by how much F rises inside each gap."""
    ends = _ends(law)
    if not ends:
        return [1.0]
    margin = SETTINGS.beside * (1.0 + np.abs(ends))
    found = [float(law.cdf(ends[:1] - margin[:1])[0])] if math.isfinite(ends[0]) else []
    if math.isfinite(ends[-1]):
        found.append(1.0 - float(law.cdf(ends[-1:] + margin[-1:])[0]))
    return found + _rises(law)


def _rises(law: Distribution) -> list[float]:
    """By how much F rises inside each gap."""
    marks = sorted([*law.support, *((u, u) for u, _ in law.atoms if math.isfinite(u))])
    rises, edge = [], -math.inf
    for (_, left), (right, _) in itertools.pairwise(marks):
        edge = max(edge, left)
        margin = SETTINGS.beside * (1.0 + abs(right))
        if math.isfinite(edge) and right - edge > 4.0 * margin:
            inner = law.cdf(np.array([edge + margin, right - margin]))
            rises.append(float(abs(inner[1] - inner[0])))
    return rises


def _rule(marks: list[float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes between neighbouring marks in the angle in which square-root edges are smooth."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    angle = 0.5 * math.pi * (1.0 + nodes)
    left, length = np.array(marks[:-1])[:, None], np.diff(marks)[:, None]
    u = left + length * np.sin(0.5 * angle) ** 2
    return u.ravel(), (0.25 * math.pi * length * weights * np.sin(angle)).ravel()


def _worst(sizes: np.ndarray) -> float:
    """The largest, 0 if none is positive, 1 if any is nan."""
    if np.any(np.isnan(sizes)):
        return 1.0
    return max(0.0, float(np.max(sizes, initial=0.0)))
