"""Base laws on [0, ∞) through the expectations that free products are made of.

A base is a bounded law X ≥ 0, normalised so that its largest value is 1 (the scale is carried as a
logarithm). For y = 1/w off the support it gives (theory.md (7))

    a0 = E[1/(1 − Xy)] = 1 + m,   a1 = E[X/(1 − Xy)],   b1 = E[Xy/(1 − Xy)²],   b2 = E[X² y/(1 − Xy)²],

from which m = y a1, κ = w m/(1 + m) = a1/a0 and the derivatives follow without cancellation at large w.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from scipy import special

from rmtrnn.numerics.gaussian_quadrature import gaussian_expectation, gaussian_nodes

_CHUNK = 1 << 21
_ROUNDING = 4e-15  # relative; no level improves on it


class Sums(NamedTuple):
    """The four expectations at y, and an estimate of their error relative to the sum of absolute values."""

    a0: np.ndarray
    a1: np.ndarray
    b1: np.ndarray
    b2: np.ndarray
    error: np.ndarray

    def reshape(self, shape: tuple[int, ...]) -> Sums:
        return self._make(part.reshape(shape) for part in self)

    def take(self, mask: np.ndarray) -> Sums:
        return self._make(part[mask] for part in self)


class Base(Protocol):
    """What a free product needs to know of its base law; v = log x, p is a probability."""

    log_low: float  # below it in log X there is no mass worth following
    atoms: tuple[tuple[float, float], ...]
    gaps: tuple[tuple[float, float], ...]

    @property
    def log_support(self) -> tuple[tuple[float, float], ...]: ...
    def sums(self, y: np.ndarray) -> Sums: ...
    def log_potential(self, y: np.ndarray) -> np.ndarray: ...
    def moment(self, k: int) -> float: ...
    def variance(self) -> float: ...
    def log_mean(self) -> float: ...
    def log_pdf(self, v: np.ndarray) -> np.ndarray: ...
    def log_cdf(self, v: np.ndarray) -> np.ndarray: ...
    def log_icdf(self, p: np.ndarray) -> np.ndarray: ...


class PointMasses:
    """Finitely many atoms: exact sums."""

    def __init__(self, locations: np.ndarray, masses: np.ndarray) -> None:
        self.locations, self.masses = locations, masses
        self.log_low = -math.inf
        self.atoms = tuple(zip(locations.tolist(), masses.tolist(), strict=True))
        edges = locations if locations[0] > 0 else locations[1:]
        starts = np.concatenate([[0.0], edges[:-1]])
        self.gaps = tuple(zip(starts.tolist(), edges.tolist(), strict=True))

    def sums(self, y: np.ndarray) -> Sums:
        return _weighted(self.locations, self.masses, y)

    @property
    def log_support(self) -> tuple[tuple[float, float], ...]:
        return ()

    def log_potential(self, y: np.ndarray) -> np.ndarray:
        return _log_potential(self.locations, self.masses, y)

    def moment(self, k: int) -> float:
        return float(np.sum(self.masses * self.locations**k))

    def variance(self) -> float:
        return float(np.sum(self.masses * (self.locations - self.moment(1)) ** 2))

    def log_mean(self) -> float:
        return float(np.sum(self.masses * np.log(self.locations)))

    def log_pdf(self, v: np.ndarray) -> np.ndarray:
        return np.zeros(v.shape)

    def log_cdf(self, v: np.ndarray) -> np.ndarray:
        return np.sum(self.masses * (v[:, None] >= self._log_locations), axis=1)

    def log_icdf(self, p: np.ndarray) -> np.ndarray:
        """Quantile of log X at the probability p."""
        index = np.searchsorted(np.cumsum(self.masses) * (1.0 + 1e-15), p)
        return self._log_locations[np.minimum(index, len(self.masses) - 1)]

    @property
    def _log_locations(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.locations)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PointMasses) and self.atoms == other.atoms

    def __hash__(self) -> int:
        return hash(self.atoms)


class GaussianImage:
    """The law of X = f(√variance Z)/scale, Z standard normal: sums over ever finer quadrature nodes.

    Levels are halved until the sums agree; the law itself (density, distribution function) comes from the
    monotone pieces of f, without any transform.

    Close to the support the integrand 1/(w − f) has poles close to the real z axis. Where f is analytic the
    integral for Im w ≥ 0 is therefore taken along z = t − i a σ(t), with σ of the sign of f': there Im f < 0,
    the poles keep their distance, and a few dozen nodes serve for every w. The contour is used only if
    Im f ≤ 0 on a grid of the whole strip between it and the real axis, so that no pole is crossed, and if f
    bends at every kink, so that the contour passes through it (σ = 0 there) and f is analytic on either side.
    """

    atoms: tuple[tuple[float, float], ...] = ()
    MAX_LEVEL = 19
    Z_MAX = 9.5  # the normal mass beyond is 2e-21

    def __init__(
        self,
        f: Callable[[np.ndarray], np.ndarray],
        deviation: float,
        kinks: tuple[float, ...],
        analytic: bool,
    ) -> None:
        self._f, self._deviation, self._kinks = f, deviation, kinks
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._scale = 1.0
        self._turns = self._turning_points()
        values = self._f_of(self._turns)
        self._scale = float(np.max(values))
        low = float(np.min(values)) / self._scale
        # f may be 0 at a point, or vanish in the tail: then there is no gap at 0.
        ends = self._f_of(np.array([-self.Z_MAX, self.Z_MAX])) / self._scale
        self.gaps = ((0.0, low),) if low > 1e-14 and np.min(ends) > low else ()
        bulk = self._f_of(np.linspace(-8.3, 8.3, 2001)) / self._scale
        self.log_low = float(np.log(np.maximum(np.min(bulk), 1e-300)))
        zeros = [float(turn) for turn in self._turns[1:-1] if self._is_zero(turn)]
        inner = [kink / deviation for kink in kinks if abs(kink) < self.Z_MAX * deviation]
        self._breaks = tuple(sorted({*inner, *zeros}))
        bent = all(kink in self._turns for kink in inner)  # elsewhere the contour would miss the kink
        self._depth = self._contour_depth() if analytic and bent else 0.0

    @property
    def log_scale(self) -> float:
        """log of the largest value of f."""
        return math.log(self._scale)

    def _contour(self, t: np.ndarray, depth: float) -> tuple[np.ndarray, np.ndarray]:
        """z(t) = t − i a σ(t) and dz/dt; σ = ±Π tanh((t − τ)/ℓ) over the turning points τ of f."""
        turns = self._turns[1:-1]
        # f varies on the scale 1/deviation in z; between two turning points σ has to come back to 0.
        width = min(1.0, 1.0 / self._deviation, *(0.5 * np.diff(turns)))
        values = self._f_of(self._turns)
        sign = 1.0 if values[-1] > values[-2] else -1.0
        factors = [np.tanh((t - turn) / width) for turn in turns]
        sigma = sign * np.prod(factors, axis=0) if factors else np.full(t.shape, sign)
        slope = np.zeros(t.shape)
        for i, factor in enumerate(factors):
            rest = np.prod(factors[:i] + factors[i + 1 :], axis=0) if len(factors) > 1 else 1.0
            slope = slope + sign * rest * (1.0 - factor) * (1.0 + factor) / width
        return t - 1j * depth * sigma, 1.0 - 1j * depth * slope

    def _contour_depth(self) -> float:
        """The largest depth of the contour, of a few tried, that keeps Im f ≤ 0 on the way down; else 0."""
        t = np.linspace(-self.Z_MAX, self.Z_MAX, 801)
        for depth in (2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.12):
            strip = [self._contour(t, depth * share)[0] for share in np.linspace(0.05, 1.0, 20)]
            values = np.asarray(self._f(self._deviation * np.array(strip)))
            if np.all(np.isfinite(values)) and np.all(np.imag(values) <= 1e-13 * np.abs(values)):
                return 0.9 * depth
        return 0.0

    def _contour_level(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        if -level not in self._cache:
            # At a zero of f every w near 0 has poles close by: there, as at kinks, the nodes cluster.
            t, weights = gaussian_nodes(1 << level, self._breaks)
            z, slope = self._contour(t, self._depth)
            weights = weights * slope * np.exp(0.5 * (t - z) * (t + z))
            self._cache[-level] = np.asarray(self._f(self._deviation * z)) / self._scale, weights
        return self._cache[-level]

    def _levels(self, y: np.ndarray) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
        return self._contour_level if self._depth and np.iscomplexobj(y) else self.level

    def level(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Nodes X and weights of the real axis."""
        if level not in self._cache:
            breaks = tuple(self._deviation * z for z in self._breaks)
            e, weights = gaussian_nodes(1 << level, breaks, self._deviation**2)
            self._cache[level] = np.asarray(self._f(e), dtype=float) / self._scale, weights
        return self._cache[level]

    def sums(self, y: np.ndarray) -> Sums:
        y = np.asarray(y)
        shape, flat = y.shape, y.ravel()
        dtype = flat.dtype
        result = [np.empty(flat.shape, dtype) for _ in range(4)]
        error = np.full(flat.shape, np.inf)
        todo = np.arange(flat.size)
        nodes = self._levels(flat)
        before = _weighted(*nodes(6), flat)
        last = np.full(flat.shape, np.inf)
        for level in range(7, self.MAX_LEVEL + 1):
            now = _weighted(*nodes(level), flat[todo])
            change = np.max(
                [
                    np.abs(n - b) / np.maximum(np.abs(n), 1e-300)
                    for n, b in zip(now[:4], before[:4], strict=True)
                ],
                axis=0,
            )
            # Convergence is geometric: the finer level's error is about change²/(the change before). On a
            # contour it may be slower; then the weights, too, miss their sum, and by as much.
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(np.isinf(last) | (change == 0), 1.0, change / last)
            estimate = np.where(ratio < 0.1, change * ratio, change) + 4e-16 + _missing(nodes(level)[1])
            for array, value in zip(result, now[:4], strict=True):
                array[todo] = value
            error[todo] = estimate
            going = (estimate > _ROUNDING) & ~_stagnant(change, last)
            if not np.any(going):
                break
            todo, last = todo[going], change[going]
            before = now.take(going)
        return Sums(result[0], result[1], result[2], result[3], error).reshape(shape)

    def log_potential(self, y: np.ndarray) -> np.ndarray:
        y = np.asarray(y)
        flat = y.ravel()
        result = np.empty(flat.shape, complex)
        todo = np.arange(flat.size)
        nodes = self._levels(flat)
        before = _log_potential(*nodes(6), flat)
        last = np.full(flat.shape, np.inf)
        for level in range(7, self.MAX_LEVEL + 1):
            now = _log_potential(*nodes(level), flat[todo])
            result[todo] = now
            change = np.abs(now - before)
            with np.errstate(divide="ignore", invalid="ignore"):
                small = np.isfinite(last) & (change < 0.1 * last)
                estimate = np.where(small, change * change / last, change) + _missing(nodes(level)[1])
            size = 1.0 + np.abs(now)
            going = (estimate > _ROUNDING * size) & ~_stagnant(change / size, last / size)
            if not np.any(going):
                break
            todo, last, before = todo[going], change[going], now[going]
        return result.reshape(y.shape)

    def moment(self, k: int) -> float:
        return self._expectation(lambda x: x**k)

    def variance(self) -> float:
        mean = self.moment(1)
        return self._expectation(lambda x: (x - mean) ** 2)

    def log_mean(self) -> float:
        with np.errstate(divide="ignore"):
            return self._expectation(np.log)

    def _expectation(self, g: Callable[[np.ndarray], np.ndarray]) -> float:
        result = gaussian_expectation(
            lambda e: g(np.asarray(self._f(e), dtype=float) / self._scale),
            self._deviation**2,
            kinks=self._kinks,
        )
        return float(result.value)

    # -- the law itself, through the monotone pieces of f ----------------------------------------------------

    @property
    def log_support(self) -> tuple[tuple[float, float], ...]:
        values = self._f_of(self._turns) / self._scale
        low = float(np.min(values))
        return ((math.log(low) if self.gaps else -math.inf, 0.0),)

    def log_cdf(self, v: np.ndarray) -> np.ndarray:
        x = np.exp(np.minimum(v, 1.0))
        total = np.zeros(v.shape)
        for left, right, rising in self._monotone():
            z = self._preimage(x, left, right, rising)
            total += _normal(z) - _normal(left) if rising else _normal(right) - _normal(z)
        return np.clip(np.where(v >= 0, 1.0, total), 0.0, 1.0)

    def log_pdf(self, v: np.ndarray) -> np.ndarray:
        x = np.exp(np.minimum(v, 1.0))
        total = np.zeros(v.shape)
        for left, right, rising in self._monotone():
            z = self._preimage(x, left, right, rising)
            inside = (z > left) & (z < right)
            slope = np.abs(self._slope(z, left, right))
            with np.errstate(divide="ignore", invalid="ignore"):
                total += np.where(inside, x * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / slope, 0.0)
        return np.where(v < 0, total, 0.0)

    def log_icdf(self, p: np.ndarray) -> np.ndarray:
        """Quantile of log X at the probability p."""
        low, high = np.full(p.shape, -745.0), np.zeros(p.shape)
        for _ in range(70):
            middle = 0.5 * (low + high)
            below = self.log_cdf(middle) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.where(p <= 0, self.log_support[0][0], high)

    def _f_of(self, z: np.ndarray) -> np.ndarray:
        return np.asarray(self._f(self._deviation * z), dtype=float)

    def _turning_points(self) -> np.ndarray:
        """Ends of the monotone pieces of z ↦ f(√variance z): extrema found by golden sections, and kinks."""
        grid = np.linspace(-self.Z_MAX, self.Z_MAX, 4001)
        inner = [kink / self._deviation for kink in self._kinks]
        grid = np.unique(np.concatenate([grid, [k for k in inner if abs(k) < self.Z_MAX]]))
        values = self._f_of(grid)
        rise = np.sign(np.diff(values))
        turns = [grid[0]]
        for i in np.flatnonzero(rise[1:] * rise[:-1] < 0) + 1:
            turn = self._extremum(grid[i - 1], grid[i + 1], rise[i] < 0)
            turns.append(min([turn, *(k for k in inner if abs(k - turn) < 1e-6)], key=lambda z: z == turn))
        return np.array([*turns, grid[-1]])

    def _is_zero(self, z: float) -> bool:
        return float(self._f_of(np.array([z]))[0]) <= 1e-14 * self._scale

    def _sharpen(self, z: float) -> float:
        """A zero of f (a double one, f being ≥ 0) from ±√f, which crosses 0 with a slope."""
        for step in (1e-3, 1e-5, 1e-7):
            left, right = np.sqrt(self._f_of(np.array([z - step, z + step])))
            z += step * float((left - right) / (left + right))
        return z

    def _extremum(self, a: float, b: float, largest: bool) -> float:
        sign = -1.0 if largest else 1.0
        golden = 0.5 * (math.sqrt(5.0) - 1.0)
        for _ in range(80):
            p, q = b - golden * (b - a), a + golden * (b - a)
            fp, fq = sign * self._f_of(np.array([p, q]))
            a, b = (a, q) if fp < fq else (p, b)
        middle = 0.5 * (a + b)
        candidates = np.array([middle, round(middle, 6)])
        best = float(candidates[int(np.argmin(sign * self._f_of(candidates)))])
        height = float(self._f_of(np.array([a, b, middle + 0.01])).max())
        return best if largest or self._f_of(np.array([best]))[0] > 1e-8 * height else self._sharpen(best)

    def _monotone(self) -> list[tuple[float, float, bool]]:
        values = self._f_of(self._turns)
        pairs = zip(self._turns[:-1], self._turns[1:], values[:-1], values[1:], strict=True)
        return [(float(a), float(b), bool(fb > fa)) for a, b, fa, fb in pairs]

    def _preimage(self, x: np.ndarray, left: float, right: float, rising: bool) -> np.ndarray:
        """z in [left, right] with f(z) = x, clipped to the ends."""
        low, high = np.full(x.shape, left), np.full(x.shape, right)
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self._f_of(middle) / self._scale < x
            up = below if rising else ~below
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        return 0.5 * (low + high)

    def _slope(self, z: np.ndarray, left: float, right: float) -> np.ndarray:
        """df/dz by Richardson's central difference, kept on the piece's own side of its ends."""
        h = np.minimum(1e-3, 0.4 * np.minimum(z - left, right - z))
        with np.errstate(divide="ignore", invalid="ignore"):
            coarse = (self._f_of(z + 2 * h) - self._f_of(z - 2 * h)) / (4 * h)
            fine = (self._f_of(z + h) - self._f_of(z - h)) / (2 * h)
        return (4 * fine - coarse) / 3 / self._scale

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GaussianImage):
            return NotImplemented
        return (self._f, self._deviation, self._kinks) == (other._f, other._deviation, other._kinks)

    def __hash__(self) -> int:
        return hash((self._f, self._deviation, self._kinks))


