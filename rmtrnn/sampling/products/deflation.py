"""The smallest directions of a group of factors, kept where the plain product of the group loses them.

Y = F_g ⋯ F_1 X is formed plainly, in rounding errors E ~ ε|Y|, and Y = X' U. A product of Gaussian factors is
ill-conditioned in few directions only. In a triangular factor of a matrix without special structure they all
show in its last rows: with k last rows and columns set apart,

    U = (U_aa  U_ab; 0  S),      U_aa well conditioned,      S, k × k, small and mostly noise.

Errors of U_aa are harmless to ‖E Y_a⁺‖ (in a long product times the norm of T⁻¹: `LogProduct` says why),
those of U_ab to ε, since the columns b of diag(2^d) T are not larger than the columns a: M_ab + δ = M_ab +
M_aa (M_aa⁻¹ δ) is a multiplication from the right by almost 1. Only S must be found anew. With Z the last
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
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn.sampling.products import dense, graded

# Directions set apart: this share of all, and at least so many.
SHARE, FEWEST = 16, 8
# Largest share of A that V_aᵀ C may have. It shrinks in the next group, and is near 1 where S is only noise.
LEAK = 1e-2


class Corner(NamedTuple):
    """S = 2^exponent V U_j ⋯ U_1 U_0 with U_i = ``uppers[i]`` upper triangular and V = ``left``.

    ``left`` is orthogonal, or where ``rows`` is given P L of an LU factorisation, kept in one array with U_j,
    with (P L)[rows] = L.
    """

    uppers: list[np.ndarray]
    exponent: int
    left: np.ndarray
    rows: np.ndarray | None
    amplification: float


def width(n: int) -> int:
    """Number of directions set apart, 0 for matrices too small for it."""
    k = max(FEWEST, n // SHARE)
    return k if n >= 4 * k else 0


def backward(factor: Any) -> Any | None:
    """N ↦ Fᵀ N, or None if the factor cannot do that."""
    if callable(factor):
        return getattr(factor, "transposed", None)
    return lambda columns: dense.product(factor.T, columns)


def found_anew(
    split: Any, x: Any, factors: list[Any], d: np.ndarray, rounding: float, spread: float, xp: Any
) -> Corner | None:
    """The corner S of ``split`` = (X', U, …) of Y = F_g ⋯ F_1 X, by (exact); None where it cannot be told.

    ``rounding`` is the size of rounding errors of products, ``x`` the X before, ``d`` the scales before;
    errors of U_aa count ``spread`` times. The amplification returned is that of the whole group.
    """
    n = len(split.upper)
    k = width(n)
    m = n - k
    c = dense.solve_upper(split.upper, split.upper[:, m:], xp, m)[:m]
    columns, r, shift = _orthonormal(split.x.annihilator(k), xp)
    triangles, shifts, sizes = [r], [shift], [xp.ones(())]
    probe = xp.asarray(graded.signs(n)[:, :1] / math.sqrt(n))
    for factor in reversed(factors):
        images = backward(factor)(xp.concatenate([columns, probe], axis=1))  # pyright: ignore[reportOptionalCall]
        columns, r, shift = _orthonormal(images[:, :k], xp)
        triangles.append(r)
        shifts.append(shift)
        sizes.append(xp.ldexp(xp.linalg.norm(images[:, k]), -shift))
    v = columns if x is None else x.transposed(columns)
    if split.order is not None:
        v = v[xp.asarray(split.order)]
    found = (
        xp.stack(triangles),
        xp.stack(shifts),
        xp.stack(sizes),
        v[m:].T,
        v[:m].T @ c,
        xp.sum(c * c, axis=0),
    )
    triangles, shifts, sizes, kept, leak, squares = (_arrays.to_host(part) for part in found)
    if not np.isfinite(triangles).all():
        return None

    d = d if split.order is None else d[split.order]
    ahead = np.ldexp(1.0, np.clip(d[m:].max() - d[:m], -1000, 1000))
    weight = math.sqrt(1.0 + squares.max())
    apart = spread * math.hypot(
        graded.largest_norm(split.apart), weight * graded.largest_norm(split.apart * ahead[:, None])
    )
    a = kept - leak
    amplification = _amplification(a, leak, weight, triangles[1:], sizes[1:], apart, rounding)
    if amplification is None:
        return None
    left, upper = np.linalg.qr(a)
    uppers = [upper]
    for r in triangles[:0:-1]:
        left, upper = np.linalg.qr(r.T @ left)
        uppers.append(upper)
    return _closed(triangles[0].T @ left, uppers, int(shifts.sum()), amplification, split.x)


def _orthonormal(columns: Any, xp: Any) -> tuple[Any, Any, Any]:
    """N, R, j with ``columns`` = 2^j N R, R upper triangular, by Cholesky of the Gram matrix.

    N need not be orthonormal to rounding, only well conditioned, so that half of all digits is enough for R.
    Beyond that R has entries nan.
    """
    shift = xp.frexp(_arrays.largest(columns))[1]
    columns = columns * xp.ldexp(1.0, -shift)
    r = dense.cholesky(columns.T @ columns, xp)
    return dense.times_inverse(columns, r, xp), r, shift


def _closed(
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


def _amplification(
    a: np.ndarray,
    leak: np.ndarray,
    weight: float,
    triangles: np.ndarray,
    sizes: np.ndarray,
    apart: float,
    rounding: float,
) -> float | None:
    """Root of the sum of squares: of U_aa, of every product Fᵀ N, of A, and of the error of C in A."""
    k = len(a)
    probes = graded.signs(k)
    scales = np.maximum(sizes, np.linalg.norm(triangles, axis=1).max(axis=1))
    with np.errstate(all="ignore"):
        try:
            inverse = graded.largest_norm(np.linalg.solve(a, probes))
            stages = [
                rounding * scale * graded.largest_norm(np.linalg.solve(r, probes))
                for scale, r in zip(scales, triangles, strict=True)
            ]
        except np.linalg.LinAlgError:
            return None
    leaked = float(np.linalg.norm(leak, 2)) * inverse
    if not leaked <= LEAK:
        return None
    kernel = rounding * weight * inverse
    return math.hypot(apart, apart * leaked, kernel, *stages)
