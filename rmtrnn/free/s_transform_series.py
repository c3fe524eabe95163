"""Moments of free products from the power series of their S-transforms.

ψ(z) = Σ m_k z^k, χ = ψ⁻¹, S(m) = (1 + m) χ(m)/m (theory.md (7)); S-transforms multiply, so their logarithms
add. A series is the array of its coefficients, that of z^0 first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

MOMENT_SECONDS = 600.0
"""Seconds for each order of a moment that are refused beyond a month: k = 4300, where the series of order k,
some 1e-8 k⁴ s, takes that long."""


def product_moments(
    base: list[float], power: float, ratios: Mapping[float, float]
) -> tuple[float, list[float]]:
    """log of the mean of base^{⊠t} ⊠ Π MP_c^{⊠n}, and its moments 1..n in units of that mean.

    ψ(z) = Σ m_k z^k, χ = ψ⁻¹, S(m) = (1 + m) χ(m)/m; S-transforms multiply, so their logarithms add.
    """
    n = len(base)
    log_s = power * _log_s(base)
    for ratio, count in ratios.items():
        log_s -= count * np.array([0.0] + [-((-ratio) ** j) / j for j in range(1, n)])[:n]
    s = _exp_series(log_s)
    chi = np.concatenate([[0.0], _over_one_plus_m(s)])
    return power * math.log(base[0]), _reversion(chi)[1:].tolist()


def _log_s(moments: list[float]) -> np.ndarray:
    """log S of a law with these moments 1..n, divided by its mean so that m_1 = 1."""
    psi = np.array([0.0] + [moment / moments[0] ** (j + 1) for j, moment in enumerate(moments)])
    return _log_series(_times_one_plus_m(_reversion(psi)[1:]))


def _times_one_plus_m(series: np.ndarray) -> np.ndarray:
    return series + np.concatenate([[0.0], series[:-1]])


def _over_one_plus_m(series: np.ndarray) -> np.ndarray:
    result = series.copy()
    for j in range(1, len(result)):
        result[j] -= result[j - 1]
    return result


def _reversion(series: np.ndarray) -> np.ndarray:
    """The inverse of z ↦ z + …, by Lagrange's formula: [m^k] = [z^{k−1}] (z/series)^k / k."""
    n = len(series) - 1
    result = np.zeros(n + 1)
    log = _log_series(series[1:])
    for k in range(1, n + 1):
        result[k] = _exp_series(-k * log[:k])[k - 1] / k
    return result


def _log_series(series: np.ndarray) -> np.ndarray:
    """log of a series with constant term 1."""
    result = np.zeros(len(series))
    for j in range(1, len(series)):
        result[j] = series[j] - sum(i * result[i] * series[j - i] for i in range(1, j)) / j
    return result


def _exp_series(series: np.ndarray) -> np.ndarray:
    """exp of a series with constant term 0."""
    result = np.zeros(len(series))
    result[0] = 1.0
    for j in range(1, len(series)):
        result[j] = sum(i * series[i] * result[j - i] for i in range(1, j + 1)) / j
    return result


def multiplied_moments(first: list[float], second: list[float]) -> list[float]:
    """Moments 1..n of the free multiplicative convolution of two laws with moments 1..n: log S adds."""
    chi = np.concatenate([[0.0], _over_one_plus_m(_exp_series(_log_s(first) + _log_s(second)))])
    mean = first[0] * second[0]
    return [mean ** (j + 1) * moment for j, moment in enumerate(_reversion(chi)[1:].tolist())]
