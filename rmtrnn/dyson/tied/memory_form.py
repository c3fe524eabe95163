"""Self-energies as covariances of a process with a memory, which make a site a short recursion.

Between two steps t > s the self-energies of theory.md (15) fall off as what a site remembers, about as

    X_ts = beta(s) prod_{s < tau < t} A(tau),    X_tt = d(t),                                    (31)

with log A and, relative to a gauge that takes out the growth along the steps, beta smooth in time: the
covariance of white noise beside a Markov process (a quasiseparable matrix: Vandebril, Van Barel and
Mastronardi 2008, Matrix Computations and Semiseparable Matrices). Then the sum over paths through a site is
that of a Gauss-Markov process of x, of xi, what earlier steps know of what the weights add, and of zeta, what
they have read before,

    x' = a x + b (xi + w),  xi' = A xi + v,  zeta' = B zeta + gamma c x,  E w² = d,  E w v = beta,    (32)

weighed at every step by exp(e (c x)²/2 + c x zeta): d, beta, A for P, and e, gamma, B for Q. The recursion
for its covariance U gives log det(1 - Q h) at a site at a cost of O(T). It is not that of (15) but a variable
next to it: see `more_sites`.

Letters: X, P or Q of (15); T, steps; n, sites; a, b, c, x as in (1); A, B,
beta, gamma, d, e as above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.gauge import legendre, smooth_gauge

# Pivots between two logarithms: their product neither over- nor underflows.
_PIVOTS = 8
# Sites side by side: some arrays of complex numbers fit a level-2 cache of 1 MiB.
_PORTION = 1024


@dataclass(frozen=True)
class FitSettings:
    """Numbers of the fit; moved by three both ways in tests/dyson/tied/test_more_sites.py."""

    # Polynomials in time of beta, of log A, and of the log of the gauge, and one more of each for so many
    # steps. Empirical: at T = 100, F = 0.1, what is left of the spread falls from 43 % to 11 %.
    start: int = 7
    rate: int = 3
    gauge: int = 4
    steps: float = 12.0
    # Steps of Gauss and Newton, the relative gain that ends them, and the longest change of log A in one.
    most: int = 30
    gain: float = 1e-4
    longest: float = 1.0


_FIT = FitSettings()


class Memory(NamedTuple):
    """d, beta and A of (31), (T,) each."""

    diagonal: np.ndarray
    start: np.ndarray
    decay: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """X between all steps."""
        steps = self.diagonal.size
        found = np.diag(self.diagonal)
        row = np.zeros(steps, dtype=complex)
        for t in range(1, steps):
            row[: t - 1] *= self.decay[t - 1]
            row[t - 1] = self.start[t - 1]
            found[t, :t] = found[:t, t] = row[:t]
        return found


def memories(energy: np.ndarray) -> tuple[Memory, Memory]:
    """P and Q of (15), (2, T, T), in the form (31): least squares in units of a smooth diagonal."""
    added = round(energy.shape[-1] / _FIT.steps)
    log_gauge = np.log(smooth_gauge(energy[:, None], _FIT.gauge - 1 + added))[0]
    found = []
    for matrix, logs in zip(energy, (log_gauge, -log_gauge), strict=True):
        memory = _fitted(matrix * np.exp(-logs[:, None] - logs))
        step = np.diff(logs, append=logs[-1])
        found.append(
            Memory(
                memory.diagonal * np.exp(2 * logs),
                memory.start * np.exp(2 * logs + step),
                memory.decay * np.exp(step),
            )
        )
    return found[0], found[1]


def _fitted(matrix: np.ndarray) -> Memory:
    """(31) of a matrix with a diagonal of about the same size everywhere: Levenberg and Marquardt."""
    steps = len(matrix)
    later, earlier = np.tril_indices(steps, -1)
    values = matrix[later, earlier]
    diagonal = np.diagonal(matrix).astype(complex)
    none = np.zeros(steps, dtype=complex)
    size = float(np.abs(values).max(initial=0.0))
    if size == 0.0:
        return Memory(diagonal, none, none)
    added = round(steps / _FIT.steps)
    own, rates = (legendre(steps, min(count + added, steps)) for count in (_FIT.start, _FIT.rate))
    sums = np.concatenate([np.zeros((1, rates.shape[1])), np.cumsum(rates, axis=0)])
    starts, between = own[earlier], sums[later] - sums[earlier + 1]
    lags = [complex(np.diagonal(matrix, -lag).mean()) for lag in (1, 2)] if steps > 2 else [1.0, 0.5]
    ratio = lags[1] / lags[0] if lags[0] else 0.5
    ratio *= min(max(abs(ratio), 0.05), 0.98) / max(abs(ratio), 1e-300)
    rate = np.log(ratio + 0j) * (rates.T @ np.ones(steps)).astype(complex)
    falls = np.exp(between @ rate)
    beta = np.linalg.lstsq(falls[:, None] * starts, values / size, rcond=1e-8)[0]

    def left_by(beta: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, float]:
        with np.errstate(over="ignore", invalid="ignore"):
            left = values / size - (starts @ beta) * np.exp(between @ rate)
            cost = float(np.vdot(left, left).real)
        return left, cost if np.isfinite(cost) else np.inf

    (left, cost), damping = left_by(beta, rate), 1e-3
    for _ in range(_FIT.most):
        falls = np.exp(between @ rate)
        slopes = falls[:, None] * np.concatenate([starts, (starts @ beta)[:, None] * between], axis=1)
        curvature, slope = slopes.conj().T @ slopes, slopes.conj().T @ left
        step = np.linalg.solve(curvature + np.diag(damping * curvature.diagonal().real + 1e-14), slope)
        step *= min(1.0, _FIT.longest / max(float(np.abs(rates @ step[beta.size :]).max()), 1e-300))
        trial = beta + step[: beta.size], rate + step[beta.size :]
        left_new, cost_new = left_by(*trial)
        if not cost_new < cost:
            damping *= 5.0
            continue
        gained, (beta, rate), left, cost = cost - cost_new, trial, left_new, cost_new
        damping /= 5.0
        if gained < _FIT.gain * cost:
            break
    return Memory(diagonal, size * (own @ beta), np.exp(rates @ rate))


def log_determinants(
    stages: Sequence[Stage], energy: np.ndarray, inverse_lambda: complex
) -> tuple[np.ndarray, np.ndarray]:
    """log det(1 - Q h) and s²/(λ - s²), (n,), with the nearest ``energy`` (2, T, T) of the form (31).

    ``stages``: T of one weight matrix and one state; ``inverse_lambda``: 1/λ in their units.
    """
    of_p, of_q = memories(energy)
    n = stages[0].a.shape[2]
    parts = [
        _portion(stages, slice(i, i + _PORTION), of_p, of_q, inverse_lambda) for i in range(0, n, _PORTION)
    ]
    log_det, m = (np.concatenate(part) for part in zip(*parts, strict=True))
    return log_det, m


class _Covariance(NamedTuple):
    """U of (32) by its six entries, (n,) each; k: xi, z: zeta."""

    xx: np.ndarray
    xk: np.ndarray
    xz: np.ndarray
    kk: np.ndarray
    kz: np.ndarray
    zz: np.ndarray

    def weighed(self, c: np.ndarray, e: complex) -> tuple[_Covariance, np.ndarray]:
        """U (1 - K U)^{-1} for a weight exp(e y²/2 + y zeta) of y = c x, by its pivot in (y, zeta); det."""
        first, second = (c * self.xx, c * self.xk, c * self.xz), (self.xz, self.kz, self.zz)
        low, high = 1.0 - first[2], self.zz + e
        own = c * first[0]
        det = low * low - own * high
        high, low, own = high / det, low / det, own / det
        left = [high * one + low * two for one, two in zip(first, second, strict=True)]
        right = [low * one + own * two for one, two in zip(first, second, strict=True)]

        def moved(entry: np.ndarray, i: int, j: int) -> np.ndarray:
            return entry + first[i] * left[j] + second[i] * right[j]

        rest = moved(self.kk, 1, 1), moved(self.kz, 1, 2), moved(self.zz, 2, 2)
        x, y, z = self.xx, self.xk, self.xz
        return _Covariance(moved(x, 0, 0), moved(y, 0, 1), moved(z, 0, 2), *rest), det

    def passed(
        self, a: np.ndarray, b: np.ndarray, c: np.ndarray, of_p: Sequence[complex], of_q: Sequence[complex]
    ) -> _Covariance:
        """That of x' = a x + b (xi + w), xi' = A xi + v, zeta' = B zeta + gamma c x; d, beta, A of both."""
        (d, beta, A), (_, gamma, B) = of_p, of_q
        ax, ak, az = a * self.xx + b * self.xk, a * self.xk + b * self.kk, a * self.xz + b * self.kz
        read = gamma * c
        return _Covariance(
            xx=a * ax + b * (ak + d * b),
            xk=A * ak + beta * b,
            xz=B * az + read * ax,
            kk=A * A * self.kk,
            kz=A * (B * self.kz + read * self.xk),
            zz=B * B * self.zz + read * (2.0 * B * self.xz + read * self.xx),
        )


