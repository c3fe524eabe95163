"""Elimination of complex symmetric matrices: determinant, branch of the logarithm, last block."""

from __future__ import annotations

import numpy as np
import pytest

from rmtrnn.numerics import symmetric_elimination
from rmtrnn.numerics.symmetric_elimination import eliminate


def matrices(size, rng, n=5):
    """Symmetric, Im > 0."""
    real, root = rng.normal(size=(2, n, size, size))
    return real + np.swapaxes(real, 1, 2) + 1j * (root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(size))


@pytest.mark.parametrize("size", [1, 2, 12, 13, 25, 40])
def test_determinant_and_last_block_are_those_of_lapack(size):
    given = matrices(size, np.random.default_rng(size))
    before, expected = given.copy(), np.linalg.inv(given)
    sign, log_size = np.linalg.slogdet(given)
    for last in {1, min(2, size), size}:
        found = eliminate(given, last)
        np.testing.assert_allclose(np.exp(found.log_det - log_size), sign, rtol=1e-10)
        np.testing.assert_allclose(
            found.last, expected[:, -last:, -last:], atol=1e-9 * np.abs(expected).max()
        )
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
    plain, last = eliminate(given)
    monkeypatch.setattr(symmetric_elimination, "_SMALL", round(symmetric_elimination._SMALL * factor))
    moved, other = eliminate(given)
    np.testing.assert_allclose(moved, plain, rtol=1e-12)
    np.testing.assert_allclose(other, last, rtol=1e-9)
