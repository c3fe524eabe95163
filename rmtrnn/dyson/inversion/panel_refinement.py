"""Where to put the points of a law in u = log s: halving of panels, and steps outwards into the tails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.inversion.tail_extension import TAILS
from rmtrnn.dyson.self_energy import SelfEnergy


@dataclass(frozen=True)
class Settings:
    """Accuracy of a law.

    ``tol`` of the interpolated cdf, and a third of that of m_1 (relative); ``tail``, the mass beyond the
    outermost points; ``mass_resolution``, the mass of a few sites where these are a random population: less
    than that is not resolved; ``max_points``; ``solver_tol``, relative, of the self-energies at the points.
    """

    tol: float = 1e-4
    tail: float = 1e-4
    mass_resolution: float = 0.0
    max_points: int = 400
    solver_tol: float = 1e-3


@dataclass(frozen=True)
class PanelSettings:
    """Numbers of the placement of points; moved by three both ways in tests/dyson/test_numbers.py."""

    # Weight of the first moment, relative to m_1, beside the cdf where points are placed.
    moment: float = 0.3
    # Distance in u below which no point is put between two.
    shortest: float = 1e-4
    # Of mass/density, the length of a step outwards: divides the mass of an exponential tail by e, and goes
    # two thirds of the way to a square-root edge (mass/density is 2/3 of the distance there).
    step: float = 1.1
    # Of the range known so far: this far below a density that is still there lies an atom.
    longest_step: float = 0.6
    # Error without a point, relative to that with it, below which the point is left out. Derived: without one
    # that belongs to the others it is larger, by up to 16 times.
    stray: float = 0.5
    # Share of the distance to a known point outside that a step may take.
    room: float = 0.5


PANELS = PanelSettings()
_LARGEST_EXPONENT = 60.0  # of a moment's weight: beyond, it is infinite for every purpose


def panels_to_halve(
    u: np.ndarray, cdf: np.ndarray, density: np.ndarray, centre: float, settings: Settings, seen: bool = True
) -> np.ndarray:
    """Left indices of the panels to halve: where the cubic through both ends may be wrong by ``tol``.

    ``centre`` = log(m_1)/2. ``seen``: whether the points are dense enough for F to be smooth between them;
    if not, the panels may err by half of their rise.
    """
    width, rise = np.diff(u), np.diff(cdf)
    empty = density <= TAILS.empty * density.max(initial=0.0)
    outside, edge = empty[1:] & empty[:-1], empty[1:] != empty[:-1]
    error = np.where(outside | (not seen), np.abs(rise) / 2, errors_of_cubics(u, cdf, density))
    # The end lies in the panel. Of one mass and density there, an exponential tail and a square-root edge
    # differ by 0.22 of the mass.
    error = np.where(edge, np.abs(rise) / 4, error)
    moment = 2.0 * width * np.exp(np.minimum(2 * (u[1:] - centre), _LARGEST_EXPONENT))
    importance = np.maximum(1.0, PANELS.moment * moment)
    beyond = (cdf[1:] < settings.tail) | (cdf[:-1] > 1 - settings.tail)
    bad = (error * importance > settings.tol) & ~beyond
    return np.flatnonzero(bad & (rise > settings.mass_resolution) & (width > PANELS.shortest))


def errors_of_cubics(u: np.ndarray, cdf: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Error of F in each panel by the cubic C that has F and F' of both ends.

    The quartic that also has F of a neighbouring point, at the distances a and b from the ends of a panel of
    width h, differs from C by its value at that point times (x - x_0)² (x - x_1)²/(a b)², in the middle of
    the panel by h⁴/(4 a b)². Here is the larger difference of both neighbours: F that one of them does not
    tell from C by accident, the other does. A monotone curve errs by half of the rise at most.
    """
    rise, width = np.diff(cdf), np.diff(u)
    largest = 0.5 * np.abs(rise)
    if u.size < 3 or not (width > 0).all():
        return largest
    error = np.zeros(width.size)
    for first, neighbour in ((1, slice(None, -2)), (0, slice(2, None))):
        panel = slice(first, first + u.size - 2)
        h = width[panel]
        t = (u[neighbour] - u[panel]) / h
        start, end = density[panel] * h, density[1:][panel] * h
        cubic = cdf[panel] + t * (start + t * (3 * rise[panel] - 2 * start - end))
        cubic += t**3 * (start + end - 2 * rise[panel])
        error[panel] = np.maximum(error[panel], np.abs(cdf[neighbour] - cubic) / (4 * t * (1 - t)) ** 2)
    return np.minimum(error, largest)


