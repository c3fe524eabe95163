"""Following the solution of (15) in smooth self-energies: from large lambda down, and to the real axis.

Newton's method in the few coefficients, with the gradient of all sites and a Hessian that may come from some
of them. As lambda -> infinity the equations become linear, so that no guess is needed there; from each point
the tangent d x/d log lambda = -(grad^2 Psi)^{-1} d grad Psi/d log lambda leads to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from rmtrnn._core.progress import advance
from rmtrnn.dyson.tied.bordered_green import averages
from rmtrnn.dyson.tied.chain import TiedChain
from rmtrnn.dyson.tied.functional import gradient, gradient_by_lambda, hessian
from rmtrnn.dyson.tied.time_basis import SelfEnergy, TimeBasis


@dataclass(frozen=True)
class Tolerances:
    """Of Newton's method.

    ``contraction``: a step longer than that times the last one asks for a new Hessian (empirical: a smaller
    number costs Hessians, a larger one steps). ``longest``: relative step beyond which it is shortened
    (empirical; the region where Psi is quadratic). ``steps``: where it is given up.
    """

    contraction: float = 0.3
    longest: float = 0.5
    steps: int = 20


@dataclass(frozen=True)
class Point:
    """Self-energies at log lambda; ``relative``, the Newton step that would come next, relative to them.

    ``correction``: what that step adds to Psi, to second order. ``tangent``: d unknowns/d log lambda.
    ``factors``: LU factors of the Hessian that was last used, in the gauge of ``energy``.
    """

    log_lambda: complex
    energy: SelfEnergy
    relative: float
    correction: complex
    tangent: np.ndarray
    factors: Any
    steps: int

    def solve(self, slope: np.ndarray) -> np.ndarray:
        """(grad^2 Psi)^{-1} slope, with the Hessian that was last used."""
        return lu_solve(self.factors, slope, check_finite=False)

    def size_of(self, step: np.ndarray) -> float:
        """Of a step relative to the self-energies."""
        return _relative(step, self.energy.unknowns, self.energy)

    def ahead(self, log_lambda: complex) -> SelfEnergy:
        """Prediction: each self-energy by its own exponential rate, and linear in what deviates from it."""
        x, rate = (v.reshape(len(self.energy.gauge), -1) for v in (self.energy.unknowns, self.tangent))
        size = np.maximum((np.abs(x) ** 2).sum(axis=1, keepdims=True), 1e-300)
        common = (np.conj(x) * rate).sum(axis=1, keepdims=True) / size
        change = log_lambda - self.log_lambda
        moved = (x + change * (rate - common * x)) * np.exp(change * common)
        return self.energy.with_unknowns(moved.ravel())


def newton(
    chain: TiedChain,
    small: TiedChain,
    energy: SelfEnergy,
    log_lambda: complex,
    tol: float,
    factors: Any = None,
    settings: Tolerances | None = None,
    most: int | None = None,
) -> Point:
    """Newton's method for grad Psi = 0 until the relative step is below ``tol``.

    The Hessian is taken on ``small``, and kept (or ``factors`` of a neighbouring point in the same gauge
    used) as long as the steps shrink.
    """
    advance("Dyson equation: points solved")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is given up
        return _newton(chain, small, energy, log_lambda, tol, factors, settings or Tolerances(), most)


def _newton(
    chain: TiedChain,
    small: TiedChain,
    energy: SelfEnergy,
    log_lambda: complex,
    tol: float,
    factors: Any,
    settings: Tolerances,
    most: int | None,
) -> Point:
    x, last, fresh, relative = energy.unknowns, np.inf, False, np.inf
    step, correction, tangent = np.zeros_like(x), 0j, np.zeros_like(x)
    for count in range(most or settings.steps):
        found = averages(chain, energy, log_lambda)
        slope = gradient(chain, energy, found)
        if factors is not None:
            step = -lu_solve(factors, slope, check_finite=False)
            relative = _relative(step, x, energy)
        if factors is None or (not relative < settings.contraction * last and not fresh):
            second = hessian(small, energy, log_lambda)
            if not (np.isfinite(second).all() and np.isfinite(slope).all() and second.any(axis=1).all()):
                return Point(log_lambda, energy, np.inf, correction, tangent, None, count)
            factors = lu_factor(second, check_finite=False)
            step = -lu_solve(factors, slope, check_finite=False)
            relative = _relative(step, x, energy)
            fresh = True
        else:
            fresh = False
        correction = 0.5 * complex(slope @ step)
        tangent = -lu_solve(factors, gradient_by_lambda(energy, found), check_finite=False)
        if not np.isfinite(relative) or relative < tol:
            break
        last = relative
        x = x + step * min(1.0, settings.longest / relative)
        energy = energy.with_unknowns(x)
    relative = relative if np.isfinite(relative) else np.inf
    return Point(log_lambda, energy, relative, correction, tangent, factors, count + 1)


def _relative(step: np.ndarray, x: np.ndarray, energy: SelfEnergy) -> float:
    """Largest relative size of the step over the self-energies, in their gauge."""
    families = len(energy.gauge)
    step, x = step.reshape(families, -1), x.reshape(families, -1)
    return float(np.max(np.linalg.norm(step, axis=1) / (np.linalg.norm(x, axis=1) + 1e-300)))


@dataclass(frozen=True)
class AtInfinity:
    """Solution at a lambda so large that only the first moment counts; log m_1 and m_2/m_1^2."""

    point: Point
    log_m1: float
    ratio: float


_FAR = 30.0  # log lambda - log m_1: what is neglected is exp(-30) m_2/m_1^2


def at_infinity(chain: TiedChain, basis: TimeBasis, tol: float = 1e-6) -> AtInfinity:
    """Solve (15) at large lambda, from the diagonal self-energies of untied weights."""
    log_p, log_q, log_mean = untied_diagonals(chain)
    log_lambda = log_mean + 2 * _FAR
    log_diagonal = np.concatenate([log_p, log_q - log_lambda])
    energy = SelfEnergy.from_diagonal(basis, log_diagonal, np.ones(len(log_diagonal)) + 0j)
    for _ in range(10):
        point = newton(chain, chain, energy, log_lambda + 0j, tol)
        log_m1 = log_lambda + math.log(abs(averages(chain, point.energy, log_lambda).m))
        energy = point.energy.regauged()
        settled = point.steps <= 2
        if log_lambda < log_m1 + _FAR:
            energy = shifted(energy, log_m1 + 2 * _FAR - log_lambda)
            log_lambda, settled = log_m1 + 2 * _FAR, False
        if settled:
            break
    return AtInfinity(point, log_m1, _ratio(chain, point, log_m1, tol))


def shifted(energy: SelfEnergy, change: float) -> SelfEnergy:
    """At lambda larger by e^change, where the self-energies of x are as 1/lambda."""
    gauge = energy.gauge.copy()
    gauge[energy.matrices :] -= 0.5 * change
    return replace(energy, gauge=gauge)


def _ratio(chain: TiedChain, far: Point, log_m1: float, tol: float) -> float:
    """m_2/m_1^2 from lambda m/m_1 = 1 + (m_1/lambda) m_2/m_1^2 + ..., by Richardson's extrapolation."""
    log_lambda = log_m1 + 8.0
    for _ in range(20):
        excess = []
        for at in (log_lambda, log_lambda + math.log(2.0)):
            energy = shifted(far.energy, at - far.log_lambda.real)
            energy = newton(chain, chain, energy, at + 0j, 1e-3 * tol).energy
            excess.append(
                (abs(averages(chain, energy, at).m) * math.exp(at - log_m1) - 1.0) * math.exp(at - log_m1)
            )
        if 0.0 < excess[0] * math.exp(log_m1 - log_lambda) < 3e-3:
            return 2.0 * excess[1] - excess[0]
        log_lambda += 3.0
    return math.nan


