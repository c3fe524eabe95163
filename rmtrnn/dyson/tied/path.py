"""Points of the distribution function with tied weights, found on some of the sites.

From above the law down in log lambda: at a positive arg lambda until the support begins, then on the real
axis, each point from the line through the last two. Then panels are halved until cubics in F are good enough.

Letters: u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rmtrnn.dyson.full_population import CORRECTION
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.panel_refinement import PANELS, Settings, panels_to_halve
from rmtrnn.dyson.tied.functional import Sites, distribution_and_density, gradient, image
from rmtrnn.dyson.tied.iteration import (
    Differences,
    Point,
    gauge_unit,
    projected_to_lower_half_plane,
    relative_size,
    solve,
    solve_from_above,
    solve_on_axis,
)
from rmtrnn.dyson.tied.large_lambda import LargeLambda
from rmtrnn.dyson.tied.time_modes import GAUGE_DEGREE, smooth_gauge


@dataclass(frozen=True)
class PathSettings:
    """Numbers of the path; they decide how many points are solved, not what is found there.

    ``tol`` of the cdf between points and beyond the outermost ones; ``max_points``.
    """

    tol: float = 2.5e-4
    max_points: int = 100
    # Relative change of the self-energies that ends the iteration: F errs by its square.
    solver_tol: float = 1e-3
    # Largest relative change of a point that is used.
    settled: float = 0.05
    # Radians: arg lambda above the support. Empirical: one step leads from there to the real axis.
    angle: float = 0.3
    # Mass below, at this angle, from which the real axis is tried; points in a row that may fail.
    entered: float = 0.8
    failed: int = 2
    # Mass from one point to the next; the step in u above the support, the shortest and the longest.
    mass: float = 0.08
    above: float = 0.25
    shortest: float = 0.1
    longest: float = 1.0
    # Sites: a panel with the mass of fewer is not halved, as the gaps between them are not those of the law.
    few_sites: float = 2.0
    # Density of u that counts as inside the support.
    inside: float = 1e-5


@dataclass(frozen=True)
class Node:
    """A point of the real axis: F = P(log s <= u), the density of u, and the error of F.

    ``site_log``: Im log det of every site, over pi s_L.
    """

    u: float
    cdf: float
    density: float
    error: float
    point: Point
    site_log: np.ndarray


def node_at(sites: Sites, point: Point, error: float = 0.0) -> Node:
    """F and density on ``sites`` at self-energies that may come from some of them."""
    found = distribution_and_density(sites, point.energy, point.log_lambda)
    return Node(0.5 * point.log_lambda.real, 1.0 - found.upper, found.density, error, point, found.site_log)


def corrected(sites: Sites, point: Point) -> tuple[Point, float]:
    """Correct self-energies of some sites on more ``sites`` by quasi-Newton steps, and state the error of F.

    Psi is stationary: what a step changes F by is half its gradient times the step. A step that is right to
    one half leaves a quarter of that. A second step tests the first; more follow until that is negligible.
    """
    sites = sites.gauged(point.energy)
    x, known = sites.represented(point.energy), point.differences
    best = point, math.inf
    before: tuple[np.ndarray, np.ndarray] | None = None
    for count in range(CORRECTION.steps):
        found = sites.overlaps(x, point.log_lambda)
        change, unit = image(sites, x, found) - x, gauge_unit(x)
        if before is not None:
            known = known.joined(x - before[0], change - before[1])
        step = known.step(change, unit)
        step *= min(1.0, CORRECTION.longest_step / max(relative_size(step, unit), 1e-300))
        gain = 0.5 * complex(np.einsum("fkij,fkji->", gradient(sites, x, found), step))
        error = CORRECTION.leaves * abs(gain) / (math.pi * sites.s_out)
        before, x = (x, change), projected_to_lower_half_plane(x + step)
        if error < best[1]:
            best = point._replace(energy=x, differences=known), error
        if error < CORRECTION.negligible and count > 0:
            break
    return best


class PathFollower:
    """Solves (15) on ``sites``, from one point to the next; ``resolved``, the mass of one site."""

    def __init__(self, sites: Sites, far: LargeLambda, settings: PathSettings, resolved: float = 0.0) -> None:
        self.sites, self.far, self.settings = sites, far, settings
        self.end = max(settings.tol, resolved)  # mass beyond the outermost points

    def march(self) -> list[Node]:
        """From a point inside the support up and down, until less than ``tol``, or one site, lies beyond."""
        nodes = self._entered()
        for side in (1, -1) if nodes else ():
            self._walk(nodes, side)
        return nodes

    def _entered(self) -> list[Node]:
        """One point inside the support, reached at a positive arg lambda from above the law."""
        settings, far = self.settings, self.far
        u = 0.5 * far.log_m1 + 0.25 * math.log(max(far.ratio, 1.0) / (0.2 * settings.tol))
        start = far.energy(self.sites, complex(2 * u, settings.angle)), None
        above: list[Node] = []
        for _ in range(settings.max_points):
            start = line(above[-2:], u) if above else start
            point = solve(self.sites, start[0], complex(2 * u, settings.angle), settings.solver_tol, start[1])
            if not point.relative < settings.settled:
                break
            above.append(node_at(self.sites, point))
            if above[-1].cdf < settings.entered:
                node = self._on_axis(u, (point.energy, point.differences))
                if self.is_inside(node):
                    return [node]
            u -= settings.above
        return []

    def _walk(self, nodes: list[Node], side: int) -> None:
        """Add points of the real axis above (1) or below (-1) the first of ``nodes``."""
        settings, step, failed = self.settings, 0.5 * self.settings.longest, 0
        node = last = nodes[0]
        while len(nodes) < settings.max_points and failed < settings.failed:
            beyond = node.cdf if side < 0 else 1.0 - node.cdf
            if self.is_solved(node) and beyond < self.end:
                break
            wish = settings.above
            if self.is_inside(node):
                wish = min(settings.mass, PANELS.step * max(beyond, self.end)) / node.density
            step = float(np.clip(wish, settings.shortest, min(settings.longest, 2.0 * step)))
            u = node.u + side * step
            last = node if self.is_solved(node) else last
            low, high = (0.0, last.cdf) if side < 0 else (last.cdf, 1.0)
            node = self._on_axis(u, line(self._nearest(nodes, u), u), low, high)
            failed = 0 if self.is_solved(node) else failed + 1
            nodes.append(node)

    def _nearest(self, nodes: list[Node], u: float) -> list[Node]:
        """The two points inside the support that are next to ``u``, the nearest one last."""
        inside = [node for node in nodes if self.is_inside(node)]
        return sorted(inside, key=lambda node: -abs(node.u - u))[-2:]

    def is_solved(self, node: Node) -> bool:
        """Whether the self-energies have settled in the lower half plane, where F is one."""
        return node.point.relative < self.settings.settled and node.point.lower

    def is_inside(self, node: Node) -> bool:
        return self.is_solved(node) and node.density > self.settings.inside

    def _on_axis(
        self,
        u: float,
        start: tuple[np.ndarray, Differences | None],
        low: float = 0.0,
        high: float = 1.0,
    ) -> Node:
        """Solve on the real axis, where F lies between ``low`` and ``high``; else on another branch."""
        tol = self.settings.solver_tol
        point = solve_on_axis(self.sites, start[0], 2 * u, tol, start[1])
        for _ in range(2):
            node = self._node(point)
            if low - ERRORS.fall <= node.cdf <= high + ERRORS.fall:
                clear = ERRORS.fall < node.cdf < 1.0 - ERRORS.fall and node.density > self.settings.inside
                return node if clear else self._sharpened(node)
            point = solve_from_above(self.sites, start[0], 2 * u, tol)
        return replace(node, point=node.point._replace(lower=False))

    def _node(self, point: Point) -> Node:
        """F and density at a point; none where a site is singular, as far from a solution it may be."""
        try:
            return node_at(self.sites, point)
        except np.linalg.LinAlgError:
            return Node(0.5 * point.log_lambda.real, math.nan, 0.0, math.inf, point, np.zeros(self.sites.n))

    def _sharpened(self, node: Node) -> Node:
        """Solve beyond the ends of the law to the square of the tolerance: Im left over is no density."""
        point, tol = node.point, self.settings.solver_tol**2
        return node_at(self.sites, solve(self.sites, point.energy, point.log_lambda, tol, point.differences))

    def refined(self, nodes: list[Node]) -> list[Node]:
        """Panels halved until cubics in F through both ends are good to ``tol``."""
        few = self.settings.few_sites / self.sites.n if self.sites.n > 1 else 0.0
        settings = Settings(tol=self.settings.tol, tail=self.settings.tol, mass_resolution=few)
        tried: set[float] = set()
        nodes = sorted((node for node in nodes if self.is_solved(node)), key=lambda node: node.u)
        while 2 <= len(nodes) < self.settings.max_points:
            u, cdf, density = (
                np.array([getattr(node, one) for node in nodes]) for one in ("u", "cdf", "density")
            )
            left = panels_to_halve(u, cdf, np.maximum(density, 0.0), 0.5 * self.far.log_m1, settings)
            left = [i for i in left if u[i] + u[i + 1] not in tried]
            if not left:
                break
            tried.update(float(u[i] + u[i + 1]) for i in left)
            new = [self._between(nodes[i], nodes[i + 1]) for i in left]
            new = [node for node in new if self.is_solved(node)]
            nodes = sorted([*nodes, *new], key=lambda node: node.u)
        return nodes

    def _between(self, left: Node, right: Node) -> Node:
        """A node halfway, from those neighbours that are inside the support."""
        u = 0.5 * (left.u + right.u)
        start = line(self._nearest([left, right], u) or [right], u)
        return self._on_axis(u, start, left.cdf, right.cdf)


def line(nodes: list[Node], u: float) -> tuple[np.ndarray, Differences]:
    """Extrapolate self-energies in u through the nearest nodes, and carry the differences of the nearest.

    The logarithm of the gauge of (22) and the self-energies in this gauge vary slowly with u, while the
    self-energies themselves grow by powers of lambda.
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


def in_gauge(energy: np.ndarray, log_gauge: np.ndarray) -> np.ndarray:
    """Multiply P by a gauge G (K, T) on both sides, and divide Q by it; (..., 2, K, T, T)."""
    unit = log_gauge[:, :, None] + log_gauge[:, None, :]
    return energy * np.exp(np.array([unit, -unit]))
