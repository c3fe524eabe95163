"""What is checked of an answer: identities of a law, distances from a sample. A failure raises `Wrong`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtri

import rmtrnn as rt

LEVELS = np.concatenate([[1e-3, 1e-2], np.linspace(0.05, 0.95, 19), [0.99, 0.999]])
ROUNDING = 1e-7  # of F, beside the error that a law states
_DEEP = 25.0  # in log s below the largest value: what a singular value decomposition of a product resolves
_RANKS = 400  # order statistics of a sample that are looked at: steps of 0.0025 in F


class Wrong(AssertionError):
    """A check failed."""


def law(view: Any, error: float, mass: float = 1.0, close: float = 1e-6) -> None:
    """Identities of a law of u = log s (or of v = log x): mass, monotone F, F∘F⁻¹, F against support."""
    margin = error + ROUNDING
    if not abs(mass - 1.0) <= margin + close:
        raise Wrong(f"mass {mass!r}")
    u = np.asarray(view.icdf(LEVELS))
    finite = u[np.isfinite(u)]  # −∞ at an atom at s = 0
    falls = np.any(np.diff(finite) < -1e-9 * (1 + np.abs(finite[1:]))) or np.any(
        np.diff(np.isfinite(u) * 1) < 0
    )
    if np.any(np.isnan(u)) or falls:
        raise Wrong(f"quantiles that are not increasing: {u.tolist()}")
    # F within a rounding of u on either side: a law may have much of its mass within one.
    rounding = np.where(np.isfinite(u), 4e-16 * (1 + np.abs(u)), 0.0)
    reached = np.asarray(view.cdf(u + rounding))
    if np.any(reached < LEVELS - margin):
        raise Wrong(f"F at quantiles {reached.tolist()} below {LEVELS.tolist()}")
    locations = np.array([where for where, _ in view.atoms if math.isfinite(where)])
    near = np.isclose(finite[:, None], locations, rtol=1e-9, atol=1e-9).any(axis=1)
    left = np.asarray(view.cdf((u - rounding)[np.isfinite(u)]))
    if np.any((left - LEVELS[np.isfinite(u)])[~near] > margin + 1e-6):
        raise Wrong("F(F⁻¹(p)) differs from p off the atoms")
    if finite.size:
        grid = np.linspace(finite[0] - 0.1, finite[-1] + 0.1, 101)
        values = np.asarray(view.cdf(grid))
        if np.any(np.diff(values) < -ROUNDING) or values.min() < 0 or values.max() > 1:
            raise Wrong("F is not a distribution function")
        if np.any(~(np.asarray(view.pdf(grid)) >= 0)):
            raise Wrong("a density that is negative or nan")
    _support(view, margin)


def _support(view: Any, margin: float) -> None:
    """F is flat outside the support and the atoms, 0 left and 1 right of all."""
    ends = [end for interval in view.support for end in interval] + [where for where, _ in view.atoms]
    if not ends:
        raise Wrong("neither support nor atoms")
    low, high = min(ends), max(ends)
    if math.isfinite(low) and float(view.cdf(low - 1e-6 * (1 + abs(low)))) > margin:
        raise Wrong(f"F > 0 left of the support at {low}")
    if math.isfinite(high) and float(view.cdf(high + 1e-6 * (1 + abs(high)))) < 1 - margin:
        raise Wrong(f"F < 1 right of the support at {high}")
    marks = sorted([*view.support, *((where, where) for where, _ in view.atoms)])
    covered = itertools.accumulate((end for _, end in marks), max)  # an atom may lie inside an interval
    for left, (right, _) in zip(covered, marks[1:], strict=False):
        if math.isfinite(left) and right - left > 1e-6 * (1 + abs(right)):
            inner = left + (right - left) * np.array([0.01, 0.99])
            if abs(np.diff(view.cdf(inner))[0]) > margin:
                raise Wrong(f"F rises in the gap ({left}, {right})")


def kolmogorov(
    cdf: Callable[[np.ndarray], np.ndarray], sample: np.ndarray, floor: float = -math.inf
) -> float:
    """Distance of a sample of u from F, points within rounding of a jump on its better side.

    Below ``floor`` the order of the sample is not known.
    """
    u = np.sort(sample[np.isfinite(sample)])
    n, zeros = sample.size, sample.size - u.size
    u = np.maximum(u, max(floor, u[-1] - _DEEP)) if u.size else u
    if not u.size:
        return 0.0
    rank = np.unique(np.linspace(0, u.size - 1, min(u.size, _RANKS)).astype(int))
    u = u[rank]
    nudge = 1e-6 * (1 + np.abs(u))
    above = (zeros + 1 + rank) / n - np.asarray(cdf(u + nudge))
    below = np.asarray(cdf(u - nudge)) - (zeros + rank) / n
    above[u == u[0]], below[u == u[0]] = above[u == u[0]].min(), 0.0
    return float(max(above.max(), below.max(), 0.0))


def close(name: str, found: float, expected: float, rel: float, absolute: float = 0.0) -> None:
    """Whether two numbers agree."""
    if not abs(found - expected) <= rel * abs(expected) + absolute:
        raise Wrong(f"{name}: {found!r}, expected {expected!r}")


def stratified_normals(n: int, rng: np.random.Generator) -> np.ndarray:
    """n standard normals, one in each of n strata of equal mass, in random order."""
    return ndtri((rng.permutation(n) + rng.random(n)) / n)


def weight(n: int, ens: rt.Ensemble, rng: np.random.Generator) -> np.ndarray:
    """One recurrent matrix of a vanilla network, without the package's own sampler."""
    gate = ens.gate(ens.cell.gates[0])
    G = rng.standard_normal((n, n))
    if gate.weights == "gaussian":
        return gate.sigma_w / math.sqrt(n) * G
    Q, R = np.linalg.qr(G)
    return gate.sigma_w * Q * np.where(np.diagonal(R) < 0, -1.0, 1.0)
