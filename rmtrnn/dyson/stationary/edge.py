"""The upper end of the law of Lyapunov exponents on the sites: ρ(μ) = 1, and sites that stand for more.

ρ (`equation.linear_growth`) is a mean over sites, as all of (*) there is. Where it is 1 is known from the
mean field: ½ log χ. Some hundred sites by themselves miss that rate by several per cent, and shares near
the top with it. So σ_w² of the sites is divided by their own ρ(½ log χ) (`calibrated`; ratio estimator
of Cochran 1977, *Sampling Techniques*, chapter 6). The noise of second order is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core.status import ConvergenceError
from rmtrnn.dyson.stationary.equation import Growth, linear_growth
from rmtrnn.dyson.stationary.response import Modes, causal_response
from rmtrnn.dyson.stationary.sites import SiteSteps
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.tied_field import standard_error


@dataclass(frozen=True)
class EdgeSettings:
    """Numbers of the upper end; tests/dyson/stationary moves ``near`` by a factor of three both ways.

    ``most``: secant steps for ρ = 1, from ``near`` apart, up to |log ρ| < ``tolerance``: roundings have no
    slope. ``run``: sites taken from a run of neighbours in ρ.
    """

    most: int = 4
    tolerance: float = 1e-8
    near: float = 0.02
    run: int = 8


SETTINGS = EdgeSettings()


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
    for _ in range(SETTINGS.most):
        if abs(at_high) < SETTINGS.tolerance:  # a further difference would be one of roundings
            break
        slope = (at_high - at_low) / (high - low)
        low, at_low, high = high, at_high, high - at_high / slope
        at_high = log_rho(high)
    if not slope < 0.0:
        raise ConvergenceError(f"the growth of perturbations does not fall with the rate near {high:.4g}")
    return high, slope