def _stagnant(change: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whether differences of levels are small and have stopped falling: they are rounding."""
    return (change < 1e-8) & (change > 0.3 * last)


def _normal(z: np.ndarray | float) -> np.ndarray:
    return special.ndtr(z)


def _missing(weights: np.ndarray) -> float:
    """|Σ weights − 1| as far as it exceeds rounding."""
    return max(0.0, float(abs(np.sum(weights) - 1.0) - 4e-15 * np.sum(np.abs(weights))))


def _weighted(locations: np.ndarray, masses: np.ndarray, y: np.ndarray) -> Sums:
    y = np.asarray(y)
    flat = y.ravel()
    parts = [np.empty(flat.shape, flat.dtype) for _ in range(4)]
    moments = np.stack([masses, masses * locations, masses * locations**2])
    size = max(1, _CHUNK // len(locations))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for start in range(0, flat.size, size):
            here = flat[start : start + size]
            inverse = 1.0 / (1.0 - np.multiply.outer(here, locations))
            first = inverse @ moments[:2].T
            second = (inverse * inverse) @ moments[1:].T
            parts[0][start : start + size] = first[:, 0]
            parts[1][start : start + size] = first[:, 1]
            parts[2][start : start + size] = here * second[:, 0]
            parts[3][start : start + size] = here * second[:, 1]
    return Sums(parts[0], parts[1], parts[2], parts[3], np.zeros(flat.shape)).reshape(y.shape)


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


def _log_potential(locations: np.ndarray, masses: np.ndarray, y: np.ndarray) -> np.ndarray:
    flat = np.asarray(y, dtype=complex).ravel()
    result = np.empty(flat.shape, complex)
    size = max(1, _CHUNK // len(locations))
    with np.errstate(divide="ignore"):
        for start in range(0, flat.size, size):
            product = np.multiply.outer(flat[start : start + size], locations)
            logs = log1p(-product)
            if not np.iscomplexobj(locations):
                # Above the axis the argument is in [0, π]; on it the sign of a zero must not decide.
                logs = np.real(logs) + 1j * np.abs(np.imag(logs))
            result[start : start + size] = logs @ masses
    return result.reshape(np.shape(y))
