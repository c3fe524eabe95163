"""The law of J Jᵀ for T linear Gaussian steps, σ_w = 1, from its parametrisation (theory.md section 3).

λ = sin^{T+1}((T+1)p)/(sin p sin^T(Tp)), 0 < p < π/(T+1); λ falls with p. In mpmath by root search at given
log λ, and in NumPy at given p.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np


def points(T: int, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u = log s and the density of u at p = shares · π/(T+1)."""
    p = np.asarray(shares) * np.pi / (T + 1)
    return _u(T, p), _density_of_u(T, p)


def density_of_u(T: int, u: np.ndarray) -> np.ndarray:
    """Density of u = log s at given u in the support, p found by bisection."""
    low, high = np.full(u.shape, 1e-300), np.full(u.shape, np.pi / (T + 1) * (1 - 1e-16))
    for _ in range(200):
        p = (low + high) / 2
        above = _u(T, p) > u
        low, high = np.where(above, p, low), np.where(above, high, p)
    return _density_of_u(T, p)


def _u(T: int, p: np.ndarray) -> np.ndarray:
    return ((T + 1) * np.log(np.sin((T + 1) * p)) - np.log(np.sin(p)) - T * np.log(np.sin(T * p))) / 2


def _density_of_u(T: int, p: np.ndarray) -> np.ndarray:
    sines = 2 * np.log(np.sin(p)) + (T - 1) * np.log(np.sin(T * p)) - T * np.log(np.sin((T + 1) * p))
    return 2 / np.pi * np.exp(sines + 2 * _u(T, p))


def log_edge(T: int) -> float:
    """log of the right edge (T+1)^{T+1}/T^T."""
    with mp.workdps(40):
        return float((T + 1) * mp.log(T + 1) - T * mp.log(T))


def _log_x(p: Any, T: int) -> Any:
    """log λ = (T+1) log sin((T+1)p) − log sin p − T log sin(Tp), 0 < p < π/(T+1)."""
    return (T + 1) * mp.log(mp.sin((T + 1) * p)) - mp.log(mp.sin(p)) - T * mp.log(mp.sin(T * p))


def density(v: float, T: int) -> float:
    """λρ(λ) = sin p sin((T+1)p)/(π sin(Tp)) at log λ = v, p solved for at 40 digits (λ falls with p)."""
    with mp.workdps(40):
        p = _parameter(v, T)
        return float(mp.sin(p) * mp.sin((T + 1) * p) / (mp.pi * mp.sin(T * p)))


def cdf(v: float, T: int) -> float:
    """P(log Λ ≤ v) by quadrature of the density over the parameter p, at 25 digits."""
    with mp.workdps(25):
        p = _parameter(v, T)

        def mass(q: Any) -> Any:
            return -_slope(q, T) * mp.sin(q) * mp.sin((T + 1) * q) / (mp.pi * mp.sin(T * q))

        value: Any = mp.quad(mass, [p, mp.pi / (T + 1)])
        return float(value)


def _slope(p: Any, T: int) -> Any:
    return (T + 1) ** 2 * mp.cot((T + 1) * p) - mp.cot(p) - T**2 * mp.cot(T * p)


def _parameter(v: float, T: int) -> Any:
    """p in (0, π/(T+1)) with log λ(p) = v: Newton kept inside a bracket."""
    low, high = mp.mpf(0), mp.pi / (T + 1)
    p = high / 2
    for _ in range(200):
        excess = _log_x(p, T) - v
        low, high = (p, high) if excess > 0 else (low, p)
        new = p - excess / _slope(p, T)
        new = new if low < new < high else (low + high) / 2
        if abs(new - p) <= mp.eps * 64 * p:
            return new
        p = new
    raise AssertionError("the reference itself has not converged")
