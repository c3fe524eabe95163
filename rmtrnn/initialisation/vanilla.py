"""Sensitivities of vanilla cells at many points in closed form: theory.md (2), (3), (5).

I_k = σ_v² E[φ'²] χ^k, m_1(k) = χ^k with χ = σ_w² E[φ'²], and per step E log s = log σ_w + E log |φ'|, less ½
for Gaussian weights (log |det| of a Gaussian matrix of unit scale). Tied or not.

Letters: T, the number of steps; q, the variance of the pre-activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from rmtrnn.cells import VanillaRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.networks import Observed, Points
from rmtrnn.numerics.bisection import bisected


@dataclass(frozen=True)
class FieldSettings:
    """Numbers of the closed forms; the plan they find is solved anew by `rt.mean_field`."""

    # Nodes of Gauss–Hermite quadrature. Derived: exact to rounding for smooth activations at q ≤ 1.
    nodes: int = 201
    # Equal shares of the law of e instead, where the activation has kinks.
    quantiles: int = 2**13
    # Halvings of an interval of q. Derived: to rounding.
    halvings: int = 60
    # q beyond which there is no stationary state.
    largest: float = 1e8


_FIELD = FieldSettings()


class VanillaField:
    """The closed forms for the cell and the weight law of ``ens``."""

    def __init__(self, ens: Ensemble, T: int) -> None:
        assert isinstance(ens.cell, VanillaRNN)
        self.T, self._R = T, ens.R
        self._is_gaussian = ens.gate(ens.cell.gates[0]).weights == "gaussian"
        self._stage = ens.cell.numeric(np).stages[0]
        if ens.cell.activation.kinks:
            self._z = ndtri((np.arange(_FIELD.quantiles) + 0.5) / _FIELD.quantiles)
            self._weight = np.full(_FIELD.quantiles, 1.0 / _FIELD.quantiles)
        else:
            z, weight = np.polynomial.hermite_e.hermegauss(_FIELD.nodes)
            self._z, self._weight = z, weight / weight.sum()

    def observe(self, points: Points, lags: np.ndarray) -> Observed:
        """Everything at all points; a variance that grows without bound has nan."""
        mu, sigma_w, sigma_v, sigma_b = (column[0] for column in points)
        drive = sigma_v**2 * self._R + sigma_b**2
        q = self.variance(mu, sigma_w, drive)
        _, slope = self._functions(mu, q)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope_square = slope**2 @ self._weight
            log_chi = 2.0 * np.log(sigma_w) + np.log(slope_square)
            log_state = lags[:, None] * log_chi
            log_input = log_state + np.log(sigma_v**2 * slope_square)
        return Observed(log_input, log_state, self._typical(sigma_w, slope), q[None])

    def critical_line(
        self, mu: np.ndarray, q: np.ndarray, sigma_b: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """σ_w and σ_v with χ = 1 at variances q, and E log s per step; nan where σ_v² would be negative."""
        value, slope = self._functions(mu, q)
        square = slope**2 @ self._weight
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma_w = 1.0 / np.sqrt(square)
            sigma_v = np.sqrt((q - sigma_b**2 - (value**2 @ self._weight) / square) / self._R)
        return sigma_w, sigma_v, self._typical(sigma_w, slope)

    def _typical(self, sigma_w: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """E log s of one step, over the units that pass anything on."""
        passing = slope != 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(passing, np.log(np.abs(np.where(passing, slope, 1.0))), 0.0) @ self._weight
            return np.log(sigma_w) - 0.5 * self._is_gaussian + logs / (passing @ self._weight)

    def variance(self, mu: np.ndarray, sigma_w: np.ndarray, drive: np.ndarray) -> np.ndarray:
        """The smallest fixed point q ≥ drive of q = σ_w² E[φ²] + drive, by bisection; nan if none."""
        low, high = drive.copy(), np.maximum(2.0 * drive, 1e-12)
        while np.any(wrong := (self._excess(mu, sigma_w, drive, high) > 0.0) & (high < _FIELD.largest)):
            low, high = np.where(wrong, high, low), np.where(wrong, 2.0 * high, high)
        low, high = bisected(lambda q: self._excess(mu, sigma_w, drive, q) > 0.0, low, high, _FIELD.halvings)
        return np.where(high < _FIELD.largest, 0.5 * (low + high), np.nan)

    def _excess(self, mu: np.ndarray, sigma_w: np.ndarray, drive: np.ndarray, q: np.ndarray) -> np.ndarray:
        value, _ = self._functions(mu, q)
        return sigma_w**2 * (value**2 @ self._weight) + drive - q

    def _functions(self, mu: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """φ and φ' at the nodes, (P, nodes)."""
        with np.errstate(over="ignore", invalid="ignore"):
            e = mu[:, None] + np.sqrt(q)[:, None] * self._z
            nothing = np.zeros((1, *e.shape))
            value, _, slope, _ = self._stage.advance(nothing, nothing[0], e[None])
        return value[0], slope[0, 0]