def _portion(
    stages: Sequence[Stage], some: slice, of_p: Memory, of_q: Memory, inverse_lambda: complex
) -> tuple[np.ndarray, np.ndarray]:
    """The recursion (32) at some of the sites."""
    n = stages[0].a[0, 0, some].size
    U = _Covariance(np.ones(n, dtype=complex), *np.zeros((5, n), dtype=complex))
    log_det = _Logarithm(n)
    for stage, p, q in zip(stages, zip(*of_p, strict=True), zip(*of_q, strict=True), strict=True):
        a, b, c = (block[some].astype(complex) for block in (stage.a[0, 0], stage.b[0, 0], stage.c[0, 0]))
        U, det = U.weighed(c, q[0])
        log_det.add(det)
        U = U.passed(a, b, c, p, q)
    last = 1.0 - inverse_lambda * U.xx  # nothing follows x_L
    log_det.add(last)
    return log_det.flush(), 1.0 / last - 1.0


class _Logarithm:
    """Sum of principal logarithms of arrays (n,): the logarithm of some of their products, and the turns."""

    def __init__(self, n: int) -> None:
        self.product, self.count = np.ones(n, dtype=complex), 0
        self.value = np.zeros(n, dtype=complex)

    def add(self, pivot: np.ndarray) -> None:
        before = np.imag(self.product) >= 0.0
        same = before == (np.imag(pivot) >= 0.0)
        self.product = self.product * pivot
        crossed = same & ((np.imag(self.product) >= 0.0) != before)
        self.value += 2j * np.pi * (crossed * (2.0 * before - 1.0))
        self.count += 1
        if self.count == _PIVOTS:
            self.flush()

    def flush(self) -> np.ndarray:
        """The sum so far."""
        self.value += np.log(self.product)
        self.product, self.count = np.ones_like(self.product), 0
        return self.value
