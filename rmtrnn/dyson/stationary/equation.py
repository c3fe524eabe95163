"""The stationary Dyson equation at one growth rate μ: theory.md (13), (15) far from both ends of the chain.

At λ = −e^{2μT} the Stieltjes transform of (14) tends, as T → ∞, to the share of exponents below μ, since
log s is spread over T units of μ. There all is real. Far from the ends, in the gauge e^{μt} of `response`,
the self-energies depend on t − s alone, so that on a period they are diagonal in frequency: P_k(f) of what
gate k adds, Q_k(f) of what it reads. With Q_d the sum over the gates that read d, at every site

    X = 1 + Q^½ H P Hᵀ Q^½,   Q g = 1 − diag X^{−1},   P k = diag (P^½ Hᵀ Q^½ X^{−1} Q^½ H P^½),    (*)

averaged over sites, and P_k = σ_k² φ(w) g, Q_k = σ_k² φ(w) k at w = Q_k g = P_k k, the share of the exponents
above μ that passes the weights at this frequency. With 1/S of a weight matrix of σ = 1 at −w,

    φ(w) = 1/((1 − w) S(−w)):   1 (Gaussian),   1/(1 − w) (orthogonal).                             (**)

(F of (13) is φ at z = −w(1 − w); w tells its two branches apart.) All of it is the stationary point of
E log |det M|² + E log det (1 + Q H P Hᵀ) less terms of P and Q alone. This is the determinant of 1 − e^{−μL}
times the product of L steps around the period, whose derivative by μ counts eigenvalues: the share above μ is

    p(μ) = E[tr (1 − M^{−1}) + tr (P Hᵀ Q^½ X^{−1} Q^½ (−∂H/∂μ))]/(s L).                           (***)

As μ rises to the largest exponent, P and Q tend to 0 in the ratio of the leading eigenvector of the linear
map P_k → σ_k² E diag (H P Hᵀ), whose eigenvalue ρ(μ) is 1 there: `linear_growth`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn.dyson.stationary.response import Modes, Response, causal_response
from rmtrnn.dyson.stationary.sites import SiteSteps
from rmtrnn.free.constructors import Discrete
from rmtrnn.numerics.fixed_point import anderson_move
from rmtrnn.weight_laws import SingularValues


@dataclass(frozen=True)
class EquationSettings:
    """Numbers of the iteration. Empirical; tests/dyson/stationary moves each by a factor of three both ways.

    ``tolerance``: root mean square change of log P and log Q, weighted by w, that ends it. ``depth``:
    differences of Anderson acceleration. ``mixing``: share of the change that is taken; for w near 1 the map
    is P → c/P, whose slope is −1. ``rank``: relative singular value of differences below which they are
    noise. ``longest``: step of a logarithm. ``most``: evaluations. ``portion``: numbers of a matrix stack
    that is worked on at once.
    """

    tolerance: float = 1e-4
    depth: int = 7
    mixing: float = 0.5
    rank: float = 1e-4
    longest: float = 3.0
    most: int = 60
    portion: int = 2**20


SETTINGS = EquationSettings()
ALMOST = 1.0 - 1e-9  # of w: S has a pole at −1
LARGE = np.finfo(float).eps ** -0.5  # of the squares of U, from which X = 1 + U Uᵀ keeps half of the digits
LEAST = 1e-300  # of what passes a gate; below, its logarithm has no weight


class Averages(NamedTuple):
    """Q g (d, L) and P k (K, L) over the sites, and p(μ) of every site."""

    read: np.ndarray
    driven: np.ndarray
    above: np.ndarray


class Solution(NamedTuple):
    """log (P, Q) (2, K, bands), p(μ), the last change, the evaluations, and whether it met the tolerance."""

    log_energy: np.ndarray
    above: float
    residual: float
    evaluations: int
    converged: bool


def averages(steps: SiteSteps, modes: Modes, response: Response, energy: np.ndarray) -> Averages:
    """Eqs. (*) and (***) at P, Q (2, K, bands)."""
    L, d = steps.period, steps.C.shape[1]
    driven = energy[0][:, modes.band].ravel()
    read = np.zeros((d, L))
    np.add.at(read, steps.reading, energy[1][:, modes.band])
    left, right = np.sqrt(read.ravel())[:, None], np.sqrt(driven)
    n = len(response.H)
    size = max(1, SETTINGS.portion // (d * L * right.size))
    parts = [_averages(response.of(slice(i, i + size)), left, right) for i in range(0, n, size)]
    by_read, by_driven = (np.sum([part[j] for part in parts], axis=0) / n for j in (0, 1))
    above = np.concatenate([part[2] for part in parts]) / (L * steps.A.shape[1])
    return Averages(by_read.reshape(d, L), by_driven.reshape(-1, L), above)


def _averages(response: Response, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sums over some sites of 1 − diag X^{−1} and of P k; the trace of (***) at each of them."""
    U = left * response.H * right
    image = resolved(U)
    above = response.trace + np.einsum("nij,nij->n", image, left * response.slope * right)
    both = np.einsum("nij,nij->ij", U, image)  # 1 − diag X^{−1} without its rounding where it is small
    return both.sum(axis=1), both.sum(axis=0), above