def stray_point(u: np.ndarray, cdf: np.ndarray, density: np.ndarray, tol: float) -> int | None:
    """The point that contradicts the others most; None where there is none.

    Such a point lies on another branch of the Dyson equation, though F does not fall there: one cubic without
    it errs by far less than the worse of both beside it, and that by more than ``tol``. A point that belongs
    to the others makes panels half as wide and errors smaller.
    """
    errors, ratio = errors_of_cubics(u, cdf, density), np.ones(u.size)
    for i in range(1, u.size - 1):
        worst = max(errors[i - 1 : i + 1])
        if worst > tol:
            ratio[i] = errors_of_cubics(*(np.delete(one, i) for one in (u, cdf, density)))[i - 1] / worst
    return int(np.argmin(ratio)) if ratio.min(initial=1.0) < PANELS.stray else None


class TailOfPoints(NamedTuple):
    """What lies beyond the outermost point inside the support on one side.

    ``inside``: all points inside the support; ``end``: the outermost of them; ``mass`` beyond it; ``step``:
    the length that divides an exponential tail by e, within the room that there is; ``is_bounded``: whether a
    point outside the support is known.
    """

    inside: np.ndarray
    end: int
    mass: float
    step: float
    is_bounded: bool


def tail_of(u: np.ndarray, cdf: np.ndarray, density: np.ndarray, side: int) -> TailOfPoints | None:
    """The tail of points of ascending u on one side; None for fewer than two points inside the support."""
    inside = np.flatnonzero(density > TAILS.empty * density.max(initial=0.0))
    if inside.size < 2:
        return None
    end = int(inside[-1] if side > 0 else inside[0])
    is_bounded = 0 <= end + side < u.size
    if is_bounded:
        mass, room = abs(cdf[end + side] - cdf[end]), PANELS.room * abs(u[end + side] - u[end])
    else:
        mass, room = abs(0.5 * (1 + side) - cdf[end]), PANELS.longest_step * (u[inside[-1]] - u[inside[0]])
    step = min(PANELS.step * mass / density[end], room)
    return TailOfPoints(inside, end, float(mass), float(step), is_bounded)


def step_outwards(
    u: np.ndarray, cdf: np.ndarray, density: np.ndarray, side: int, centre: float, settings: Settings
) -> tuple[int, float] | None:
    """The last point inside on one side and the step to take from it; None where the tail is short enough.

    On the upper side the mass is weighed by s²/m_1.
    """
    tail = tail_of(u, cdf, density, side)
    if tail is None:
        return None
    moment = math.exp(min(2 * (u[tail.end] - centre), _LARGEST_EXPONENT)) if side > 0 else 0.0
    if tail.mass * max(1.0, PANELS.moment * moment) < settings.tail or tail.mass < settings.mass_resolution:
        return None
    return tail.end, tail.step


def step_to_known_end(solution: Solution, side: int, tail: float) -> tuple[np.ndarray, int, float] | None:
    """Points inside the support, the outermost of them on one side, and u between it and the next outside.

    None where less than ``tail`` lies between, or where no point outside is known.
    """
    good = solution.converged
    found = tail_of(solution.u, solution.survival, np.where(good, solution.density, 0.0), side)
    if found is None or not found.is_bounded or not good[found.end + side] or found.mass < tail:
        return None
    last = found.inside.size - 1 if side > 0 else 0
    return found.inside, last, float(solution.u[found.end] + side * found.step)


def extrapolate(
    u: np.ndarray, sigma: SelfEnergy, ends: np.ndarray, side: np.ndarray, to: np.ndarray
) -> SelfEnergy:
    """Self-energies at ``to`` beyond the points ``ends``: the power of λ through these and the next."""
    inner = ends - side
    share = ((to - u[ends]) / (u[ends] - u[inner]))[:, None]

    def carried(values: np.ndarray) -> np.ndarray:
        logs = np.log(values[ends]) - np.log(values[inner])
        return values[ends] * np.exp(logs * share)

    return SelfEnergy(carried(sigma.y), carried(sigma.x))


def between(sigma: SelfEnergy, left: np.ndarray, part: np.ndarray | float = 0.5) -> SelfEnergy:
    """Self-energies at a ``part`` of the panels that begin at ``left``: powers of lambda through both ends.

    Where those at one end are real, the complex ones, which find both.
    """
    part = np.broadcast_to(part, np.shape(left))[:, None]

    def interpolated(values: np.ndarray) -> np.ndarray:
        low, high = values[left], values[left + 1]
        flat_low = np.abs(np.imag(low)) < 1e-6 * np.abs(low)
        flat_high = np.abs(np.imag(high)) < 1e-6 * np.abs(high)
        logs = (1 - part) * _log_below_axis(low) + part * _log_below_axis(high)
        return np.where(flat_low & ~flat_high, high, np.where(flat_high & ~flat_low, low, np.exp(logs)))

    return SelfEnergy(interpolated(sigma.y), interpolated(sigma.x))


def _log_below_axis(values: np.ndarray) -> np.ndarray:
    """log with -pi <= arg <= 0, continuous in the lower half plane and on its boundary."""
    return np.log(np.abs(values)) - 1j * np.abs(np.angle(values))
