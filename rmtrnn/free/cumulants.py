"""Free cumulants of finitely many moments, and the moments of a free product by them.

The moment-cumulant formula in its series form: Nica and Speicher 2006, *Lectures on the Combinatorics of Free
Probability*, lecture 11; products: lecture 14.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def moments_of_product(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Moments 1..n of √b a √b from the free cumulants of a and b, whatever their means.

    With f = Σ τ((ab)^j) z^j, g = Σ τ(b(ab)^j) z^j and h = Σ τ(a(ba)^j) z^j, the block of the first letter in
    the sum over non-crossing partitions gives f = 1 + Σ_s κ_s(a) (z g)^s, h = f Σ_s κ_s(a) (z g)^{s−1} and
    g = f Σ_s κ_s(b) (z h)^{s−1}: each round settles one more order.
    """
    n = len(first)
    f = np.zeros(n + 1)
    f[0] = 1.0
    g, h = second[0] * f, first[0] * f
    for _ in range(2 * n):
        inner, outer = (_powers(np.concatenate([[0.0], part[:-1]]), n) for part in (g, h))
        f = inner[0] + sum(kappa * inner[s] for s, kappa in enumerate(first, start=1))
        h = np.convolve(f, np.array(first) @ np.array(inner[:n]))[: n + 1]
        g = np.convolve(f, np.array(second) @ np.array(outer[:n]))[: n + 1]
    return f[1:].tolist()


def free_cumulants(moments: Sequence[float]) -> list[float]:
    """κ_1..κ_n from m_1..m_n: m_n = Σ_s κ_s [z^{n−s}] M(z)^s with M(z) = 1 + Σ m_k z^k."""
    n = len(moments)
    series = np.array([1.0, *moments])
    powers = _powers(series, n)
    cumulants: list[float] = []
    for k in range(1, n + 1):
        known = sum(cumulants[s - 1] * powers[s][k - s] for s in range(1, k))
        cumulants.append(float(moments[k - 1] - known))
    return cumulants


def moments_of(cumulants: Sequence[float]) -> list[float]:
    """m_1..m_n from the free cumulants κ_1..κ_n; the inverse of `free_cumulants`."""
    n = len(cumulants)
    series = np.zeros(n + 1)
    series[0] = 1.0
    for k in range(1, n + 1):
        powers = _powers(series[:k], k)
        series[k] = sum(cumulants[s - 1] * powers[s][k - s] for s in range(1, k + 1))
    return series[1:].tolist()


def _powers(series: np.ndarray, highest: int) -> list[np.ndarray]:
    powers = [np.array([1.0, *([0.0] * (len(series) - 1))])]
    for _ in range(highest):
        powers.append(np.convolve(powers[-1], series)[: len(series)])
    return powers
