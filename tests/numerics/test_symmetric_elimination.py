"""Elimination of complex symmetric matrices: inverse, branch of the logarithm, last block."""

from __future__ import annotations

import numpy as np
import pytest

from rmtrnn.numerics import symmetric_elimination
from rmtrnn.numerics.symmetric_elimination import eliminate, symmetric_inverse


def matrices(size, rng, n=5):
    """Symmetric, Im > 0."""
    real, root = rng.normal(size=(2, n, size, size))
    return real + np.swapaxes(real, 1, 2) + 1j * (root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(size))


@pytest.mark.parametrize("size", [1, 2, 12, 13, 25, 40])
def test_inverse_and_determinant_are_those_of_lapack(size):
    given = matrices(size, np.random.default_rng(size))
    before = given.copy()
    inverse, log_det = symmetric_inverse(given)
    expected = np.linalg.inv(given)
    np.testing.assert_allclose(inverse, expected, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(np.exp(log_det - np.linalg.slogdet(given)[1]), np.linalg.slogdet(given)[0])
    for last in {1, min(2, size)}:
        found = eliminate(given, last)
        np.testing.assert_allclose(found.log_det, log_det, rtol=1e-10)
        np.testing.assert_allclose(found.last, expected[:, -last:, -last:], rtol=1e-8)
    np.testing.assert_array_equal(given, before)


def test_the_branch_is_the_sum_over_eigenvalues():
    """On the way from i 1 no eigenvalue leaves the upper half plane; the principal logarithm is another."""
    given = matrices(16, np.random.default_rng(1))
    log_det = eliminate(given).log_det
    eigen = np.linalg.eigvals(given)
    np.testing.assert_allclose(log_det, np.log(eigen).sum(axis=1), rtol=1e-10)
    assert np.abs(log_det.imag - np.angle(np.linalg.slogdet(given)[0])).max() > 1.0


def test_negative_pivots_of_real_matrices_turn_by_pi():
    given = np.diag([-2.0, 3.0, -1.0])[None].astype(complex)
    for matrix in (given, np.conj(given)):
        assert eliminate(matrix).log_det[0] == pytest.approx(np.log(6.0) + 2j * np.pi, rel=1e-14)


@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_the_size_of_small_blocks_is_speed_only(monkeypatch, factor):
    given = matrices(30, np.random.default_rng(2))
    plain, log_det = symmetric_inverse(given)
    monkeypatch.setattr(symmetric_elimination, "_SMALL", round(symmetric_elimination._SMALL * factor))
    inverse, other = symmetric_inverse(given)
    np.testing.assert_allclose(inverse, plain, atol=1e-10 * np.abs(plain).max())
    np.testing.assert_allclose(other, log_det, rtol=1e-12)
