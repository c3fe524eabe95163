"""Moment recursion: one-step closed forms, the vanilla expansion (11), sampled matrices of many gates."""

import itertools

import numpy as np
import pytest
from reference.chains import matrix

from rmtrnn.dyson.pencil import Stage
from rmtrnn.spectra.site_moments import chain_moments


def scalar_stage(a, b, sigma, orthogonal):
    a, b = np.broadcast_to(a, np.shape(b)), np.asarray(b)
    return Stage(a[None, None], b[None, None], np.ones((1, 1, len(b))), (sigma**2,), (orthogonal,))


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.equation(6)
def test_one_step_closed_form(orthogonal):
    """m_1 = E[A] + E[B]; m_2 = E[(A+B)²] + 2E[A]E[B], plus E[B]² for Gaussian weights; A = a², B = σ²b²."""
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 1, 300), rng.standard_normal(300)
    A, B = a**2, 1.7**2 * b**2
    log_m1, ratio = chain_moments([scalar_stage(a, b, 1.7, orthogonal)])
    m_1 = A.mean() + B.mean()
    m_2 = np.mean((A + B) ** 2) + 2 * A.mean() * B.mean() + (0 if orthogonal else B.mean() ** 2)
    assert np.exp(log_m1) == pytest.approx(m_1, rel=1e-13)
    assert ratio == pytest.approx(m_2 / m_1**2, rel=1e-13)


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("T", [1, 3, 50])
@pytest.mark.equation(11)
def test_vanilla_is_equation_11(T, orthogonal):
    """a = 0: Var(λ)/m_1² = T(μ_2/μ_1² − 1 − s_1), s_1 = −1 Gaussian, 0 orthogonal, on any population."""
    rng = np.random.default_rng(2)
    slope = 1 / np.cosh(rng.standard_normal(200)) ** 2
    chain = [scalar_stage(0.0, rng.permutation(slope), 1.2, orthogonal) for _ in range(T)]
    mu_1, mu_2 = np.mean(slope**2), np.mean(slope**4)
    log_m1, ratio = chain_moments(chain)
    assert log_m1 == pytest.approx(T * np.log(1.44 * mu_1), rel=1e-12, abs=1e-13)
    assert ratio - 1 == pytest.approx(T * (mu_2 / mu_1**2 - 1 + (not orthogonal)), rel=1e-10)


def test_no_weights_is_the_product_of_the_gates():
    """b = 0: s = |a_1 ⋯ a_T| at one site, gates correlated in time."""
    base = np.random.default_rng(3).standard_normal(400)
    gates = [1 / (1 + np.exp(-base - shift)) for shift in (0.0, 0.5, 1.0)]
    log_m1, ratio = chain_moments([scalar_stage(a, np.zeros(400), 1.0, False) for a in gates])
    lam = np.prod(gates, axis=0) ** 2
    assert np.exp(log_m1) == pytest.approx(lam.mean(), rel=1e-13)
    assert ratio == pytest.approx(np.mean(lam**2) / lam.mean() ** 2, rel=1e-13)


def random_chain(n, orthogonal, rng):
    """Three stages 2 → 3 → 2 → 2 with two weight matrices each, everything correlated at a site."""
    dimensions, base, chain = [2, 3, 2, 2], rng.standard_normal((6, n)), []
    for l, (into, out) in enumerate(itertools.pairwise(dimensions)):
        a = 0.6 * np.tanh(base[l] + rng.standard_normal((out, into, 1)))
        b = 0.5 * np.sin(base[l + 1] + rng.standard_normal((2, out, 1)))
        c = 0.7 * np.cos(2 * base[l + 2] + rng.standard_normal((2, into, 1)))
        chain.append(Stage(a, b, c, (0.81, 1.44), orthogonal))
    return chain


@pytest.mark.parametrize("orthogonal", [(False, False), (True, True), (True, False)])
@pytest.mark.equation(6)
def test_many_gates_and_states_against_matrices(orthogonal):
    rng = np.random.default_rng(4)
    chain = random_chain(500, orthogonal, rng)
    log_m1, ratio = chain_moments(chain)
    flipped = [Stage(s.a, s.b, s.c, s.sigma2, tuple(not o for o in orthogonal)) for s in chain]
    wrong = chain_moments(flipped)[1]
    samples = []
    for _ in range(6):
        s2 = np.linalg.svd(matrix(chain, rng), compute_uv=False) ** 2
        samples.append((np.log(s2.mean()), np.mean(s2**2) / s2.mean() ** 2))
    mean, error = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1) / np.sqrt(6)
    # Finite-N bias of a linear statistic is O(1/N): allow 5/N of the value beside four standard errors.
    assert abs(mean[0] - log_m1) < 4 * error[0] + 5 / 500
    assert abs(mean[1] - ratio) < 4 * error[1] + 5 / 500 * ratio
    if orthogonal[0] == orthogonal[1]:  # the mixed chain and its flip nearly agree: no control there
        assert abs(mean[1] - wrong) > 4 * error[1] + 5 / 500 * ratio


def test_weights_of_sites_count_as_repetitions():
    rng = np.random.default_rng(5)
    a, b = rng.uniform(0, 1, 6), rng.standard_normal(6)
    counts = np.array([1, 2, 3, 1, 4, 5])
    heavy = [scalar_stage(a, b, 1.1, False)] * 3
    plain = [scalar_stage(np.repeat(a, counts), np.repeat(b, counts), 1.1, False)] * 3
    assert chain_moments(heavy, counts / counts.sum()) == pytest.approx(chain_moments(plain), rel=1e-13)


def test_a_zero_product_and_an_empty_chain():
    assert chain_moments([scalar_stage(0.0, np.zeros(5), 1.0, False)])[0] == -np.inf
    with pytest.raises(ValueError, match="at least one stage"):
        chain_moments([])
