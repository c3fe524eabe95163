"""The functional Ψ whose stationary point is the matrix Dyson equation (13): value, gradient, Hessian.

With z = y x / σ² and 𝒜(z) = z for Gaussian, -log(1 - z) for Haar weights,

    Ψ(y, x) = sum_l E log det(1 - 𝒮[x_{l-1}] U_{l-1}) + E log det(1 - U_L/λ) + sum 𝒜(z)     (*)

is stationary exactly where (13) holds: dPsi/dy = 𝒜'(z) x/σ² - k, dPsi/dx = 𝒜'(z) y/σ² - g. Its
stationary value is s_L E log(1 - s²/λ). So Im Ψ(λ + i0) = π s_L P(s² > λ): the
distribution function at one point needs no integral over the density, and an error of the self-energies
enters it only at second order. In y and x the Haar weights need no square root: α of (13) is 1 - z.

𝒜 sums the cumulants of the weights. A Haar matrix is R-diagonal; its cumulants are signed Catalan numbers
(Nica and Speicher 2006, Lectures on the Combinatorics of Free Probability, lecture 15). Functionals of this
kind are those of Luttinger and Ward (1960) and Baym (1962).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rmtrnn._core.arrays import PORTIONS, to_host
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.recursive_green import GreenAverages, green_averages, log_determinant
from rmtrnn.dyson.self_energy import Points, SelfEnergy

# Of the unknowns, for one-sided differences: the square root of the rounding of a gradient, some 1e-12.
_DIFFERENCE = 1e-6


class WeightFunction(NamedTuple):
    """z = y x/(r σ²), 𝒜(z), 𝒜'(z) and 𝒜''(z) of (*), per point and gate."""

    z: np.ndarray
    value: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray

    @classmethod
    def at(cls, chain: Chain, sigma: SelfEnergy, scales: np.ndarray) -> WeightFunction:
        """``scales`` are r_l of the gates (`Chain.gate_scales`)."""
        z = sigma.y * sigma.x / (scales * chain.sigma2)
        haar = chain.orthogonal
        one_minus = np.where(haar, 1.0 - z, 1.0)
        value = np.where(haar, -np.log(one_minus), z)
        return cls(z, value, 1.0 / one_minus, np.where(haar, 1.0 / one_minus**2, 0.0))


def gradient(chain: Chain, sigma: SelfEnergy, points: Points, green: GreenAverages) -> np.ndarray:
    """∇Ψ by y, then by x (points, 2 gates), from the averages of G at these self-energies."""
    beta = 1.0 / (chain.gate_scales(points.log_lambda) * chain.sigma2)
    slope = WeightFunction.at(chain, sigma, 1.0 / (beta * chain.sigma2)).slope
    return np.concatenate([slope * beta * sigma.x - green.k, slope * beta * sigma.y - green.g], axis=1)


def gradient_in_unknowns(chain: Chain, coefficients: np.ndarray, points: Points) -> np.ndarray:
    """Gradient of Ψ in the unknowns of the chain (points, d)."""
    sigma = SelfEnergy.of(coefficients)
    by_coefficients = gradient(chain, sigma, points, green_averages(chain, sigma, points))
    return chain.parametrisation.gradient(coefficients * by_coefficients)


def inverse_hessian(chain: Chain, coefficients: np.ndarray, points: Points) -> np.ndarray:
    """Inverse Hessian (points, d, d) of Ψ in the d unknowns of the chain; nan where it is singular.

    In the logarithms of all coefficients it is diag(y, x) ∇²Ψ diag(y, x), without what the gradient
    adds where it does not vanish.
    """
    own = chain.parametrisation.basis is None
    hessian = (_hessian_by_recursion if own else _hessian_by_differences)(chain, coefficients, points)
    finite = np.isfinite(hessian).all(axis=(1, 2))
    inverse = np.full_like(hessian, np.nan)
    try:
        inverse[finite] = np.linalg.inv(hessian[finite])
    except np.linalg.LinAlgError:  # some of them are singular: numpy does not say which
        inverse[finite] = [_inverse_or_nan(matrix) for matrix in hessian[finite]]
    return inverse


