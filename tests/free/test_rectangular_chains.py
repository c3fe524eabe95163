"""Chains of rectangular Gaussian matrices as products of Marchenko–Pastur laws, against sampled products."""

import functools
import itertools
import operator

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt

SIZES = (300, 150, 450, 200)  # n_0, …, n_T: the narrowest leaves n_T − 150 exact zeros


def chain_law(sizes):
    """The law of J Jᵀ: ratios are to the last size."""
    factors = [rt.free.MarchenkoPastur(sizes[-1] / size) for size in sizes[:-1]]
    return functools.reduce(operator.matmul, factors)


def test_products_of_rectangular_matrices():
    rng, squares = np.random.default_rng(0), []
    for _ in range(4):
        product = np.eye(SIZES[0])
        for before, after in itertools.pairwise(SIZES):
            product = rng.standard_normal((after, before)) / np.sqrt(before) @ product
        squares.append(np.linalg.svd(product, compute_uv=False) ** 2)
    found = np.sort(np.ravel(squares))
    law = chain_law(SIZES)
    assert law.atoms == ((0.0, pytest.approx(0.25)),) and np.mean(found < 1e-12) == pytest.approx(0.25)

    class Positive:
        def __init__(self, whole):
            self.whole = whole

        def cdf(self, x):
            return (self.whole.cdf(x) - 0.25) / 0.75

    positive = found[found > 1e-12]
    assert distance(Positive(law), positive) < 0.01
    for wrong in ((300, 200, 450, 200), (300, 150, 200, 200)):
        assert distance(Positive(chain_law(wrong)), positive) > 0.03
    assert law.moment(1) == pytest.approx(found.mean(), rel=0.02)
