"""The law of the Lyapunov exponents from the stationary Dyson equation: a path in μ, and its errors.

The path starts below the largest exponent, where ρ(μ) = 1 (`equation.linear_growth`), and goes down; each
point starts from the line through the two before it.

ρ is a mean over sites, as all of (*) is. Where it is 1 is known from the mean field: ½ log χ. Some hundred
sites by themselves miss that rate by several per cent, and shares of exponents near the top with it. So σ_w²
of the sites is divided by their own ρ(½ log χ) (`calibrated`; ratio estimator of Cochran 1977, *Sampling
Techniques*, chapter 6). The noise of second order is left.

Letters: L, the period in steps; p, the share of exponents above μ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn._core.status import ConvergenceError
from rmtrnn.dyson.stationary.equation import Growth, Solution, linear_growth, solve
from rmtrnn.dyson.stationary.response import Modes, causal_response, respond
from rmtrnn.dyson.stationary.sites import SiteSteps
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.tied_field import standard_error


@dataclass(frozen=True)
class PathSettings:
    """Numbers of the path; tests/dyson/stationary moves each by a factor of three both ways.

    ``first``: log ρ at the first point, where some per cent of the exponents are above. ``apart``: largest
    change of p between points; the monotone cubic between them errs by some 1e-4. ``last``: p at which the
    path ends; ``end``: p beyond which a point that is not solved ends it, as at a lower edge; before, it ends
    in the bulk. ``most``: points. ``every``: of so many points one has its error measured. ``edge``:
    secant steps for ρ = 1, from ``near`` apart, up to |log ρ| < ``edge_tolerance``: roundings have no slope.
    ``run``: sites taken from a run of neighbours in ρ.
    """

    first: float = 0.1
    apart: float = 0.06
    last: float = 0.985
    end: float = 0.9
    most: int = 60
    every: int = 5
    edge: int = 4
    edge_tolerance: float = 1e-8
    near: float = 0.02
    run: int = 8


SETTINGS = PathSettings()


class Path(NamedTuple):
    """p at falling μ, and its error (points,) by the groups of sites and by the period.

    ``converged``: whether every point is, and the path has not ended in the bulk.
    """

    mu: np.ndarray
    above: np.ndarray
    error: np.ndarray
    residual: float
    converged: bool


def follow(steps: SiteSteps, shorter: SiteSteps, largest: float) -> Path:
    """The whole path below the ``largest`` exponent; ``shorter``: other sites on half the period.

    All sites, and each group of them, are calibrated to it. Raises ConvergenceError where ρ does not fall as
    the rate rises, or the first point is not solved.
    """
    modes, half = (Modes.of(one.period, tied=one.tied) for one in (steps, shorter))
    steps, shorter = calibrated(steps, modes, largest), calibrated(shorter, half, largest)
    parts = [steps.group(index) for index in range(GROUPS)]
    groups = [calibrated(steps.of(part), modes, largest) for part in parts]
    _, slope = largest_exponent(steps, modes, largest)
    mu = largest - SETTINGS.first / abs(slope)
    growth = linear_growth(steps, modes, mu)
    before: list[tuple[float, Solution]] = []
    energy = np.log(_amplitude(steps, modes, growth))
    measured: list[tuple[float, float]] = []
    while len(before) < SETTINGS.most:
        advance("stationary Dyson equation: growth rates")
        response = respond(steps, modes, mu)
        found = solve(steps, modes, response, energy)
        if not np.isfinite(found.residual) or (not found.converged and found.above > SETTINGS.end):
            break
        if len(before) % SETTINGS.every == 0:
            shares = [
                solve(group, modes, response.of(part), found.log_energy).above
                for group, part in zip(groups, parts, strict=True)
            ]
            short = _on_half_period(shorter, half, modes, mu, found)
            measured.append(
                (mu, max(float(standard_error(np.array(shares))), abs(short.above - found.above)))
            )
        before.append((mu, found))
        if found.above > SETTINGS.last:
            break
        mu, energy = _next(before, largest)
    if len(before) < 3:
        raise ConvergenceError(f"no solution of the stationary Dyson equation near {mu:.4g} per step")
    at, error = np.array(measured)[::-1].T
    where = np.array([one for one, _ in before])
    return Path(
        where,
        np.array([one.above for _, one in before]),
        np.interp(where, at, error),
        max(one.residual for _, one in before),
        all(one.converged for _, one in before) and before[-1][1].above > SETTINGS.end,
    )


def calibrated(steps: SiteSteps, modes: Modes, largest: float) -> SiteSteps:
    """Divide σ_w² of all gates by ρ of these sites at the ``largest`` exponent, where it has to be 1."""
    return replace(steps, variance=steps.variance / linear_growth(steps, modes, largest).rho)


class Representative(NamedTuple):
    """Sites that stand for more, and the largest exponent of all of these with its error by their groups."""

    steps: SiteSteps
    largest: float
    error: float


def representative(steps: SiteSteps, n: int, start: float) -> Representative:
    """``n`` of the sites that stand for all of them, and the largest exponent of all with its error.

    At a given rate ρ is a mean over sites of v_Q H² v_P, with the leading eigenvectors of the linear map.
    Sites of every group are sorted by it, runs of neighbours by the size of their steps, and taken at equal
    steps (systematic sampling).
    """
    modes = Modes.of(steps.period, tied=steps.tied)
    own = steps.n // GROUPS
    first = np.concatenate([np.arange(n // GROUPS) + i * own for i in range(GROUPS)])
    pilot = steps.of(first)
    largest, slope = largest_exponent(pilot, modes, start)
    growth = linear_growth(pilot, modes, largest)
    parts = [slice(i, i + n) for i in range(0, steps.n, n)]
    size = np.concatenate([_growths(steps.of(part), modes, largest, growth) for part in parts])
    scale = growth.rho / size[first].mean()
    stride = own // (n // GROUPS)
    order = np.argsort(size.reshape(GROUPS, own), axis=1, kind="stable") + own * np.arange(GROUPS)[:, None]
    runs = order.reshape(GROUPS, -1, min(SETTINGS.run * stride, own))
    order = np.take_along_axis(runs, np.argsort(_step_sizes(steps)[runs], axis=2), axis=2).reshape(
        GROUPS, own
    )
    taken = np.arange(0, own, stride) + stride // 2
    taken[::2] -= min(stride - 1, 1)  # of an even number of neighbours the lower and the upper middle in turn
    groups = largest - np.log(scale * size.reshape(GROUPS, own).mean(axis=1)) / slope
    edge = largest - math.log(scale * size.mean()) / slope
    return Representative(steps.of(order[:, taken].ravel()), edge, float(standard_error(groups)))


def _step_sizes(steps: SiteSteps) -> np.ndarray:
    """Mean log of |A|² + |B|² |C|² over the steps of every site."""
    a, b, c = (np.sum(part**2, axis=(1, 2)) for part in (steps.A, steps.B, steps.C))
    return np.mean(np.log(np.maximum(a + b * c, 1e-300)), axis=0)


def _growths(steps: SiteSteps, modes: Modes, mu: float, growth: Growth) -> np.ndarray:
    """v_Q H² v_P of every site."""
    driven = growth.energy[0][:, modes.band].ravel()
    read = np.zeros(steps.C.shape[1::-1])
    np.add.at(read, steps.reading, growth.energy[1][:, modes.band])
    return np.einsum(
        "i,nij,j->n", read.ravel(), causal_response(steps, modes, mu) ** 2, driven, optimize=True
    )


def largest_exponent(steps: SiteSteps, modes: Modes, start: float) -> tuple[float, float]:
    """μ with ρ(μ) = 1 by the secant method, and the slope of log ρ there."""

    def log_rho(mu: float) -> float:
        return math.log(linear_growth(steps, modes, mu).rho)

    low, high = start - SETTINGS.near, start + SETTINGS.near
    at_low, at_high = log_rho(low), log_rho(high)
    slope = (at_high - at_low) / (high - low)
    for _ in range(SETTINGS.edge):
        if abs(at_high) < SETTINGS.edge_tolerance:  # a further difference would be one of roundings
            break
        slope = (at_high - at_low) / (high - low)
        low, at_low, high = high, at_high, high - at_high / slope
        at_high = log_rho(high)
    if not slope < 0.0:
        raise ConvergenceError(f"the growth of perturbations does not fall with the rate near {high:.4g}")
    return high, slope


def _amplitude(steps: SiteSteps, modes: Modes, growth: Growth) -> np.ndarray:
    """The eigenvectors scaled so that Q g is about log ρ at each of the frequencies that take part."""
    driven, read = growth.energy
    passed = driven * read / steps.variance[:, None]
    total = np.sum(modes.size * passed)
    taking_part = total**2 / np.sum(modes.size * passed**2)
    return growth.energy * math.sqrt(max(math.log(growth.rho), 1e-6) * taking_part / total)


def _next(before: list[tuple[float, Solution]], largest: float) -> tuple[float, np.ndarray]:
    """The next growth rate, and log (P, Q) there on the line through the last two points."""
    mu, last = before[-1]
    if len(before) == 1:
        return mu - (largest - mu), last.log_energy
    older, first = before[-2]
    change = max(last.above - first.above, 1e-6)
    ratio = min(max(SETTINGS.apart / change, 0.3), 2.0)
    return mu - ratio * (older - mu), last.log_energy + ratio * (last.log_energy - first.log_energy)


def _on_half_period(steps: SiteSteps, modes: Modes, whole: Modes, mu: float, found: Solution) -> Solution:
    """The solution on half the period, from that on the whole one at the same frequencies."""
    middle, wanted = (one.mean((np.arange(len(one.band)) + 1) // 2 / len(one.band)) for one in (whole, modes))
    energy = np.array([[np.interp(wanted, middle, row) for row in part] for part in found.log_energy])
    return solve(steps, modes, respond(steps, modes, mu), energy)
