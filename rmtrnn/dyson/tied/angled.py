"""Points of the law at a positive arg λ, and the way back to the real axis.

On the real axis few sites make a rough law, and the longer the chain the rougher: iterations fail from about
100 steps on. At arg λ = θ there is a single solution, and what single sites add is spread over θ/2 of u. The
law of long chains is wide and smooth beside that. So the points are solved there, and a Taylor series leads
back: with x = log λ, dΨ/dx = s_L m, m = E[s²/(λ - s²)],

    Ψ(x) = Ψ(x + iθ) - iθ s_L m - θ²/2 s_L m' + i θ³/6 s_L m'' ...

The second term is that of every site, so that regressions over sites go on as on the axis; m' and m'' come
from a spline through the points. The size of the last term is an error of the cdf.

Letters: u = log s; θ, arg λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import Akima1DInterpolator, CubicSpline
from scipy.optimize import isotonic_regression

from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.panel_refinement import PANELS
from rmtrnn.dyson.tied.functional import weight_value
from rmtrnn.dyson.tied.iteration import Point, solve
from rmtrnn.dyson.tied.path import Node, PathFollower, line
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


@dataclass(frozen=True)
class AngleSettings:
    """Numbers of the angled path; moved by three both ways in tests/dyson/tied/test_angled.py."""

    # Radians. Empirical: at 0.3 two evaluations of (15) solve a point, and the last term is 1e-5.
    angle: float = 0.3
    # Mass from one point to the next. Empirical: cubics then err by less than the sites do.
    mass: float = 0.05
    # Share of a step that is tried next where a point is not solved, and the least step in u.
    shorter: float = 0.5
    # Mass above, in units of ``tol``, from which on points divide it by e: it is s² that counts there.
    upper: float = 0.1
    least_step: float = 0.05


_ANGLE = AngleSettings()


def angled_node(sites: SiteMatrices, point: Point) -> Node:
    """F to first order in arg λ, and s²/(λ - s²) at the point, over ``sites``.

    None where a site is singular, as far from a solution it may be.
    """
    u, angle = 0.5 * point.log_lambda.real, point.log_lambda.imag
    try:
        log_det, m = sites.site_values(point.energy, point.log_lambda)
    except np.linalg.LinAlgError:
        none = np.zeros(sites.n, complex)
        return Node(u, math.nan, 0.0, math.inf, point._replace(error=math.inf), none)
    norm = np.pi * sites.s_out
    site_value = (log_det - 1j * angle * sites.s_out * m) / norm
    value = complex(sites.weights @ site_value) + weight_value(sites, point.energy) / norm
    mean = complex(sites.weights @ m)
    return Node(u, 1.0 - value.imag, -2.0 / np.pi * mean.imag, 0.0, point, site_value, mean)


class AngledFollower(PathFollower):
    """Solves (15) on ``sites`` at a positive arg λ, from above the law downwards."""

    sites: SiteMatrices

    def march(self) -> list[Node]:
        """Until less than ``tol``, or one site, lies below, or a power of s does."""
        settings, far = self.settings, self.far
        u = 0.5 * far.log_m1 + 0.25 * math.log(max(far.ratio, 1.0) / (0.2 * settings.tol))
        nodes: list[Node] = []
        step, mass = settings.above, max(_ANGLE.mass, 2.0 / settings.max_points)
        while len(nodes) < settings.max_points:
            node = self._on_axis(u, nodes[-2:])
            if not self.is_solved(node):
                step *= _ANGLE.shorter
                if not nodes or step < _ANGLE.least_step:
                    break
                u = nodes[-1].u - step
                continue
            nodes.append(node)
            if node.cdf < self.end or self._is_power(nodes):
                break
            # Above, F rises faster than from the last point; below, m is known to first order alone.
            wish, density = settings.above, max(_last_slope(nodes), node.density)
            if density > settings.inside:
                above, below = max(1.0 - node.cdf, _ANGLE.upper * settings.tol), max(node.cdf, self.end)
                beyond = min(above, below)
                wish = min(mass, PANELS.step * beyond) / density
            step = min(max(wish, _ANGLE.least_step), 2.0 * step)
            u -= step
        return nodes

    def _on_axis(self, u: float, near: list[Node]) -> Node:
        """A point at u, from the self-energies of ``near``, or from those at large λ."""
        log_lambda, known = complex(2 * u, _ANGLE.angle), None
        energy = self.far.energy(self.sites, log_lambda)
        if near:
            energy, known = line(near, u)
        point = solve(self.sites, energy, log_lambda, self.settings.solver_tol, known)
        if near and not point.is_settled(self.settings.solver_tol):
            energy, known = point.energy, point.differences
            point = solve(self.sites, energy, log_lambda, self.settings.solver_tol, known)
        return angled_node(self.sites, point)

    def is_solved(self, node: Node) -> bool:
        """To the tolerance: the next point starts from it."""
        return node.point.is_solved(self.settings.solver_tol)

    def _on_real_axis(self, nodes: list[Node]) -> list[Node]:
        return on_the_real_axis(nodes)[0]

    def _both(self, nodes: list[Node]) -> list[Node]:
        return nodes


def _last_slope(nodes: list[Node]) -> float:
    """dF/du at the lowest of the ``nodes``, from F: the error of self-energies enters m to first order."""
    if len(nodes) < 2:
        return 0.0
    before, last = nodes[-2:]
    return (before.cdf - last.cdf) / (before.u - last.u)


def on_the_real_axis(nodes: list[Node]) -> tuple[list[Node], float]:
    """F on the real axis, from angled points of the same arg λ, and its slope; the error of F.

    F is made to rise: what it falls by, as regressions over sites leave it, is an error. Points that are not
    solved stay as they are.
    """
    good = [
        i for i, node in enumerate(nodes) if node.point.is_solved(ERRORS.fall) and math.isfinite(node.cdf)
    ]
    good.sort(key=lambda i: nodes[i].u)
    if len(good) < 4:
        return nodes, math.inf
    angle = nodes[good[0]].point.log_lambda.imag
    x, m = np.array([2 * nodes[i].u for i in good]), np.array([nodes[i].m for i in good])
    spline = CubicSpline(x, m)
    first, second = spline(x, 1), spline(x, 2)
    last = angle**3 / 6.0 / np.pi * np.real(second)
    cdf = np.array([nodes[i].cdf for i in good]) + 0.5 * angle**2 / np.pi * np.imag(first) - last
    rough, cdf = cdf, isotonic_regression(cdf).x
    # m is wrong by what the self-energies are wrong by, F by the square of it. In the lower tail log F is
    # nearly straight, as F is a power of s.
    some, density = cdf > 0.0, np.zeros(len(good))
    if np.count_nonzero(some) > 1:
        u, log_cdf = 0.5 * x[some], np.log(cdf[some])
        density[some] = cdf[some] * Akima1DInterpolator(u, log_cdf, method="makima")(u, 1)
    found = list(nodes)
    for i, value, slope in zip(good, cdf, density, strict=True):
        found[i] = replace(nodes[i], cdf=float(value), density=max(float(slope), 0.0))
    return found, float(np.abs(last).max() + np.abs(rough - cdf).max())
