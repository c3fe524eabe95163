"""Points of the law of a long chain: from a short one to its middle, and from there to both ends.

At large λ an error of the form (31) grows along the steps; in the middle of the law it does not. So the first
point comes from the dense equations of a short chain, there. Its functions of time are stretched: what is
next to an end stays, what lies between becomes longer; λ grows by what one more step takes. The fixed point
is found again, and so on, to twice as many steps each time.

Letters: u = log s; T, steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.inversion.tail_extension import power_tail
from rmtrnn.dyson.tied.iteration import Differences
from rmtrnn.dyson.tied.memory_form import Memory, memories
from rmtrnn.dyson.tied.memory_sites import MemorySites, SelfEnergies, Solved
from rmtrnn.dyson.tied.node import Node
from rmtrnn.dyson.tied.way_back import on_the_real_axis


@dataclass(frozen=True)
class StretchSettings:
    """Numbers of the way to a long chain, and along its law."""

    # Radians: the first arg λ, for each step and at most. The law is the wider, the longer the chain.
    # Empirical: at 0.3 some points of 100 steps need more evaluations, at 1.2 the way back of 60 steps is off
    # by 1e-3.
    angle: float = 0.01
    largest_angle: float = 1.2
    # Error of the way back, in units of the tolerance, from which on the angle is halved, and how often.
    way_back: float = 0.5
    halvings: int = 4
    # Share of the steps of the shorter chain, at each end, that stay as they are.
    kept: float = 0.375
    # Ratio of the lengths of two chains, at most.
    longer: float = 2.0
    # Mass from one point to the next; of the mass beyond, towards an end.
    mass: float = 0.05
    share: float = 0.5
    # Share of a step that is tried next where a point is not solved, and how often.
    shorter: float = 0.5
    tries: int = 3
    # Error of F in units of the tolerance of the law that ends the iteration at a point.
    solver: float = 0.2
    # Points on each side, at most. Sites: where fewer lie beyond, the path ends.
    most: int = 60
    few_sites: float = 2.0
    # F from which on a power of s is believed, as on the path of dense equations.
    power_from: float = 0.03


STRETCH = StretchSettings()


def short_point(node: Node, log_growth: np.ndarray) -> tuple[SelfEnergies, complex]:
    """Self-energies of the form (31) from a ``node`` of the dense equations, in units of the growth."""
    log_unit = 0.5 * np.concatenate([[0.0], np.cumsum(log_growth)[:-1]])
    y, x = memories(node.point.energy[:, 0])
    return SelfEnergies(y.scaled(-log_unit), x.scaled(log_unit)), node.point.log_lambda


def solved_from(sites: MemorySites, energies: SelfEnergies, log_lambda: complex, tol: float) -> Solved:
    """The fixed point next to self-energies of the form (31)."""
    units = energies.log_units
    values = sites.entries(*(one.scaled(unit) for one, unit in zip(energies, units, strict=True)))
    return sites.solve(values, units, energies, log_lambda, tol)


def lengthened(sites: MemorySites, energies: SelfEnergies, log_lambda: complex, tol: float) -> Solved:
    """The point of the whole chain of ``sites`` that is like one of its first steps."""
    while energies.y.steps < sites.steps:
        steps = min(sites.steps, round(STRETCH.longer * energies.y.steps))
        energies, log_lambda = stretched(energies, log_lambda, steps)
        found = solved_from(sites.first(steps), energies, log_lambda, tol)
        energies = found.energies
    return found


def stretched(energies: SelfEnergies, log_lambda: complex, steps: int) -> tuple[SelfEnergies, complex]:
    """Self-energies of more ``steps``: P grows by the same from one step to the next, and λ as P does."""
    before = energies.y.steps
    kept, t = int(STRETCH.kept * before), np.arange(steps)
    middle = kept + (t - kept) * (before - 2 * kept) / (steps - 2 * kept)
    place = np.where(t < kept, t, np.where(t >= steps - kept, t - steps + before, middle))

    def at(values: np.ndarray, place: np.ndarray = place) -> np.ndarray:
        return np.interp(place, np.arange(len(values)), values)

    def at_both(values: np.ndarray) -> np.ndarray:
        return at(np.real(values)) + 1j * at(np.imag(values))

    y, x = energies
    log_y, log_x = (np.real(one.log_diagonal) for one in energies)
    slopes = at(np.diff(log_y), 0.5 * (place[1:] + place[:-1]) - 0.5)
    grown = log_y[0] + np.concatenate([[0.0], np.cumsum(slopes)])
    shift = float(grown[-1] - log_y[-1])
    new_y = grown + 1j * at(np.imag(y.log_diagonal))
    new_x = at(log_y + log_x) - grown + 1j * at(np.imag(x.log_diagonal))
    both = (
        Memory(logs, at_both(one.correlation), at_both(one.log_decay))
        for logs, one in zip((new_y, new_x), energies, strict=True)
    )
    return SelfEnergies(*both), log_lambda + shift


class MemoryPath:
    """Points at one arg λ from the middle of the law to its ends; ``tol`` of the law."""

    def __init__(self, sites: MemorySites, middle: Solved, tol: float) -> None:
        self.sites, self.middle, self.tol = sites, middle, tol
        self.end = max(tol, STRETCH.few_sites / sites.chain.n)

    def points(self) -> list[Solved]:
        """From below to above."""
        if not self._is_solved(self.middle):
            return []
        above, below = (self._towards(sign) for sign in (1.0, -1.0))
        return self._lowered([*below[::-1], self.middle, *above])

    def _lowered(self, points: list[Solved]) -> list[Solved]:
        """The points at half the angle, and so on, until the way back to the real axis is good.

        Where few of them are solved any more, those at the angle before.
        """
        for _ in range(STRETCH.halvings):
            if on_the_real_axis([one.node for one in points])[1] < STRETCH.way_back * self.tol:
                break
            lower = [one for one in map(self._turned, points) if self._is_solved(one)]
            if len(lower) < len(points):
                break
            points = lower
        return points

    def _turned(self, found: Solved) -> Solved:
        """The point at half the angle."""
        log_lambda = complex(found.point.log_lambda.real, 0.5 * found.point.log_lambda.imag)
        tol = STRETCH.solver * self.tol
        return self.sites.solve(found.point.energy, found.log_units, found.energies, log_lambda, tol)

    def _is_solved(self, found: Solved) -> bool:
        return found.point.is_solved(STRETCH.solver * self.tol) and 0.0 < found.cdf < 1.0

    def _towards(self, sign: float) -> list[Solved]:
        """Until less than the tolerance, or few sites, lie beyond."""
        path = [self.middle]
        while len(path) < STRETCH.most and not self._is_at_an_end(path, sign):
            step = min(STRETCH.mass, STRETCH.share * self._beyond(path[-1], sign)) / self._slope(path)
            for _ in range(STRETCH.tries):
                try:
                    found = self._next(path, sign * step)
                except np.linalg.LinAlgError:
                    found = None
                if found is not None and self._is_solved(found) and sign * (found.cdf - path[-1].cdf) > 0.0:
                    path.append(found)
                    break
                step *= STRETCH.shorter
            else:
                break
        return path[1:]

    def _is_at_an_end(self, path: list[Solved], sign: float) -> bool:
        """Whether hardly anything lies beyond, or F is known there as a power of s."""
        beyond = self._beyond(path[-1], sign)
        if beyond < self.end or sign > 0.0 or beyond > STRETCH.power_from or len(path) < 5:
            return beyond < self.end
        on_axis = on_the_real_axis([one.node for one in path])[0][::-1]
        arrays = (np.array([getattr(node, one) for node in on_axis]) for one in ("u", "cdf", "density"))
        found = power_tail(*arrays)
        return found is not None and found.error < self.end

    @staticmethod
    def _beyond(found: Solved, sign: float) -> float:
        return 1.0 - found.cdf if sign > 0.0 else found.cdf

    @staticmethod
    def _slope(path: list[Solved]) -> float:
        """dF/du at the last point: of m, or from F."""
        density = max(path[-1].density, 1e-6)
        if len(path) > 1:
            rise = (path[-1].cdf - path[-2].cdf) / _distance(path[-1], path[-2])
            density = max(density, rise)
        return density

    def _next(self, path: list[Solved], step: float) -> Solved:
        """The point ``step`` above the last one, from the line through the last two."""
        last, log_lambda = path[-1], path[-1].point.log_lambda + 2.0 * step
        values, units = last.point.energy, last.log_units
        if len(path) > 1:
            share = step / _distance(last, path[-2])
            values = values + share * (values - path[-2].point.energy)
            units = units + share * (units - path[-2].log_units)
        else:  # P is 1 at the start, Q is 1/λ at the end
            time = np.arange(self.sites.steps) / self.sites.steps
            units = units + step * np.array([time, -time])
        tol = STRETCH.solver * self.tol
        known: Differences = last.point.differences
        return self.sites.solve(values, units, last.energies, log_lambda, tol, known)


def _distance(first: Solved, second: Solved) -> float:
    """In u."""
    return 0.5 * (first.point.log_lambda - second.point.log_lambda).real


def as_node(found: Solved, sites: MemorySites) -> Node:
    """The node over all ``sites`` of self-energies from some of them."""
    log_lambda = found.point.log_lambda
    log_det, m = sites.log_determinants(found.energies, log_lambda)
    value = (log_det - 1j * log_lambda.imag * m) / np.pi
    means = np.array([sites.weights @ log_det, sites.weights @ m])
    survival = sites.survival(means, found.energies, log_lambda.imag)
    mean = complex(means[1])
    return Node(0.5 * log_lambda.real, 1.0 - survival, -2.0 / np.pi * mean.imag, found.point, value, mean)
