"""Where a law of the untied Dyson equation has its mass: first points, then tails, then panels.

Points are placed on subsamples of the sites; their values on all sites are taken in `full_population`.

Letters: u = log s.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core.arrays import to_host
from rmtrnn.dyson.continuation import Continuation, correct
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.panel_refinement import (
    PANELS,
    Settings,
    between,
    extrapolate,
    panels_to_halve,
    step_outwards,
    stray_point,
)
from rmtrnn.dyson.inversion.solution import Solution, joined_points, longest_monotone_run
from rmtrnn.dyson.inversion.tail_extension import TAILS
from rmtrnn.dyson.newton import evaluate
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.recursive_green import log_determinant
from rmtrnn.dyson.self_energy import Points, SelfEnergy


@dataclass(frozen=True)
class SubsampleSizes:
    """Numbers of sites; moved by a factor of two both ways in tests/dyson/test_numbers.py.

    ``continuation``: of the homotopy without a guess; ``hessian``: of the Hessian of Newton's method; both
    fewer in long chains. ``placement``: where the points are placed, and the self-energies solved.
    """

    continuation: int = 128
    hessian: int = 1024
    placement: int = 4096
    # Sites per gate, at least: a Hessian has two rows for each gate.
    per_gate: float = 2.5
    # Gates up to which the sizes are kept: the cost of a Hessian grows with gates² per site.
    short: int = 20
    # Share of the sizes that is kept in longer chains, and with splines of the step: few unknowns, which
    # fewer sites scatter as little.
    kept: float = 0.375

    def of_hessians(self, chain: Chain) -> tuple[int, int]:
        """Sites of the homotopy and of Newton's method: fewer in long chains, but some for each unknown."""
        least = int(self.per_gate / 2 * chain.parametrisation.count)
        share = np.clip(self.short / chain.n_gates, self.kept, 1.0)
        few, many = int(share * self.continuation), int(share * self.hessian)
        if chain.parametrisation.basis is not None:
            few, many = self.continuation, int(self.kept * self.hessian)
        return max(few, least), max(many, least)


@dataclass(frozen=True)
class ScanSettings:
    """Numbers of the first points, found without a guess; moved by three in tests/dyson/test_numbers.py."""

    # u - log(m_1)/2 of the first points. They have to meet the support, whatever its width.
    offsets: tuple[float, ...] = (3.0, 1.2, 0.6, 0.1, -0.5, -1.2, -2.2, -4.0)
    # Levels of the Stieltjes transform where the first points lie after path following.
    levels: tuple[float, ...] = (0.99, 0.95, 0.85, 0.65, 0.45, 0.25, 0.12, 0.05, 0.02)
    # Points inside the support that end the scan, and bisections of panels that it may take.
    enough: int = 4
    bisections: int = 12
    # Density of log s that is none.
    no_density: float = 1e-6
    # Above log(m_1)/2, in u: E s² = m_1 leaves nothing there.
    highest: float = 100.0
    # Steps of a tail extension on each side, and the share of the natural step that ends it where it fails.
    tail_points: int = 40
    least_step: float = 0.04
    # Gaps of the support that are looked for below the lowest point, where more mass than this is missing.
    gaps: int = 4
    missing: float = 0.01


@dataclass(frozen=True)
class PointSettings:
    """Numbers of single points; moved by three in tests/dyson/test_numbers.py."""

    # Distances in u below a gap of the support where mass is looked for: gaps of any width.
    below_gap: tuple[float, ...] = (1.0, 2.0, 4.0, 6.0, 9.0, 13.0, 19.0, 28.0, 40.0, 60.0, 90.0)
    # Places in a panel, in turn: where one point cannot be solved, one nearer to an end may.
    parts: tuple[float, ...] = (0.5, 0.25, 0.75, 0.1, 0.9, 0.03, 0.97)
    # Newton iterations of (13) for a point with a guess, and for one in a tail.
    iterations: int = 15
    tail_iterations: int = 20
    # Tolerance of a tail point on the subsample: its F is taken on all sites later.
    guess_tolerance: float = 3e-3
    # Multiple of the tolerance at which a solution still counts when it is evaluated.
    looser: float = 30.0


SIZES, SCAN, _POINTS = SubsampleSizes(), ScanSettings(), PointSettings()


