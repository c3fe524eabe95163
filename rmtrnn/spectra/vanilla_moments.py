"""Vanilla networks: variance of the pre-activation, law of φ'², first two moments of s² (theory.md (11))."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn import free
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.cells import Activation, VanillaRNN
from rmtrnn.cells.pieces import PieceValues
from rmtrnn.ensemble import Ensemble
from rmtrnn.free.constructors import gaussian_image_law
from rmtrnn.free.gaussian_image import VanishingFunction
from rmtrnn.laws.moments import Moments
from rmtrnn.meanfield.growth import stationary_variances


def has_free_factors(ens: Ensemble) -> bool:
    """Whether (9) has one base law: vanilla, normal biases, Gaussian or orthogonal weights."""
    return isinstance(ens.cell, VanillaRNN) and ens.has_normal_biases and ens.has_library_weights


def has_free_steps(ens: Ensemble) -> bool:
    """Whether the law of one step has a free power by nodes: weights by `SingularValues`, law without atoms.

    Vanilla cells with normal biases. Not where W has zeros, or φ'² is unbounded, or has atoms as relu's or at
    the state 0.
    """
    if not (isinstance(ens.cell, VanillaRNN) and ens.has_normal_biases):
        return False
    weights = ens.gate(*ens.cell.gates).singular_values
    if weights is None or weights.values[0] == 0.0:
        return False
    law = slope_law(ens, preactivation_variance(ens)[0])
    return law is not None and not law.log.atoms and math.isfinite(law.log.support[-1][1])


@functools.lru_cache(maxsize=256)
def preactivation_variance(ens: Ensemble) -> tuple[float, Status]:
    """q*, or any positive number where the law of φ'(e) does not depend on it."""
    (gate,) = ens.cell.gates
    activation = _activation(ens)
    if activation.is_piecewise_linear:
        kinks = activation.kinks
        if not kinks or (kinks == (0.0,) and ens.gate(gate).mu_b == 0.0):
            return 1.0, Status.CONVERGED
    (q,), status = stationary_variances(ens)  # the same with tied weights
    if not math.isfinite(q):
        raise ConvergenceError(
            f"{ens!r} has no stationary state ({status.message}); its Jacobian has no limit law. "
            "Try a smaller sigma_w, or a bounded activation"
        )
    return float(q), status


@dataclass(frozen=True)
class _SquaredSlope(PieceValues):
    """φ'² on one smooth piece of an activation, as a branch of a Gaussian image."""

    def value(self, e: np.ndarray) -> np.ndarray:
        return self.piece.numeric(np)(e)[0] ** 2

    def slope(self, e: np.ndarray) -> np.ndarray:
        first, second = self.piece.numeric(np)(e)
        return 2.0 * first * second


@functools.lru_cache(maxsize=64)
def slope_law(ens: Ensemble, q: float) -> Any:
    """Law of φ'(e)², e ~ N(μ_b, q), as a law of `rmtrnn.free`; flat pieces of φ' are its atoms.

    For q = 0 at a kink it is the limit of small q: half the mass on either one-sided slope. None if φ' = 0
    wherever e has mass.
    """
    (name,) = ens.cell.gates
    mean = ens.gate(name).mu_b
    pieces = _activation(ens).smooth_pieces
    if q == 0.0:
        squares = [
            float(piece.numeric(np)(np.array([mean]))[0][0]) ** 2
            for piece in pieces
            if piece.ends[0] <= mean <= piece.ends[1]
        ]
        masses = {square: squares.count(square) / len(squares) for square in squares}
        return free.Discrete(list(masses), list(masses.values())) if any(masses) else None
    text = f"law of φ'(e)² of {_activation(ens).name}, e ~ N({mean:g}, {q:g})"
    try:
        return gaussian_image_law([_SquaredSlope(piece) for piece in pieces], mean, q, text)
    except VanishingFunction:
        return None


def slopes_vanish(ens: Ensemble) -> bool:
    """Whether σ_w φ' = 0 but for a share of the sites that 1 minus it rounds away."""
    (name,) = ens.cell.gates
    law = slope_law(ens, preactivation_variance(ens)[0])
    if ens.gate(name).sigma_w == 0.0 or law is None:
        return True
    return (-math.inf, 1.0) in law.log.atoms


def _activation(ens: Ensemble) -> Activation:
    return ens.cell.activation  # pyright: ignore[reportAttributeAccessIssue]


def vanilla_moments(ens: Ensemble, T: int) -> Moments:
    """First two moments of s² over T steps, theory.md (11), from those of φ'² alone."""
    (name,) = ens.cell.gates
    gate = ens.gate(name)
    law = slope_law(ens, preactivation_variance(ens)[0])
    if gate.sigma_w == 0.0 or law is None:
        return Moments(-math.inf, 1.0)
    spread = law.relative_variance + gate.spread
    return Moments(T * (2 * math.log(gate.sigma_w) + law.log.moment(1)), 1 + T * spread)
