"""Matrices of a few entries, each a number or an array over points and sites.

A site-state has one to three components, so the matrices of the Dyson equation are tiny, and many of their
entries are the same number at every site (0 and 1 most often). Written out by entries they cost elementwise
products only, exact zeros cost nothing, and NumPy and CuPy run the same lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Entry = Any  # a float (an entry that is the same at every site) or an array over sites
Vector = list[Entry]
Matrix = list[list[Entry]]


def split_entries(block: np.ndarray) -> list[list[Entry]]:
    """Split (i, j, n) into entries; one that is the same number at every site becomes a float."""
    rows = []
    for row in block:
        rows.append([float(entry[0]) if bool((entry == entry[0]).all()) else entry for entry in row])
    return rows


def is_array(x: Entry) -> bool:
    return hasattr(x, "shape")


def is_zero(x: Entry) -> bool:
    return not hasattr(x, "shape") and x == 0.0


def mul(x: Entry, y: Entry) -> Entry:
    if is_zero(x) or is_zero(y):
        return 0.0
    if not hasattr(x, "shape") and x == 1.0:
        return y
    if not hasattr(y, "shape") and y == 1.0:
        return x
    return x * y


def add(x: Entry, y: Entry) -> Entry:
    if is_zero(x):
        return y
    return x if is_zero(y) else x + y


def square(x: Entry) -> Entry:
    return mul(x, x)


def dot(x: Vector, y: Vector) -> Entry:
    total: Entry = 0.0
    for x_i, y_i in zip(x, y, strict=True):
        total = add(total, mul(x_i, y_i))
    return total


def transpose(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def row_times(row: Vector, matrix: Matrix) -> Vector:
    return [dot(row, column) for column in transpose(matrix)]


def product(left: Matrix, right: Matrix) -> Matrix:
    return [row_times(row, right) for row in left]


def quadratic(vector: Vector, matrix: Matrix) -> Entry:
    if len(vector) == 1:
        return mul(square(vector[0]), matrix[0][0])
    return dot(row_times(vector, matrix), vector)


def sandwich(a: Matrix, inner: Matrix) -> Matrix:
    """a inner a^T."""
    if len(a) == 1 and len(inner) == 1:
        return [[mul(square(a[0][0]), inner[0][0])]]
    return product(product(a, inner), transpose(a))


def scale_matrix(scalar: Entry, matrix: Matrix) -> Matrix:
    return [[mul(scalar, entry) for entry in row] for row in matrix]


def plus_outer(matrix: Matrix, vector: Vector, coefficient: Entry) -> Matrix:
    """matrix + coefficient * vector vector^T."""
    return [
        [add(entry, mul(coefficient, mul(v_i, v_j))) for entry, v_j in zip(row, vector, strict=True)]
        for row, v_i in zip(matrix, vector, strict=True)
    ]


def scaled_identity(size: int, value: Entry) -> Matrix:
    return [[value if i == j else 0.0 for j in range(size)] for i in range(size)]


def absorb(matrix: Matrix, vector: Vector, coefficient: Entry) -> tuple[Matrix, Entry]:
    """Sherman–Morrison update: (matrix^{-1} - coefficient vector vector^T)^{-1}, and its pivot.

    The pivot is 1 - coefficient vector^T matrix vector. Both the coefficient and the quadratic form lie in
    the closed lower half plane. So the pivot never crosses the negative real axis, and its principal
    logarithm is the continuous one.
    """
    half = row_times(vector, matrix)
    form = dot(half, vector)
    if is_zero(form):
        return matrix, 1.0
    factor = 1.0 - coefficient * form
    if len(vector) == 1:
        return [[matrix[0][0] / factor]], factor
    return plus_outer(matrix, half, coefficient / factor), factor


def inverse_one_minus(xp: Any, matrix: Matrix) -> Matrix:
    """(1 - matrix)^{-1} for a matrix of entries."""
    size = len(matrix)
    if size == 1:
        return [[1.0 / (1.0 - matrix[0][0])]]
    rest = [[add(1.0 if i == j else 0.0, mul(-1.0, matrix[i][j])) for j in range(size)] for i in range(size)]
    if size == 2:
        determinant = add(mul(rest[0][0], rest[1][1]), mul(-1.0, mul(rest[0][1], rest[1][0])))
        inverse = 1.0 / determinant
        return [
            [mul(rest[1][1], inverse), mul(-1.0, mul(rest[0][1], inverse))],
            [mul(-1.0, mul(rest[1][0], inverse)), mul(rest[0][0], inverse)],
        ]
    shape = np.broadcast_shapes(*(np.shape(entry) for row in rest for entry in row))
    full = xp.stack(
        [
            xp.stack([xp.broadcast_to(xp.asarray(entry, dtype=complex), shape) for entry in row], axis=-1)
            for row in rest
        ],
        axis=-2,
    )
    solved = xp.linalg.inv(full)
    return [[solved[..., i, j] for j in range(size)] for i in range(size)]


def diagonal_green(
    xp: Any, cut_x: Matrix, cut_y: Matrix, a: Matrix, scale: Entry, hop: Matrix
) -> tuple[Matrix, Matrix]:
    """G_xx and G_yy of one stage; the inverse is taken on the smaller side."""
    if all(is_zero(entry) for row in a for entry in row):
        return cut_x, cut_y
    if len(cut_x) == 1 and len(cut_y) == 1:
        inverse = 1.0 / (1.0 - hop[0][0] * cut_x[0][0])
        return [[cut_x[0][0] * inverse]], [[cut_y[0][0] * inverse]]
    if len(cut_x) <= len(cut_y):
        g_xx = product(cut_x, inverse_one_minus(xp, product(hop, cut_x)))
        side = product(cut_y, a)
        return g_xx, add_matrices(cut_y, scale_matrix(scale, sandwich(side, g_xx)))
    back = scale_matrix(scale, sandwich(a, cut_x))
    g_yy = product(cut_y, inverse_one_minus(xp, product(back, cut_y)))
    side = product(cut_x, transpose(a))
    return add_matrices(cut_x, scale_matrix(scale, sandwich(side, g_yy))), g_yy


def add_matrices(left: Matrix, right: Matrix) -> Matrix:
    return [
        [add(x, y) for x, y in zip(row, other, strict=True)] for row, other in zip(left, right, strict=True)
    ]