@dataclass(frozen=True)
class Nodes:
    """Points in increasing u with self-energies, F = P(log s <= u) and its derivative, on a subsample.

    ``inverse`` is the inverse Hessian of each point as `newton` left it, for whoever goes on from there.
    """

    u: np.ndarray
    sigma: SelfEnergy
    cdf: np.ndarray
    density: np.ndarray
    ok: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, solution: Solution, inverse: np.ndarray) -> Nodes:
        density = np.maximum(solution.density, 0.0)
        return cls(solution.u, solution.sigma, solution.cdf, density, solution.converged, inverse)

    @property
    def inside(self) -> np.ndarray:
        """Indices of the points inside the support."""
        return np.flatnonzero(self.density > TAILS.empty * self.density.max(initial=0.0))

    def at(self, pick: np.ndarray) -> Nodes:
        """Some of the points."""
        return Nodes(*(getattr(self, one.name)[pick] for one in fields(self)))

    def merged(self, other: Nodes) -> Nodes:
        """The points of both, in increasing u."""
        both = joined_points(self, other)
        return both.at(np.argsort(both.u))


class Levels(NamedTuple):
    """The chain on more and more of its sites (`SubsampleSizes`); on the fewest, the continuation."""

    continuation: Continuation
    hessian: Chain
    placement: Chain

    @classmethod
    def of(cls, chain: Chain, sizes: SubsampleSizes, path_following: bool, *ranks: np.ndarray) -> Levels:
        """Take the subsamples; ``ranks``: what each site adds to F at a low and a high point."""
        few, hessian = sizes.of_hessians(chain)
        path = Continuation(chain.subsample(few, *ranks), path_following)
        return cls(path, chain.subsample(hessian, *ranks), chain.subsample(sizes.placement, *ranks))

    def solve(self, u: np.ndarray, guess: SelfEnergy, tol: float, inverse: np.ndarray | None = None) -> Nodes:
        """The points ``u`` from a guess or, where that is not good enough, without one."""
        chain, small = self.placement, self.hessian
        found = correct(chain, small, guess, 2 * u, tol, _POINTS.iterations, inverse, self.continuation)
        return Nodes.of(
            evaluate(chain, small, found.sigma, 2 * u, _POINTS.looser * tol, found.inverse), found.inverse
        )

    def solve_near(self, u: np.ndarray, guess: SelfEnergy, inverse: np.ndarray | None) -> Nodes:
        """As `solve`, but a guess from which Newton's method does not converge is given up."""
        chain, small = self.placement, self.hessian
        found = correct(chain, small, guess, 2 * u, _POINTS.guess_tolerance, _POINTS.tail_iterations, inverse)
        tol = _POINTS.looser * _POINTS.guess_tolerance
        return Nodes.of(evaluate(chain, small, found.sigma, 2 * u, tol, found.inverse), found.inverse)

    def solve_anywhere(self, u: np.ndarray) -> Nodes:
        """Those of the points ``u`` that can be solved without a guess."""
        found = self.solve(u, self.continuation.near_real_axis(2 * u).sigma, 1e-3)
        return found.at(found.ok)


def place_nodes(chain: Chain, settings: Settings, sizes: SubsampleSizes = SIZES) -> tuple[Nodes, Levels]:
    """Solve (13) at points that tell F of (14) until its cubics between them are good to ``settings.tol``.

    First points are found without a guess. They say which sites make up the tails, so that the subsamples can
    hold these; then come the tails, bands below a gap, and the panels between points. None are returned where
    fewer than two lie inside the support.
    """
    first, levels = _first_points(chain, sizes)
    inside = first.inside
    if inside.size < 2:
        return first.at(inside[:0]), levels
    ends = first.at(inside[[0, -1]])
    ranks = to_host(log_determinant(chain, ends.sigma, Points.real(2 * ends.u))[0])
    levels = Levels.of(chain, sizes, levels.continuation.path_following, *ranks)
    if chain.parametrisation.basis is not None:
        settings = replace(settings, mass_resolution=_mass_resolution(chain, ends, ranks, settings))
    # Once more, on the sites that all other points will have: F must not jump between neighbours.
    nodes = levels.solve(first.u, first.sigma, settings.solver_tol, first.inverse)
    nodes = nodes.at(nodes.ok)
    if nodes.u.size < 2:
        return nodes, levels
    nodes = _over_gaps(levels, extend_tails(levels, nodes, settings), settings)
    return _refine(levels, nodes, chain.log_mean / 2, settings), levels


