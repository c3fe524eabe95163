"""Points of the distribution function with tied weights, found on some of the sites.

By continuation in log lambda at arg lambda > 0, where the resolvent is smooth, and from each point to the
real axis. Then panels are halved until cubics in F are good enough, and modes in time are added until F stops
changing.

Letters: u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.tied.bordered_green import averages
from rmtrnn.dyson.tied.chain import TiedChain
from rmtrnn.dyson.tied.continuation import AtInfinity, Point, at_infinity, newton, shifted
from rmtrnn.dyson.tied.functional import gradient, gradient_by_lambda, weight_value
from rmtrnn.dyson.tied.time_basis import TimeBasis


@dataclass(frozen=True)
class PathSettings:
    """How points are found.

    ``tol``: of the cdf between points, and mass beyond the outermost ones; ``basis_tol``: of the cdf, for the
    number of modes; ``modes``: polynomials in time, to begin with and at most; ``max_points``. ``angle``: arg
    lambda of the continuation, in radians, and ``mass``: F from one of its points to the next (empirical:
    both decide how many Newton steps are taken, not what they find). ``rough``, ``fine``: relative Newton
    steps that end the iteration on the way and on the real axis; F errs by their square.
    """

    tol: float = 5e-4
    basis_tol: float = 1e-3
    modes: tuple[int, ...] = (6, 8, 12, 16)
    max_points: int = 100
    angle: float = 0.1
    mass: float = 0.08
    rough: float = 1e-3
    fine: float = 1e-4


@dataclass(frozen=True)
class Node:
    """A point of the real axis: F = P(log s <= u) and the density of u.

    ``error`` of F, from what the correction of the self-energies leaves; ``site_log``: Im log det of every
    site, over pi s_L.
    """

    u: float
    cdf: float
    density: float
    error: float
    point: Point
    site_log: np.ndarray

    def solved(self, tol: float) -> bool:
        return self.point.relative < 0.01 and self.error < tol and self.density > -tol


def node_at(chain: TiedChain, point: Point) -> Node:
    """F and density on ``chain`` at self-energies that may come from some of its sites.

    A Newton step dx with the Hessian of ``point`` is counted to second order in F, Psi + g dx/2, and to first
    in the density, m + dm dx. The third order is stated as the error.
    """
    energy, log_lambda = point.energy, point.log_lambda
    if point.factors is None:
        return Node(0.5 * log_lambda.real, math.nan, math.nan, math.inf, point, np.full(chain.n, math.nan))
    found = averages(chain, energy, log_lambda, log_det=True)
    slope = gradient(chain, energy, found)
    step = -point.solve(slope)
    change = 0.5 * complex(slope @ step)
    psi = complex(chain.weights @ found.log_det) + weight_value(chain, energy)
    m = found.m + complex(gradient_by_lambda(energy, found) @ step) / chain.s_out
    norm = math.pi * chain.s_out
    upper = (psi.imag + change.imag) / norm
    error = abs(change) * min(1.0, point.size_of(step)) / norm
    return Node(
        0.5 * log_lambda.real,
        1.0 - upper,
        -2.0 / math.pi * m.imag,
        error,
        point,
        np.imag(found.log_det) / norm,
    )


class PathFollower:
    """Solves (15) on the sites of ``chain``, from one point to the next."""

    def __init__(self, chain: TiedChain, settings: PathSettings) -> None:
        self.chain, self.settings = chain, settings
        basis = TimeBasis.legendre(chain.steps, settings.modes[0])
        self.far: AtInfinity = at_infinity(chain, basis)
        self.path: list[Point] = []

    def march(self) -> list[Node]:
        """Down from where Chebyshev's inequality leaves little mass, until less than ``tol`` is below."""
        settings, far = self.settings, self.far
        u = 0.5 * far.log_m1 + 0.25 * math.log(max(far.ratio, 1.0) / (0.2 * settings.tol))
        at = complex(2 * u, settings.angle)
        energy = shifted(far.point.energy, at.real - far.point.log_lambda.real).turned(settings.angle)
        near = newton(self.chain, self.chain, energy, at, settings.rough)
        nodes: list[Node] = []
        step = 0.4
        while near.relative < 0.1 and len(nodes) < settings.max_points:
            self.path.append(near)
            nodes.append(self._on_axis(near))
            last = nodes[-1]
            if last.solved(settings.tol) and last.cdf < settings.tol:
                break
            wish = settings.mass / last.density if last.density > 1e-6 else 0.6
            near, step = self._ahead(near, u, float(np.clip(wish, 0.2, 1.5 * step)))
            u -= step
        return nodes

    def _ahead(self, near: Point, u: float, step: float) -> tuple[Point, float]:
        """The next point, and the step in u, halved where Newton's method has trouble."""
        for _ in range(6):
            following = self._near_axis(near, u - step)
            if following.relative < self.settings.rough and following.steps <= 12:
                break
            step *= 0.5
        return following, step

    def _near_axis(self, before: Point, u: float) -> Point:
        at = complex(2 * u, self.settings.angle)
        return newton(self.chain, self.chain, before.ahead(at).regauged(), at, self.settings.rough)

    def _on_axis(self, near: Point) -> Node:
        """The point below ``near`` on the real axis, by several arg lambda where one step is too long."""
        at, fine = complex(near.log_lambda.real, REAL_AXIS), self.settings.fine
        point = newton(self.chain, self.chain, near.ahead(at), at, fine, near.factors)
        if not point.relative < self.settings.rough:
            middle = near
            for angle in (0.03, 0.01, 0.003, REAL_AXIS):
                at = complex(near.log_lambda.real, angle)
                middle = newton(self.chain, self.chain, middle.ahead(at), at, fine)
            point = middle if middle.relative < point.relative else point
        return node_at(self.chain, point)

    def _between(self, left: Node, right: Node) -> Node:
        """A node halfway, from that neighbour which is inside the support, else from the path."""
        u, settings = 0.5 * (left.u + right.u), self.settings
        at = complex(2 * u, REAL_AXIS)
        inner = (left if left.density > right.density else right).point
        point = newton(self.chain, self.chain, inner.ahead(at), at, settings.fine, inner.factors)
        node = node_at(self.chain, point)
        if (
            point.relative < settings.rough
            and node.solved(settings.tol)
            and left.cdf <= node.cdf <= right.cdf
        ):
            return node
        nearest = min(self.path, key=lambda one: abs(one.log_lambda.real - 2 * u))
        return self._on_axis(self._near_axis(nearest, u))

    def refined(self, nodes: list[Node]) -> list[Node]:
        """Panels halved until cubics in F through both ends are good to ``tol``."""
        settings = self.settings
        tried: set[float] = set()
        nodes = sorted((node for node in nodes if node.solved(settings.tol)), key=lambda node: node.u)
        while len(nodes) < settings.max_points:
            panels = [
                i for i in panels_to_halve(nodes, settings.tol) if nodes[i].u + nodes[i + 1].u not in tried
            ]
            if not panels:
                break
            tried.update(nodes[i].u + nodes[i + 1].u for i in panels)
            new = [self._between(nodes[i], nodes[i + 1]) for i in panels]
            nodes = sorted(
                [*nodes, *(node for node in new if node.solved(settings.tol))], key=lambda node: node.u
            )
        return nodes

    def in_larger_bases(self, nodes: list[Node]) -> tuple[list[Node], float]:
        """The nodes with as many modes as F needs, and the error that is left of the basis.

        It is decided on some of them. The error falls at least as 1/modes^2 (a kernel with a cusp at equal
        times): from the change between two bases follows what is left after the larger one.
        """
        settings, steps = self.settings, self.chain.steps
        some = nodes[:: max(1, len(nodes) // 8)]
        modes, error = settings.modes[0], 0.0
        for larger in settings.modes[1:]:
            if steps <= 2 * modes:
                return self._solved_in(nodes, modes), 0.0
            before = np.array([node.cdf for node in some])
            some = self._solved_in(some, larger)
            change = float(np.abs(np.array([node.cdf for node in some]) - before).max())
            error = 0.0 if steps <= 2 * larger else change * modes**2 / (larger**2 - modes**2)
            modes = larger
            if error < settings.basis_tol:
                break
        return self._solved_in(nodes, modes), error

    def _solved_in(self, nodes: list[Node], modes: int) -> list[Node]:
        basis = TimeBasis.legendre(self.chain.steps, modes)
        if nodes[0].point.energy.basis.size == basis.size:
            return nodes
        points = [
            newton(
                self.chain, self.chain, n.point.energy.in_basis(basis), n.point.log_lambda, self.settings.fine
            )
            for n in nodes
        ]
        return [node_at(self.chain, point) for point in points]


def panels_to_halve(nodes: list[Node], tol: float) -> list[int]:
    """Left indices of panels in which a cubic through both ends may be wrong by ``tol``.

    A quarter of the defect of the trapezoidal rule bounds what the cubic misses of a smooth F; where only one
    end is inside the support, that is the whole mass of the panel.
    """
    u, cdf, density = (np.array([getattr(node, name) for node in nodes]) for name in ("u", "cdf", "density"))
    density = np.maximum(density, 0.0)
    width, rise = np.diff(u), np.diff(cdf)
    empty = density <= 1e-4 * density.max(initial=0.0)
    defect = np.abs(rise - 0.5 * (density[1:] + density[:-1]) * width)
    bend = np.abs(np.diff(density)) * width / 8.0
    error = 0.25 * np.maximum(defect, bend)
    error = np.where(empty[1:] != empty[:-1], 0.5 * np.abs(rise), error)
    error = np.where(empty[1:] & empty[:-1], 0.0, error)
    return [int(i) for i in np.flatnonzero((error > tol) & (width > 1e-3))]


def on_more_sites(chain: TiedChain, small: TiedChain, node: Node, tol: float = 1e-2) -> Point:
    """The self-energies of ``node``, found on ``small``, corrected on ``chain``.

    With the Hessian of ``small`` as long as that contracts, else with that of ``chain``.
    """
    before = node.point
    point = newton(chain, small, before.energy, before.log_lambda, tol, before.factors, most=5)
    if point.relative < 5 * tol:
        return point
    again = newton(chain, chain, before.energy, before.log_lambda, tol, most=6)
    return again if again.relative < point.relative else point


def moments(chain: TiedChain, far: AtInfinity, groups: int) -> np.ndarray:
    """log m_1 and m_2/m_1^2, (1 + groups, 2): of all sites, then of equal groups of them.

    -lambda Psi/s_L = m_1 (1 + (m_1/lambda) m_2/(2 m_1^2) + ...) at three large lambda. Psi is stationary: to
    first order a group differs from the whole by its own mean of log det.
    """
    small = 2e-3 / far.ratio  # m_1/lambda, so that the second term is 1e-3
    scaled, epsilon = [], []
    for factor in (1.0, 2.0, 4.0):
        log_lambda = far.log_m1 + math.log(factor / small)
        energy = shifted(far.point.energy, log_lambda - far.point.log_lambda.real)
        point = newton(chain, chain, energy, log_lambda + 0j, 1e-9)
        log_det = averages(chain, point.energy, log_lambda + 0j, log_det=True).log_det
        constant = weight_value(chain, point.energy).real
        weights = chain.weights.reshape(groups, -1)
        each = (weights * np.real(log_det).reshape(groups, -1)).sum(axis=1) / weights.sum(axis=1)
        psi = np.concatenate([[chain.weights @ np.real(log_det)], each]) + constant
        scaled.append(-psi / chain.s_out * factor / small)
        epsilon.append(small / factor)
    terms = np.linalg.solve(np.vander(epsilon, 3, increasing=True), np.array(scaled))
    return np.array([far.log_m1 + np.log(terms[0]), 2.0 * terms[1] / terms[0] ** 2]).T
