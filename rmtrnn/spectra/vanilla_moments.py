"""Vanilla networks: the variance of the pre-activation, and the first two moments of s² (theory.md (11))."""

from __future__ import annotations

import functools
import math

import numpy as np

from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.cells import Activation
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.moments import Moments
from rmtrnn.meanfield import mean_field
from rmtrnn.numerics.gaussian_quadrature import gaussian_expectation


@functools.lru_cache(maxsize=256)
def linear_pieces(activation: Activation) -> tuple[tuple[float, float, float], ...] | None:
    """(low, high, slope) of every piece of a piecewise linear activation, else None. SymPy is slow here."""
    if not activation.is_piecewise_linear:
        return None
    return tuple((float(low), float(high), float(slope)) for low, high, slope in activation.pieces)


@functools.lru_cache(maxsize=256)
def preactivation_variance(ens: Ensemble) -> tuple[float, Status]:
    """q*, or any positive number where the law of φ'(e) does not depend on it."""
    (gate,) = ens.cell.gates
    activation = ens.cell.activation  # pyright: ignore[reportAttributeAccessIssue]
    if linear_pieces(activation) is not None:
        kinks = activation.kinks
        if not kinks or (kinks == (0.0,) and ens.gate(gate).mu_b == 0.0):
            return 1.0, Status.CONVERGED
    stationary = mean_field(ens)
    q = stationary.q_of(gate)
    if not math.isfinite(q):
        raise ConvergenceError(
            f"{ens!r} has no stationary state ({stationary.status.message}); its Jacobian has no limit law. "
            "Try a smaller sigma_w, or a bounded activation"
        )
    return q, stationary.status


def vanilla_moments(ens: Ensemble, T: int) -> Moments:
    """First two moments of s² over T steps, theory.md (11), from E[φ'²] and E[φ'⁴] alone."""
    (name,) = ens.cell.gates
    gate = ens.gate(name)
    activation = ens.cell.activation  # pyright: ignore[reportAttributeAccessIssue]
    slope = activation.numeric(np, 1)
    q, _ = preactivation_variance(ens)
    powers = gaussian_expectation(
        lambda e: np.stack([slope(e) ** 2, slope(e) ** 4]), q, gate.mu_b, kinks=activation.kinks
    )
    mu_1, mu_2 = (float(value) for value in powers.value)
    s_1 = -1.0 if gate.weights == "gaussian" else 0.0
    if gate.sigma_w == 0.0 or mu_1 == 0.0:
        return Moments(-math.inf, math.nan)
    log_m1 = T * (2 * math.log(gate.sigma_w) + math.log(mu_1))
    return Moments(log_m1, 1 + T * (mu_2 / mu_1**2 - 1 - s_1))
