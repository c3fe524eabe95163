"""Base laws on [0, ∞) through the expectations that free products are made of.

A base is a bounded law X ≥ 0, normalised so that its largest value is 1 (the scale is carried as a
logarithm). For y = 1/w off the support it gives (theory.md (7))

    a0 = E[1/(1 − Xy)] = 1 + m,   a1 = E[X/(1 − Xy)],   b1 = E[Xy/(1 − Xy)²],   b2 = E[X² y/(1 − Xy)²],

from which m = y a1, κ = w m/(1 + m) = a1/a0 and the derivatives follow without cancellation at large w.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from rmtrnn._core.arrays import PORTIONS

_LARGE = float(np.finfo(float).max) ** 0.25


class Sums(NamedTuple):
    """The four expectations at y, and an estimate of their error relative to the sum of absolute values."""

    a0: np.ndarray
    a1: np.ndarray
    b1: np.ndarray
    b2: np.ndarray
    error: np.ndarray

    def reshape(self, shape: tuple[int, ...]) -> Sums:
        return self._make(part.reshape(shape) for part in self)


class Base(Protocol):
    """What a free product needs to know of its base law; v = log x, p is a probability."""

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def gaps(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def is_bounded(self) -> bool: ...
    @property
    def has_real_nodes(self) -> bool: ...
    @property
    def underflowing(self) -> float:
        """P(0 < X < a thousand times the smallest double), where v cannot be resolved."""
        ...

    @property
    def log_support(self) -> tuple[tuple[float, float], ...]: ...
    def sums(self, y: np.ndarray) -> Sums: ...
    def log_potential(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    def moment(self, k: int) -> float: ...
    def variance(self) -> float: ...
    def log_mean(self) -> float: ...
    def log_pdf(self, v: np.ndarray) -> np.ndarray: ...
    def log_cdf(self, v: np.ndarray) -> np.ndarray: ...
    def log_icdf(self, p: np.ndarray) -> np.ndarray: ...


class PointMasses:
    """Finitely many atoms: exact sums."""

    is_bounded = has_real_nodes = True
    underflowing = 0.0

    def __init__(self, locations: np.ndarray, masses: np.ndarray) -> None:
        self.locations, self.masses = locations, masses
        self.atoms = tuple(zip(locations.tolist(), masses.tolist(), strict=True))
        edges = locations if locations[0] > 0 else locations[1:]
        starts = np.concatenate([[0.0], edges[:-1]])
        self.gaps = tuple(zip(starts.tolist(), edges.tolist(), strict=True))

    def sums(self, y: np.ndarray) -> Sums:
        y = np.asarray(y)
        rows = weighted_sums(self.locations, self.masses, y.ravel())
        return Sums(rows[0], rows[1], rows[2], rows[3], np.zeros(y.size)).reshape(y.shape)

    @property
    def log_support(self) -> tuple[tuple[float, float], ...]:
        return ()

    def log_potential(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = log_potential_of(self.locations, self.masses, np.asarray(y))
        return value.reshape(np.shape(y)), np.zeros(np.shape(y))

    def moment(self, k: int) -> float:
        return float(np.sum(self.masses * self.locations**k))

    def variance(self) -> float:
        return float(np.sum(self.masses * (self.locations - self.moment(1)) ** 2))

    def log_mean(self) -> float:
        return float(np.sum(self.masses * np.log(self.locations)))

    def log_pdf(self, v: np.ndarray) -> np.ndarray:
        return np.zeros(v.shape)

    def log_cdf(self, v: np.ndarray) -> np.ndarray:
        # Masses that sum to 1 may do so only up to a rounding.
        return np.minimum(np.sum(self.masses * (v[:, None] >= self._log_locations), axis=1), 1.0)

    def log_icdf(self, p: np.ndarray) -> np.ndarray:
        """Quantile of log X at the probability p."""
        index = np.searchsorted(np.cumsum(self.masses) * (1.0 + 1e-15), p)
        return self._log_locations[np.minimum(index, len(self.masses) - 1)]

    @property
    def _log_locations(self) -> np.ndarray:
        # By `math`, whose last bit is that of every other log of an atom: NumPy's may differ by one.
        return np.array([math.log(place) if place > 0 else -math.inf for place in self.locations.tolist()])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PointMasses) and self.atoms == other.atoms

    def __hash__(self) -> int:
        return hash(self.atoms)


def weighted_sums(locations: np.ndarray, masses: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows a0, a1, b1, b2 of `Sums` for weighted points, at a flat array of y."""
    parts = np.zeros((4, y.size), np.result_type(y, locations, masses))
    if not len(locations):
        return parts
    moments = np.stack([masses, masses * locations, masses * locations**2])
    size = max(1, PORTIONS.memory // len(locations))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for start in range(0, y.size, size):
            here = slice(start, start + size)
            inverse = 1.0 / (1.0 - np.multiply.outer(y[here], locations))
            parts[:2, here] = moments[:2] @ inverse.T
            factor = y[here]
            if np.max(np.abs(factor)) > _LARGE:  # the squares would underflow
                root = np.sqrt(np.maximum(np.abs(factor), 1.0))
                inverse, factor = inverse * root[:, None], factor / root**2
            parts[2:, here] = factor * (moments[1:] @ (inverse * inverse).T)
    return parts


def point_masses_stieltjes(
    locations: np.ndarray, masses: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """G(z) = Σ_i p_i/(z − x_i) and its derivative at a flat array of z."""
    value, slope = np.zeros(z.shape, complex), np.zeros(z.shape, complex)
    size = max(1, PORTIONS.memory // len(locations))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for start in range(0, z.size, size):
            here = slice(start, start + size)
            inverse = 1.0 / np.subtract.outer(z[here], locations)
            value[here], slope[here] = inverse @ masses, -(inverse * inverse) @ masses
    return value, slope


def marchenko_pastur_stieltjes(c: float, s: float, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """G = 2/d₊ = d₋/(2csz), d± = z − s(1 − c) ± √(z − x₋) √(z − x₊): the form without cancellation.

    And G' = −G (1 − c s G)/√…, from the quadratic equation of G.
    """
    low, high = s * (1.0 - math.sqrt(c)) ** 2, s * (1.0 + math.sqrt(c)) ** 2
    root = np.sqrt(z - low) * np.sqrt(z - high)
    plus, minus = z - s * (1.0 - c) + root, z - s * (1.0 - c) - root
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(np.abs(plus) >= np.abs(minus), 2.0 / plus, minus / (2.0 * c * s * z))
        return value, -value * (1.0 - c * s * value) / root


def log1p(z: np.ndarray) -> np.ndarray:
    """log(1 + z). NumPy's complex log1p is log|1 + z|: 1e-11 off at |z| = 1e-5, and T multiplies the loss."""
    if not np.iscomplexobj(z):
        return np.log1p(z)
    x, y = np.real(z), np.imag(z)
    near = np.abs(z) < 0.5
    small, other = np.where(near, x, 0.0), np.where(near, y, 0.0)  # squares of the rest may overflow
    square = small * (2.0 + small) + other * other
    with np.errstate(divide="ignore"):
        size = np.where(near, 0.5 * np.log1p(square), np.log(np.abs(1.0 + z)))
    return size + 1j * np.arctan2(y, 1.0 + x)


def log_potential_of(locations: np.ndarray, masses: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Σ masses · log(1 − locations y) at every y (flattened), arguments in [0, π]."""
    flat = np.asarray(y, dtype=complex).ravel()
    result = np.zeros(flat.shape, complex)
    if not len(locations):
        return result
    size = max(1, PORTIONS.memory // len(locations))
    with np.errstate(divide="ignore", over="ignore"):
        for start in range(0, flat.size, size):
            product = np.multiply.outer(flat[start : start + size], locations)
            logs = log1p(-product)
            if not np.iscomplexobj(locations):
                # Above the axis the argument is in [0, π]; on it the sign of a zero must not decide.
                logs = np.real(logs) + 1j * np.abs(np.imag(logs))
            result[start : start + size] = logs @ masses
    return result
