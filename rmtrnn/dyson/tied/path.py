"""Points of the distribution function with tied weights, found on some of the sites.

From above the law down at a positive arg λ, to a first point inside the support; from there up and down
along the real axis, each point from the self-energies of the nearest two, carried on in their gauge. Then
panels are halved until cubics in F are good enough.

Letters: u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.full_population import CORRECTION
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.panel_refinement import PANELS, Settings, panels_to_halve
from rmtrnn.dyson.inversion.tail_extension import power_tail
from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.tied.functional import distribution_and_density, image
from rmtrnn.dyson.tied.gauge import GAUGE_DEGREE, in_gauge, smooth_gauge
from rmtrnn.dyson.tied.iteration import (
    Differences,
    Point,
    gain_of_step,
    gauge_unit,
    relative_size,
    solve,
    solve_from_above,
)
from rmtrnn.dyson.tied.large_lambda import LargeLambda
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


@dataclass(frozen=True)
class PathSettings:
    """Numbers of the path; they decide how many points are solved, not what is found there.

    ``tol`` of the cdf between points and beyond the outermost ones; ``max_points``.
    """

    tol: float = 5e-4
    max_points: int = 100
    # Error of F, to second order, that ends the iteration at a point: a fiftieth of ``tol``.
    solver_tol: float = 1e-5
    # Radians: arg λ above the support. Empirical: one step leads from there to the real axis.
    angle: float = 0.3
    # Mass below, at this angle, from which the real axis is tried.
    entered: float = 0.8
    # Mass from one point to the next; the step in u above the support, the least one, and the longest. Shares
    # of a step that are tried until a point is solved.
    mass: float = 0.08
    above: float = 0.75
    least_step: float = 0.1
    longest: float = 2.0
    shares: tuple[float, ...] = (1.0, 0.5, 0.25)
    # Sites: a panel with the mass of fewer is not halved, as the gaps between them are not those of the law.
    few_sites: float = 2.0
    # F from which on a power of s is believed. Empirical.
    power_from: float = 0.03
    # Density of u that counts as inside the support.
    inside: float = 1e-5


@dataclass(frozen=True)
class Node:
    """A point of the real axis: F = P(log s <= u), the density of u, and the error of F.

    ``site_value``: log det of every site, over π s_L; ``m``, E[s²/(λ - s²)].
    """

    u: float
    cdf: float
    density: float
    error: float
    point: Point
    site_value: np.ndarray
    m: complex = 0j


def node_at(sites: SiteMatrices, point: Point, error: float = 0.0) -> Node:
    """F and density on ``sites`` at self-energies that may come from some of them.

    None where a site is singular, as far from a solution it may be.
    """
    u = 0.5 * point.log_lambda.real
    try:
        found = distribution_and_density(sites, point.energy, point.log_lambda)
    except np.linalg.LinAlgError:
        return Node(u, math.nan, 0.0, math.inf, point._replace(error=math.inf), np.zeros(sites.n, complex))
    return Node(u, 1.0 - found.survival, found.density, error, point, found.site_value)


def error_of_sites(sites: SiteMatrices, point: Point) -> float:
    """By how much a quasi-Newton step on ``sites`` would change F at self-energies of other sites.

    The step itself is not taken: it is dominated by directions that F hardly depends on, and its noise would
    enter the density at first order.
    """
    x = point.energy
    found = sites.overlaps(x, point.log_lambda)
    change, unit = image(sites, x, found) - x, gauge_unit(x)
    step = point.differences.step(change, unit)
    step *= min(1.0, CORRECTION.longest_step / max(relative_size(step, unit), 1e-300))
    return abs(gain_of_step(sites, x, found, step).imag)


class PathFollower:
    """Solves (15) on ``sites``, from one point to the next; ``resolved``, the mass of one site."""

    def __init__(
        self, sites: SiteMatrices, far: LargeLambda, settings: PathSettings, resolved: float = 0.0
    ) -> None:
        self.sites, self.far, self.settings = sites, far, settings
        # Mass beyond the outermost points; half of it is an error.
        self.end = max(2.0 * settings.tol, resolved)

    def march(self) -> list[Node]:
        """From a point inside the support up and down, until less than ``tol``, or one site, lies beyond."""
        nodes = self._entered()
        for side in (1, -1) if nodes else ():
            self._walk(nodes, side)
        return nodes

    def _entered(self) -> list[Node]:
        """One point inside the support, reached at a positive arg λ from above the law."""
        settings, far, tol = self.settings, self.far, self.settings.solver_tol
        u = 0.5 * far.log_m1 + 0.25 * math.log(max(far.ratio, 1.0) / (0.2 * settings.tol))
        energy, known = far.energy(self.sites, complex(2 * u, settings.angle)), None
        above: list[Node] = []
        step = settings.above
        for _ in range(settings.max_points):
            if above:
                energy, known = line(above[-2:], u)
            point = solve(self.sites, energy, complex(2 * u, settings.angle), tol, known)
            if not point.is_settled(ERRORS.fall):
                if not above or step < settings.least_step:
                    break
                step, u = 0.5 * step, u + 0.5 * step
                continue
            above.append(node_at(self.sites, point))
            if above[-1].cdf < settings.entered:
                point = solve_from_above(self.sites, point.energy, 2 * u, tol)
                node = node_at(self.sites, point)
                if self.is_inside(node):
                    return [node]
            u -= step
        return []

    def _walk(self, nodes: list[Node], side: int) -> None:
        """Add points of the real axis above (1) or below (-1) the first of ``nodes``.

        A point that is not solved is tried again at half the distance, and so on.
        """
        settings, last = self.settings, nodes[0]
        step = 0.5 * settings.longest
        while len(nodes) < settings.max_points:
            beyond = last.cdf if side < 0 else 1.0 - last.cdf
            if beyond < self.end or (side < 0 and self._is_power(nodes)):
                break
            wish = settings.above
            if last.density > settings.inside:
                wish = min(settings.mass, PANELS.step * max(beyond, self.end)) / last.density
            step = min(wish, settings.longest, 2.0 * step)
            tries = (self._beyond(nodes, last.u + side * step * share) for share in settings.shares)
            node = next((one for one in tries if one is not None), None)
            if node is None:
                break
            nodes.append(node)
            last, step = node, abs(node.u - last.u)

    def _is_power(self, nodes: list[Node]) -> bool:
        """Whether F below the lowest node is known as a power of s."""
        lowest = sorted(nodes, key=lambda node: node.u)
        if lowest[0].cdf > self.settings.power_from or len(lowest) < 2:
            return False
        found = power_tail(
            *(np.array([getattr(node, one) for node in lowest]) for one in ("u", "cdf", "density"))
        )
        return found is not None and found.error < self.end

    def _beyond(self, nodes: list[Node], u: float) -> Node | None:
        """A solved point at u, whose F is in order with that of ``nodes``."""
        nearest = sorted(nodes, key=lambda node: -abs(node.u - u))[-2:]
        node = self._on_axis(u, nearest)
        last = nearest[-1]
        rise = (node.cdf - last.cdf) * math.copysign(1.0, u - last.u)
        good = self.is_solved(node) and rise > -ERRORS.fall and abs(node.cdf - 0.5) < 0.5 + ERRORS.fall
        return node if good else None

    def is_solved(self, node: Node) -> bool:
        return node.point.is_solved(ERRORS.fall)

    def is_inside(self, node: Node) -> bool:
        return self.is_solved(node) and node.density > self.settings.inside

    def _on_axis(self, u: float, near: list[Node]) -> Node:
        """F and density at u, from the self-energies of ``near``."""
        energy, known = line(near, u)
        point = solve(self.sites, energy, complex(2 * u, REAL_AXIS), self.settings.solver_tol, known)
        return node_at(self.sites, point)

    def refined(self, nodes: list[Node]) -> list[Node]:
        """Panels halved until cubics in F through both ends are good to ``tol``."""
        few = self.settings.few_sites / self.sites.n if self.sites.n > 1 else 0.0
        settings = Settings(tol=self.settings.tol, tail=self.settings.tol, mass_resolution=few)
        tried: set[float] = set()
        nodes = sorted((node for node in nodes if self.is_solved(node)), key=lambda node: node.u)
        while 2 <= len(nodes) < self.settings.max_points:
            seen = self._on_real_axis(nodes)
            u, cdf, density = (
                np.array([getattr(node, one) for node in seen]) for one in ("u", "cdf", "density")
            )
            # m_1 is known from large λ: panels need not be good to it.
            left = panels_to_halve(u, cdf, np.maximum(density, 0.0), math.inf, settings)
            left = [i for i in left if u[i] + u[i + 1] not in tried]
            if not left:
                break
            tried.update(float(u[i] + u[i + 1]) for i in left)
            new = [
                self._on_axis(0.5 * (nodes[i].u + nodes[i + 1].u), self._both(nodes[i : i + 2])) for i in left
            ]
            new = [node for node in new if self.is_solved(node)]
            nodes = sorted([*nodes, *new], key=lambda node: node.u)
        return nodes

    def _on_real_axis(self, nodes: list[Node]) -> list[Node]:
        return nodes

    def _both(self, nodes: list[Node]) -> list[Node]:
        """Those inside the support; else the one above."""
        return [node for node in nodes if self.is_inside(node)] or nodes[1:]


def line(nodes: list[Node], u: float) -> tuple[np.ndarray, Differences]:
    """Extrapolate self-energies in u through the nearest nodes, and carry the differences of the nearest.

    The logarithm of the gauge of (22) and the self-energies in this gauge vary slowly with u, while the
    self-energies themselves grow by powers of λ.
    """
    last = nodes[-1]
    logs = [np.log(smooth_gauge(node.point.energy, GAUGE_DEGREE)) for node in nodes]
    shares = [
        math.prod((u - other.u) / (node.u - other.u) for other in nodes if other is not node)
        for node in nodes
    ]
    log_gauge = np.einsum("i,ikt->kt", shares, logs)
    energy = sum(
        share * in_gauge(node.point.energy, -log)
        for share, node, log in zip(shares, nodes, logs, strict=True)
    )
    change = log_gauge - logs[-1]
    differences = Differences(*(in_gauge(one, change) for one in last.point.differences))
    return in_gauge(np.asarray(energy), log_gauge), differences
