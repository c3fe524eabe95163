"""Points of the distribution function with tied weights, found on some of the sites.

From above the law down at a positive arg λ, each point from the self-energies of the last two, carried on in
their gauge. Where the way back to the real axis (`way_back`) errs by too much, all points move to half the
angle. Then panels are halved until cubics in F are good enough.

Letters: u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.inversion.panel_refinement import PANELS, Settings, panels_to_halve
from rmtrnn.dyson.inversion.tail_extension import power_tail
from rmtrnn.dyson.tied.gauge import GAUGE_DEGREE, in_gauge, smooth_gauge
from rmtrnn.dyson.tied.iteration import Differences, solve
from rmtrnn.dyson.tied.large_lambda import LargeLambda
from rmtrnn.dyson.tied.node import Node, node_at
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.way_back import on_the_real_axis


@dataclass(frozen=True)
class LawSettings:
    """Accuracy of a law with tied weights.

    ``tol`` of the cdf between points and beyond the outermost ones; ``max_points`` inside the law;
    ``solver_tol``, error of F, to second order, that ends the iteration at a point: a fiftieth of ``tol``.
    """

    tol: float = 5e-4
    max_points: int = 100
    solver_tol: float = 1e-5


@dataclass(frozen=True)
class PathSettings:
    """Numbers of the path; moved by three both ways in tests/dyson/tied/test_tied_path.py."""

    # Radians: the first arg λ. Empirical: at 0.3 two evaluations of (15) solve a point of a long chain.
    angle: float = 0.3
    # Error of the way back, in units of ``tol``, from which on the angle is halved, and the least angle.
    way_back: float = 0.5
    least_angle: float = 1e-3
    # Mass from one point to the next. Empirical: cubics then err by less than the sites do.
    mass: float = 0.05
    # Step in u above the support. Share of a step that is tried next where a point is not solved, and the
    # least step.
    above: float = 0.75
    shorter: float = 0.5
    least_step: float = 0.05
    # Mass above, in units of ``tol``, from which on points divide it by e: it is s² that counts there.
    upper: float = 0.1
    # Sites: a panel with the mass of fewer is not halved, as the gaps between them are not those of the law.
    few_sites: float = 2.0
    # F from which on a power of s is believed. Empirical.
    power_from: float = 0.03


_PATH = PathSettings()
_NO_DENSITY = 1e-5  # of u: none


class PathFollower:
    """Solves (15) on ``sites``, from one point to the next; ``resolved``, the mass of one site."""

    def __init__(
        self, sites: SiteMatrices, far: LargeLambda, settings: LawSettings, resolved: float = 0.0
    ) -> None:
        self.sites, self.far, self.settings, self.angle = sites, far, settings, _PATH.angle
        # Mass beyond the outermost points; half of it is an error.
        self.end = max(2.0 * settings.tol, resolved)

    def points(self) -> list[Node]:
        """Points at one arg λ with which F is known on the real axis."""
        return self.refined(self.lowered(self.march()))

    def march(self) -> list[Node]:
        """From above until less than ``tol``, or one site, lies below, or a power of s does.

        Where ``max_points`` do not reach so far, once more with steps twice as long, and so on while five of
        them lie inside the law.
        """
        stretch, most = 1.0, self.settings.max_points
        while len(nodes := self._descent(stretch)) >= most and stretch * _PATH.mass < 0.2:
            stretch *= 2.0
        return nodes

    def _descent(self, stretch: float) -> list[Node]:
        """Points with steps times ``stretch``, `LawSettings.max_points` at most."""
        settings, far = self.settings, self.far
        u = 0.5 * far.log_m1 + 0.25 * math.log(max(far.ratio, 1.0) / (0.2 * settings.tol))
        nodes: list[Node] = []
        least, step = _PATH.upper * settings.tol, _PATH.above
        while len(nodes) < settings.max_points:
            node = self._solved_at(u, nodes[-2:])
            if not self.is_solved(node):
                step *= _PATH.shorter
                if not nodes or step < _PATH.least_step:
                    break
                u = nodes[-1].u - step
                continue
            if len(nodes) > 1 and 1.0 - node.cdf < least:  # nothing above: two points lead on
                nodes = nodes[1:]
            nodes.append(node)
            if node.cdf < self.end or self._is_power(nodes):
                break
            # Above, F rises faster than from the last point; below, m is known to first order alone.
            wish, density = _PATH.above, max(_last_slope(nodes), node.density)
            if density > _NO_DENSITY:
                beyond = min(max(1.0 - node.cdf, least), max(node.cdf, self.end))
                wish = min(_PATH.mass, PANELS.step * beyond) / density
            step = min(stretch * max(wish, _PATH.least_step), 2.0 * stretch * step)
            u -= step
        return nodes

    def lowered(self, nodes: list[Node]) -> list[Node]:
        """The points at half the angle, and so on, until the way back to the real axis is good to ``tol``.

        Where one of them is not solved any more, those at the angle before.
        """
        while (
            on_the_real_axis(nodes)[1] > _PATH.way_back * self.settings.tol and self.angle > _PATH.least_angle
        ):
            lower = [self._turned(node, 0.5 * self.angle) for node in nodes]
            if not all(map(self.is_solved, lower)):
                break
            nodes, self.angle = lower, 0.5 * self.angle
        return nodes

    def refined(self, nodes: list[Node]) -> list[Node]:
        """Panels halved until cubics in F through both ends are good to ``tol``."""
        few = _PATH.few_sites / self.sites.n if self.sites.n > 1 else 0.0
        settings = Settings(tol=self.settings.tol, tail=self.settings.tol, mass_resolution=few)
        tried: set[float] = set()
        nodes = sorted((node for node in nodes if self.is_solved(node)), key=lambda node: node.u)
        while 2 <= len(nodes) < self.settings.max_points:
            u, cdf, density = (
                np.array([getattr(node, one) for node in on_the_real_axis(nodes)[0]])
                for one in ("u", "cdf", "density")
            )
            # m_1 is known from large λ: panels need not be good to it.
            left = panels_to_halve(u, cdf, density, math.inf, settings)
            left = [i for i in left if u[i] + u[i + 1] not in tried]
            if not left:
                break
            tried.update(float(u[i] + u[i + 1]) for i in left)
            new = [self._solved_at(0.5 * (u[i] + u[i + 1]), nodes[i : i + 2]) for i in left]
            nodes = sorted([*nodes, *filter(self.is_solved, new)], key=lambda node: node.u)
        return nodes

    def is_solved(self, node: Node) -> bool:
        """To the tolerance: the next point starts from it."""
        return node.point.is_solved(self.settings.solver_tol)

    def _is_power(self, nodes: list[Node]) -> bool:
        """Whether F below the lowest node is known as a power of s."""
        if nodes[-1].cdf > _PATH.power_from or len(nodes) < 2:
            return False
        found = power_tail(
            *(np.array([getattr(node, one) for node in nodes[::-1]]) for one in ("u", "cdf", "density"))
        )
        return found is not None and found.error < self.end

    def _solved_at(self, u: float, near: list[Node]) -> Node:
        """A point at u, from the self-energies of ``near``, or from those at large λ."""
        log_lambda, known = complex(2 * u, self.angle), None
        energy = self.far.energy(self.sites, log_lambda)
        if near:
            energy, known = line(near, u)
        return self._iterated(log_lambda, energy, known)

    def _turned(self, node: Node, angle: float) -> Node:
        """The point at another angle, from its own self-energies."""
        point = node.point
        return self._iterated(complex(point.log_lambda.real, angle), point.energy, point.differences)

    def _iterated(self, log_lambda: complex, energy: np.ndarray, known: Differences | None) -> Node:
        tol = self.settings.solver_tol
        point = solve(self.sites, energy, log_lambda, tol, known)
        if known is not None and not point.is_settled(tol):
            point = solve(self.sites, point.energy, log_lambda, tol, point.differences)
        return node_at(self.sites, point)


def _last_slope(nodes: list[Node]) -> float:
    """dF/du at the lowest of the ``nodes``, from F: the error of self-energies enters m to first order."""
    if len(nodes) < 2:
        return 0.0
    before, last = nodes[-2:]
    return (before.cdf - last.cdf) / (before.u - last.u)


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
