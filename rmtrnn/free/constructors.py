"""The named laws: Marchenko–Pastur, Fuss–Catalan, finitely many atoms, images of a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn.free.base_transforms import GaussianImage, PointMasses
from rmtrnn.free.positive_law import _ONE, PositiveLaw
from rmtrnn.free.subordination import RealLaw, point_law


def MarchenkoPastur(ratio: float = 1.0, scale: float = 1.0) -> PositiveLaw:
    """The law of XXᵀ, X of shape n×p with entries of variance scale/p and ratio = n/p; mean = scale.

    S(m) = 1/(scale (1 + ratio m)). Density √((x₊ − x)(x − x₋))/(2π ratio scale x), x± = scale (1 ± √ratio)²;
    for ratio > 1 an atom at 0 of mass 1 − 1/ratio, since XXᵀ is then a multiple of the free product of a
    projection of rank 1/ratio with MarchenkoPastur(1). Raises ValueError unless ratio > 0 and scale > 0.

    >>> round(rt.free.MarchenkoPastur(ratio=0.25).support[0][0], 9)
    0.25
    """
    ratio = _validate.real("ratio", ratio, low=0.0, low_open=True)
    scale = _validate.real("scale", scale, low=0.0, low_open=True)
    text = f"MarchenkoPastur({ratio!r}, {scale!r})"
    if ratio <= 1.0:
        return PositiveLaw(_ONE, 1.0, {ratio: 1.0}, math.log(scale), text)
    projection = PointMasses(np.array([0.0, 1.0]), np.array([1.0 - 1.0 / ratio, 1.0 / ratio]))
    return PositiveLaw(projection, 1.0, {1.0: 1.0}, math.log(scale * ratio), text)


def FussCatalan(T: float) -> PositiveLaw:
    """The law of the squared singular values of a product of T square Gaussian matrices:
    MarchenkoPastur()**T, that of T linear steps.

    Moments C((T+1)k, k)/(Tk + 1), right edge (T+1)^{T+1}/T^T, S(m) = (1 + m)^{−T}. Real T ≥ 1.

    >>> round(rt.free.FussCatalan(2).support[0][1], 6)       # 3³/2²
    6.75
    """
    T = _validate.real("T", T, low=1.0)
    return PositiveLaw(_ONE, 1.0, {1.0: T}, 0.0, f"FussCatalan({T:g})")


def Discrete(locations: Sequence[float], masses: Sequence[float]) -> PositiveLaw | RealLaw:
    """Finitely many atoms: distinct locations, not all 0; masses > 0 with sum 1 (within 1e-12).

    With a negative location the result is a law on the real line, which has sums but no free products.

    >>> half = rt.free.Discrete([0.0, 1.0], [0.5, 0.5])
    >>> (half @ half).atoms          # two free projections of rank 1/2
    ((0.0, 0.5),)
    """
    where = np.array([_validate.real("locations", x) for x in locations])
    mass = np.array([_validate.real("masses", x, low=0.0, low_open=True) for x in masses])
    if len(where) != len(mass) or not len(where):
        raise ValueError(
            f"locations, masses: have lengths {len(where)} and {len(mass)}, must be equal and > 0"
        )
    if len(np.unique(where)) != len(where):
        raise ValueError(f"locations = {list(locations)!r}: must be distinct")
    if abs(math.fsum(mass) - 1.0) > 1e-12:
        raise ValueError(f"masses = {list(masses)!r}: must have sum 1, have {math.fsum(mass)!r}")
    if not np.any(where != 0):
        raise ValueError(f"locations = {list(locations)!r}: must not all be 0")
    order = np.argsort(where)
    text = f"Discrete({where[order].tolist()!r}, {mass[order].tolist()!r})"
    if where[order[0]] < 0:
        return point_law(where[order], mass[order] / math.fsum(mass), text)
    top = float(np.max(where))
    base = PointMasses(where[order] / top, mass[order] / math.fsum(mass))
    if len(where) == 1:
        return PositiveLaw(_ONE, 1.0, {}, math.log(top), text)
    return PositiveLaw(base, 1.0, {}, math.log(top), text)


def Pushforward(
    f: Callable[[np.ndarray], np.ndarray],
    variance: float,
    *,
    kinks: Sequence[float] = (),
    analytic: bool = False,
) -> PositiveLaw:
    """The law of f(√variance Z), Z standard normal, for a bounded continuous f ≥ 0.

    ``f`` maps arrays elementwise; ``kinks`` are the points (arguments of f) where a derivative jumps. f
    must not be constant on an interval (that gives an atom: use `Discrete`). ``analytic=True`` promises that
    f also evaluates its analytic continuation (between kinks) on complex arrays near the real axis: then the
    transforms are taken along a shifted contour, much faster near the support. Raises ValueError for
    variance ≤ 0 or an f that is negative, not finite, or constant.

    >>> law = rt.free.Pushforward(lambda z: np.tanh(z) ** 2, variance=0.5)
    >>> round(law.moment(1), 6)
    0.273676
    """
    variance = _validate.real("variance", variance, low=0.0, low_open=True)
    if not callable(f):
        raise TypeError(f"f = {f!r}: expected a function of an array")
    deviation = math.sqrt(variance)
    probe = np.asarray(f(deviation * np.linspace(-9.5, 9.5, 4001)), dtype=float)
    if not (np.all(np.isfinite(probe)) and np.all(probe >= 0.0)):
        raise ValueError(f"f = {f!r}: must be finite and ≥ 0 on [{-9.5 * deviation:g}, {9.5 * deviation:g}]")
    if np.ptp(probe) == 0.0:
        raise ValueError(f"f = {f!r}: is constant; use Discrete([{probe[0]!r}], [1.0])")
    points = tuple(sorted(_validate.real("kinks", kink) for kink in kinks))
    base = GaussianImage(f, deviation, points, _validate.boolean("analytic", analytic))
    return PositiveLaw(base, 1.0, {}, base.log_scale, f"Pushforward({f!r}, {variance!r})")
