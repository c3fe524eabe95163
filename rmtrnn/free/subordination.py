"""Free sums, and free products of laws that share no base, by subordination.

With F = 1/G and H(ω) = F(ω) − ω a sum has G(z) = G_a(ω_a) = G_b(ω_b), ω_a + ω_b = z + F(z), so that

    ω_a = z + H_b(z + H_a(ω_a)),

a holomorphic self-map of the upper half plane. With κ(w) = w M/(1 + M) the product is
M(λ) = M_a(ω_a) = M_b(ω_b), λ = ω_a κ_b(ω_b) = ω_b κ_a(ω_a), so that

    ω_a = λ/κ_b(λ/κ_a(ω_a)).

The t-th free additive power is G(z) = G_a(ω), z = t ω − (t − 1) F_a(ω). (Biane 1998; Belinschi and Bercovici
2007; Belinschi, Mai and Speicher 2017.) Each is solved for z = x + iε by Newton's method, ε falling to 0.

Letters: p, a probability.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, cast

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.free.additive_subordination import Summand, stieltjes_of_sum
from rmtrnn.free.base_transforms import point_masses_stieltjes
from rmtrnn.free.cumulants import free_cumulants, moments_of, moments_of_product
from rmtrnn.free.newton_continuation import followed_down
from rmtrnn.free.s_transform_series import MOMENT_SECONDS, multiplied_moments
from rmtrnn.laws.protocol import elementwise, probability
from rmtrnn.laws.second_look import Distribution, SecondLook, mean_on_line, second_look

Transform = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SupportSettings:
    """Numbers of the search for the support and of its table. tests/free/test_free_numbers.py moves them."""

    # Heights above the real axis, in units of the law's width, through which ω is continued. Empirical.
    heights: tuple[float, ...] = (
        4.0,
        2.0,
        1.0,
        0.5,
        0.25,
        0.1,
        0.03,
        0.01,
        3e-3,
        1e-3,
        1e-4,
        1e-5,
        1e-7,
        0.0,
    )
    # Points on which intervals of the support are looked for. Empirical: a narrower one is missed, and shows
    # as missing mass.
    scan: int = 401
    # Mass that may be missing before the law is refused.
    lost: float = 1e-3
    # Im ω relative to the width of the law below which a point is outside the support. Empirical.
    empty: float = 1e-6
    # Gauss points on an interval of the support, one number after the other.
    nodes: tuple[int, ...] = (64, 128, 256, 512)
    # Relative size of the last coefficients. Empirical: the mass is then right to some 1e-9.
    series_tail: float = 1e-8


_SEARCH = SupportSettings()


class _Piece(NamedTuple):
    """An interval of the support: its mass up to the angle θ, and the least value of the density of θ."""

    left: float
    right: float
    upto: Callable[[np.ndarray], np.ndarray]
    floor: float


class RealLaw:
    """A law on the real line known through G on the upper half plane, its atoms and its moments.

    ``+`` and ``free_sum(t)`` (real t ≥ 1) are the free additive operations; ``dilate(c)`` is the law of c·X.
    """

    def __init__(
        self,
        stieltjes: Transform,
        hull: tuple[float, float],
        atoms: Sequence[tuple[float, float]],
        moments: Callable[[int], list[float]],
        text: str,
        summands: Sequence[tuple[RealLaw, float]] = (),
    ) -> None:
        self._stieltjes, self._hull, self._moments, self._text = stieltjes, hull, moments, text
        self._summands = tuple(summands) or ((self, 1.0),)  # (law, t): the free sum of law^{⊞ t}
        self.atoms: tuple[tuple[float, float], ...] = tuple(
            sorted((float(x), float(mass)) for x, mass in atoms)
        )

    # -- transforms ------------------------------------------------------------------------------------------

    def G(self, z: Any) -> Any:
        """G(z) = E[1/(z − X)]; a real z stands for z + i0."""
        array = np.asarray(z, dtype=complex)
        flat = array.ravel()
        lower = np.imag(flat) < 0
        value = self._stieltjes(np.where(lower, np.conj(flat), flat))
        return np.where(lower, np.conj(value), value).reshape(array.shape)[()]

    def M(self, w: Any) -> Any:
        """M(w) = E[X/(w − X)] = w G(w) − 1."""
        return np.asarray(w) * self.G(w) - 1.0

    def R(self, g: Any) -> Any:
        """R(g) = G⁻¹(g) − 1/g near g = 0, from the free cumulants: Σ κ_{k+1} g^k, k < 24.

        Raises ValueError where the last terms show that the series does not converge.
        """
        cumulants = np.array(free_cumulants(self._moments(24)))
        terms = cumulants * np.asarray(g, dtype=complex)[..., None] ** np.arange(24)
        total = np.sum(terms, axis=-1)
        if not np.all(np.max(np.abs(terms[..., -4:]), axis=-1) <= 1e-12 * (1.0 + np.abs(total))):
            raise ValueError(f"g = {g!r}: is outside the disc where the series of R converges fast")
        return np.real_if_close(total)[()]

    def S(self, m: Any) -> Any:
        """Not defined here: the S-transform is that of laws on [0, ∞) (or with a mean other than 0)."""
        raise ValueError(f"{self!r} is a law on the real line: the S-transform needs a law on [0, inf)")

    # -- the law ---------------------------------------------------------------------------------------------

    def pdf(self, x: Any) -> Any:
        """Density of the continuous part; 0 off the support. ValueError for nan."""
        return elementwise(self._pdf, "x", x)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x), atoms included. ValueError for nan."""
        return elementwise(self._cdf, "x", x)

    def icdf(self, p: Any) -> Any:
        """Smallest x with cdf(x) ≥ p, 0 ≤ p ≤ 1."""
        return elementwise(self._icdf, "p", probability(p))

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        density = np.zeros(x.shape)
        _ = self._scale  # refuses a law of which a part was not found
        inside = np.any([(x > a) & (x < b) for a, b in self.support], axis=0) if self.support else []
        if np.any(inside):
            density[inside] = np.maximum(-np.imag(self._stieltjes(x[inside] + 0j)) / math.pi, 0.0)
        return density

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        scale = self._scale  # refuses a law of which a part was not found
        total = np.sum([mass * (x >= where) for where, mass in self.atoms], axis=0) + np.zeros(x.shape)
        for left, right, primitive, _ in self._pieces:
            angle = np.arccos(np.clip((left + right - 2.0 * x) / (right - left), -1.0, 1.0))
            total += np.where(x > left, scale * primitive(angle), 0.0)
        return np.clip(total, 0.0, 1.0)

    def _icdf(self, p: np.ndarray) -> np.ndarray:
        points = [end for piece in self.support for end in piece] + [where for where, _ in self.atoms]
        low, high = np.full(p.shape, min(points)), np.full(p.shape, max(points))
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self._cdf(middle) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return high

    def rvs(self, n: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """Return n independent draws."""
        n = _validate.integer("n", n, low=0)
        check_memory("n", n, 4 * 8.0 * n)
        return np.asarray(self.icdf(_random.generator(rng).random(n)))

    def moment(self, k: int) -> float:
        """E[X^k], exactly, from the moments or free cumulants of the parts."""
        k = _validate.cost("k", _validate.integer("k", k, low=0), MOMENT_SECONDS)
        return 1.0 if k == 0 else float(self._moments(k)[k - 1])

    @functools.cached_property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of the continuous part: where Im G does not vanish, ends found by bisection."""
        low, high = self._hull
        if low == high or math.fsum(mass for _, mass in self.atoms) > 1.0 - 1e-12:
            return ()
        margin = 1e-3 * (high - low)
        grid = np.linspace(low - margin, high + margin, _SEARCH.scan)

        filled = self._is_filled(grid)
        edges = []
        for i in np.flatnonzero(filled[1:] != filled[:-1]):
            inside, outside = (grid[i + 1], grid[i]) if filled[i + 1] else (grid[i], grid[i + 1])
            for _ in range(10):  # sixteen parts each time: 40 bits, in a quarter of the calls
                inner = np.linspace(inside, outside, 17)[1:-1]
                last = int(np.sum(np.logical_and.accumulate(self._is_filled(inner))))
                ends = [inside, *inner.tolist(), outside]
                inside, outside = ends[last], ends[last + 1]
            edges.append(float(0.5 * (inside + outside)))
        return tuple(zip(edges[::2], edges[1::2], strict=True))

    @property
    def error(self) -> float:
        """Estimated error of the cdf: the defect of the total mass, and what the second look finds."""
        return self._look.covering_error

    @property
    def status(self) -> Status:
        """INCONSISTENT where the law fails a second look at itself; ``message`` says in what."""
        return self._look.status

    @property
    def message(self) -> str:
        """Where the law is at odds with itself, if it is."""
        return self._look.message

    @functools.cached_property
    def _look(self) -> SecondLook:
        if _is_point(self):
            return SecondLook(1e-12, ())
        stated = abs(self._mass - 1.0) + 1e-12
        floor = min((piece.floor for piece in self._pieces), default=0.0)
        law = cast(Distribution, self)
        mean = mean_on_line(law, self.moment(1))
        return second_look(law, error=stated, mass=self._mass, mean=mean, floor=floor)

    def _is_filled(self, x: np.ndarray) -> np.ndarray:
        """Whether x lies in the continuous part; at an atom, where G is infinite, whether its sides do."""
        width = self._hull[1] - self._hull[0]
        for where, _ in self.atoms:
            beside = np.where(x < where, where - _SEARCH.empty * width, where + _SEARCH.empty * width)
            x = np.where(np.abs(x - where) < _SEARCH.empty * width, beside, x)
        values = self._stieltjes(x + 0j)
        return -np.imag(values) > _SEARCH.empty * (1.0 + np.abs(values)) / width

    @functools.cached_property
    def _pieces(self) -> list[_Piece]:
        """For each interval the integral of the density up to θ, x = mid − half·cos θ, smooth at edges."""
        pieces = []
        for left, right in self.support:
            for count in _SEARCH.nodes:  # until the last coefficients vanish: a peak inside needs more
                series, floor = self._angle_series(left, right, count)
                if np.max(np.abs(series[-4:])) < _SEARCH.series_tail * np.max(np.abs(series)):
                    break
            primitive = np.polynomial.legendre.legint(series, lbnd=-1.0) * 0.5 * math.pi

            def upto(angle: np.ndarray, primitive: np.ndarray = primitive) -> np.ndarray:
                return np.polynomial.legendre.legval(2.0 * angle / math.pi - 1.0, primitive)

            pieces.append(_Piece(left, right, upto, floor))
        return pieces

    def _angle_series(self, left: float, right: float, count: int) -> tuple[np.ndarray, float]:
        """Legendre coefficients of the density of θ in 2θ/π − 1 from Gauss points, and its least value."""
        nodes, weights = np.polynomial.legendre.leggauss(count)
        angle, half = 0.5 * math.pi * (1.0 + nodes), 0.5 * (right - left)
        x = left + half * 2.0 * np.sin(0.5 * angle) ** 2
        values = -np.imag(self._stieltjes(x + 0j)) / math.pi * half * np.sin(angle)
        degree = 3 * count // 4
        basis = np.polynomial.legendre.legvander(nodes, degree)
        return (np.arange(degree + 1) + 0.5) * ((weights * values) @ basis), float(np.min(values))

    @functools.cached_property
    def _mass(self) -> float:
        continuous = sum(float(piece.upto(np.array(math.pi))) for piece in self._pieces)
        return continuous + math.fsum(mass for _, mass in self.atoms)

    @functools.cached_property
    def _scale(self) -> float:
        if abs(self._mass - 1.0) > _SEARCH.lost:
            raise ConvergenceError(
                f"{self!r}: the intervals found carry the mass {self._mass:.6f} instead of 1; "
                "intervals narrower than the width of the law / 400 are not found"
            )
        atomic = math.fsum(mass for _, mass in self.atoms)
        return (1.0 - atomic) / (self._mass - atomic) if self._mass > atomic else 0.0

    # -- algebra ---------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> RealLaw:
        return free_sum(self, other)

    __radd__ = __add__

    def __matmul__(self, other: Any) -> Any:
        return free_product(self, other) if _is_law(other) else NotImplemented

    def __rmatmul__(self, other: Any) -> Any:
        return free_product(other, self) if _is_law(other) else NotImplemented

    def free_sum(self, t: float) -> RealLaw:
        """Return the t-th free additive power, real t ≥ 1."""
        return free_sum_power(self, t)

    def dilate(self, c: float) -> RealLaw:
        """Return the law of c·X, c > 0."""
        c = _validate.real("c", c, low=0.0, low_open=True)
        return RealLaw(
            lambda z: self._stieltjes(z / c) / c,
            (c * self._hull[0], c * self._hull[1]),
            [(c * where, mass) for where, mass in self.atoms],
            lambda k: [c ** (j + 1) * moment for j, moment in enumerate(self._moments(k))],
            f"({self._text}).dilate({c!r})",
            [(law.dilate(c), t) for law, t in self._summands if law is not self],
        )

    def __repr__(self) -> str:
        return self._text


def Semicircle(radius: float) -> RealLaw:
    """Density 2√(r² − x²)/(π r²) on [−r, r]; G(z) = 2(z − √(z² − r²))/r², R(g) = r² g/4, variance r²/4.

    ``radius`` > 0 (ValueError otherwise) is r; the variance is r²/4.

    >>> round(rt.free.Semicircle(2.0).moment(4), 9)
    2.0
    """
    r = _validate.real("radius", radius, low=0.0, low_open=True)

    def stieltjes(z: np.ndarray) -> np.ndarray:
        return 2.0 / (z + np.sqrt(z - r) * np.sqrt(z + r))

    def moments(k: int) -> list[float]:
        return moments_of([0.0, r * r / 4.0, *([0.0] * max(k - 2, 0))][:k])

    return RealLaw(stieltjes, (-r, r), [], moments, f"Semicircle({r!r})")


def point_law(
    locations: Sequence[float] | np.ndarray, masses: Sequence[float] | np.ndarray, text: str
) -> RealLaw:
    """Finitely many atoms anywhere on the real line."""
    where, mass = np.array(locations, dtype=float), np.array(masses, dtype=float)

    return RealLaw(
        lambda z: point_masses_stieltjes(where, mass, z),
        (float(where.min()), float(where.max())),
        list(zip(where.tolist(), mass.tolist(), strict=True)),
        lambda k: [float(np.sum(mass * where ** (j + 1))) for j in range(k)],
        text,
    )


def as_real(law: Any) -> RealLaw:
    """Any law of the package as a `RealLaw`."""
    if isinstance(law, RealLaw):
        return law
    ends = [end for piece in law.support for end in piece] + [where for where, _ in law.atoms]
    return RealLaw(
        law.closed_stieltjes or law.G,
        (float(min(ends)), float(min(max(ends), law.icdf(1.0)))),  # the last: as far as the law is followed
        law.atoms,
        lambda k: [law.moment(j + 1) for j in range(k)],
        repr(law),
    )


def shifted(law: Any, shift: float) -> RealLaw:
    """The law of X + shift, exactly: G(z − shift)."""
    shift = _validate.real("shift", shift)
    a = as_real(law)

    def moments(k: int) -> list[float]:
        known = [1.0, *a._moments(k)]
        return [
            math.fsum(math.comb(j, i) * known[i] * shift ** (j - i) for i in range(j + 1))
            for j in range(1, k + 1)
        ]

    return RealLaw(
        lambda z: a.G(z - shift),
        (a._hull[0] + shift, a._hull[1] + shift),
        [(where + shift, mass) for where, mass in a.atoms],
        moments,
        f"({a!r}) + {shift!r}",
        _shifted_summands(a, shift),
    )


def _shifted_summands(law: RealLaw, shift: float) -> list[tuple[RealLaw, float]]:
    """The summands of a sum with the first shifted; none for a law that is no sum."""
    (first, t), *rest = law._summands
    return [] if first is law else [(shifted(first, shift / t), t), *rest]


def _is_point(law: RealLaw) -> bool:
    return law._hull[0] == law._hull[1]


def free_sum(first: Any, second: Any) -> RealLaw:
    """The free additive convolution of two laws; a number, or a single atom, shifts the other law."""
    if isinstance(second, Real):
        return shifted(first, float(second))
    a, b = as_real(first), as_real(second)
    if _is_point(a) or _is_point(b):
        return shifted(b, a._hull[0]) if _is_point(a) else shifted(a, b._hull[0])

    atoms = [(x + y, p + q - 1.0) for x, p in a.atoms for y, q in b.atoms if p + q > 1.0 + 1e-14]
    hull = (a._hull[0] + b._hull[0], a._hull[1] + b._hull[1])

    def moments(k: int) -> list[float]:
        pairs = zip(free_cumulants(a._moments(k)), free_cumulants(b._moments(k)), strict=True)
        return moments_of([x + y for x, y in pairs])

    return _sum(a._summands + b._summands, hull, atoms, moments, f"({a!r}) + ({b!r})")


def free_sum_power(law: Any, t: float) -> RealLaw:
    """The t-th free additive power, real t ≥ 1: free cumulants times t."""
    t = _validate.real("t", t, low=1.0)
    a = as_real(law)
    if _is_point(a):
        return point_law([t * a._hull[0]], [1.0], f"({a!r}).free_sum({t:g})")
    atoms = [(t * x, 1.0 - t * (1.0 - p)) for x, p in a.atoms if t * (1.0 - p) < 1.0 - 1e-14]

    def moments(k: int) -> list[float]:
        return moments_of([t * kappa for kappa in free_cumulants(a._moments(k))])

    summands = [(part, t * power) for part, power in a._summands]
    return _sum(summands, (t * a._hull[0], t * a._hull[1]), atoms, moments, f"({a!r}).free_sum({t:g})")


def _sum(
    summands: Sequence[tuple[RealLaw, float]],
    hull: tuple[float, float],
    atoms: Sequence[tuple[float, float]],
    moments: Callable[[int], list[float]],
    text: str,
) -> RealLaw:
    """The free sum of law^{⊞ t} for (law, t) in ``summands``, which are no sums themselves."""
    parts = []
    for law, power in summands:
        mean, square, cube = law._moments(3)
        third = cube - 3.0 * mean * square + 2.0 * mean**3
        parts.append(Summand(law._stieltjes, power, mean, square - mean**2, third, 0.5 * _width(law)))
    return RealLaw(lambda z: stieltjes_of_sum(parts, z), hull, atoms, moments, text, summands)


def free_product(first: Any, second: Any) -> RealLaw:
    """The free multiplicative convolution of two laws: that of √b a √b, b ≥ 0; a may lie on the whole line.

    (Rao and Speicher 2007 for a of mean 0.) Raises TypeError where neither law lies on [0, ∞).
    """
    a, b = as_real(first), as_real(second)
    if b._hull[0] < 0.0:
        a, b = b, a
    if b._hull[0] < 0.0:
        raise TypeError(f"{a!r} @ {b!r}: one of the laws of a free product must lie on [0, inf)")
    for point, other in ((a, b), (b, a)):
        if _is_point(point) and point._hull[0] > 0.0:
            return other.dilate(point._hull[0])

    def stieltjes(z: np.ndarray) -> np.ndarray:
        def residual(omega: np.ndarray, at: np.ndarray) -> np.ndarray:
            return at / _kappa(b, at / _kappa(a, omega)) - omega

        width = max(abs(a._hull[0]), a._hull[1]) * b._hull[1]
        z = np.where(z == 0.0, 1e-9 * width, z)  # λ = 0 is singular in the equations, not in the law
        omega = followed_down(residual, z, lambda top: top / b.moment(1), width, _SEARCH.heights)
        return (1.0 + a.M(omega)) / z

    atoms = [
        (x * y, p + q - 1.0) for x, p in a.atoms for y, q in b.atoms if x * y > 0 and p + q > 1.0 + 1e-14
    ]
    zero = max((p for law in (a, b) for x, p in law.atoms if x == 0.0), default=0.0)
    atoms += [(0.0, zero)] if zero else []

    def moments(k: int) -> list[float]:
        if a._hull[0] >= 0.0:
            return multiplied_moments(a._moments(k), b._moments(k))
        return moments_of_product(free_cumulants(a._moments(k)), free_cumulants(b._moments(k)))

    ends = [x * y for x in a._hull for y in b._hull]
    hull = (min(ends), max(ends))
    return RealLaw(stieltjes, hull, atoms, moments, f"({a!r}) @ ({b!r})")


def _is_law(value: Any) -> bool:
    return isinstance(value, RealLaw) or hasattr(value, "closed_stieltjes")


def _kappa(law: RealLaw, omega: np.ndarray) -> np.ndarray:
    """κ = ω M/(1 + M) = ω − F(ω)."""
    return omega - 1.0 / law.G(omega)


def _width(law: RealLaw) -> float:
    return law._hull[1] - law._hull[0]
