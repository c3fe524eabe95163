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

from rmtrnn.dyson.inversion.panel_refinement import PANELS, Settings, panels_to_halve, tail_of
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
    ``solver``, error of F in units of ``tol`` that ends the iteration at a point.
    """

    tol: float = 5e-4
    max_points: int = 100
    solver: float = 0.02

    @property
    def solver_tol(self) -> float:
        """Error of F that ends the iteration at a point."""
        return self.solver * self.tol


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
        nodes = self._without_those_above(self.lowered(self.march()))
        return self.refined(self._descended(nodes) if nodes else nodes)

    def march(self) -> list[Node]:
        """From above until less than ``tol``, or one site, lies below, or a power of s does.

        Where ``max_points`` do not reach so far, once more with steps twice as long, and so on while five of
        them lie inside the law.
        """
        settings, far, stretch = self.settings, self.far, 1.0
        top = 0.5 * far.log_m1 + 0.25 * math.log(max(far.ratio, 1.0) / (0.2 * settings.tol))
        first = self._solved_at(top, [])
        if not self.is_solved(first):
            return []
        while len(nodes := self._descended([first], stretch)) >= settings.max_points:
            stretch *= 2.0
            if stretch * _PATH.mass > 0.2:
                break
        return nodes

    def _descended(self, nodes: list[Node], stretch: float = 1.0) -> list[Node]:
        """With further points below, `LawSettings.max_points` at most, and steps times ``stretch``."""
        least, nodes = _PATH.upper * self.settings.tol, list(nodes)
        step = nodes[-2].u - nodes[-1].u if len(nodes) > 1 else _PATH.above
        while len(nodes) < self.settings.max_points and not self._is_low_enough(nodes):
            # Above, F rises faster than from the last point; below, m is known to first order alone.
            wish, density = _PATH.above, max(_last_slope(nodes), nodes[-1].density)
            if density > _NO_DENSITY:
                cdf = nodes[-1].cdf
                beyond = min(max(1.0 - cdf, least), max(cdf, self.end))
                wish = min(_PATH.mass, PANELS.step * beyond) / density
            node = self._below(nodes, stretch * min(max(wish, _PATH.least_step), 2.0 * step))
            if node is None:
                break
            step = nodes[-1].u - node.u
            if len(nodes) > 1 and 1.0 - node.cdf < least:  # nothing above: two points lead on
                nodes = nodes[1:]
            nodes.append(node)
        return nodes

    def _below(self, nodes: list[Node], step: float) -> Node | None:
        """A solved point ``step`` below the last one, or nearer."""
        while not self.is_solved(node := self._solved_at(nodes[-1].u - step, nodes[-2:])):
            step *= _PATH.shorter
            if step < _PATH.least_step:
                return None
        return node

    def _is_low_enough(self, nodes: list[Node]) -> bool:
        return nodes[-1].cdf < self.end or self._is_power(nodes)

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

    def _without_those_above(self, nodes: list[Node]) -> list[Node]:
        """Without those above the law but two: the smaller the angle, the more there are."""
        least = _PATH.upper * self.settings.tol
        above = [node for node in on_the_real_axis(nodes)[0] if 1.0 - node.cdf < least]
        return nodes[max(len(above) - 2, 0) :]

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
            new = [self._solved_at(float(0.5 * (u[i] + u[i + 1])), nodes[i : i + 2]) for i in left]
            nodes = sorted([*nodes, *filter(self.is_solved, new)], key=lambda node: node.u)
        return nodes

    def nearer_to_end(self, nodes: list[Node], law: list[Node]) -> list[Node] | None:
        """With one more point next to the upper end of the ``law`` that all sites have at the ``nodes``.

        It ends elsewhere than that of the sites of the path. None where little lies beyond the last point.
        """
        u, cdf, density = (np.array([getattr(node, one) for node in law]) for one in ("u", "cdf", "density"))
        tail = tail_of(u, cdf, density, 1)
        if tail is None or not tail.is_bounded or tail.mass < self.end:
            return None
        new = self._solved_at(float(u[tail.end]) + tail.step, nodes[tail.end : tail.end + 2])
        return sorted([*nodes, new], key=lambda node: node.u) if self.is_solved(new) else None

    def is_solved(self, node: Node) -> bool:
        """To the tolerance: the next point starts from it."""
        return node.point.is_solved(self.settings.solver_tol)

    def _is_power(self, nodes: list[Node]) -> bool:
        """Whether F below the lowest node is known as a power of s."""
        if nodes[-1].cdf > _PATH.power_from or len(nodes) < 2:
            return False
        on_axis = on_the_real_axis(nodes)[0][::-1]
        found = power_tail(
            *(np.array([getattr(node, one) for node in on_axis]) for one in ("u", "cdf", "density"))
        )
        return found is not None and found.error < self.end

    def _solved_at(self, u: float, near: list[Node]) -> Node:
        """A point at u, from the self-energies of ``near``, or from those at large λ."""
        log_lambda = complex(2 * u, self.angle)
        energy, known = line(near, u) if near else (self.far.energy(self.sites, log_lambda), None)
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
