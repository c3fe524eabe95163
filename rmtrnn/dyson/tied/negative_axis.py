"""Tied weights at λ = -t < 0, where (15) is real and has no branches: theory.md (31).

There m = E s²/(λ - s²) gives

    p = 1 + m = E t/(t + s²),

which rises from P(s = 0) to 1 with t. It is the cdf of log s² + ξ at log t, ξ of the logistic distribution.
(15) is solved on some of the sites. Ψ, which is stationary in the self-energies, is averaged over all: its
derivative in log t is p - 1, so that a change δ of it, as a function of p, takes dδ/dp from log t
(Legendre's transform).

Letters: t = -λ; p, the probability above; δ, a change of Ψ/s_L.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import expit, logit

from rmtrnn.dyson.tied.anchors import group_means
from rmtrnn.dyson.tied.functional import weight_value
from rmtrnn.dyson.tied.iteration import Differences, Point, solve
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.node import Node
from rmtrnn.dyson.tied.path import line
from rmtrnn.dyson.tied.site_matrices import SiteMatrices

# Numbers of the curve. The first four are moved by three both ways in
# tests/dyson/tied/test_tied_negative_axis.py.
# Error of Ψ, to second order in that of the self-energies, that ends the iteration at a point.
_TOL = 1e-10
# From one point to the next: in log(p/(1 - p)), and in log t at most.
_STEP, _LONGEST = 0.5, 4.0
# Change of the self-energies up to which a point counts as well: rounding may keep Ψ from `_TOL`.
_STILL = 3e-4
# p that has to be reached. Below, rounding may end the way down: where sites close their gates for good, as
# in an LSTM, p is a small power of t, which is carried on.
_ENOUGH = 0.1
# Points at which half of the sites say what few of them change.
_CHECKED = 5
# Slope of log(p/(1 - p)) in log t: below, p tends to a mass at s = 0.
_FLAT = 1e-3


class Smoothed(NamedTuple):
    """``logits``, values of log(p/(1 - p)), rising; log t there, by groups of the sites (groups, n).

    ``has_mass``: whether p tends to a mass at s = 0. ``error``: what the self-energies of few sites make of
    F.
    """

    logits: np.ndarray
    log_t: np.ndarray
    has_mass: bool
    error: float

    def excess(self, logits: np.ndarray) -> np.ndarray:
        """log t - log(p/(1 - p)), which is -log S(p - 1), (groups, values), at ``logits``; beyond, a line.

        A line is a power of t.
        """
        spline = CubicSpline(self.logits, self.log_t - self.logits, axis=1, bc_type="natural")
        inside = np.clip(logits, self.logits[0], self.logits[-1])
        return spline(inside) + spline(inside, 1) * (logits - inside)

    def without_lowest(self) -> Smoothed:
        """Without the points at less than twice the lowest p."""
        kept = expit(self.logits) >= 2.0 * expit(self.logits[0])
        return self._replace(logits=self.logits[kept], log_t=self.log_t[:, kept])


def smoothed(
    whole: SiteMatrices, some: SiteMatrices, half: SiteMatrices, groups: int, least: float
) -> Smoothed | None:
    """Points from p > 1 - ``least`` down to p < ``least``, to the mass at s = 0, or as far as (15) is solved.

    Solved on ``some`` of the sites; None where that is not far enough. ``half``: half of these.
    """
    nodes = _descended(some, least)[::-1]
    p = np.array([node.cdf for node in nodes])
    if len(nodes) < 2 or not (np.diff(p) > 0.0).all():
        return None
    has_mass = p[0] > least and _is_flat(*nodes[:2])
    if p[0] > _ENOUGH and not has_mass:
        return None
    log_t = np.array([2.0 * node.u for node in nodes])
    change = np.array([_change_of_psi(whole, some, node, groups) for node in nodes]).T
    error = _error_of_sites(whole, half, nodes)
    return Smoothed(logit(p), log_t - _derivative(change, p), has_mass, error)


def _error_of_sites(whole: SiteMatrices, half: SiteMatrices, nodes: list[Node]) -> float:
    """What the self-energies of few sites make of Ψ/(π s_L), at most, at `_CHECKED` points, spread evenly.

    At λ > 0 its imaginary part is 1 - F. Ψ is off by the square of what the self-energies are off by, so by
    one over the number of sites: from ``half`` of these it moves by as much as it is off.
    """
    places = np.unique(np.linspace(0, len(nodes) - 1, _CHECKED + 2).astype(int)[1:-1])
    others = [(nodes[i], _at(half, 2.0 * nodes[i].u, nodes[i].point.energy, None)) for i in places]
    moves = [abs(_psi(whole, other) - _psi(whole, node)) for node, other in others if other is not None]
    return max(moves, default=math.inf) / (math.pi * whole.s_out)


def _psi(sites: SiteMatrices, node: Node) -> float:
    """Ψ over ``sites`` at the self-energies of others."""
    energy, log_lambda = node.point.energy, node.point.log_lambda
    of_sites = float(sites.weights @ sites.log_determinants(energy, log_lambda))
    return of_sites + weight_value(sites, energy).real


def _change_of_psi(whole: SiteMatrices, some: SiteMatrices, node: Node, groups: int) -> np.ndarray:
    """Mean of Ψ/s_L over every group of the ``whole`` less that over ``some``, at the same self-energies."""
    here = node.point.energy, node.point.log_lambda
    known = float(some.weights @ some.log_determinants(*here))
    by_group = group_means(whole.log_determinants(*here)[:, None], whole.weights, groups)[:, 0]
    return (by_group - known) / whole.s_out


def _derivative(change: np.ndarray, p: np.ndarray) -> np.ndarray:
    """dδ/dp of the ``change`` δ (groups, n), p the probability. δ is 0 at p = 1 and finite at p = 0.

    So δ = c (1 - p) + p (1 - p) h with an h that is smooth in log(p/(1 - p)).
    """
    c = (change[:, 0] / (1.0 - p[0]))[:, None]
    h = CubicSpline(logit(p), (change - c * (1.0 - p)) / (p * (1.0 - p)), axis=1, bc_type="natural")
    return -c + h(logit(p), 1) + (1.0 - 2.0 * p) * h(logit(p))


def _descended(sites: SiteMatrices, least: float) -> list[Node]:
    """Solved points, from above the law down."""
    far = large_lambda(sites)
    log_t = far.log_m1 + 0.5 * math.log(max(far.ratio, 1.0)) - math.log(least)
    node = _at(sites, log_t, np.real(far.energy(sites, complex(log_t, math.pi))), None)
    nodes = [] if node is None else [node]
    step = _STEP
    while nodes and nodes[-1].cdf > least and not (len(nodes) > 1 and _is_flat(*nodes[-2:])):
        log_t = 2.0 * nodes[-1].u - step
        node = _at(sites, log_t, *line(nodes[-2:], 0.5 * log_t))
        if node is None:
            step *= 0.5
            if step < 0.1 * _STEP:
                break
            continue
        nodes.append(node)
        step = min(_STEP / max(_slope(*nodes[-2:]), _STEP / _LONGEST), 2.0 * step)
    return nodes


def _slope(one: Node, other: Node) -> float:
    """Of log(p/(1 - p)) in log t."""
    return float((logit(one.cdf) - logit(other.cdf)) / (2.0 * (one.u - other.u)))


def _is_flat(one: Node, other: Node) -> bool:
    return _slope(one, other) < _FLAT


def _at(sites: SiteMatrices, log_t: float, energy: np.ndarray, known: Differences | None) -> Node | None:
    """The point at λ = -t; None where it is not solved. Its ``cdf`` is p."""
    log_lambda = complex(log_t, math.pi)
    point = solve(sites, energy, log_lambda, _TOL, known)
    if known is not None and not _is_solved(point):
        point = solve(sites, point.energy, log_lambda, _TOL)
    if not _is_solved(point):
        return None
    p = 1.0 + sites.mean_resolvent(point.energy, log_lambda).real
    return Node(0.5 * log_t, p, 0.0, point, np.zeros(0)) if 0.0 < p < 1.0 else None


def _is_solved(point: Point) -> bool:
    return point.is_settled(_TOL) or point.relative < _STILL
