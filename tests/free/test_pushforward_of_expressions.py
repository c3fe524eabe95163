"""Pushforward of a SymPy expression: pieces by structure, against functions, closed forms and matrices."""

import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtr

import rmtrnn as rt
from rmtrnn import free

z = sp.Symbol("z")
# 1 below 0 and 1 + z² above: half the mass is an atom, and the support has a gap above 0.
BENT = sp.Piecewise((sp.Integer(1), z < 0), (1 + z**2, True))


def test_the_law_of_a_function_and_of_its_expression():
    law = free.Pushforward(rt.Activation(sp.tanh(z) ** 2), 0.5)
    same = free.Pushforward(lambda e: np.tanh(e) ** 2, 0.5, analytic=True)
    x = np.linspace(0.01, 0.9, 23)
    np.testing.assert_allclose(law.cdf(x), same.cdf(x), atol=1e-13)
    product, other = law @ free.MarchenkoPastur(0.5), same @ free.MarchenkoPastur(0.5)
    np.testing.assert_allclose(product.cdf(x), other.cdf(x), atol=1e-9)


def test_flat_parts_are_atoms_and_the_gap_above_zero_is_kept():
    law = free.Pushforward(rt.Activation(BENT), 1.0)
    assert law.atoms == ((1.0, pytest.approx(0.5)),)
    assert law.support[0][0] == 1.0
    x = np.array([1.5, 2.0, 5.0])  # P(1 + z² ≤ x) on the right half
    np.testing.assert_allclose(law.cdf(x), ndtr(np.sqrt(x - 1.0)), atol=1e-13)
    assert law.moment(1) == pytest.approx(1.5) and law.moment(2) == pytest.approx(3.5)


def test_free_product_against_matrices():
    """√D X Xᵀ √D with D = f(Z) and X of shape N × 4N; another f must fail."""
    law = free.MarchenkoPastur(0.25) @ free.Pushforward(rt.Activation(BENT), 1.0)
    rng, N, found = np.random.default_rng(0), 300, []
    for _ in range(4):
        e = rng.standard_normal(N)
        root = np.sqrt(np.where(e < 0, 1.0, 1.0 + e**2))
        X = root[:, None] * rng.standard_normal((N, 4 * N)) / np.sqrt(4 * N)
        found.append(np.linalg.eigvalsh(X @ X.T))
    x = np.sort(np.concatenate(found))
    share = (np.arange(x.size) + 0.5) / x.size
    # f at 300 independent sites: a standard error of 0.5/√1200.
    assert np.abs(law.cdf(x) - share).max() < 3 * 0.5 / np.sqrt(x.size) + law.error
    wrong = free.MarchenkoPastur(0.25) @ free.Pushforward(rt.Activation(1 + z**2 / 2), 1.0)
    assert np.abs(wrong.cdf(x) - share).max() > 0.05
    assert law.support[0][0] > 0.25  # (1 − ½)² times the least of f, at least


def test_refuses_what_it_cannot_take():
    with pytest.raises(TypeError, match=r"rmtrnn\.Activation"):
        free.Pushforward(sp.tanh(z) ** 2, 1.0)
    with pytest.raises(TypeError, match="leave them out"):
        free.Pushforward(rt.Activation(BENT), 1.0, kinks=[0.0])
    with pytest.raises(ValueError, match="finite and ≥ 0"):
        free.Pushforward(rt.Activation(sp.tanh(z)), 1.0)
