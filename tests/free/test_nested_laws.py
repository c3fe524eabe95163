"""Sums inside products and products inside sums: the inner law starts from points nearby."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.free import subordination_newton as newton
from rmtrnn.free.solved_points import SolvedPoints
from validation.hunt import checks

MP, Points, Circle = rt.free.MarchenkoPastur, rt.free.Discrete, rt.free.Semicircle

NESTED = {
    "sum in a product": lambda: (MP(2.2, 1.3) + rt.free.FussCatalan(1.9)) @ MP(0.7),
    "product in a sum": lambda: (Points([0.5, 1.7], [0.4, 0.6]) @ MP(0.5, 0.8)) + Circle(0.6),
    "shift in a product of a sum": lambda: (MP(0.2, 0.6) + 2.0) @ (MP(0.4) + Points([0.3, 1.2], [0.5, 0.5])),
    "power of a sum with an atom": lambda: (Circle(1.3) @ MP(1.2, 0.5)).free_sum(1.1),
}


def _upper(law):
    """Points over the law from far up to almost the axis, one call after the other."""
    low, high = law._hull
    x = np.linspace(low, high, 9)
    return [x + 1j * (high - low) * height for height in (3.0, 0.3, 0.03, 3e-3, 1e-4)]


@pytest.mark.parametrize("kind", NESTED)
def test_a_start_nearby_finds_what_the_way_down_finds(kind):
    law = NESTED[kind]()
    warm = newton._remembering(law._stieltjes)
    for z in _upper(law):
        (value, slope), (near, near_slope) = law._stieltjes(z), warm(z)
        assert np.abs(near - value).max() < 1e-8 * np.abs(value).max()
        assert np.abs(near_slope - slope).max() < 1e-6 * np.abs(slope).max()


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["sum in a product", "power of a sum with an atom"])
def test_nested_laws_have_their_mass_and_moments(kind):
    law = NESTED[kind]()
    assert law.status.name == "CONVERGED" and law.error < 1e-5
    p = (np.arange(2000) + 0.5) / 2000
    x = law.icdf(p)
    assert np.mean(x) == pytest.approx(law.moment(1), abs=2e-3)
    assert np.mean(x**2) == pytest.approx(law.moment(2), rel=2e-3)


def test_a_nested_law_against_matrices():
    law, n, rng = NESTED["product in a sum"](), 600, np.random.default_rng(4)
    X = rng.standard_normal((n, 2 * n))
    root = np.sqrt(np.where(np.arange(n) < 0.4 * n, 0.5, 1.7))[:, None]
    product = root * (0.8 / (2 * n) * X @ X.T) * root.T
    G = rng.standard_normal((n, n))
    values = np.linalg.eigvalsh(product + 0.3 * (G + G.T) / np.sqrt(2 * n))
    assert checks.kolmogorov(law.cdf, values) < 0.01
    assert checks.kolmogorov((law + 0.1).cdf, values) > 0.02


def test_an_inner_law_is_solved_by_few_evaluations_of_its_parts():
    calls = []

    def counted(z):
        calls.append(z.size)
        return MP(0.7).stieltjes(z)

    inner = newton.SumTransform([newton.Summand(counted, 1.0, 0.7, 0.5, 1.5, t) for t in (1.5, 1.0)])
    warm, z = inner.remembering(), np.linspace(0.5, 3.0, 20) + 0.1j
    inner(z)
    cold = sum(calls)
    warm(z + 0.01j)
    calls.clear()
    warm(z)
    assert sum(calls) < 0.5 * cold


def test_points_on_the_axis_are_no_starts():
    memory = SolvedPoints()
    memory.add(np.array([1.0 + 0j]), np.zeros((3, 1), dtype=complex))
    assert memory.nearest(np.array([1.0 + 1j]), 1.0) is None
    memory.add(np.array([1.0 + 1j, 2.0 + 1j]), np.arange(6).reshape(3, 2) + 0j)
    place, columns = memory.nearest(np.array([1.9 + 0.1j]), 1.0)
    assert place == 2.0 + 1j and columns.real.ravel().tolist() == [1.0, 3.0, 5.0]