def _first_points(chain: Chain, sizes: SubsampleSizes) -> tuple[Nodes, Levels]:
    """`scan`; with path following where two points are not found inside the support without."""
    if chain.parametrisation.basis is not None:
        levels = Levels.of(chain, replace(sizes, placement=sizes.hessian), True)
        return scan(levels), levels
    levels = Levels.of(chain, sizes, False)
    nodes = scan(levels)
    if nodes.inside.size < 2:
        levels = Levels.of(chain, sizes, True)
        nodes = scan(levels)
    return nodes, levels


def scan(levels: Levels) -> Nodes:
    """Points without any guess: some in the support, and up to where nothing is above.

    They lie around log(m_1)/2; after path following at quantiles of the law as the Stieltjes transform has
    it.
    """
    centre, path = levels.placement.log_mean / 2, levels.continuation
    u = centre + np.sort(SCAN.offsets)
    if path.path_following:
        path.follow(-np.inf, SCAN.levels[-1])
        if path.stieltjes.size > 1:
            u = np.unique(np.interp(SCAN.levels, path.stieltjes[::-1], path.log_t[::-1] / 2))
    nodes = levels.solve_anywhere(u)
    while nodes.u.size and nodes.cdf[-1] < 1.0 - 1e-9 and nodes.u[-1] < centre + SCAN.highest:
        more = levels.solve_anywhere(nodes.u[-1] + np.array([1.0, 2.0, 4.0]))
        if more.u.size == 0:
            break
        nodes = nodes.merged(more)
    for k in range(SCAN.bisections):  # a law narrower than the grid
        if np.count_nonzero(nodes.density > SCAN.no_density) >= SCAN.enough:
            break
        rising = np.flatnonzero(np.diff(nodes.cdf) > 0.02)
        if rising.size == 0:  # nothing solved, or nothing between the points that were
            break
        part = _POINTS.parts[k % len(_POINTS.parts)]
        middle = (1 - part) * nodes.u[rising] + part * nodes.u[rising + 1]
        nodes = nodes.merged(levels.solve_anywhere(middle))
    return nodes


def extend_tails(levels: Levels, nodes: Nodes, settings: Settings) -> Nodes:
    """Go on outwards until less than ``settings.tail`` is left (weighed by s²/m_1 on the upper side).

    Both sides go together. A step that fails is halved, one that succeeds doubled up to its natural length.
    """
    factor, centre = {-1: 1.0, 1: 1.0}, levels.placement.log_mean / 2
    for _ in range(SCAN.tail_points):
        steps = {
            side: step_outwards(nodes.u, nodes.cdf, nodes.density, side, centre, settings) for side in factor
        }
        ahead = {side: (found[0], factor[side] * found[1]) for side, found in steps.items() if found}
        going = [
            side for side in ahead if factor[side] > SCAN.least_step and ahead[side][1] > PANELS.shortest
        ]
        if not going:
            break
        ends, lengths = (np.array([ahead[side][i] for side in going]) for i in (0, 1))
        side = np.array(going)
        u = nodes.u[ends] + side * lengths
        guess = extrapolate(nodes.u, nodes.sigma, ends, side, u)
        found = levels.solve_near(u, guess, nodes.inverse[ends])
        useful = found.ok & (side * found.cdf > side * nodes.cdf[ends])
        for one, good in zip(going, useful, strict=True):
            factor[one] = min(1.0, 2.0 * factor[one]) if good else 0.5 * factor[one]
        nodes = nodes.merged(found.at(useful))
    return nodes


def _over_gaps(levels: Levels, nodes: Nodes, settings: Settings) -> Nodes:
    """The points with those of the bands that lie below a gap of the support, and with their tails."""
    for _ in range(SCAN.gaps):
        lower = _below_gap(levels, nodes, settings)
        if lower is None:
            break
        nodes = extend_tails(levels, nodes.merged(lower), settings)
    return nodes