def _hessian_by_recursion(chain: Chain, coefficients: np.ndarray, points: Points) -> np.ndarray:
    """From the squared overlaps of `recursive_green`, at a cost of gates² per site and point."""
    gates, sigma = chain.n_gates, SelfEnergy.of(coefficients)
    second = green_averages(chain, sigma, points, hessian=True).hessian
    assert second is not None
    beta = 1.0 / (chain.gate_scales(points.log_lambda) * chain.sigma2)
    weight = WeightFunction.at(chain, sigma, 1.0 / (beta * chain.sigma2))
    hessian = -second
    y_rows, x_rows = np.arange(gates), gates + np.arange(gates)
    mixed = weight.slope * beta + weight.curvature * beta**2 * sigma.y * sigma.x
    hessian[:, y_rows, y_rows] += weight.curvature * beta**2 * sigma.x**2
    hessian[:, x_rows, x_rows] += weight.curvature * beta**2 * sigma.y**2
    hessian[:, y_rows, x_rows] += mixed
    hessian[:, x_rows, y_rows] += mixed
    hessian *= coefficients[:, :, None] * coefficients[:, None, :]
    return hessian


def _hessian_by_differences(chain: Chain, coefficients: np.ndarray, points: Points) -> np.ndarray:
    """From the gradients at neighbouring unknowns: linear in the number of gates, times that of unknowns."""
    d = chain.parametrisation.count
    shift = np.exp(chain.parametrisation.log_change(_DIFFERENCE * np.eye(d)))
    here = gradient_in_unknowns(chain, coefficients, points)
    portion = max(1, PORTIONS.memory // shift.size)
    ahead = []
    for first in range(0, len(coefficients), portion):
        some = slice(first, first + portion)
        moved = (coefficients[some, None] * shift).reshape(-1, coefficients.shape[1])
        ahead.append(gradient_in_unknowns(chain, moved, points[some].repeated(d)))
    hessian = (np.concatenate(ahead).reshape(len(coefficients), d, d) - here[:, None]) / _DIFFERENCE
    return 0.5 * (hessian + np.swapaxes(hessian, 1, 2))


def _inverse_or_nan(matrix: np.ndarray) -> np.ndarray:
    if np.linalg.matrix_rank(matrix) < len(matrix):
        return np.full_like(matrix, np.nan)
    return np.linalg.inv(matrix)


class Values(NamedTuple):
    """``survival`` = P(s² > λ); ``density`` of log s; ``site_phase`` = Im log det/(π s_L) per site."""

    survival: np.ndarray
    density: np.ndarray
    site_phase: np.ndarray


def distribution_and_density(chain: Chain, sigma: SelfEnergy, log_lambda: np.ndarray) -> Values:
    """Evaluate (*) and (14) on all sites of ``chain`` at self-energies that may solve (13) on a subsample.

    F is stationary in the self-energies, so their error enters it squared; that of the density is of first
    order.
    """
    sigma = sigma.in_lower_half_plane
    phase, m = log_determinant(chain, sigma, Points.real(log_lambda))
    return values_of(chain, sigma, log_lambda, phase, m)


def values_of(
    chain: Chain, sigma: SelfEnergy, log_lambda: np.ndarray, phase: np.ndarray, m: np.ndarray
) -> Values:
    """The same from the phase of the determinant and m."""
    weight = WeightFunction.at(chain, sigma, chain.gate_scales(log_lambda))
    norm = np.pi * chain.s_out
    survival = (to_host(chain.mean(phase)) + np.imag(weight.value.sum(axis=1))) / norm
    return Values(survival, -2.0 / np.pi * np.imag(m), to_host(phase) / norm)


def second_order_change(slope: np.ndarray, step: np.ndarray, norm: float) -> tuple[np.ndarray, np.ndarray]:
    """What a Newton step of the unknowns adds to Ψ/``norm``, and a bound of what it may change F by.

    Ψ is stationary, so it is half the gradient times the step; what is of third order is not known.
    """
    change = 0.5 * (slope * step).sum(axis=1)
    return change / norm, (np.abs(np.imag(change)) + np.abs(change) ** 1.5) / norm