def resolved(U: np.ndarray) -> np.ndarray:
    """X^{−1} U of X = 1 + U Uᵀ, (n, r, c).

    Forming X squares the condition of U, whose entries grow like e^{(u − μ) t} while a site by itself grows
    at a rate u above μ. Where that would lose half of the digits, (Uᵀ; 1) = Q R gives X^{−1} U = Q_2 Q_1ᵀ to
    rounding.
    """
    X = U @ U.transpose(0, 2, 1)
    here = np.arange(X.shape[1])
    X[:, here, here] += 1.0
    image = np.linalg.solve(X, U)
    large = np.einsum("nij,nij->n", U, U) > LARGE
    if large.any():
        tall = U[large].transpose(0, 2, 1)
        one = np.broadcast_to(np.eye(len(here)), (len(tall), len(here), len(here)))
        Q = np.linalg.qr(np.concatenate([tall, one], axis=1))[0]
        image[large] = Q[:, -len(here) :] @ Q[:, : -len(here)].transpose(0, 2, 1)
    return image


def solve(
    steps: SiteSteps,
    modes: Modes,
    response: Response,
    log_energy: np.ndarray,
    tolerance: float | None = None,
) -> Solution:
    """Solve (*) from log (P, Q) by Anderson acceleration (Walker and Ni 2011) in the logarithms.

    A factor common to all P and its inverse to all Q change nothing; it stays as it is. ``tolerance``: of the
    change; None: `EquationSettings.tolerance`.
    """
    tolerance = SETTINGS.tolerance if tolerance is None else tolerance
    x, shape = log_energy, log_energy.shape
    history: list[tuple[np.ndarray, np.ndarray]] = []
    above, residual, count = np.nan, np.inf, 0
    while count < SETTINGS.most:
        count += 1
        found = averages(steps, modes, response, np.exp(x))
        with np.errstate(all="ignore"):  # what is not finite ends the iteration
            change, weight = _change(steps, modes, found, x)
        above, residual = float(found.above.mean()), float(np.sqrt(np.sum(weight * change**2)))
        if residual <= tolerance or not np.isfinite(residual):
            break
        history = [*history, (x.ravel(), change.ravel())][-SETTINGS.depth - 1 :]
        move = anderson_move(
            history, mixing=SETTINGS.mixing, rank=SETTINGS.rank, norm=np.sqrt(weight.ravel())
        )
        x = x + np.clip(move, -SETTINGS.longest, SETTINGS.longest).reshape(shape)
    return Solution(x, above, residual, count, residual <= tolerance)


def _change(steps: SiteSteps, modes: Modes, found: Averages, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change of log (P, Q) that (*) makes, without the free factor, and the weight of each of its entries."""
    read = np.zeros((len(found.read), len(modes.size)))
    np.add.at(read, steps.reading, np.exp(x[1]))
    own = modes.mean(found.read)[steps.reading] * np.exp(x[1]) / read[steps.reading]  # Q_k g
    driven = modes.mean(found.driven)  # P_k k
    w = 0.5 * (own + driven)
    factor = steps.variance[:, None] * _weight_factors(steps.weights, w)
    change = np.log(np.maximum(np.array([own, driven]) * factor, LEAST)) - np.array([x[1], x[0]]) - x
    weight = np.array([np.maximum(w, 0.0) * modes.size] * 2)
    weight /= weight.sum()
    free = np.sum(weight[0] * (change[0] - change[1]))
    return change - free * np.array([1.0, -1.0])[:, None, None], weight


def _weight_factors(laws: tuple[str | SingularValues, ...], w: np.ndarray) -> np.ndarray:
    """φ(w), eq. (**), for the weights of every gate, w (K, bands)."""
    factors = []
    for law, share in zip(laws, w, strict=True):
        if law == "gaussian":
            factors.append(np.ones_like(share))
        elif law == "orthogonal":
            factors.append(1.0 / (1.0 - np.minimum(share, ALMOST)))
        else:
            assert isinstance(law, SingularValues)
            squares = Discrete([value**2 for value in law.values], law.masses)
            share = np.clip(share, LEAST, ALMOST)
            factors.append(1.0 / ((1.0 - share) * np.asarray(squares.S(-share))))
    return np.array(factors)


class Growth(NamedTuple):
    """ρ(μ), and the leading eigenvectors for P and for Q, (2, K, bands)."""

    rho: float
    energy: np.ndarray


def linear_growth(steps: SiteSteps, modes: Modes, mu: float) -> Growth:
    """The linear map of (*) at P = Q = 0: its leading eigenvalue and eigenvectors, of both sides."""
    L, d, K, bands = steps.period, steps.C.shape[1], len(steps.reading), len(modes.size)
    squares = np.mean(causal_response(steps, modes, mu) ** 2, axis=0).reshape(d, L, K, L)
    passed = modes.total(modes.total(squares).swapaxes(1, 3)).swapaxes(1, 3)  # (d, bands, K, bands)
    by_gate = passed[steps.reading] * steps.variance[:, None, None, None]
    forward = (by_gate / modes.size[:, None, None]).reshape(K * bands, K * bands)
    back = (by_gate * steps.variance[:, None] / steps.variance[:, None, None, None]).transpose(2, 3, 0, 1)
    back = (back / modes.size[:, None, None]).reshape(K * bands, K * bands)
    rho, driven = _leading(forward)
    _, read = _leading(back)
    return Growth(rho, np.array([driven, read]).reshape(2, K, bands))


def _leading(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of a matrix without negative entries, and its eigenvector."""
    values, vectors = (np.asarray(part) for part in np.linalg.eig(matrix))
    first = int(np.argmax(np.real(values)))
    vector = np.abs(np.real(vectors[:, first]))
    return float(np.real(values[first])), np.maximum(vector, 1e-14 * vector.max())  # above rounding
