"""The named laws: Marchenko–Pastur, Fuss–Catalan, finitely many atoms, images of a Gaussian."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import ndtr

from rmtrnn._core import validate as _validate
from rmtrnn.free.base_transforms import PointMasses
from rmtrnn.free.branches import Branch, FunctionBranch, is_analytic
from rmtrnn.free.gaussian_image import GaussianImage
from rmtrnn.free.positive_law import _ONE, PositiveLaw
from rmtrnn.free.subordination import RealLaw, point_law


def MarchenkoPastur(ratio: float = 1.0, scale: float = 1.0) -> PositiveLaw:
    """The law of XXᵀ, X of shape n×p with entries of variance scale/p and ratio = n/p; mean = scale.

    S(m) = 1/(scale (1 + ratio m)). Density √((x₊ − x)(x − x₋))/(2π ratio scale x), x± = scale (1 ± √ratio)²;
    for ratio > 1 an atom at 0 of mass 1 − 1/ratio, since XXᵀ is then a multiple of the free product of a
    projection of rank 1/ratio with MarchenkoPastur(1). A chain J = X_T ⋯ X_1 of such matrices, X_t of shape
    n_t × n_{t−1}, has J Jᵀ of the law Π_t MarchenkoPastur(n_T/n_{t−1}).
    Raises ValueError unless ratio > 0 and scale > 0.

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
    A chain of n_t × n_{t−1} corners of Haar matrices of size n has, in n dimensions, the product of the laws
    Discrete([0, 1], [1 − n_t/n, n_t/n]) over t = 0 … T; so 1 − n_T/n of the atom at 0 is not its own.

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


@runtime_checkable
class HasBranches(Protocol):
    """A function that knows its smooth pieces, such as `rmtrnn.Activation`."""

    @property
    def branches(self) -> Sequence[Branch]:
        """The pieces, from −∞ to ∞."""
        ...


def Pushforward(
    f: Callable[[np.ndarray], np.ndarray] | HasBranches,
    variance: float,
    *,
    kinks: Sequence[float] = (),
    analytic: bool | None = None,
) -> PositiveLaw:
    """The law of f(√variance Z), Z standard normal, for a piecewise continuous f ≥ 0.

    ``f`` maps arrays elementwise; ``kinks`` are the points (arguments of f) where f or a derivative jumps; a
    part between two kinks on which f is constant becomes an atom. ``analytic``: whether f also evaluates its
    analytic continuation (between kinks) on complex arrays near the real axis; then the transforms are taken
    along a shifted contour, a hundred times faster near the support. By default this is tried: f must have
    no negative Fourier coefficients on small circles.

    ``f`` may also be a SymPy expression as `rmtrnn.Activation`: pieces, kinks, flat parts and slopes then
    follow from its structure, and ``kinks`` and ``analytic`` are not taken.

    f is followed to 9.5 standard deviations (the mass beyond is 2e-21), and the right end of ``support`` is
    its largest value there; it is ∞ where f grows without bound. The left end is the infimum over all e.
    Raises ValueError for variance ≤ 0 or an f that is negative, not finite, or zero everywhere.

    >>> law = rt.free.Pushforward(lambda z: np.tanh(z) ** 2, variance=0.5)
    >>> round(law.moment(1), 6)
    0.273676
    """
    variance = _validate.real("variance", variance, low=0.0, low_open=True)
    text = f"Pushforward({f!r}, {variance!r})"
    if isinstance(f, HasBranches):
        if len(kinks) or analytic is not None:
            raise TypeError("kinks, analytic: an Activation knows them from its expression; leave them out")
        return gaussian_image_law(f.branches, 0.0, variance, text)
    if not callable(f):
        raise TypeError(
            f"f = {f!r}: expected a function of an array, or a SymPy expression as rmtrnn.Activation(f)"
        )
    analytic = None if analytic is None else _validate.boolean("analytic", analytic)
    points = sorted({_validate.real("kinks", kink) for kink in kinks})
    ends = itertools.pairwise([-math.inf, *points, math.inf])
    branches = [
        FunctionBranch(f, low, high, is_analytic(f, low, high, variance) if analytic is None else analytic)
        for low, high in ends
    ]
    return gaussian_image_law(branches, 0.0, variance, text)


def gaussian_image_law(branches: Sequence[Branch], mean: float, variance: float, text: str) -> PositiveLaw:
    """The law of f(e), e ~ N(mean, variance), f given by its branches; a `Discrete` law where all are flat.

    ValueError for an f that is negative, not finite, or zero wherever e has mass.
    """
    image = GaussianImage(branches, mean, math.sqrt(variance))
    if not image.is_discrete:
        return PositiveLaw(image, 1.0, {}, image.log_scale, text)
    masses = np.array([mass for _, mass in image.atoms])
    law = Discrete([place for place, _ in image.atoms], list(masses / masses.sum()))
    assert isinstance(law, PositiveLaw)
    return law.dilate(log_c=image.log_scale)


def Uniform(low: float = 0.0, high: float = 1.0) -> PositiveLaw:
    """The uniform law between low ≥ 0 and high > low.

    M(w) = w log((w − low)/(w − high))/(high − low) − 1. Raises ValueError outside these ranges.

    >>> round((rt.free.MarchenkoPastur(0.5) @ rt.free.Uniform()).moment(2), 6)
    0.458333
    """
    low = _validate.real("low", low, low=0.0)
    high = _validate.real("high", high, low=low, low_open=True)

    def image(z: np.ndarray) -> np.ndarray:
        return low + (high - low) * ndtr(z)

    branches = [FunctionBranch(image, -math.inf, math.inf, True)]
    return gaussian_image_law(branches, 0.0, 1.0, f"Uniform({low!r}, {high!r})")


def Empirical(values: Sequence[float]) -> PositiveLaw | RealLaw:
    """The law of an array of measured numbers, such as squared singular values: an atom of mass 1/n at each.

    Its free products and sums with laws that have a density, as with `MarchenkoPastur` or `Semicircle`, are
    smooth. At most 10 000 numbers, since the cost of a point is linear in them. Raises ValueError for others.

    >>> rt.free.Empirical([1.0, 1.0, 4.0, 4.0]).atoms
    ((1.0, 0.5), (4.0, 0.5))
    """
    found, counts = np.unique([_validate.real("values", value) for value in values], return_counts=True)
    if found.size == 0 or counts.sum() > 10_000:
        raise ValueError(f"values: has {counts.sum()} numbers, must have 1 to 10000")
    return Discrete(found.tolist(), (counts / counts.sum()).tolist())