def _refine(levels: Levels, nodes: Nodes, centre: float, settings: Settings) -> Nodes:
    """Halve panels until cubics in F are good to ``settings.tol``.

    Every panel of some mass is halved once: between the first points, as wide as the law, may be anything.
    Points that F falls out of order at lie on another branch and are left out. Where the middle of a panel
    was not solved, other parts of it are tried; where none is, a point that contradicts the others is left
    out too.
    """
    tried, nodes, seen = nodes.u, nodes.at(nodes.ok), False
    while len(tried) < settings.max_points:
        middle = panels_to_halve(nodes.u, nodes.cdf, nodes.density, centre, settings, seen)
        u, left, part = _untried(nodes.u, middle, tried)
        if u.size == 0:
            wanted = middle.size > 0  # and no part of these panels is left to try
            stray = stray_point(nodes.u, nodes.cdf, nodes.density, settings.tol) if wanted else None
            if stray is None:
                break
            nodes = nodes.at(np.arange(nodes.u.size) != stray)
            continue
        seen = True
        guess = between(nodes.sigma, left, part)
        found = levels.solve(u, guess, settings.solver_tol, nodes.inverse[left])
        tried, nodes = np.concatenate([tried, u]), nodes.merged(found.at(found.ok))
        nodes = nodes.at(longest_monotone_run(1.0 - nodes.cdf, ERRORS.fall))
    return nodes


def _untried(u: np.ndarray, left: np.ndarray, tried: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One new point in each panel that begins at ``left``, these panels, and its part of them.

    Panels of which every part was tried are left out.
    """
    parts = np.array(_POINTS.parts)
    inside = (1 - parts) * u[left, None] + parts * u[left + 1, None]
    new = ~np.isin(inside, tried)
    open_, first = new.any(axis=1), np.argmax(new, axis=1)
    return inside[open_, first[open_]], left[open_], parts[first[open_]]


def _below_gap(levels: Levels, nodes: Nodes, settings: Settings) -> Nodes | None:
    """Points in what lies below the gap at which the tail has ended; None if that is little, or at s = 0.

    The law of a state of two components can have two bands, a gap of many orders of magnitude between them.
    On the negative real axis, where no guess is needed, E[t/(t + s²)] says how much lies below s² = t. A
    band much narrower than one unit of log s can be missed; its mass then is in the error, as that of any
    lost tail.
    """
    below, lowest = float(nodes.cdf[0]), float(nodes.u[0])
    if below <= max(settings.tail, settings.mass_resolution, SCAN.missing):
        return None
    u = lowest - np.array(_POINTS.below_gap)
    for _ in range(SCAN.bisections):
        share = levels.continuation.transform(2 * u) / below
        inside = (share > 0.1) & (share < 0.9)
        if np.count_nonzero(inside) >= 2:
            found = levels.solve_anywhere(np.sort(u[inside]))
            found = found.at((found.density > SCAN.no_density) & (found.cdf < below))
            return found if found.u.size >= 2 else None
        above, under = u[share >= 0.9], u[share <= 0.1]
        if above.size == 0 or under.size == 0:
            return None
        u = np.linspace(above.min(), under.max(), 8)
    return None


def _mass_resolution(chain: Chain, ends: Nodes, ranks: np.ndarray, settings: Settings) -> float:
    """Mass that as many sites share as are whole ones in ``mass_resolution``: see `mass_of_one_site`."""
    survival = ranks / (np.pi * chain.s_out)
    mass = max(float(ends.cdf[0]), TAILS.finest), max(1.0 - float(ends.cdf[1]), TAILS.finest)
    lower, higher = (
        mass_of_one_site(chain, 1.0 - survival[0], mass[0]),
        mass_of_one_site(chain, survival[1], mass[1]),
    )
    resolution = settings.mass_resolution
    return min(resolution, max(resolution * chain.n * max(lower, higher), TAILS.finest))


def mass_of_one_site(chain: Chain, parts: np.ndarray, mass: float) -> float:
    """``mass`` divided by the effective sample size of the sites that make it up with these ``parts``.

    The size is (sum w x)²/sum (w x)² (Kish 1965, Survey Sampling). It is the mass times n if every site is
    either a part of it or not, and far more in long chains, where each singular value belongs to many sites.
    """
    weighted = to_host(chain.weights) * parts
    return mass * float(np.sum(weighted**2) / max(weighted.sum() ** 2, np.sum(weighted**2) / chain.n))
