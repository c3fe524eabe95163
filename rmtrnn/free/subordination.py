"""Free sums, and free products of laws that share no base, by subordination.

With F = 1/G and H(ω) = F(ω) − ω a sum has G(z) = G_a(ω_a) = G_b(ω_b), ω_a + ω_b = z + F(z), so that

    ω_a = z + H_b(z + H_a(ω_a)),

a holomorphic self-map of the upper half plane. With κ(w) = w M/(1 + M) the product is
M(λ) = M_a(ω_a) = M_b(ω_b), λ = ω_a κ_b(ω_b) = ω_b κ_a(ω_a), so that

    ω_a = λ/κ_b(λ/κ_a(ω_a)).

The t-th free additive power is G(z) = G_a(ω), z = t ω − (t − 1) F_a(ω). (Biane 1998; Belinschi and Bercovici
2007; Belinschi, Mai and Speicher 2017.) All are solved by `rmtrnn.free.subordination_newton`.

Letters: p, a probability.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, cast

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.free.base_transforms import point_masses_stieltjes
from rmtrnn.free.cumulants import free_cumulants, moments_of, moments_of_product
from rmtrnn.free.s_transform_series import MOMENT_SECONDS, multiplied_moments
from rmtrnn.free.subordination_newton import (
    AffineTransform,
    Factor,
    ProductTransform,
    ReflectedTransform,
    Summand,
    SumTransform,
    Transform,
)
from rmtrnn.free.support_search import SEARCH, Piece, Support, SupportSearch
from rmtrnn.laws.protocol import elementwise, probability
from rmtrnn.laws.second_look import Distribution, SecondLook, mean_on_line, second_look
from rmtrnn.numerics.bisection import bisected


class RealLaw:
    """A law on the real line known through G and G' on the upper half plane, its atoms and its moments.

    ``+`` and ``free_sum(t)`` (real t ≥ 1) are the free additive operations; ``dilate(c)`` is the law of c·X.
    """

    def __init__(
        self,
        stieltjes: Transform,
        hull: tuple[float, float],
        atoms: Sequence[tuple[float, float]],
        moments: Callable[[int], list[float]],
        text: str,
        *,
        summands: Sequence[tuple[RealLaw, float]] = (),
        factors: Sequence[tuple[RealLaw, float]] = (),
    ) -> None:
        self._stieltjes, self._hull, self._moments, self._text = stieltjes, hull, moments, text
        # (law, t): the free sum of law^{⊞ t}, and the free product of law^{⊠ t}.
        self._summands = tuple(summands) or ((self, 1.0),)
        self._factors = tuple(factors) or ((self, 1.0),)
        has_zero = any(where == 0.0 for where, _ in atoms)  # beside an atom no density diverges
        self._zero_power = SEARCH.zero_power if factors and not has_zero else 1.0
        self.atoms: tuple[tuple[float, float], ...] = tuple(
            sorted((float(x), float(mass)) for x, mass in atoms)
        )

    # -- transforms ------------------------------------------------------------------------------------------

    def G(self, z: Any) -> Any:
        """G(z) = E[1/(z − X)]; a real z stands for z + i0."""
        array = np.asarray(z, dtype=complex)
        flat = array.ravel()
        lower = np.imag(flat) < 0
        value, _ = self._stieltjes(np.where(lower, np.conj(flat), flat))
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
            density[inside] = np.maximum(-np.imag(self._stieltjes(x[inside] + 0j)[0]) / math.pi, 0.0)
        return density

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        scale = self._scale  # refuses a law of which a part was not found
        total = np.sum([mass * (x >= where) for where, mass in self.atoms], axis=0) + np.zeros(x.shape)
        for piece in self._search[1]:
            total += scale * piece.upto(x)
        return np.clip(total, 0.0, 1.0)

    def _icdf(self, p: np.ndarray) -> np.ndarray:
        points = [end for piece in self.support for end in piece] + [where for where, _ in self.atoms]
        low, high = np.full(p.shape, min(points)), np.full(p.shape, max(points))
        return bisected(lambda x: self._cdf(x) < p, low, high, 60)[1]

    def rvs(self, n: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """Return n independent draws."""
        n = _validate.integer("n", n, low=0)
        check_memory("n", n, 4 * 8.0 * n)
        return np.asarray(self.icdf(_random.generator(rng).random(n)))

    def moment(self, k: int) -> float:
        """E[X^k], exactly, from the moments or free cumulants of the parts."""
        k = _validate.cost("k", _validate.integer("k", k, low=0), MOMENT_SECONDS)
        return 1.0 if k == 0 else float(self._moments(k)[k - 1])

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of the continuous part: where Im G does not vanish, ends found by bisection."""
        return self._search[0]

    @functools.cached_property
    def _search(self) -> tuple[Support, list[Piece]]:
        return SupportSearch(self._stieltjes, self._hull, self.atoms, self._zero_power).found()

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
        floor = min((piece.floor for piece in self._search[1]), default=0.0)
        law = cast(Distribution, self)
        mean = mean_on_line(law, self.moment(1))
        return second_look(law, error=stated, mass=self._mass, mean=mean, floor=floor)

    @functools.cached_property
    def _mass(self) -> float:
        continuous = math.fsum(piece.mass for piece in self._search[1])
        return continuous + math.fsum(mass for _, mass in self.atoms)

    @functools.cached_property
    def _scale(self) -> float:
        if abs(self._mass - 1.0) > SEARCH.lost:
            raise ConvergenceError(
                f"{self!r}: the intervals found carry the mass {self._mass:.6f} instead of 1; "
                f"intervals narrower than the width of the law / {SEARCH.scan[-1]} are not found"
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
        (first, power), *rest = self._factors
        return RealLaw(
            AffineTransform(self._stieltjes, c, 0.0),
            (c * self._hull[0], c * self._hull[1]),
            [(c * where, mass) for where, mass in self.atoms],
            lambda k: [c ** (j + 1) * moment for j, moment in enumerate(self._moments(k))],
            f"({self._text}).dilate({c!r})",
            summands=[(law.dilate(c), t) for law, t in self._summands if law is not self],
            factors=[] if first is self else [(first.dilate(c ** (1.0 / power)), power), *rest],
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

    def stieltjes(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = np.sqrt(z - r) * np.sqrt(z + r)
        value = 2.0 / (z + root)
        with np.errstate(divide="ignore", invalid="ignore"):
            return value, -value / root

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
    hull = float(min(ends)), float(min(max(ends), law.icdf(1.0)))  # the last: as far as the law is followed

    def moments(k: int) -> list[float]:
        return [law.moment(j + 1) for j in range(k)]

    if law.stieltjes is not None:
        return RealLaw(law.stieltjes, hull, law.atoms, moments, repr(law))
    factors = [(as_real(part), t) for part, t in law.factors]
    return _product(factors, hull, law.atoms, moments, repr(law))


class ShiftedLaw(RealLaw):
    """The law of X + shift for a law of X: G(z − shift), and all else from the law itself."""

    def __init__(self, law: Any, shift: float) -> None:
        a = as_real(law)

        def moments(k: int) -> list[float]:
            known = [1.0, *a._moments(k)]
            return [
                math.fsum(math.comb(j, i) * known[i] * shift ** (j - i) for i in range(j + 1))
                for j in range(1, k + 1)
            ]

        super().__init__(
            AffineTransform(a._stieltjes, 1.0, shift),
            (a._hull[0] + shift, a._hull[1] + shift),
            [(where + shift, mass) for where, mass in a.atoms],
            moments,
            f"({a!r}) + {shift!r}",
            summands=_shifted_summands(a, shift),
        )
        self._law, self._shift = law, shift

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._law.pdf(x - self._shift))

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        own = self._law.cdf(x - self._shift)
        for where, _ in self._law.atoms:  # there F has jumped, whatever x − shift rounds to
            own = np.where(x == where + self._shift, np.maximum(own, self._law.cdf(where)), own)
        return own

    def _icdf(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(self._law.icdf(p)) + self._shift

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of the continuous part."""
        return tuple((a + self._shift, b + self._shift) for a, b in self._law.support)

    @property
    def error(self) -> float:
        """That of the law of X."""
        return self._law.error

    @property
    def status(self) -> Status:
        """That of the law of X."""
        return self._law.status

    @property
    def message(self) -> str:
        """That of the law of X."""
        return self._law.message


def shifted(law: Any, shift: float) -> RealLaw:
    """The law of X + shift, exactly: G(z − shift)."""
    return ShiftedLaw(law, _validate.real("shift", shift))


def reflected(law: RealLaw) -> RealLaw:
    """The law of −X: G(z) = −G_X(−z)."""
    return RealLaw(
        ReflectedTransform(law._stieltjes),
        (-law._hull[1], -law._hull[0]),
        [(-where, mass) for where, mass in law.atoms],
        lambda k: [(-1.0) ** (j + 1) * moment for j, moment in enumerate(law._moments(k))],
        f"({law!r}) @ Discrete([-1.0], [1.0])",
        summands=[(reflected(part), t) for part, t in law._summands if part is not law],
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
    parts = [Summand(*_description(law), power) for law, power in summands]
    return RealLaw(SumTransform(parts), hull, atoms, moments, text, summands=summands)


def _description(law: RealLaw) -> tuple[Transform, float, float, float, float]:
    """What a `Part` needs to know of a law besides its power."""
    mean, square, cube = law._moments(3)
    third = cube - 3.0 * mean * square + 2.0 * mean**3
    return law._stieltjes, mean, square - mean**2, third, 0.5 * _width(law)


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
        if _is_point(point):
            return _multiplied(other, point._hull[0])

    atoms = [
        (x * y, p + q - 1.0) for x, p in a.atoms for y, q in b.atoms if x * y != 0 and p + q > 1.0 + 1e-14
    ]
    zero = max((p for law in (a, b) for x, p in law.atoms if x == 0.0), default=0.0)
    atoms += [(0.0, zero)] if zero else []

    def moments(k: int) -> list[float]:
        if a._hull[0] >= 0.0:
            return multiplied_moments(a._moments(k), b._moments(k))
        return moments_of_product(free_cumulants(a._moments(k)), free_cumulants(b._moments(k)))

    ends = [x * y for x in a._hull for y in b._hull]
    hull = (min(ends), max(ends))
    return _product(a._factors + b._factors, hull, atoms, moments, f"({a!r}) @ ({b!r})")


def _multiplied(law: RealLaw, factor: float) -> RealLaw:
    """The law of factor·X, a factor of any sign."""
    if factor == 0.0:
        return point_law([0.0], [1.0], f"({law!r}) @ Discrete([0.0], [1.0])")
    return law.dilate(factor) if factor > 0.0 else reflected(law).dilate(-factor)


def _product(
    factors: Sequence[tuple[RealLaw, float]],
    hull: tuple[float, float],
    atoms: Sequence[tuple[float, float]],
    moments: Callable[[int], list[float]],
    text: str,
) -> RealLaw:
    """The free product of law^{⊠ t} for (law, t) in ``factors``, which are no products themselves."""
    factors = sorted(factors, key=lambda factor: factor[0]._hull[0])  # one that reaches below 0 comes first
    crosses = [law is not factors[0][0] and hull[0] < 0.0 for law, _ in factors]
    parts = [
        Factor(*_description(law), power, crosses=cross)
        for (law, power), cross in zip(factors, crosses, strict=True)
    ]
    width = max(abs(hull[0]), abs(hull[1]))
    return RealLaw(ProductTransform(parts, width), hull, atoms, moments, text, factors=factors)


def _is_law(value: Any) -> bool:
    return isinstance(value, RealLaw) or hasattr(value, "factors")


def _width(law: RealLaw) -> float:
    return law._hull[1] - law._hull[0]
