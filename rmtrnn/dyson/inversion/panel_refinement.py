"""Where to put the points of a law in u = log s: halving of panels, and steps outwards into the tails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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
    # Share of the distance to a known point outside that a step may take.
    room: float = 0.5
    # Of the change of the density, as error of a cubic; of the cdf per 8: |p_1 - p_0| h/8 is the error of a
    # straight line in F' (trapezium), of which a cubic leaves this much. Empirical.
    bend: float = 0.02
    # Times `Settings.tol` that a panel may err by: the bound is that of a panel twice as wide.
    allowance: float = 4.0


PANELS = PanelSettings()
_LARGEST_EXPONENT = 60.0  # of a moment's weight: beyond, it is infinite for every purpose


def panels_to_halve(
    u: np.ndarray, cdf: np.ndarray, density: np.ndarray, centre: float, settings: Settings
) -> np.ndarray:
    """Left indices of the panels to halve: where the cubic through both ends may be wrong by ``tol``.

    ``centre`` = log(m_1)/2.
    """
    width, rise = np.diff(u), np.diff(cdf)
    mean = 0.5 * (density[1:] + density[:-1])
    bend = np.abs(np.diff(density)) * width / 8.0
    defect = np.abs(rise - mean * width)
    empty = density <= TAILS.empty * density.max(initial=0.0)
    outside, edge = empty[1:] & empty[:-1], empty[1:] != empty[:-1]
    error = np.where(outside, np.abs(rise) / 2, np.maximum(defect, PANELS.bend * bend))
    error = np.where(edge, np.abs(rise), error)  # the end lies somewhere in the panel
    moment = 2.0 * width * np.exp(np.minimum(2 * (u[1:] - centre), _LARGEST_EXPONENT))
    importance = np.maximum(1.0, PANELS.moment * moment)
    beyond = (cdf[1:] < settings.tail) | (cdf[:-1] > 1 - settings.tail)
    bad = (error * importance > PANELS.allowance * settings.tol) & ~beyond
    return np.flatnonzero(bad & (rise > settings.mass_resolution) & (width > PANELS.shortest))


def step_outwards(
    u: np.ndarray, cdf: np.ndarray, density: np.ndarray, side: int, centre: float, settings: Settings
) -> tuple[int, float] | None:
    """The last point inside on one side and the step to take from it; None where the tail is short enough.

    On the upper side the mass is weighed by s^2/m_1.
    """
    filled = np.flatnonzero(density > TAILS.empty * density.max())
    if filled.size < 2:
        return None
    end = int(filled[-1] if side > 0 else filled[0])
    known = 0 <= end + side < u.size
    bound = cdf[end + side] if known else 0.5 * (1 + side)
    left = abs(bound - cdf[end])
    length = PANELS.longest_step * (u[filled[-1]] - u[filled[0]])
    room = PANELS.room * abs(u[end + side] - u[end]) if known else length
    moment = math.exp(min(2 * (u[end] - centre), _LARGEST_EXPONENT)) if side > 0 else 0.0
    if left * max(1.0, PANELS.moment * moment) < settings.tail or left < settings.mass_resolution:
        return None
    return end, float(min(PANELS.step * left / density[end], room))


def step_to_known_end(solution: Solution, side: int, tail: float) -> tuple[np.ndarray, int, float] | None:
    """Points inside the support, the outermost of them on one side, and u between it and the next outside.

    None where less than ``tail`` lies between, or where no point outside is known.
    """
    good = solution.converged
    inside = np.flatnonzero(good & (solution.density > TAILS.empty * solution.density[good].max(initial=0.0)))
    if inside.size < 2:
        return None
    end = inside[-1 if side > 0 else 0]
    outside = end + side
    if not 0 <= outside < good.size or not good[outside]:
        return None
    mass = abs(float(solution.upper[outside] - solution.upper[end]))
    room = abs(float(solution.u[outside] - solution.u[end]))
    if mass < tail:
        return None
    length = min(PANELS.step * mass / float(solution.density[end]), PANELS.room * room)
    return inside, inside.size - 1 if side > 0 else 0, float(solution.u[end] + side * length)


def extrapolate(
    u: np.ndarray, sigma: SelfEnergy, ends: np.ndarray, side: np.ndarray, to: np.ndarray
) -> SelfEnergy:
    """Self-energies at ``to`` beyond the points ``ends``: the power of lambda through these and the next."""
    inner = ends - side
    share = ((to - u[ends]) / (u[ends] - u[inner]))[:, None]

    def carried(values: np.ndarray) -> np.ndarray:
        logs = np.log(values[ends]) - np.log(values[inner])
        return values[ends] * np.exp(logs * share)

    return SelfEnergy(carried(sigma.y), carried(sigma.x))


def between(sigma: SelfEnergy, left: np.ndarray) -> SelfEnergy:
    """Mean of neighbouring self-energies; where one of them is real, the complex one, which finds both."""

    def mean(values: np.ndarray) -> np.ndarray:
        low, high = values[left], values[left + 1]
        flat_low = np.abs(np.imag(low)) < 1e-6 * np.abs(low)
        flat_high = np.abs(np.imag(high)) < 1e-6 * np.abs(high)
        return np.where(flat_low & ~flat_high, high, np.where(flat_high & ~flat_low, low, 0.5 * (low + high)))

    return SelfEnergy(mean(sigma.y), mean(sigma.x))


def refine_panels(
    solution: Solution, solve: Callable[[float, SelfEnergy], Solution], centre: float, settings: Settings
) -> Solution:
    """Halve panels until cubics in F are good to ``settings.tol``; ``solve(u, guess)`` gives one point."""
    while len(solution.u) < settings.max_points:
        solution = solution.sorted()
        good = solution.at(solution.converged)
        middle = panels_to_halve(good.u, good.cdf, np.maximum(good.density, 0.0), centre, settings)
        u = 0.5 * (good.u[middle] + good.u[middle + 1])
        new = np.flatnonzero(~np.isin(u, solution.u))
        if new.size == 0:
            break
        for i in new:
            solution = solution.joined(solve(float(u[i]), between(good.sigma, middle[[i]])))
    return solution.sorted()
