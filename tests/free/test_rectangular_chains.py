"""Chains of rectangular Gaussian matrices as products of Marchenko–Pastur laws, against sampled products."""

import functools
import itertools
import operator

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.sampling.random_matrices import random_matrix

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


def test_chains_of_blocks_of_haar_matrices():
    """n_t × n_{t−1} corners of Haar matrices of size n: a free product of projections, in n dimensions."""
    n, sizes = 400, (240, 320, 160)
    rng, squares = np.random.default_rng(1), []
    for _ in range(4):
        product = np.eye(sizes[0])
        for before, after in itertools.pairwise(sizes):
            product = random_matrix("orthogonal", n, 1.0, rng)[:after, :before] @ product
        squares.append(np.linalg.svd(product, compute_uv=False) ** 2)
    found = np.sort(np.ravel(squares))

    class OfLast:
        """The law among the last ``size`` dimensions: the others hold zeros."""

        def __init__(self, sizes):
            parts = [rt.free.Discrete([0.0, 1.0], [1 - size / n, size / n]) for size in sizes]
            self.whole, self.share = functools.reduce(operator.matmul, parts), sizes[-1] / n

        def cdf(self, x):
            return 1.0 - (1.0 - self.whole.cdf(x)) / self.share

    assert distance(OfLast(sizes), found) < 0.01
    for wrong in ((240, 390, 160), (200, 320, 160)):
        assert distance(OfLast(wrong), found) > 0.03
