"""Reference values that share no formula and no branch choice with the package's solver.

Densities are those of v = log x. The references work with the textbook equations (theory.md (7)-(10)) in
mpmath, and reach the physical branch along |λ| e^{iφ}, φ from π (where w is real, negative and unique) to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np


def pushforward_density(
    f: Callable, f_mp: Callable, variance: float, power: float, gaussians: float, v: float
) -> float:
    """λρ(λ) of law(f(√variance Z))^{⊠power} ⊠ MP^{⊠gaussians} at log λ = v, to about 20 digits.

    Solves v = log w + (power − 1) log(w m/(1 + m)) + gaussians · log(1 + m), m = E[X/(w − X)], with the
    trapezoidal rule at 30 digits, its step halved until two values agree; AssertionError if they never do.
    """
    w = _descend(f, variance, power, gaussians, v)
    last = None
    with mp.workdps(30):
        for level in (5, 6, 7, 8):
            w, m = _polish(f_mp, variance, power, gaussians, v, w, level)
            assert w.imag > 0 > m.imag
            if last is not None and abs(m - last) < 1e-18 * abs(m):
                return float(-m.imag / mp.pi)
            last = m
    raise AssertionError("the reference itself has not converged")


def _polish(
    f_mp: Callable, variance: float, power: float, gaussians: float, v: float, w: complex, level: int
) -> tuple[Any, Any]:
    step = mp.mpf(1) / 2**level
    z = [step * k for k in range(-12 * 2**level, 12 * 2**level + 1)]
    weight = [step * mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi) for x in z]
    image = [f_mp(mp.sqrt(mp.mpf(variance)) * x) for x in z]
    log_w = mp.log(w)
    for _ in range(12):
        w = mp.exp(log_w)
        m = mp.fsum(a * x / (w - x) for a, x in zip(weight, image, strict=True))
        wdm = -w * mp.fsum(a * x / (w - x) ** 2 for a, x in zip(weight, image, strict=True))
        value = log_w + (power - 1) * mp.log(w * m / (1 + m)) + gaussians * mp.log(1 + m) - v
        slope = 1 + (power - 1) * (1 + wdm / (m * (1 + m))) + gaussians * wdm / (1 + m)
        log_w -= value / slope
        if abs(value / slope) < mp.mpf(10) ** -24:
            return w, m
    raise AssertionError("the reference's Newton steps do not settle")


def _descend(f: Callable, variance: float, power: float, gaussians: float, v: float) -> complex:
    """w at log λ = v + i0, followed from log λ = v + iπ in double precision with steps that adapt."""
    z = np.linspace(-12.0, 12.0, 24 * 256 + 1)
    weight = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    x = f(math.sqrt(variance) * z)

    def residual(log_w: complex, phi: float) -> tuple[complex, complex]:
        w = np.exp(log_w)
        m = np.sum(weight * x / (w - x))
        wdm = -w * np.sum(weight * x / (w - x) / (w - x))
        value = log_w + (power - 1) * np.log(w * m / (1 + m)) + gaussians * np.log(1 + m)
        slope = 1 + (power - 1) * (1 + wdm / (m * (1 + m))) + gaussians * wdm / (1 + m)
        return value - v - 1j * phi, slope

    low, high = -150.0, 150.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        below = residual(complex(middle, math.pi), math.pi)[0].real < 0
        low, high = (middle, high) if below else (low, middle)
    log_w, phi, step = complex(0.5 * (low + high), math.pi), math.pi, 0.02
    while phi > 0.0:
        ahead, trial = max(phi - step, 0.0), log_w
        for _ in range(8):
            value, slope = residual(trial, ahead)
            trial -= value / slope
        small = abs(trial - log_w) < 0.05 and 0 < trial.imag < math.pi and abs(value) < 1e-8 * (1 + power)
        if small:
            log_w, phi, step = trial, ahead, min(2 * step, 0.05)
        else:
            step *= 0.5
            assert step > 1e-9, "the reference lost its path"
    return complex(np.exp(log_w))


def bernoulli_density(p: float, power: int, gaussians: int, v: np.ndarray) -> np.ndarray:
    """λρ(λ) of Bernoulli(p)^{⊠power} ⊠ MP^{⊠gaussians}, from the roots m of a polynomial.

    λ m (1+m)^{power−1} = (m+p)^power (1+m)^gaussians; only where at most one pair of roots is complex
    (AssertionError otherwise).
    """
    result = np.zeros(len(v))
    for k, x in enumerate(np.exp(v)):
        common = min(power - 1, gaussians)
        left = np.polymul([1.0, 0.0], _power([1.0, 1.0], power - 1 - common))
        right = np.polymul(_power([1.0, p], power), _power([1.0, 1.0], gaussians - common))
        roots = np.roots(np.polysub(x * left, right))
        assert np.sum(roots.imag > 1e-9) <= 1, "two complex pairs: this reference cannot choose between them"
        result[k] = max(-roots.imag.min(), 0.0) / math.pi
    return result


def _power(factor: list[float], n: int) -> np.ndarray:
    result = np.array([1.0])
    for _ in range(n):
        result = np.polymul(result, factor)
    return result
