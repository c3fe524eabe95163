"""Deflation of the smallest directions of a group of factors, which the plain product of the group loses.

Y = F_g ⋯ F_1 X is formed plainly, in rounding errors E ~ ε|Y|, and Y = X' U. A product of Gaussian factors is
ill-conditioned in few directions only. In a triangular factor of a matrix without special structure they all
show in its last rows: with k last rows and columns set apart,

    U = (U_aa  U_ab; 0  S),      U_aa well conditioned,      S, k × k, small and mostly noise.

Errors of U_aa are harmless to ‖E Y_a⁺‖ (in a long product times the norm of T⁻¹: `LogProduct` says why),
those of U_ab to ε, since the columns b of diag(2^d) T are not larger than the columns a: M_ab + δ = M_ab +
M_aa (M_aa⁻¹ δ) is a multiplication from the right by almost 1. Only S must be computed again. With Z the last
columns of X'^{-T}, so that Zᵀ Y_a = 0, and C = U_aa⁻¹ U_ab,

    S = Zᵀ F_g ⋯ F_1 X (0; 1) = Zᵀ F_g ⋯ F_1 X (−C; 1).                                        (exact)

The k-column product is taken factor by factor from the left, Fᵀ N = N' R with N' orthonormal, so that its own
range of sizes is carried by the small triangular matrices R and costs no digits:

    S = R_gᵀ ⋯ R_0ᵀ A,      A = V_bᵀ − V_aᵀ C,      V = Xᵀ N_0.

Rounding of Z leaves V_a ≠ 0; in the second form of S that and the error of C enter only by their product. A
and the R are split from right to left (A = Q U_0, R_0ᵀ Q = Q' U_1, …), and the triangular U_i multiply the
last rows of diag(2^d) T one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn.sampling.products import dense, graded
from rmtrnn.sampling.products.accuracy import largest_norm, rounding_size, signs


@dataclass(frozen=True)
class DeflationSettings:
    """Numbers of the deflation. Empirical, moved by ×3 and ÷3 (test_product_settings.py).

    share, fewest : one direction in ``share`` is set apart, and ``fewest`` at least.
    leak : largest share of A that V_aᵀ C may have. It shrinks in the next group, and is near 1 where S is
        only noise.
    """

    share: int = 16
    fewest: int = 8
    leak: float = 1e-2


SETTINGS = DeflationSettings()


class Corner(NamedTuple):
    """S = 2^exponent V U_j ⋯ U_1 U_0 with U_i = ``uppers[i]`` upper triangular and V = ``left``.

    ``left`` is orthogonal, or where ``rows`` is given P L of an LU factorisation, kept in one array with U_j,
    with (P L)[rows] = L. ``amplification`` of rounding errors is that of the whole group.
    """

    uppers: list[np.ndarray]
    exponent: int
    left: np.ndarray
    rows: np.ndarray | None
    amplification: float


class _Backward(NamedTuple):
    """What `_backward` finds: Fᵀ N = 2^j N' R for each factor, after Z = 2^j N R.

    ``columns``: the last N. ``triangles``: the R, that of Z first. ``exponents``: the j. ``sizes``: the norms
    of Fᵀ applied to a vector of signs, over 2^j.
    """

    columns: Any
    triangles: Any
    exponents: Any
    sizes: Any


def width(n: int) -> int:
    """Return the number of directions set apart, 0 for matrices too small for it."""
    k = max(SETTINGS.fewest, n // SETTINGS.share)
    return k if n >= 4 * k else 0


def transpose_of(factor: Any) -> Any | None:
    """Return N ↦ Fᵀ N, or None if the factor cannot do that."""
    if callable(factor):
        return getattr(factor, "transposed", None)
    return lambda columns: dense.product(factor.T, columns)


def deflated_corner(
    split: Any, x: Any, factors: list[Any], d: np.ndarray, spread: float, xp: Any
) -> Corner | None:
    """Return the corner S of ``split`` = (X', U, …) of Y = F_g ⋯ F_1 X by (exact); None if it is only noise.

    ``x`` and ``d`` are X and the scales before the group; errors of U_aa count ``spread`` times.
    """
    n = len(split.upper)
    k = width(n)
    m = n - k
    c = dense.solve_upper(split.upper, split.upper[:, m:], xp, m)[:m]
    back = _backward(split.x.annihilator(k), factors, xp)
    v = back.columns if x is None else x.transposed(back.columns)
    if split.order is not None:
        v = v[xp.asarray(split.order)]
    fetched = (*back[1:], v[m:].T, v[:m].T @ c, xp.sum(c * c, axis=0))
    triangles, exponents, sizes, kept, leak, squares = (_arrays.to_host(part) for part in fetched)
    if not np.isfinite(triangles).all():
        return None
    weight = math.sqrt(1.0 + squares.max())
    well_conditioned = spread * _error_of_rest(split, d, weight, m)
    errors = _Errors(rounding_size(n), weight, well_conditioned)
    a = kept - leak
    amplification = errors.total(a, leak, triangles[1:], sizes[1:])
    if amplification is None:
        return None
    last, uppers = _right_to_left(a, triangles)
    return _corner(last, uppers, int(exponents.sum()), amplification, split.x)


def _backward(z: Any, factors: list[Any], xp: Any) -> _Backward:
    """Apply F_gᵀ, …, F_1ᵀ to the columns of Z, orthonormalised after each: Fᵀ N = 2^j N' R."""
    n, k = z.shape
    columns, r, exponent = _orthonormal(z, xp)
    triangles, exponents, sizes = [r], [exponent], [xp.ones(())]
    probe = xp.asarray(signs(n)[:, :1] / math.sqrt(n))
    for factor in reversed(factors):
        transpose = transpose_of(factor)
        assert transpose is not None  # asked for before the group is deflated
        images = transpose(xp.concatenate([columns, probe], axis=1))
        columns, r, exponent = _orthonormal(images[:, :k], xp)
        triangles.append(r)
        exponents.append(exponent)
        sizes.append(xp.ldexp(xp.linalg.norm(images[:, k]), -exponent))
    return _Backward(columns, xp.stack(triangles), xp.stack(exponents), xp.stack(sizes))


def _orthonormal(columns: Any, xp: Any) -> tuple[Any, Any, Any]:
    """N, R, j with ``columns`` = 2^j N R, R upper triangular, by Cholesky of the Gram matrix.

    N need not be orthonormal to rounding, only well conditioned, so that half of all digits is enough for R.
    Beyond that R has entries nan.
    """
    shift = graded.exponents(_arrays.largest(columns))
    columns = columns * xp.ldexp(1.0, -shift)
    r = dense.cholesky(columns.T @ columns, xp)
    return dense.times_inverse(columns, r, xp), r, shift


def _error_of_rest(split: Any, d: np.ndarray, weight: float, m: int) -> float:
    """Amplification by U_aa: of its own columns, and of the columns b through C."""
    d = d if split.order is None else d[split.order]
    ahead = np.ldexp(1.0, np.clip(d[m:].max() - d[:m], -1000, 1000))
    return math.hypot(largest_norm(split.apart), weight * largest_norm(split.apart * ahead[:, None]))


class _Errors(NamedTuple):
    """Rounding errors: ``rounding`` of a product, ``weight`` = √(1 + max |C|²), ``rest`` those of U_aa."""

    rounding: float
    weight: float
    rest: float

    def total(
        self, a: np.ndarray, leak: np.ndarray, triangles: np.ndarray, sizes: np.ndarray
    ) -> float | None:
        """Root of the sum of squares of U_aa, of every Fᵀ N, of A, and of the error of C in A.

        None if A is only noise.
        """
        probes = signs(len(a))
        scales = np.maximum(sizes, np.linalg.norm(triangles, axis=1).max(axis=1))
        with np.errstate(all="ignore"):
            try:
                inverse = largest_norm(np.linalg.solve(a, probes))
                products = [
                    self.rounding * scale * largest_norm(np.linalg.solve(r, probes))
                    for scale, r in zip(scales, triangles, strict=True)
                ]
            except np.linalg.LinAlgError:
                return None
        leaked = float(np.linalg.norm(leak, 2)) * inverse
        if not leaked <= SETTINGS.leak:
            return None
        return math.hypot(self.rest, self.rest * leaked, self.rounding * self.weight * inverse, *products)


def _right_to_left(a: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Split S = R_gᵀ ⋯ R_0ᵀ A from the right: A = Q U_0, R_0ᵀ Q = Q' U_1, …; R_gᵀ Q is left, and the U."""
    left, upper = np.linalg.qr(a)
    uppers = [upper]
    for r in triangles[:0:-1]:
        left, upper = np.linalg.qr(r.T @ left)
        uppers.append(upper)
    return triangles[0].T @ left, uppers


def _corner(
    last: np.ndarray, uppers: list[np.ndarray], exponent: int, amplification: float, x: Any
) -> Corner | None:
    """Split the last factor like the whole Y: with X' triangular or orthogonal."""
    if not isinstance(x, dense.UnitLower):
        left, upper = np.linalg.qr(last)
        return Corner([*uppers, upper], exponent, left, None, amplification)
    found = dense.lu(np.asfortranarray(last), np)
    if found is None:
        return None
    return Corner([*uppers, found[1]], exponent, found[1], found[0].rows, amplification)
