"""Singular values of products of matrices in exact arithmetic."""

import contextlib
import math

import mpmath
import numpy as np
import pytest


@contextlib.contextmanager
def bits(precision):
    flint = pytest.importorskip("flint")
    saved = flint.ctx.prec
    flint.ctx.prec = precision
    try:
        with mpmath.workprec(precision):
            yield
    finally:
        flint.ctx.prec = saved


def exact_log_singular_values(factors, precision):
    """Half the logs of the eigenvalues of J Jᵀ, all at ``precision`` bits."""
    flint = pytest.importorskip("flint")
    with bits(precision):
        product = flint.arb_mat(factors[0].tolist())
        for factor in factors[1:]:
            product = flint.arb_mat(factor.tolist()) * product
        gram = product * product.transpose()
        n = gram.nrows()
        digits = int(precision * math.log10(2))
        matrix = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                matrix[i, j] = mpmath.mpf(gram[i, j].mid().str(digits, radius=False))
        squares = mpmath.eigsy(matrix, eigvals_only=True)
        return np.sort([float(mpmath.log(square) / 2) for square in squares])
