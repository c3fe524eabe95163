"""Points of the distribution function with tied weights, found on some of the sites.

From above the law down in log lambda: at a positive arg lambda until the support begins, then on the real
axis, each point from the line through the last two. Then panels are halved until cubics in F are good enough.

Letters: u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.full_population import CORRECTION
from rmtrnn.dyson.inversion.panel_refinement import PANELS, Settings, panels_to_halve
from rmtrnn.dyson.tied.functional import Sites, distribution_and_density, gradient, image
from rmtrnn.dyson.tied.iteration import (
    Differences,
    Point,
    gauge_unit,
    projected_to_lower_half_plane,
    relative_size,
    solve,
    solve_on_axis,
)
from rmtrnn.dyson.tied.large_lambda import LargeLambda


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
    # Mass from one point to the next; the step in u above the support, the shortest and the longest.
    mass: float = 0.08
    above: float = 0.25
    shortest: float = 0.1
    longest: float = 1.0
    # Sites: a panel with the mass of fewer is not halved, as the gaps between them are not those of the law.
    few_sites: float = 2.0
    # Density of u that counts as inside the support, and the share of the largest one below which a tail is
    # too sparse on few sites to start from.
    inside: float = 1e-5
    sparse: float = 0.02


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
    """Take one quasi-Newton step on more sites, by the differences of ``point``, and state the error of F.

    Psi is stationary: what the step changes F by is half its gradient times the step. A step that is right to
    one half leaves a quarter of that.
    """
    sites = sites.gauged(point.energy)
    x = sites.represented(point.energy)
    found = sites.overlaps(x, point.log_lambda)
    change, unit = image(sites, x, found) - x, gauge_unit(x)
    step = point.differences.step(change, unit)
    step *= min(1.0, CORRECTION.longest_step / max(relative_size(step, unit), 1e-300))
    gain = 0.5 * complex(np.einsum("fkij,fkji->", gradient(sites, x, found), step))
    error = CORRECTION.leaves * abs(gain) / (math.pi * sites.s_out)
    return point._replace(energy=projected_to_lower_half_plane(x + step)), error


class PathFollower:
    """Solves (15) on ``sites``, from one point to the next."""

    def __init__(self, sites: Sites, far: LargeLambda, settings: PathSettings) -> None:
        self.sites, self.far, self.settings = sites, far, settings

    def march(self) -> list[Node]:
        """Down from where Chebyshev's inequality leaves little mass, until less than ``tol`` is below."""
        settings, far = self.settings, self.far
        u = 0.5 * far.log_m1 + 0.25 * math.log(max(far.ratio, 1.0) / (0.2 * settings.tol))
        near = far.energy(self.sites, complex(2 * u, settings.angle))
        nodes: list[Node] = []
        step = settings.longest / 2
        for _ in range(settings.max_points):
            inside = [node for node in nodes if self.is_inside(node)][-2:]
            node = self._on_axis(u, line(inside, u), inside[-1].point.differences) if inside else None
            if node is None or not self.is_solved(node):
                above = solve(self.sites, near, complex(2 * u, settings.angle), settings.solver_tol)
                if not above.relative < settings.settled:
                    break
                near = above.energy
                node = self._on_axis(u, near)
            nodes.append(node)
            if self.is_solved(node) and node.cdf < settings.tol:
                break
            below = min(settings.mass, PANELS.step * max(node.cdf, settings.tol))
            wish = below / node.density if self.is_inside(node) else settings.above
            step = float(np.clip(wish, settings.shortest, min(settings.longest, 2.0 * step)))
            u -= step
        return nodes

    def is_solved(self, node: Node) -> bool:
        """Whether the self-energies have settled in the lower half plane, where F is one."""
        return node.point.relative < self.settings.settled and node.point.lower

    def is_inside(self, node: Node) -> bool:
        return self.is_solved(node) and node.density > self.settings.inside

    def _on_axis(self, u: float, energy: np.ndarray, known: Differences | None = None) -> Node:
        return node_at(self.sites, solve_on_axis(self.sites, energy, 2 * u, self.settings.solver_tol, known))

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
        inside = [node for node in (left, right) if self.is_inside(node)] or [right]
        return self._on_axis(u, line(inside, u), inside[-1].point.differences)


def line(nodes: list[Node], u: float) -> np.ndarray:
    """Self-energies on the line in u through one or two nodes; no further than the distance of these."""
    last = nodes[-1]
    if len(nodes) == 1:
        return last.point.energy
    before = nodes[-2]
    share = float(np.clip((u - last.u) / (last.u - before.u), -1.0, 1.0))
    return last.point.energy + share * (last.point.energy - before.point.energy)
