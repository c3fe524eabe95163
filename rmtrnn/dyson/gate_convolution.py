"""Cells whose gates read the input only (minGRU, minLSTM): the law of T steps by convolution of log gates.

Their Jacobian is diagonal, with the product of T gates at every site: log s = Σ_t log |a(e^t)|, and
e = V x + b. With fresh weights the terms are independent. With tied weights they are so at a given bias of
the site, and the law is the mean over biases of convolutions. The law of one term is put on a lattice, each
value shared by its two neighbours, which keeps its mean; powers of its Fourier transform are the convolution.

Letters: T, the number of steps; b, biases; a, the derivative of the update by the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.tabulated import Interval, TabulatedLaw, monotone_panels


@dataclass(frozen=True)
class ConvolutionSettings:
    """Numbers of the lattice; moved in tests/dyson/test_gate_convolution.py."""

    # Points of the law of e: the cdf errs by about their inverse, times a logarithm.
    points: int = 2**19
    # Biases of one gate, and of each of two gates; points of e at each of them.
    biases: int = 256
    biases_of_two: int = 40
    points_at_bias: int = 2**13
    # Lattice spacing over the standard deviation of the sum over √T: the cdf errs by its square over 30.
    spacing: float = 0.02
    # Half width of the lattice in standard deviations of the sum, besides one whole term.
    width: float = 10.0
    # Lattices of up to so many points are refined until the error of the cdf is below ``tol``.
    largest: int = 2**20
    tol: float = 1e-5
    # Points of the table of the law; their number leaves errors of 1e-6 between.
    knots: int = 500


NORMAL_END = 6.0
"""Standard deviations at which a bias is cut off: the mass beyond is 2e-9."""

SETTINGS = ConvolutionSettings()


def applies(ens: Ensemble) -> bool:
    """Whether J is diagonal with gates that depend on nothing but their own inputs and biases."""
    cell = ens.cell
    if len(cell.stages) != 1 or len(cell.state) != 1:
        return False
    [stage] = cell.stages
    entry: Any = stage.a[0, 0]
    symbols = {gate.symbol for gate in stage.gates}
    return all(gate.reads == 0 for gate in stage.gates) and entry.free_symbols <= symbols


def convolved_law(ens: Ensemble, T: int, settings: ConvolutionSettings = SETTINGS) -> TabulatedLaw:
    """Return the law of log s of T steps, and the error of its cdf; tied or not.

    ``error`` is the change of the cdf between two sets of points (and of biases), and between two lattices.
    """
    found = _distribution(ens, T, settings, 0)
    other = _distribution(ens, T, settings, 1)
    if found.values.size == 1:
        return TabulatedLaw([], atoms=[(float(found.values[0]), 1.0)])
    inner = 0.5 * (found.cdf[1:] + found.cdf[:-1])
    inner_at = 0.5 * (found.values[1:] + found.values[:-1])
    there = np.interp(inner_at, other.values, other.cdf, left=0.0, right=1.0)
    # Midpoints err by 1/n at least: 3n/4 of them differ from n by a third of that.
    return _table(found, 3.0 * float(np.max(np.abs(there - inner))) + found.error, settings)


@dataclass(frozen=True)
class _Distribution:
    """A cdf at increasing values, the mass at s = 0, and the error of the lattice."""

    values: np.ndarray
    cdf: np.ndarray
    zero: float = 0.0
    error: float = 0.0


def _distribution(ens: Ensemble, T: int, settings: ConvolutionSettings, shift: int) -> _Distribution:
    """The distribution of the sum of T terms, from the points that belong to ``shift``."""
    gates = _Gates(ens)
    if gates.fresh and gates.static and T > 1:
        biases, weights = _biases(settings, len(gates.static), shift)
        one = _points(settings.points_at_bias, len(gates.fresh), shift)
        terms = np.array([gates.terms(one, bias[:, None]) for bias in biases.T])
        return _convolved(terms, weights, T, settings)
    points = _points(settings.points, len(gates.fresh) + len(gates.static), shift)
    terms = gates.terms(points[: len(gates.fresh)], points[len(gates.fresh) :])
    if T == 1 or not gates.fresh:
        return _sorted(T * terms)
    return _convolved(terms[None], np.ones(1), T, settings)


class _Gates:
    """The gates on which a depends: ``fresh``, numbers drawn at every step, and ``static``, at every site.

    Both list (gate, is a normal part): V x, with the normal bias if that is fresh too, or else a bias.
    """

    def __init__(self, ens: Ensemble) -> None:
        self.ens = ens
        [stage] = ens.cell.stages
        entry: Any = stage.a[0, 0]
        used = [g.name for g in stage.gates if g.symbol in entry.free_symbols]
        laws = {name: ens.gate(name) for name in used}
        loose = {n for n, law in laws.items() if law.has_normal_bias and law.sigma_b > 0.0}
        self.spread = {
            name: math.sqrt(
                law.sigma_v**2 * ens.R + (law.sigma_b**2 if name in loose and not ens.tied else 0.0)
            )
            for name, law in laws.items()
        }
        self.fresh = [(name, True) for name, value in self.spread.items() if value > 0.0]
        sources = {law.bias_law.source or name for name, law in laws.items() if not law.has_normal_bias}
        biases = [(name, False) for name in ens.cell.gates if name in sources or (ens.tied and name in loose)]
        self.static = biases if ens.tied else []
        self.fresh += [] if ens.tied else biases

    def terms(self, fresh: np.ndarray, static: np.ndarray) -> np.ndarray:
        """log |a| at uniform numbers (d, n) of what is fresh, and (d', n) or (d', 1) of what is static."""
        names = self.ens.cell.gates
        n = fresh.shape[1] if len(fresh) else static.shape[1]
        parts = dict(
            zip(self.fresh + self.static, [*fresh, *np.broadcast_to(static, (len(static), n))], strict=True)
        )
        uniform = np.full((len(names), n), 0.5)
        for (name, is_normal), values in parts.items():
            if not is_normal:
                uniform[names.index(name)] = values
        e = self.ens.bias_deviations(uniform)
        for k, name in enumerate(names):
            law = self.ens.gate(name)
            e[k] += law.mu_b
            if (name, True) in parts:
                e[k] += self.spread[name] * ndtri(parts[name, True])
            if law.has_normal_bias and (name, False) in parts:
                e[k] += law.sigma_b * ndtri(parts[name, False])
        [stage] = self.ens.cell.numeric(np).stages
        slope = np.broadcast_to(stage.linearize(np.zeros((1, n)), np.zeros(n), e)[0], (1, 1, n))[0, 0]
        with np.errstate(divide="ignore"):
            return np.log(np.abs(slope))


def _biases(settings: ConvolutionSettings, dimensions: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (d, n) and weights for biases: the trapezoidal rule in normal variables where d = 1 or 2.

    The integrand is then smooth and decays, and the rule converges geometrically. For larger d, points that
    fill the cube evenly.
    """
    if dimensions > 2:
        n = settings.biases * 2 ** (dimensions - 1) // (1 + shift)
        return _points(n, dimensions, shift), np.full(n, 1.0 / n)
    n = settings.biases if dimensions == 1 else settings.biases_of_two
    z = np.linspace(-NORMAL_END, NORMAL_END, n - (n // 4) * shift)
    grid = np.array(np.meshgrid(*[z] * dimensions)).reshape(dimensions, -1)
    grid = grid[:, (grid**2).sum(axis=0) <= NORMAL_END**2 * (1.0 + 1e-12)]
    weights = np.exp(-0.5 * (grid**2).sum(axis=0))
    return ndtr(grid), weights / weights.sum()


def _points(n: int, dimensions: int, shift: int) -> np.ndarray:
    """Points (d, n) of the unit cube. d = 1: midpoints, n or 3n/4 of them.

    d > 1: an additive recurrence whose steps are powers of 1/ρ, ρ^{d+1} = ρ + 1, the golden ratio for d = 1
    (Roberts 2018, the R_d sequence).
    """
    if dimensions <= 1:
        n = n - (n // 4) * shift
        return ((np.arange(n) + 0.5) / n)[None][:dimensions]
    rho = 2.0
    for _ in range(60):
        rho = (1.0 + rho) ** (1.0 / (dimensions + 1))
    steps = rho ** -np.arange(1.0, dimensions + 1.0)
    start = 0.5 + 0.25 * shift
    return np.clip((start + np.arange(1, n + 1) * steps[:, None]) % 1.0, 2.0**-53, 1.0 - 2.0**-53)


def _sorted(terms: np.ndarray) -> _Distribution:
    """The distribution of equally likely values."""
    live = np.sort(terms[np.isfinite(terms)])
    if live.size and live[-1] - live[0] <= 4 * np.finfo(float).eps * np.abs(live).max():
        return _Distribution(live[:1], np.ones(1))
    cdf = (np.arange(live.size) + 0.5) / terms.size + (1.0 - live.size / terms.size)
    return _Distribution(live, cdf, 1.0 - live.size / terms.size)


def _convolved(
    terms: np.ndarray, weights: np.ndarray, T: int, settings: ConvolutionSettings
) -> _Distribution:
    """The weighted mean over rows (B, n) of the T-fold convolution of their laws, on ever finer lattices."""
    step, found = settings.spacing, None
    while True:
        before, found = found, _on_lattice(terms, weights, T, step, settings)
        error = math.inf if before is None else _change(found, before)
        if error < 3.0 * settings.tol or 2 * found.values.size > settings.largest:
            return _Distribution(found.values, found.cdf, found.zero, error)
        step /= 2.0


def _change(fine: _Distribution, coarse: _Distribution) -> float:
    """Change of the cdf from the coarse to the fine lattice.

    The error is of second order in the spacing: a third of the change is left in a smooth law, and more
    between lattice points and where a law is not smooth.
    """
    return float(np.max(np.abs(np.interp(coarse.values, fine.values, fine.cdf) - coarse.cdf)))


def _on_lattice(
    terms: np.ndarray, weights: np.ndarray, T: int, spacing: float, settings: ConvolutionSettings
) -> _Distribution:
    live = np.isfinite(terms)
    share = live.mean(axis=1)
    values = np.where(live, terms, 0.0)
    means = values.mean(axis=1) / share
    centre = float(weights @ means)
    variances = (np.where(live, (terms - means[:, None]) ** 2, 0.0)).mean(axis=1) / share
    deviation = math.sqrt(T * float(weights @ variances) + T**2 * float(weights @ (means - centre) ** 2))
    step = spacing * deviation / math.sqrt(T)
    half = settings.width * deviation + np.ptp(values[live]) + T * float(np.ptp(means))
    half = min(half, T * float(np.max(np.abs(values[live] - centre)))) + 2 * step
    size = 2 ** math.ceil(math.log2(2 * half / step + 4))
    total = np.zeros(size // 2 + 1, dtype=complex)
    for row, alive, weight in zip(terms, live, weights, strict=True):
        place = (row[alive] - centre) / step
        cell = np.floor(place).astype(int)
        right = place - cell
        mass = np.bincount(cell % size, 1.0 - right, size) + np.bincount((cell + 1) % size, right, size)
        total += weight * _power(np.fft.rfft(mass / row.size), T)
    mass = np.maximum(np.roll(np.fft.irfft(total, size), size // 2), 0.0)
    zero = 1.0 - float(weights @ share**T)
    at = T * centre + step * (np.arange(size) - size // 2 + 0.5)
    inside = np.flatnonzero(mass > 1e-3 * np.finfo(float).eps ** 0.5 * mass.max())
    cut = slice(max(inside[0] - 1, 0), inside[-1] + 1)
    cdf = np.cumsum(mass)
    return _Distribution(at[cut], zero + (1.0 - zero) * (cdf / cdf[-1])[cut], zero)


def _power(values: np.ndarray, T: int) -> np.ndarray:
    """values^T by its binary digits."""
    found = np.ones_like(values)
    while T:
        if T % 2:
            found = found * values
        values, T = values * values, T // 2
    return found


def _apart(angle: np.ndarray, least: float) -> list[int]:
    """Indices of increasing angles of which no two are nearer than ``least``, with both ends."""
    keep = [0]
    for i in range(1, angle.size - 1):
        if angle[i] - angle[keep[-1]] > least and angle[-1] - angle[i] > least:
            keep.append(i)
    return [*keep, angle.size - 1]


def _table(found: _Distribution, error: float, settings: ConvolutionSettings) -> TabulatedLaw:
    """The law as monotone cubics in the cdf, whose slopes are those of a parabola through three knots."""
    values, cdf = found.values, found.cdf - found.zero
    total = 1.0 - found.zero
    spread = np.linspace(0.0, 1.0, settings.knots)
    evenly = np.interp(total * spread, cdf, values)  # half of the knots by mass, half by place
    places = values[0] + spread * (values[-1] - values[0])
    pick = np.unique(np.searchsorted(values, np.concatenate([evenly, places])).clip(0, values.size - 1))
    interval = Interval(float(values[0]) - 1e-12, float(values[-1]) + 1e-12)
    angle, below = interval.angle(values[pick]), cdf[pick]
    angle, below = np.concatenate([[0.0], angle, [np.pi]]), np.concatenate([[0.0], below, [total]])
    keep = _apart(angle, 0.25 / settings.knots)
    angle, below = angle[keep], below[keep]
    slope = np.maximum(np.gradient(below, angle), 0.0)
    atoms = [(-math.inf, found.zero)] if found.zero > 0.0 else []
    pieces = [(interval, monotone_panels(angle, below, slope))]
    off = float(np.max(np.abs(TabulatedLaw(pieces, atoms=atoms).cdf(values) - found.cdf)))
    return TabulatedLaw(pieces, atoms=atoms, error=error + off)