def untied_diagonals(chain: TiedChain) -> tuple[np.ndarray, np.ndarray, float]:
    """log of the self-energies (13) at large lambda, with fresh weights at every step, and log m_1.

    log P (K, T) forwards and log(lambda Q) (K, T) backwards in time.
    """
    K, n = chain.matrices, chain.n
    log_p, log_q = np.zeros((K, chain.steps)), np.zeros((K, chain.steps))
    w, grown = chain.weights, 0.0
    size, log_size = np.repeat(np.eye(chain.s_in)[:, :, None], n, axis=2), 0.0
    for position, stage in enumerate(chain.stages):
        step, level = divmod(position, chain.per_step)
        after = np.einsum("ikn,kln,jln->ijn", stage.a, size, stage.a, optimize=True)
        for k, (at, j) in enumerate(chain.owner):
            if at == level:
                coefficient = chain.sigma2[k] * float(
                    np.einsum("in,ijn,jn,n->", stage.c[j], size, stage.c[j], w)
                )
                log_p[k, step] = math.log(max(coefficient, 1e-300)) + log_size
                after = after + coefficient * stage.b[j][:, None] * stage.b[j][None]
        grown = float(np.einsum("iin,n->", after, w))
        size, log_size = after / grown, log_size + math.log(grown)
    log_mean = log_size - math.log(chain.s_out)
    size, log_size = np.repeat(np.eye(chain.s_out)[:, :, None], n, axis=2), 0.0
    for position in reversed(range(len(chain.stages))):
        stage = chain.stages[position]
        step, level = divmod(position, chain.per_step)
        after = np.einsum("kin,kln,ljn->ijn", stage.a, size, stage.a, optimize=True)
        for k, (at, j) in enumerate(chain.owner):
            if at == level:
                coefficient = chain.sigma2[k] * float(
                    np.einsum("in,ijn,jn,n->", stage.b[j], size, stage.b[j], w)
                )
                log_q[k, step] = math.log(max(coefficient, 1e-300)) + log_size
                after = after + coefficient * stage.c[j][:, None] * stage.c[j][None]
        grown = float(np.einsum("iin,n->", after, w))
        size, log_size = after / grown, log_size + math.log(grown)
    return log_p, log_q, log_mean
