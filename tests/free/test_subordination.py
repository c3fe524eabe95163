"""Free sums, and products of different bases: closed forms, cumulants, sampled matrices and a control."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.status import ConvergenceError
from rmtrnn.free import Discrete, FussCatalan, MarchenkoPastur, Semicircle
from rmtrnn.free.branches import is_analytic
from rmtrnn.free.cumulants import free_cumulants, moments_of, moments_of_product


def test_semicircles_add_their_variances():
    law, r = Semicircle(2.0) + Semicircle(1.5), 2.5
    x = np.linspace(-2.45, 2.45, 21)
    np.testing.assert_allclose(law.pdf(x), 2 * np.sqrt(r * r - x * x) / (np.pi * r * r), rtol=1e-10)
    np.testing.assert_allclose(law.support, [(-r, r)], atol=1e-9)
    np.testing.assert_allclose(law.cdf(law.icdf([0.1, 0.5, 0.9])), [0.1, 0.5, 0.9], atol=1e-10)
    assert law.moment(4) == pytest.approx(2 * (r * r / 4) ** 2)
    assert law.R(0.1) == pytest.approx(r * r / 4 * 0.1)
    assert law.error < 1e-8


def test_two_symmetries_give_the_arcsine_law():
    sign = Discrete([-1.0, 1.0], [0.5, 0.5])
    law = sign + sign
    x = np.linspace(-1.99, 1.99, 21)
    np.testing.assert_allclose(law.pdf(x), 1 / (np.pi * np.sqrt(4 - x * x)), rtol=1e-9)
    np.testing.assert_allclose(law.cdf(x), 0.5 + np.arcsin(x / 2) / np.pi, atol=law.error + 1e-9)
    assert law.atoms == ()


@pytest.mark.parametrize("t", [1.5, 2.0, 5.0])
def test_free_sum_of_marchenko_pastur_is_one_of_ratio_over_t(t):
    law, closed = MarchenkoPastur().free_sum(t), MarchenkoPastur(1.0 / t, t)
    x = np.linspace(*closed.support[0], 12)[1:-1]
    np.testing.assert_allclose(law.pdf(x), closed.pdf(x), rtol=1e-9)
    np.testing.assert_allclose(law.cdf(x), closed.cdf(x), atol=1e-9)
    assert [law.moment(k) for k in range(1, 6)] == pytest.approx([closed.moment(k) for k in range(1, 6)])


def test_free_sum_power_of_a_coin_keeps_the_right_atoms():
    law = Discrete([0.0, 1.0], [0.2, 0.8]).free_sum(1.5)
    np.testing.assert_allclose(law.atoms, [(1.5, 0.7)], rtol=1e-12)
    assert abs(law._mass - 1.0) < 1e-6


def test_product_of_two_projections():
    p, q = 0.7, 0.6
    law = Discrete([0.0, 1.0], [1 - p, p]) @ Discrete([0.0, 1.0], [1 - q, q])
    centre, half = p + q - 2 * p * q, np.sqrt(4 * p * q * (1 - p) * (1 - q))
    x = np.linspace(centre - half, centre + half, 12)[1:-1]
    density = np.sqrt((centre + half - x) * (x - centre + half)) / (2 * np.pi * x * (1 - x))
    np.testing.assert_allclose(law.pdf(x), density, rtol=1e-10)
    np.testing.assert_allclose(law.support, [(centre - half, centre + half)], atol=1e-9)
    np.testing.assert_allclose(law.atoms, [(0.0, 1 - q), (1.0, p + q - 1)], atol=1e-12)
    assert law.moment(1) == pytest.approx(p * q)
    assert law.error < 1e-6


def test_cumulants_invert_and_name_the_laws():
    moments = [FussCatalan(2).moment(k) for k in range(1, 9)]
    np.testing.assert_allclose(moments_of(free_cumulants(moments)), moments, rtol=1e-12)
    np.testing.assert_allclose(free_cumulants([MarchenkoPastur().moment(k) for k in range(1, 9)]), 1.0)


def test_sampled_sum_and_a_wrong_one():
    n = 500
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, n, n)) / np.sqrt(n)
    values = np.sort(np.linalg.eigvalsh(x @ x.T + (y + y.T) / np.sqrt(2)))
    ranks = (np.arange(n) + 0.5) / n
    right, wrong = MarchenkoPastur() + Semicircle(2.0), MarchenkoPastur() + Semicircle(1.8)
    assert np.max(np.abs(right.cdf(values) - ranks)) < 0.01
    assert np.max(np.abs(wrong.cdf(values) - ranks)) > 0.015


def test_refusals():
    with pytest.raises(ValueError, match="S-transform"):
        Semicircle(1.0).S(-0.1)
    with pytest.raises(ValueError, match=r"t = 0\.5"):
        MarchenkoPastur().free_sum(0.5)
    with pytest.raises(TypeError):
        _ = Discrete([-1.0, 1.0], [0.5, 0.5]) @ Semicircle(1.0)
    with pytest.raises(ValueError, match="radius = -1"):
        Semicircle(-1)


def test_a_law_too_narrow_to_be_found_is_refused():
    law = Discrete([0.0, 1.0, 7.3], [0.3, 0.3, 0.4]) + Semicircle(1e-4)
    with pytest.raises(ConvergenceError, match="instead of 1"):
        law.cdf(0.5)
    with pytest.raises(ConvergenceError, match="instead of 1"):
        law.pdf(0.5)


def test_numbers_and_single_atoms_shift_a_law():
    circle = Semicircle(0.4658)
    for law in (Discrete([0.154638], [1.0]) + circle, circle + 0.154638, 0.154638 + circle):
        assert law.support == ((pytest.approx(0.154638 - 0.4658), pytest.approx(0.154638 + 0.4658)),)
        x = np.linspace(-0.2, 0.5, 9)
        np.testing.assert_allclose(law.cdf(x), circle.cdf(x - 0.154638), atol=1e-9)
        assert law.moment(2) == pytest.approx(0.4658**2 / 4 + 0.154638**2)
    three = MarchenkoPastur() + 3
    assert three.moment(1) == pytest.approx(4.0)
    np.testing.assert_allclose(three.cdf([3.5, 5.0]), MarchenkoPastur().cdf([0.5, 2.0]), atol=1e-3)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_real_law_times_a_positive_one(shift):
    """√b a √b, a semicircular (mean 0: Rao and Speicher 2007) or shifted: moments, sampled, a control."""
    circle, ratio, n = Semicircle(1.0) + shift, 0.5, 500
    law, wrong = circle @ MarchenkoPastur(ratio), circle @ MarchenkoPastur(ratio, 1.15)
    assert (MarchenkoPastur(ratio) @ circle).moment(4) == law.moment(4)
    # τ(ab) = m_1 m_1', τ(abab) = κ_2(a) m_1'² + m_1² m_2'.
    assert law.moment(1) == pytest.approx(shift)
    assert law.moment(2) == pytest.approx(0.25 + shift**2 * (1 + ratio))
    assert law.error < 1e-6
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((n, n)), rng.standard_normal((n, 2 * n)) / np.sqrt(2 * n)
    a = (x + x.T) / np.sqrt(8 * n) + shift * np.eye(n)
    values = np.sort(np.linalg.eigvals(a @ y @ y.T).real)
    ranks = (np.arange(n) + 0.5) / n
    assert np.max(np.abs(law.cdf(values) - ranks)) < 0.01
    assert np.max(np.abs(wrong.cdf(values) - ranks)) > 0.015


def test_moments_by_cumulants_agree_with_s_transforms():
    a, b = Discrete([1.0, 2.0], [0.3, 0.7]), MarchenkoPastur(0.5)
    cumulants = [free_cumulants([law.moment(k) for k in range(1, 9)]) for law in (a, b)]
    expected = [(a @ b).moment(k) for k in range(1, 9)]
    np.testing.assert_allclose(moments_of_product(*cumulants), expected, rtol=1e-10)


def test_gap_around_a_zero_of_G():
    """Semicircle and two atoms: G solves a cubic (Pastur 1972); inside the gap G has a zero, at x = 2."""
    variance, places = 0.25**2, np.array([0.0, 4.0])
    law = Semicircle(0.5) + Discrete(places, [0.5, 0.5])
    (left, inner), (outer, right) = law.support
    assert (left, inner) == (pytest.approx(4.0 - right), pytest.approx(4.0 - outer))
    for x in (-0.2, 0.1, 0.3, 3.9):
        # G = ½ Σ 1/(z − σ²G − a_i), cleared of denominators, in y = z − σ²G.
        y = np.polynomial.Polynomial([0.0, 1.0])
        cubic = (x - y) * y * (y - 4.0) - variance * (y - 2.0)
        roots = cubic.roots()
        density = np.max(np.imag(roots)) / (variance * np.pi)
        assert law.pdf(x) == pytest.approx(density, rel=1e-8)
    assert law.cdf(2.0) == pytest.approx(0.5, abs=1e-10)
    assert law.G(2.0 + 1e-6j) == pytest.approx(0.0, abs=1e-6)
    assert law.error < 1e-8


def test_sums_of_sums_are_solved_together():
    circles = (Semicircle(1.0) + Semicircle(2.0)) + (Semicircle(2.0) + Semicircle(0.5)).free_sum(2.0)
    alone = Semicircle(np.sqrt(1.0 + 4.0 + 2.0 * 4.25))
    x = np.linspace(-3.5, 3.5, 9)
    np.testing.assert_allclose(circles.pdf(x), alone.pdf(x), rtol=1e-9)
    np.testing.assert_allclose((circles + 0.5).dilate(2.0).cdf(2.0 * x + 1.0), alone.cdf(x), atol=1e-9)
    shifted_parts = (Semicircle(1.0) + 0.5) + ((MarchenkoPastur(2.0) + 0.25).dilate(2.0) + Semicircle(1.0))
    law = shifted_parts + Discrete([0.0, 5.0], [0.2, 0.8])
    cumulants = np.array([0.5 + 0.5 + 2.0 + 4.0, 0.5 + 2.0 * 4.0 + 25.0 * 0.16])
    assert [law.moment(1), law.moment(2) - law.moment(1) ** 2] == pytest.approx(cumulants)
    assert law.error < 1e-6


def test_sum_of_four_against_matrices():
    n, rng = 1200, np.random.default_rng(3)

    def wigner(radius):
        a = rng.standard_normal((n, n))
        return radius * (a + a.T) / np.sqrt(8.0 * n)

    x = rng.standard_normal((n, n // 2)) / np.sqrt(n // 2)
    diagonal = np.repeat([0.0, 5.0], [n // 4, n - n // 4])
    values = np.linalg.eigvalsh(wigner(1.0) + x @ x.T + np.diag(diagonal) + wigner(0.5))
    ranks = (np.arange(n) + 0.5) / n
    law = (Semicircle(1.0) + Discrete([0.0, 5.0], [0.25, 0.75])) + (MarchenkoPastur(2.0) + Semicircle(0.5))
    wrong = (Semicircle(1.0) + Discrete([0.0, 5.0], [0.25, 0.75])) + (MarchenkoPastur(1.0) + Semicircle(0.5))
    assert np.max(np.abs(law.cdf(values) - ranks)) < 0.005
    assert np.max(np.abs(wrong.cdf(values) - ranks)) > 0.05


def test_products_of_many_kinds_against_matrices():
    """Factors that share no base, a negative atom, a hard edge at 0 on one and on both sides, a shift."""
    rng = np.random.default_rng(8)
    n = 500
    wishart = rng.standard_normal((n, n)) / math.sqrt(n)
    wishart = wishart @ wishart.T
    gauss = rng.standard_normal((n, n)) / math.sqrt(n)
    gauss = (gauss + gauss.T) / math.sqrt(2)
    signs = np.diag(np.repeat([-1.2, 0.3], [350, 150]))
    third = np.diag(np.repeat([0.3, 1.2], [150, 350]))
    a, b = np.linalg.qr(rng.standard_normal((2, n, n)))[0]
    mp, points = rt.free.MarchenkoPastur(), rt.free.Discrete([0.3, 1.2], [0.3, 0.7])
    root = np.linalg.cholesky(wishart)
    roots = np.sqrt(third)
    cases = [
        (rt.free.Discrete([-1.2, 0.3], [0.7, 0.3]) @ points, a @ roots @ b @ signs @ b.T @ roots @ a.T),
        (rt.free.Semicircle(2.0) @ mp, root.T @ gauss @ root),
        (rt.free.Discrete([-1.5], [1.0]) @ mp, -1.5 * wishart),
        ((mp @ points) + 1.5, root.T @ b @ third @ b.T @ root + 1.5 * np.eye(n)),
        (rt.free.Pushforward(np.exp, 0.2) @ points @ rt.free.MarchenkoPastur(2.0), None),
    ]
    for law, matrix in cases:
        assert law.error < 1e-4, law
        if matrix is None:
            continue
        values = np.sort(np.linalg.eigvalsh(matrix))
        steps = np.arange(1, n + 1) / n
        beside = 1e-9 * (1.0 + np.abs(values))
        off = max(np.max(steps - law.cdf(values + beside)), np.max(law.cdf(values - beside) - steps + 1 / n))
        assert off < 0.02, law
        shifted = law.cdf(values + 0.2)  # negative control
        assert np.max(np.abs(shifted - steps)) > 0.02, law
    assert cases[0][0].atoms == ((pytest.approx(-1.44), pytest.approx(0.4)),)


def test_functions_that_continue_themselves():
    """NumPy functions of complex arrays are found to be analytic; those that drop or fold a part are not."""
    yes = (np.exp, np.tanh, lambda y: y**3, lambda y: np.where(y < 0.3, 0.2, 1 + np.tanh(y)))
    no = (
        np.abs,
        np.real,
        np.conj,
        lambda y: np.sqrt(y.real**2 + 1),
        lambda y: np.array([math.tanh(e) for e in y]),
    )
    assert all(is_analytic(f, 0.3, math.inf, 1.0) for f in yes)
    assert not any(is_analytic(f, -math.inf, math.inf, 1.0) for f in no)
