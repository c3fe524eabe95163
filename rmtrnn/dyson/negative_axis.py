"""The untied Dyson equation on the negative real axis, where the resolvent is real: y > 0 > x.

There (13) has one solution of these signs, and E[t/(t + s²)] = 1 + m(-t) is the Stieltjes transform of the
law. A first guess knows the mean growth only; damped iterations and Newton's method lead to the solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn.dyson.functional import WeightFunction
from rmtrnn.dyson.newton import newton
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.recursive_green import green_averages
from rmtrnn.dyson.self_energy import Points, SelfEnergy
from rmtrnn.numerics.bisection import bisected


@dataclass(frozen=True)
class AxisSettings:
    """Numbers of the solution on the negative real axis; see tests/dyson/test_numbers.py."""

    # Damped iterations before Newton's method. Empirical.
    damped: int = 8
    # Newton iterations from the damped guess.
    iterations: int = 25
    # Largest |log| of a first guess: far outside the law it may say anything, and must not overflow.
    guess_range: float = 100.0
    # log t below log m_1 at which the mass at s = 0 is read off; the two agree if it is an atom. Any two
    # depths serve that lie below every other singular value.
    depths: tuple[float, float] = (50.0, 70.0)
    # Mass below which there is no atom, and change between the two depths up to which there is one: below
    # the error of F that is aimed at.
    least_atom: float = 1e-6
    settled_atom: float = 1e-4
    # Rounds of damped iterations for the atom, and the change of m that ends them.
    rounds: int = 60
    still: float = 1e-6


AXIS = AxisSettings()


class Reached(NamedTuple):
    """Self-energies, and whether each point was reached."""

    sigma: SelfEnergy
    ok: np.ndarray


def solve_on_negative_axis(chain: Chain, log_lambda: np.ndarray, tol: float = 1e-3) -> Reached:
    """Solve (13) at λ = -exp(log_lambda) from `first_guess`."""
    sigma, _ = damped_iteration(chain, first_guess(chain, log_lambda), log_lambda, AXIS.damped)
    sigma = SelfEnergy(sigma.y + 0j, sigma.x + 0j)
    found = newton(chain, chain, sigma, Points.negative(log_lambda), tol, AXIS.iterations)
    return Reached(found.sigma, found.converged & has_axis_signs(found.sigma))


def first_guess(chain: Chain, log_lambda: np.ndarray) -> SelfEnergy:
    """Self-energies of the chain of free Gaussian factors with the same mean growth per stage.

    For those -|λ|/m_1 = (1 + m)^{L+1}/m (Fuss-Catalan), and the z of each gate is its share of m.
    """
    log_minus_m, log_rest = (part[:, None] for part in _fuss_catalan(chain, log_lambda))
    log_r = chain.log_scales(log_lambda)
    log_growth = chain.growth.log_growth[None, :] + log_r + log_rest
    log_u = np.concatenate([np.zeros_like(log_rest), np.cumsum(log_growth, axis=1)[:, :-1]], axis=1)
    log_share = np.log(np.maximum(chain.growth.gate_share, 1e-12)) + log_minus_m
    log_x = log_share - log_rest - log_u[:, chain.stage_of_gate] - np.log(chain.growth.reading)
    log_y = log_r[:, chain.stage_of_gate] + np.log(chain.sigma2) + log_share - log_x
    limits = -AXIS.guess_range, AXIS.guess_range
    return SelfEnergy(np.exp(np.clip(log_y, *limits)), -np.exp(np.clip(log_x, *limits)))


def _fuss_catalan(chain: Chain, log_lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(-m) and log(1 + m) of the Fuss-Catalan law with the mean of the chain, by bisection of their
    difference."""
    surplus = np.asarray(log_lambda) - chain.log_mean

    def is_small(difference: np.ndarray) -> np.ndarray:
        log_minus_m, log_rest = -np.log1p(np.exp(-difference)), -np.log1p(np.exp(difference))
        return (len(chain.stages) + 1) * log_rest - log_minus_m > surplus

    end = np.full(surplus.shape, 60.0)
    difference = 0.5 * sum(bisected(is_small, -end, end, 80))
    return -np.logaddexp(0.0, -difference), -np.logaddexp(0.0, difference)


def damped_iteration(
    chain: Chain, sigma: SelfEnergy, log_lambda: np.ndarray, iterations: int
) -> tuple[SelfEnergy, np.ndarray]:
    """Iterate (13), damped in the logarithm; also m before the last iteration."""
    points, m = Points.negative(log_lambda), np.full(np.shape(log_lambda), np.nan)
    scales = chain.gate_scales(log_lambda)
    beta = 1.0 / (scales * chain.sigma2)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is given up
        for _ in range(iterations):
            green = green_averages(chain, SelfEnergy(sigma.y + 0j, sigma.x + 0j), points)
            slope = WeightFunction.at(chain, sigma, scales).slope
            sigma = SelfEnergy(
                _half_way(sigma.y, np.real(green.g) / (slope * beta)),
                _half_way(sigma.x, np.real(green.k) / (slope * beta)),
            )
            m = np.real(green.m)
    return sigma, m


def _half_way(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The geometric mean where the signs agree, else the old value."""
    mean = np.sign(old) * np.sqrt(np.abs(old)) * np.sqrt(np.abs(new))
    return np.where(np.sign(old) == np.sign(new), mean, old)


def has_axis_signs(sigma: SelfEnergy) -> np.ndarray:
    """Whether y > 0 >= x at a point, as on the negative real axis."""
    return (np.real(sigma.y).min(axis=1) > 0) & (np.real(sigma.x).max(axis=1) <= 0)


def stieltjes_transform(chain: Chain, sigma: SelfEnergy, log_lambda: np.ndarray) -> np.ndarray:
    """E[t/(t + s²)] at t = exp(log_lambda), from the self-energies at -t."""
    return 1.0 + np.real(green_averages(chain, sigma, Points.negative(log_lambda)).m)


def settled_transform(chain: Chain, log_lambda: np.ndarray) -> tuple[np.ndarray, bool]:
    """E[t/(t + s²)] by damped iterations, and whether it has settled."""
    sigma, m = damped_iteration(chain, first_guess(chain, log_lambda), log_lambda, AXIS.damped)
    for _ in range(AXIS.rounds):
        sigma, new = damped_iteration(chain, sigma, log_lambda, AXIS.damped)
        change, m = np.abs(new - m).max(), new
        if change < AXIS.still:
            return 1.0 + m, True
    return 1.0 + m, False
