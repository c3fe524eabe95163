"""Regression of log T* on log ξ, where T*, the longest trainable length, is known to lie between two lengths.

    log T* = a + b log ξ + s ε,   ε ~ N(0, 1),

with interval censoring (Tobin 1958). A network that learns one length of the grid and none above has log T*
between it and the next; one that learns the longest length has a lower bound, one that learns none an upper
bound. The claim T* = const · ξ is b = 1. The interval of b is that of the profile likelihood: twice the fall
of the log likelihood below its maximum stays under n log(1 + t²/(n − 2)), with t the 97.5 % point of
Student's t with n − 2 degrees of freedom and n the networks inside the grid. Without censoring this is the
interval of least squares, exactly. Nothing is drawn at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import log_ndtr
from scipy.stats import t as student

# Smallest scatter s of log T*. A perfect fit has s = 0; a grid of ratio 2 does not resolve less than a tenth
# of its interval.
LEAST_SCATTER = 0.05
# Slopes beyond are no prediction of anything: the interval ends there.
STEEPEST = 20.0
FINE = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000}


@dataclass(frozen=True)
class Slope:
    """b with its 95 % interval, the factor e^a at the mean of log ξ as T*/ξ, and the scatter s."""

    b: float
    low: float
    high: float
    ratio: float
    scatter: float


def bounds(T: np.ndarray, learned: np.ndarray) -> tuple[float, float]:
    """Interval of log T* from whether each of the increasing lengths T was learned.

    A failure below a longer T that is learned is an accident of training: what counts is the longest.
    """
    padded = np.concatenate([[-np.inf], np.log(T), [np.inf]])
    longest = max(np.flatnonzero(learned), default=-1)
    return float(padded[longest + 1]), float(padded[longest + 2])


def regression(log_xi: np.ndarray, low: np.ndarray, high: np.ndarray) -> Slope:
    """Maximum of the likelihood and the profile interval of b; ValueError with fewer than 3 networks."""
    if len(log_xi) < 3:
        raise ValueError(f"log_xi = {log_xi!r}: three networks or more have a slope")
    centre = float(log_xi.mean())
    x = log_xi - centre
    middle = np.where(np.isfinite(low), np.where(np.isfinite(high), 0.5 * (low + high), low), high)

    def best(b: float) -> tuple[float, np.ndarray]:
        """Largest log likelihood at the slope b, and (a, log s) there."""
        rest = middle - b * x
        start = [np.mean(rest), np.log(max(np.std(rest), 0.3))]
        found = minimize(
            lambda p: -log_likelihood(x, low, high, b, *p), start, method="Nelder-Mead", options=FINE
        )
        return -float(found.fun), found.x

    first = max(np.linspace(-3.0, 3.0, 13), key=lambda b: best(b)[0])
    start = [first, *best(first)[1]]
    found = minimize(lambda p: -log_likelihood(x, low, high, *p), start, method="Nelder-Mead", options=FINE)
    b, a, log_s = map(float, found.x)
    top = -float(found.fun)

    n = max(int(np.sum(np.isfinite(low) & np.isfinite(high))), 3)
    allowed = n * math.log1p(float(student.ppf(0.975, n - 2)) ** 2 / (n - 2))

    def excess(at: float) -> float:
        return 2.0 * (top - best(at)[0]) - allowed

    ends = []
    for sign in (-1.0, 1.0):
        reach = 0.25
        while reach < STEEPEST and excess(b + sign * reach) < 0.0:
            reach *= 2.0
        reach = min(reach, STEEPEST)
        ends.append(
            brentq(excess, b, b + sign * reach, xtol=1e-4)
            if excess(b + sign * reach) > 0.0
            else sign * np.inf
        )
    return Slope(
        b, float(ends[0]), float(ends[1]), float(np.exp(a - centre)), max(float(np.exp(log_s)), LEAST_SCATTER)
    )


def log_likelihood(
    x: np.ndarray, low: np.ndarray, high: np.ndarray, b: float, a: float, log_s: float
) -> float:
    """Σ log P(low < a + b x + s ε < high), with s ≥ `LEAST_SCATTER`."""
    s = max(float(np.exp(log_s)), LEAST_SCATTER)
    upper, lower = (high - a - b * x) / s, (low - a - b * x) / s
    flip = lower > 0.0  # the difference of two small tails, not of two numbers near 1
    right, left = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    mass = log_ndtr(right) + np.log1p(-np.exp(np.minimum(log_ndtr(left) - log_ndtr(right), -1e-15)))
    return float(np.sum(mass))
