"""Leaky cells: linear filters around one pointwise function, whose tied mean field needs no sites.

One state, one gate, and an update h' = a h + f(e) that is linear but for one function f:

    rate form:     h' = a h + f(e),         the gate reads α h,      y = e,
    current form:  h' = a h + b e + c,      the gate reads f(h),     y = h.

In both, f acts on one Gaussian process y, a linear filter of e, and what the gate reads is a linear filter of
f(y). With f(m + √v z) = Σ_n a_n he_n(z) in normalised Hermite polynomials (Mehler),

    E[f(y^t) f(y^s)] = Σ_n a_n² ρ^n,    ρ the correlation of y^t and y^s,

so that theory.md (18), (19) and the growth of differences are equations for one function of the lag, as those
of Sompolinsky, Crisanti and Sommers (1988), which are their limit for a → 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import sympy

from rmtrnn.cells import Cell
from rmtrnn.cells.functions import differentiate
from rmtrnn.cells.numeric import compile_expressions
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.expansion import composed, gate_symbols

_KINKED = (sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Max, sympy.Min, sympy.Piecewise)


@dataclass(frozen=True)
class FilteredCell:
    """The cell as y = (filter of e), f(y), reading = (filter of f(y)); filters β/(z − a), z = e^{iω}.

    ``first``: whether the filter comes before f (current form) or after it (rate form). ``gain``, β: b or α.
    ``constant``, c of the current form. ``evaluate(y)``: f and f'.
    """

    decay: float
    gain: float
    constant: float
    first: bool
    evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@functools.lru_cache(maxsize=64)
def filtered_cell(cell: Cell) -> FilteredCell | None:
    """The filters and the function of a leaky cell; None for others, and for f with kinks."""
    if len(cell.state) != 1 or len(cell.gates) != 1:
        return None
    (update,), (reads,) = composed(cell)
    h, (e,) = cast(sympy.Symbol, cell.state[0]), gate_symbols(cell)
    decay = differentiate(update, h)
    if not decay.is_number or not 0.0 <= float(decay) < 1.0 or update.has(cell.input) or not reads.has(h):
        return None
    drive = cast(sympy.Expr, sympy.expand(update - decay * h))
    gain, slope = differentiate(drive, e), differentiate(reads, h)
    if gain.is_number and gain != 0:
        rest = float(drive.subs(e, 0))
        return _smooth(cast(sympy.Expr, reads), h, float(decay), float(gain), rest, first=True)
    if slope.is_number and reads.subs(h, 0) == 0 and drive.has(e):
        return _smooth(drive, e, float(decay), float(slope), 0.0, first=False)
    return None


def _smooth(
    f: sympy.Expr, y: sympy.Symbol, decay: float, gain: float, constant: float, *, first: bool
) -> FilteredCell | None:
    if f.has(*_KINKED) or f.free_symbols != {y}:
        return None
    compiled = compile_expressions([y], [f, differentiate(f, y)], np)

    def evaluate(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = compiled(values)
        return np.broadcast_to(value, values.shape), np.broadcast_to(slope, values.shape)

    return FilteredCell(decay, gain, constant, first, evaluate)


def filtered(ens: Ensemble) -> FilteredCell | None:
    """The filters of an ensemble's cell; None where e is not Gaussian or the weights read nothing."""
    laws = [ens.gate(name) for name in ens.cell.gates]
    if not ens.has_normal_biases or any(law.sigma_w == 0.0 for law in laws):
        return None
    return filtered_cell(ens.cell)


@dataclass(frozen=True)
class SeriesSettings:
    """Numbers of the Hermite series."""

    # Standard deviations at which the line ends. Derived: the normal density is 1e-37 there.
    reach: float = 13.0
    # Missing share of E[f²] at which the series is long enough. Derived: rounding of its sum.
    missing: float = 1e-13
    # Lengths tried, each with twice the terms of the one before. At the last what is missing is an error.
    shortest: int = 64
    longest: int = 2048
    # Distance of the nearest pole of f from the real axis. That of tanh, π/2; half the nodes tell the error.
    pole: float = 1.5


_SERIES = SeriesSettings()


@functools.lru_cache(maxsize=8)
def _polynomials(length: int, intervals: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes z of a trapezoidal rule, and he_n(z) times the weights of the standard normal law."""
    z = np.linspace(-_SERIES.reach, _SERIES.reach, intervals + 1)
    rows = np.empty((length, z.size))
    rows[0], rows[1] = 1.0, z
    for n in range(1, length - 1):
        rows[n + 1] = (z * rows[n] - np.sqrt(n) * rows[n - 1]) / np.sqrt(n + 1.0)
    return z, rows * (np.exp(-0.5 * z**2) * (z[1] - z[0]) / np.sqrt(2.0 * np.pi))


class HermiteSeries:
    """E[f(y_1) f(y_2)] and E[f'(y_1) f'(y_2)] as functions of the correlation, y ~ N(mean, variance).

    ``missing``: the share of E[f²] beyond the series, or lost between the nodes.
    """

    def __init__(self, cell: FilteredCell, mean: float, variance: float) -> None:
        length, deviation = _SERIES.shortest, np.sqrt(variance)
        while True:
            waves = np.sqrt(length) + 36.0 * deviation / _SERIES.pole  # e^{-36}: rounding
            intervals = 1 << int(np.ceil(np.log2(max(2.0 * _SERIES.reach * waves / (2.0 * np.pi), 64.0))))
            z, rows = _polynomials(length, intervals)
            functions = np.stack(cell.evaluate(mean + deviation * z))
            self.squares = (rows @ functions.T).T ** 2
            total = functions**2 @ rows[0]
            half = 2.0 * functions[:, ::2] ** 2 @ rows[0, ::2]
            left = total - self.squares.sum(axis=1)
            scale = np.maximum(total, 1e-300)
            self.missing = float(np.max((np.abs(left) + np.abs(total - half) ** 2 / scale) / scale))
            if self.missing <= _SERIES.missing or length >= _SERIES.longest:
                break
            length *= 2
        self.squares[:, -1] += np.maximum(left, 0.0)  # what is missing counts at equal times only

    def __call__(self, correlation: np.ndarray, of_slope: bool = False) -> np.ndarray:
        """Σ_n a_n² ρ^n of f, or of f'."""
        squares = self.squares[int(of_slope)]
        tail = np.cumsum(squares[::-1])[::-1]
        used = int(np.count_nonzero(tail > 1e-15 * tail[0]))
        found = np.zeros_like(correlation)
        for square in squares[: max(used, 1)][::-1]:
            found *= correlation
            found += square
        return found


def transfer(cell: FilteredCell, period: int, mu: float = 1.0) -> np.ndarray:
    """|β/(μ z − a)|² at the frequencies 0 … period/2."""
    z = np.exp(2j * np.pi * np.arange(period // 2 + 1) / period)
    return cell.gain**2 / np.abs(mu * z - cell.decay) ** 2


def covariance(spectrum: np.ndarray, period: int) -> np.ndarray:
    """C(τ), τ = 0 … period/2, of a power spectrum at the frequencies 0 … period/2."""
    return np.fft.irfft(spectrum, period)[: period // 2 + 1]


def spectrum(covariance: np.ndarray, period: int) -> np.ndarray:
    """The power spectrum of C(τ), τ = 0 … period/2 along the last axis."""
    circle: Any = np.concatenate([covariance, covariance[..., period // 2 - 1 : 0 : -1]], axis=-1)
    return np.fft.rfft(circle).real
