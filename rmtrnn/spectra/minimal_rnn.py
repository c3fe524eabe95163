"""The minimalRNN in closed form: its critical family, and the exact growth of the variance of s² with T.

With untied weights the recursion of `rmtrnn.spectra.site_moments` closes for the minimalRNN, because its
gate u = σ(e) is new at every step and the state enters b = u'(h − x) as a polynomial. Write κ = 1 − E[u²], X
= (J Jᵀ)_ii at a site, V = N E[(J Jᵀ)_ij²] between two sites, v = σ_w², g = E[X], β = E[b²]:

    X' = u² X + v g b²,
    V' = (1 − κ)² V + 2 v β (1 − κ) (E[X²] + V) + v² β² (E[X²] + V − [g² if orthogonal]),
    m_1 = g,   m_2 = E[X²] + V.

E[X²] needs E[hX] and E[h²X], which obey linear recursions of the same kind. At the critical point v β = κ, so
that g = 1 for all T, V' = V + κ(2 − κ) E[X²] − [κ²], and E[X²] tends to a constant: the variance of s² grows
linearly with T, as it does for vanilla networks (theory.md (11)), at the rate

    κ (2 − κ) E[X²] − [κ² if orthogonal]  ≥  2 κ (1 − κ),   since E[X²] ≥ g² = 1.

So a critical minimalRNN is isometric over T steps only if κ T ≪ 1: its gate must stay shut.

Letters: Q, the second moment of the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from rmtrnn.cells import MinimalRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import MeanField
from rmtrnn.numerics.gaussian_quadrature import batched_nodes

Powers = tuple[int, int, int]


@dataclass(frozen=True)
class GateLaw:
    """Expectations over u = σ(e), e ~ N(μ_b, q), for arrays of points (q, μ_b) of one shape."""

    q: np.ndarray
    mu_b: np.ndarray

    def mean(self, *powers: Powers) -> np.ndarray:
        """E[u^i (1 − u)^j (u')^k] for each (i, j, k), stacked first."""
        q, mu = (np.ravel(array) for array in (self.q, self.mu_b))
        result = np.empty((len(powers), q.size))
        size = 4096
        for start in range(0, q.size, size):
            part = slice(start, start + size)
            e, weight = batched_nodes(q[part], mu[part], halvings=2)
            u, shut = expit(e), expit(-e)
            for row, (i, j, k) in enumerate(powers):
                result[row, part] = np.sum(weight * u ** (i + k) * shut ** (j + k), axis=-1)
        return result.reshape(len(powers), *np.shape(self.q))


@dataclass(frozen=True)
class CriticalFamily:
    """Points with χ = 1 at given (q, μ_b): theory.md (17), for inputs with E[x] = 0, E[x²] = R.

    ``kappa`` = 1 − E[u²], the share of a site's squared state that one step overwrites; ``sigma_w2`` = σ_w²;
    ``drive`` = q − σ_w² Q = σ_v² R + σ_b², which must not be negative; ``participation`` = E[u'²]²/E[u'⁴],
    the share of sites that carry σ_w² E[b²].
    """

    q: np.ndarray
    mu_b: np.ndarray
    Q: np.ndarray
    kappa: np.ndarray
    sigma_w2: np.ndarray
    drive: np.ndarray
    participation: np.ndarray

    @staticmethod
    def at(q: np.ndarray, mu_b: np.ndarray, R: float) -> CriticalFamily:
        """The family at arrays of q and μ_b: Q = R E[(1−u)²]/κ, σ_w² = κ/((Q + R) E[u'²])."""
        q, mu_b = np.broadcast_arrays(np.asarray(q, dtype=float), np.asarray(mu_b, dtype=float))
        # 1 − u² = (1 − u)(1 + u) = (1 − u) + u (1 − u): no cancellation where the gate is nearly shut.
        shut, mixed, shut2, slope2, slope4 = GateLaw(q, mu_b).mean(
            (0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 0, 2), (0, 0, 4)
        )
        kappa = shut + mixed
        Q = R * shut2 / kappa
        sigma_w2 = kappa / ((Q + R) * slope2)
        return CriticalFamily(q, mu_b, Q, kappa, sigma_w2, q - sigma_w2 * Q, slope2**2 / slope4)


class _Recursion(NamedTuple):
    """Coefficients of the linear recursion of the module's text, arrays over points.

    ``first``: P' = first · P for P_i = E[h^i X], i = 0, 1, 2, of shape (3, 3, ...). ``keep`` = E[u²],
    ``keep2`` = E[u⁴], ``mixed`` = E[u² u'²], ``drive`` = v E[b²], ``drive2`` = v² E[b⁴].
    """

    first: np.ndarray
    keep: np.ndarray
    keep2: np.ndarray
    mixed: np.ndarray
    drive: np.ndarray
    drive2: np.ndarray


def minimal_moments(
    q: np.ndarray,
    mu_b: np.ndarray,
    sigma_w2: np.ndarray,
    input_moments: tuple[float, ...],
    T: int,
    orthogonal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """(m_1, m_2) of s² after 1, …, T steps, arrays (T, ...) over points: the module's recursion.

    ``q`` is the stationary variance of e, ``input_moments`` = (E[x⁰], …, E[x⁴]). Overflows to inf for χ^T
    beyond the range of doubles.
    """
    q, mu_b, v = np.broadcast_arrays(*(np.asarray(array, dtype=float) for array in (q, mu_b, sigma_w2)))
    law, x = GateLaw(q, mu_b), input_moments
    h = _state_moments(law, x)
    c = _recursion(law, h, x, v)
    P, X2, V = np.broadcast_to(np.array(h[:3]), (3, *q.shape)), np.ones(q.shape), np.zeros(q.shape)
    m_1, m_2 = np.empty((T, *q.shape)), np.empty((T, *q.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(T):
            g, distance2 = P[0], P[2] - 2 * x[1] * P[1] + x[2] * P[0]  # E[X], E[X (h − x)²]
            V = (c.keep + c.drive) ** 2 * V + c.drive * (2 * c.keep + c.drive) * X2
            if orthogonal:
                V = V - (c.drive * g) ** 2
            X2 = c.keep2 * X2 + 2 * v * c.mixed * g * distance2 + c.drive2 * g**2
            P = np.einsum("ij...,j...->i...", c.first, P)
            m_1[t], m_2[t] = P[0], X2 + V
    return m_1, m_2


def _recursion(law: GateLaw, h: list[np.ndarray], x: tuple[float, ...], v: np.ndarray) -> _Recursion:
    """The coefficients from the moments of the gate, of the state h and of the input x."""
    keep, keep2, mixed, slope2, slope4 = law.mean((2, 0, 0), (4, 0, 0), (2, 0, 2), (0, 0, 2), (0, 0, 4))
    first = np.zeros((3, 3, *np.shape(law.q)))
    # h' = u h + (1 − u) x and X' = u² X + v g u'² (h − x)², expanded in powers of h and x.
    for i in range(3):
        kept = law.mean(*((j + 2, i - j, 0) for j in range(i + 1)))
        gained = law.mean(*((j, i - j, 2) for j in range(i + 1)))
        for j in range(i + 1):
            first[i, j] += math.comb(i, j) * kept[j] * x[i - j]
            first[i, 0] += math.comb(i, j) * v * gained[j] * _difference(h[j:], x[i - j :], 2)
    return _Recursion(
        first, keep, keep2, mixed, v * slope2 * _difference(h, x, 2), v**2 * slope4 * _difference(h, x, 4)
    )


def applies(ens: Ensemble) -> bool:
    """Whether `moments_of` holds: a minimalRNN with normal biases, Gaussian or orthogonal weights."""
    return isinstance(ens.cell, MinimalRNN) and ens.has_normal_biases and ens.has_library_weights


def moments_of(ens: Ensemble, field: MeanField, T: int) -> tuple[np.ndarray, np.ndarray]:
    """m_1 and m_2 over 1, …, T steps of one minimalRNN at its fixed point, each (T,)."""
    gate, x = ens.gate("e"), tuple(ens.input_moment(k) for k in range(5))
    q, mu_b, sigma_w2 = np.array(field.q_of("e")), np.array(gate.mu_b), np.array(gate.sigma_w**2)
    return minimal_moments(q, mu_b, sigma_w2, x, T, gate.weights == "orthogonal")


def _state_moments(law: GateLaw, x: tuple[float, ...]) -> list[np.ndarray]:
    """E[h^k], k = 0…4, of the stationary state h' = u h + (1 − u) x."""
    h = [np.ones(np.shape(law.q))]
    for k in range(1, 5):
        gates = law.mean(*((j, k - j, 0) for j in range(k)))
        # 1 − u^k = (1 − u)(1 + u + … + u^{k−1})
        lost = np.sum(law.mean(*((j, 1, 0) for j in range(k))), axis=0)
        h.append(sum(math.comb(k, j) * gates[j] * h[j] * x[k - j] for j in range(k)) / lost)
    return h


def _difference(h: list[np.ndarray], x: tuple[float, ...], n: int) -> np.ndarray:
    """E[(h − x)^n] from moments of independent h and x; shifted lists give E[h^j x^m (h − x)^n]."""
    return np.sum([math.comb(n, l) * (-1) ** l * h[n - l] * x[l] for l in range(n + 1)], axis=0)
