"""The closed-form critical families: vanilla cells along q, the minimalRNN over (q, μ_b).

A point of the minimalRNN's family is only an initialisation if the network really is in that state. Besides
σ_v² ≥ 0 that asks for three things, all checked here:

- stable and unique: with G(Q) the second moment that a site reaches while the network has Q, the state
  must be approached from every Q ≠ Q*, at a rate no less than a tenth of the free one,
  |Q − G(Q)| ≥ 0.1 |Q − Q*|. For μ_b ≳ 3.5 the family has an unstable branch at small q, and from there up to
  larger q a second, chaotic state;
- carried by many sites: E[u'²]²/E[u'⁴] ≥ 1/64, so that 16 sites of 1024 share the growth of a step. For large
  μ_b and small q a few sites in 10⁶, whose gate happens to open, make up χ = 1; a real network has none.

Letters: T, the number of steps; q, the variance of a pre-activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from scipy.optimize import brentq

from rmtrnn._core.status import ConvergenceError
from rmtrnn.criticality.root_search import NoCriticalPointError
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import mean_field
from rmtrnn.numerics.gaussian_quadrature import gaussian_expectation
from rmtrnn.spectra import spectrum
from rmtrnn.spectra.minimal_rnn import CriticalFamily, minimal_moments


@dataclass(frozen=True)
class Family:
    """Which members of a family are looked at, and which of them count; definitions, not accuracies."""

    q: tuple[float, float] = (1e-5, 400.0)
    """Bounds of q where the caller gives none: from nearly linear units to gates that are open or shut."""
    mu_b: tuple[float, float] = (-4.0, 8.0)
    """Bounds of μ_b of the minimalRNN where the caller gives none: gates open 2 % to 99.97 % of the way."""
    participation: float = 1.0 / 64.0
    """Least E[u'²]²/E[u'⁴]: 16 sites of 1024 share the growth of a step."""
    approach: float = 0.1
    """Least rate at which the state is approached, relative to the free one: in ten times its time."""
    close: float = 1.01
    """To the infimum of the variance, relative, where no point meets the band."""
    rounding: float = 1e-13
    """Relative accuracy of q − σ_w² Q: 500 times that of a double, from two expectations."""


FAMILY = Family()


class FamilyPoint(NamedTuple):
    """The chosen member of a family."""

    ensemble: Ensemble
    message: str


class _Line(NamedTuple):
    """Vanilla family: q, σ_w, the drive σ_v² R, and the variance of s² per step."""

    q: np.ndarray
    sigma_w: np.ndarray
    drive: np.ndarray
    rate: np.ndarray


def vanilla_point(
    base: Ensemble, T: int, band: tuple[float, float], q: tuple[float, float], mu_b: tuple[float, float]
) -> FamilyPoint:
    """The largest q whose 5–95 % range of s lies in the band; else the largest with the least spread."""
    line = _vanilla_line(base, np.geomspace(q[0], q[1], 241) if q[0] < q[1] else np.array(q[:1]))
    allowed = np.flatnonzero(line.drive >= 0.0)
    if not allowed.size:
        raise NoCriticalPointError(
            f"no critical point of {base.cell.name!r} with q in [{q[0]:g}, {q[1]:g}]: σ_w² E[φ²] + σ_b² "
            "exceeds q everywhere, so that σ_v² would be negative; try other bounds or another mu_b",
            "infeasible",
            (math.nan, math.nan),
        )
    if q[0] == q[1]:
        return FamilyPoint(_vanilla_ensemble(base, line, 0), "")
    allowed = allowed[np.argsort(line.rate[allowed], kind="stable")]
    if not _meets(_vanilla_ensemble(base, line, int(allowed[0])), T, band):
        least = float(line.rate[allowed[0]])
        index = int(np.max(allowed[line.rate[allowed] <= FAMILY.close * least]))
        text = (
            f"isometry is out of reach: the variance of s² is at least {T * least:.4g} = T × {least:.4g} "
            f"for every q in [{q[0]:g}, {q[1]:g}]"
        )
        return FamilyPoint(_vanilla_ensemble(base, line, index), text)
    inside = _last_that_meets(base, line, allowed, T, band)
    # Among the spreads that are known to do, the largest q, and from there to the edge of the band.
    index = int(np.max(allowed[: inside + 1]))
    if index + 1 >= line.q.size or line.drive[index + 1] < 0.0:
        return FamilyPoint(_vanilla_ensemble(base, line, index), "")
    return FamilyPoint(_edge(base, T, band, float(line.q[index]), float(line.q[index + 1])), "")


def _last_that_meets(
    base: Ensemble, line: _Line, order: np.ndarray, T: int, band: tuple[float, float]
) -> int:
    """The last position in ``order`` (of increasing variance) that meets the band; the first one does.

    By steps of growing length from where the variance fits the band, then by halving: the wide spectra far
    from the band are the slow ones.
    """
    fits = (0.25 * (band[1] ** 2 - band[0] ** 2)) ** 2
    here = int(np.clip(np.searchsorted(T * line.rate[order], fits) - 1, 0, order.size - 1))

    def meets(position: int) -> bool:
        return position == 0 or _meets(_vanilla_ensemble(base, line, int(order[position])), T, band)

    low, high, stride = 0, order.size, 1
    if meets(here):
        low = here
        while low + stride < order.size and meets(low + stride):
            low, stride = low + stride, 2 * stride
        high = min(low + stride, order.size)
    else:
        high = here
        while not meets(max(high - stride, 0)):
            high, stride = high - stride, 2 * stride
        low = max(high - stride, 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if meets(middle) else (low, middle)
    return low


def _edge(base: Ensemble, T: int, band: tuple[float, float], inside: float, outside: float) -> Ensemble:
    """The largest q between the two that meets the band, to 1e-4; on its inner side."""

    def at(log_q: float) -> Ensemble:
        return _vanilla_ensemble(base, _vanilla_line(base, np.array([math.exp(log_q)])), 0)

    def beyond(log_q: float) -> float:
        return _excess(at(log_q), T, band)

    low, high = math.log(inside), math.log(outside)
    if beyond(high) <= 0.0:
        return at(high)
    log_q = cast(float, brentq(beyond, low, high, xtol=1e-4))
    return at(min(log_q, high)) if beyond(log_q) <= 0.0 else at(max(log_q - 2e-4, low))


def _vanilla_line(base: Ensemble, q: np.ndarray) -> _Line:
    """σ_w² = 1/E[φ'²] and what else follows, for an array of q."""
    activation = base.cell.activation  # pyright: ignore[reportAttributeAccessIssue]
    gate = base.gate(base.cell.gates[0])
    phi, slope = activation.numeric(np, 0), activation.numeric(np, 1)
    means = gaussian_expectation(
        lambda e: np.stack(
            [np.broadcast_to(f, e.shape) for f in (phi(e) ** 2, slope(e) ** 2, slope(e) ** 4)]
        ),
        q,
        gate.mu_b,
        kinks=activation.kinks,
    )
    Q, mu_1, mu_2 = means.value
    drive = q - Q / mu_1 - gate.sigma_b**2
    drive = np.where(np.abs(drive) <= FAMILY.rounding * q, 0.0, drive)
    s_1 = -1.0 if gate.weights == "gaussian" else 0.0
    return _Line(q, mu_1**-0.5, drive, mu_2 / mu_1**2 - 1.0 - s_1)


def _vanilla_ensemble(base: Ensemble, line: _Line, index: int) -> Ensemble:
    sigma_v = math.sqrt(max(float(line.drive[index]), 0.0) / base.R)
    return base.replace(sigma_w=float(line.sigma_w[index]), sigma_v=sigma_v)


def _meets(ens: Ensemble, T: int, band: tuple[float, float]) -> bool:
    """Whether the 5–95 % range of s lies in the band."""
    return _excess(ens, T, band) <= 0.0


def _excess(ens: Ensemble, T: int, band: tuple[float, float]) -> float:
    """By how much log s leaves the band at its 5 % or 95 % quantile; negative inside, inf without a law."""
    try:
        spec = spectrum(ens, T)
    except ConvergenceError:
        return math.inf
    low, high = spec.log_s.icdf(np.array([0.05, 0.95]))
    return max(math.log(band[0]) - low, high - math.log(band[1])) if spec.converged else math.inf


def minimal_point(
    base: Ensemble, T: int, band: tuple[float, float], q: tuple[float, float], mu_b: tuple[float, float]
) -> FamilyPoint:
    """The (q, μ_b) with the least variance of s² at T: a grid, then two finer ones around its best point."""
    if abs(base.input_moment(1)) > 0.0:
        raise ValueError(
            f"input_law = {base.input_law!r}: the closed form needs E[x] = 0; use free for other input laws"
        )
    best = None
    q_box, mu_box = (max(q[0], 1e-2), q[1]) if q[0] < q[1] else q, mu_b
    for _ in range(4):
        qs = _points(q_box, 65, log=True)
        mus = _points(mu_box, 33, log=False)
        found = _best_on_grid(base, T, qs, mus)
        if found is None:
            break
        best = found if best is None or found[0] <= best[0] else best
        q_box = _around(qs, best[1], q)
        mu_box = _around(mus, best[2], mu_b)
    if best is None:
        raise NoCriticalPointError(
            f"no critical point of 'minimal' with q in [{q[0]:g}, {q[1]:g}], "
            f"mu_b in [{mu_b[0]:g}, {mu_b[1]:g}]: either σ_v² would be negative (q too small), or the "
            "state is not stable and unique, or too few sites carry it; try larger q",
            "infeasible",
            (math.nan, math.nan),
        )
    return _minimal_choice(base, best[1], best[2])


def _minimal_choice(base: Ensemble, q: float, mu_b: float) -> FamilyPoint:
    point = CriticalFamily.at(np.array(q), np.array(mu_b), base.R)
    kappa, sigma_b = float(point.kappa), base.gate("e").sigma_b
    chosen = base.replace(
        sigma_w=math.sqrt(float(point.sigma_w2)),
        sigma_v=math.sqrt(max(float(point.drive) - sigma_b**2, 0.0) / base.R),
        mu_b=mu_b,
    )
    orthogonal = base.gate("e").weights == "orthogonal"
    floor = 2 * kappa * (1 - kappa) if orthogonal else kappa * (2 - kappa)
    text = (
        f"every step overwrites a share κ = {kappa:.4g} of the squared state, so the variance of s² grows by "
        f"at least {floor:.4g} a step"
    )
    return FamilyPoint(chosen, text)


def _points(box: tuple[float, float], count: int, *, log: bool) -> np.ndarray:
    if box[0] == box[1]:
        return np.array([box[0]])
    return np.geomspace(*box, count) if log else np.linspace(*box, count)


def _around(axis: np.ndarray, centre: float, limits: tuple[float, float]) -> tuple[float, float]:
    """The neighbours of a grid point, inside the limits."""
    index = int(np.argmin(np.abs(axis - centre)))
    low, high = axis[max(index - 2, 0)], axis[min(index + 2, axis.size - 1)]
    return max(float(low), limits[0]), min(float(high), limits[1])


def _best_on_grid(
    base: Ensemble, T: int, qs: np.ndarray, mus: np.ndarray
) -> tuple[float, float, float] | None:
    """(variance of s², q, μ_b) of the best admissible point of a grid; None if there is none."""
    gate = base.gate("e")
    mesh = np.meshgrid(qs, mus, indexing="ij")
    family = CriticalFamily.at(*mesh, base.R)
    fixed = qs.size == 1
    allowed = family.drive >= gate.sigma_b**2
    if not (fixed and mus.size == 1):
        allowed &= family.participation >= FAMILY.participation
    allowed &= _is_reached_stably(family, mus, base.R)
    if not np.any(allowed):
        return None
    q, mu_b, sigma_w2 = (array[allowed] for array in (family.q, family.mu_b, family.sigma_w2))
    x = tuple(base.input_moment(k) for k in range(5))
    m_1, m_2 = minimal_moments(q, mu_b, sigma_w2, x, T, gate.weights == "orthogonal")
    variance = m_2[-1] - m_1[-1] ** 2
    for index in np.argsort(variance):
        if _is_reached(base, T, float(q[index]), float(mu_b[index])):
            return float(variance[index]), float(q[index]), float(mu_b[index])
    return None


def _is_reached_stably(family: CriticalFamily, mus: np.ndarray, R: float) -> np.ndarray:
    """Where |Q − G(Q)| ≥ 0.1 |Q − Q*| with the right sign for all Q on a wide grid of q = σ_w² Q + drive."""
    probes = np.geomspace(1e-2, 1e4, 121)
    shut = CriticalFamily.at(*np.meshgrid(probes, mus, indexing="ij"), R).Q  # G at (probe, μ_b)
    good = np.ones(family.q.shape, dtype=bool)
    for k, probe in enumerate(probes):
        Q = (probe - family.drive) / family.sigma_w2
        pull = (Q - shut[k][None, :]) * np.sign(Q - family.Q)
        good &= (Q <= 0.0) | (pull >= FAMILY.approach * np.abs(Q - family.Q) - 1e-12 * (Q + family.Q))
    return good


def _is_reached(base: Ensemble, T: int, q: float, mu_b: float) -> bool:
    """Whether the mean field of the chosen parameters finds this state."""
    state = mean_field(_minimal_choice(base, q, mu_b).ensemble)
    return bool(state.converged and abs(state.chi - 1.0) <= 1e-9)
