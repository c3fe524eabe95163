"""Mean field against closed forms, reference values, finite differences and high precision."""

import math

import mpmath as mp
import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.meanfield import stationary_moments
from rmtrnn.meanfield.expansion import expand
from rmtrnn.meanfield.moment_map import MomentMap
from rmtrnn.meanfield.solve import parameters_of
from rmtrnn.meanfield.stationary_moments import leading_eigenvalue
from rmtrnn.numerics.gaussian_quadrature import gaussian_expectation

MINIMAL = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, R=0.46, Sigma=1.0)

# docs: q*, chi_1, c*, chi at c*, time scale of minimalRNN, all digits that are given.
TABLE = [
    (-4.0, 19.68, 0.5449, 1.0, 0.5449, 1.65),
    (-2.0, 18.07, 0.7843, 1.0, 0.7843, 4.1),
    (0.0, 15.94, 0.9988, 1.0, 0.9988, 819),
    (2.0, 13.06, 1.1213, 0.788, 0.9122, 10.9),
    (3.5, 9.94, 1.1189, 0.588, 0.9190, 11.8),
    (4.5, 5.84, 1.0506, 0.540, 0.9617, 25.6),
    (5.5, 1.10, 0.9889, 1.0, 0.9889, 89.9),
    (8.0, 0.903, 0.9990, 1.0, 0.9990, 964),
]


def last_digit(text_value):
    """Half a unit of the last digit that is given."""
    digits = f"{text_value}".split(".")
    return 0.5 * 10.0 ** -len(digits[1]) if len(digits) == 2 and digits[1] != "0" else 0.5


@pytest.mark.equation(2, 3, 5)
def test_tanh_reference_digits():
    field = rt.mean_field(rt.Ensemble("vanilla", sigma_w=1.05, sigma_v=0.0, sigma_b=0.05))
    assert field.converged
    assert abs(field.chi / 0.9712159099375688 - 1) < 1e-13
    assert abs(field.q / 0.07415459325188096 - 1) < 1e-13
    assert field.c_star == 1.0
    assert field.chi_star == field.chi


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"mu_b={row[0]}")
@pytest.mark.equation(2, 4, 5)
def test_minimal_reference_table(row):
    mu_b, *expected = row
    field = rt.mean_field(MINIMAL.replace(mu_b=mu_b))
    assert field.converged
    got = (field.q, field.chi, field.c_star, field.chi_star, field.timescale)
    for value, reference in zip(got, expected, strict=True):
        if reference == 1.0:
            assert value == 1.0
        else:
            assert abs(value - reference) <= last_digit(reference) * 1.001


@pytest.mark.equation(2, 4)
def test_minimal_fixed_point_in_high_precision():
    field = rt.mean_field(MINIMAL.replace(mu_b=2.0))
    with mp.workdps(30):
        s2w, s2v, R, mu = mp.mpf(6.88) ** 2, mp.mpf(1.39) ** 2, mp.mpf(0.46), mp.mpf(2)
        ends = [-12, -6, -3, -1, 0, 1, 3, 6, 12]

        def mean(function, q):
            root = mp.sqrt(q)
            return mp.quad(lambda z: mp.npdf(z) * function(1 / (1 + mp.exp(-mu - root * z))), ends)

        def following(q):
            Q = R * mean(lambda u: (1 - u) ** 2, q) / (1 - mean(lambda u: u * u, q))
            return s2w * Q + s2v * R

        q = mp.findroot(lambda q: following(q) - q, (mp.mpf(13), mp.mpf(13.1)), solver="secant")
        Q = (q - s2v * R) / s2w
        chi = mean(lambda u: u * u, q) + s2w * (Q + R) * mean(lambda u: (u * (1 - u)) ** 2, q)
        assert abs(field.q / q - 1) < 1e-13
        assert abs(field.chi / chi - 1) < 1e-13


@pytest.mark.parametrize(("q", "R"), [(16.0, 0.46), (18.0, 0.46), (20.0, 0.4616)])
@pytest.mark.equation(5, 17)
def test_closed_form_of_the_critical_minimal_cell(q, R):
    """Theory (17): at these parameters chi is 1 and the fixed point is the chosen q."""
    squares = gaussian_expectation(
        lambda e: np.stack([sigmoid(e) ** 2, sigmoid(-e) ** 2, (sigmoid(e) * sigmoid(-e)) ** 2]), q
    )
    kept, taken, slope = squares.value
    Q = R * taken / (1 - kept)
    sigma_w2 = (1 - kept) / ((Q + R) * slope)
    sigma_v2 = (q - sigma_w2 * Q) / R
    field = rt.mean_field(
        rt.Ensemble("minimal", math.sqrt(sigma_w2), math.sqrt(sigma_v2), R=R, Sigma=1.0), Q0=Q
    )
    assert field.converged
    assert abs(field.q / q - 1) < 1e-9
    assert abs(field.chi - 1) < 1e-9


def sigmoid(e):
    return 0.5 * (1 + np.tanh(0.5 * e))


@pytest.mark.equation(2, 3, 5)
def test_linear_cell():
    field = rt.mean_field(
        rt.Ensemble(rt.VanillaRNN("linear"), 0.9, 0.5, mu_b=0.3, sigma_b=0.2, R=2.0, Sigma=0.4)
    )
    drive, shared = 0.5 + 0.04, 0.2 + 0.04
    Q = (drive + 0.09) / (1 - 0.81)
    C = (shared + 0.09) / (1 - 0.81)
    assert field.converged
    assert abs(field.Q / Q - 1) < 1e-13
    assert abs(field.C_star / C - 1) < 1e-12
    assert abs(field.c_star - (0.81 * C + shared) / (0.81 * Q + drive)) < 1e-12
    assert abs(field.chi - 0.81) < 1e-14
    assert abs(field.timescale + 1 / math.log(0.81)) < 1e-11


@pytest.mark.parametrize("sigma_w", [0.8, 1.1, 1.4])
@pytest.mark.equation(2, 3, 5)
def test_erf_closed_form(sigma_w):
    field = rt.mean_field(rt.Ensemble(rt.VanillaRNN("erf"), sigma_w, 0.3, sigma_b=0.1, Sigma=0.5))
    q = 0.2
    for _ in range(3000):
        q = sigma_w**2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + 0.09 + 0.01
    assert field.converged
    assert abs(field.q / q - 1) < 1e-12
    assert abs(field.chi / (sigma_w**2 * 4 / math.pi / math.sqrt(1 + 4 * q)) - 1) < 1e-12
    rho = 0.1
    for _ in range(3000):
        C = 2 / math.pi * math.asin(2 * q * rho / (1 + 2 * q))
        rho = (sigma_w**2 * C + 0.045 + 0.01) / q
    assert abs(field.c_star - rho) < 1e-11


@pytest.mark.equation(2, 3, 5)
def test_relu_closed_form():
    field = rt.mean_field(rt.Ensemble(rt.VanillaRNN("relu"), 1.3, 0.4, Sigma=1.0))
    q = 0.16 / (1 - 0.845)
    assert field.converged
    assert abs(field.q / q - 1) < 1e-13
    assert abs(field.chi - 0.845) < 1e-13
    assert field.c_star == 1.0


@pytest.mark.parametrize(
    "ens",
    [
        rt.Ensemble(rt.VanillaRNN("linear"), 1.01, 0.1),
        rt.Ensemble(rt.VanillaRNN("linear"), 1.0, 0.1),
        rt.Ensemble(rt.VanillaRNN("relu"), math.sqrt(2.1), 0.1),
        rt.Ensemble(rt.VanillaRNN("relu"), 2.0),
    ],
    ids=repr,
)
def test_divergence_is_reported_not_a_number(ens):
    field = rt.mean_field(ens)
    assert field.status == rt.Status.DIVERGED
    assert not field.converged
    assert math.isnan(field.Q) and math.isnan(field.q_of("e")) and math.isnan(field.chi)
    assert "grows without bound" in repr(field)


def test_order_without_drive_is_the_zero_state():
    field = rt.mean_field(rt.Ensemble("vanilla", sigma_w=0.9))
    assert (field.Q, field.q, field.c_star) == (0.0, 0.0, 1.0)
    assert abs(field.chi - 0.81) < 1e-15


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
@pytest.mark.equation(5)
def test_near_criticality(gap):
    """Undriven tanh above the transition: q ≈ σ_w − 1, and χ − 1 is of second order."""
    field = rt.mean_field(rt.Ensemble("vanilla", sigma_w=1 + gap))
    assert field.converged
    with mp.workdps(40):
        sigma2 = mp.mpf(1 + gap) ** 2
        # E[tanh²(√q z)] and E[sech⁴] as series in q, exact far beyond double precision for these q.
        tanh2 = [mp.taylor(lambda e: mp.tanh(e) ** 2, 0, 16)[n] for n in range(17)]
        sech4 = [mp.taylor(lambda e: mp.sech(e) ** 4, 0, 16)[n] for n in range(17)]

        def mean(series, q):
            return sum(c * q ** (n // 2) * mp.fac2(n - 1) for n, c in enumerate(series) if n % 2 == 0)

        q = mp.findroot(lambda q: sigma2 * mean(tanh2, q) / q - 1, mp.mpf(gap))
        slack = 1e-8 if gap == 1e-3 else 0.0  # truncation of the series
        assert abs(field.q / q - 1) < 1e-14 / gap * 10 + slack
        assert abs(field.chi - sigma2 * mean(sech4, q)) < 5e-15 + slack * gap


@pytest.mark.equation(5)
def test_long_time_scale_near_criticality():
    """1 − χ ~ 1e−6 with input: the time scale agrees with the closed form for a relu cell."""
    sigma_w = math.sqrt(2 * (1 - 1e-6))
    field = rt.mean_field(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w, 0.1, Sigma=1.0))
    assert field.converged
    assert abs(field.q * 1e-6 / 0.01 - 1) < 1e-9
    assert abs(field.timescale * 1e-6 - 1) < 1e-5


SLOPES = [
    rt.Ensemble("vanilla", 1.7, 0.3, mu_b=0.2, sigma_b=0.1, Sigma=0.3),
    rt.Ensemble(rt.VanillaRNN("hard_tanh"), 1.7, 0.3, sigma_b=0.1, Sigma=0.3),
    rt.Ensemble("minimal", 4.0, 1.0, mu_b=1.0, R=0.7, Sigma=0.3),
    rt.Ensemble("minimal", 4.0, 1.0, mu_b=1.0, Sigma=0.6, input_law=((0.0, 1.0, 3.0), (0.3, 0.5, 0.2))),
    rt.Ensemble("gru", 2.0, 1.0, mu_b={"r": 0.5, "u": -1.0, "c": 0.3}, Sigma=0.4),
]


@pytest.mark.parametrize("ens", SLOPES, ids=repr)
@pytest.mark.equation(5)
def test_slopes_are_those_of_the_correlation_map(ens):
    field = rt.mean_field(ens)
    assert field.converged
    map = MomentMap(expand(ens.cell), parameters_of(ens))
    found = stationary_moments.stationary(map, np.array([[1.0]]), np.array([[0.0]]))

    def following(C):
        pair = found.S_pair.copy()
        pair[1, 1] = C
        return map.pair_step(pair, found.q)[1, 1, 0]

    C, step = field.C_star, 1e-4 * field.Q
    numeric = (
        8 * (following(C + step) - following(C - step)) - following(C + 2 * step) + following(C - 2 * step)
    ) / (12 * step)
    assert abs(numeric - field.chi_star) < 1e-9
    assert abs(following(C) - C) < 1e-14


@pytest.mark.parametrize("ens", [SLOPES[0], SLOPES[2], SLOPES[4]], ids=repr)
@pytest.mark.equation(5)
def test_chi_is_the_slope_at_equal_replicas(ens):
    """One-sided difference of the map at C = Q with equal inputs, second order."""
    ens = ens.replace(Sigma=1.0)
    field = rt.mean_field(ens)
    map = MomentMap(expand(ens.cell), parameters_of(ens))
    found = stationary_moments.stationary(map, np.array([[1.0]]), np.array([[0.0]]))

    def following(C):
        pair = found.S.copy()
        pair[1, 1] = C
        return map.pair_step(pair, found.q)[1, 1, 0]

    Q, step = field.Q, 1e-4 * field.Q
    numeric = (3 * following(Q) - 4 * following(Q - step) + following(Q - 2 * step)) / (2 * step)
    assert abs(following(Q) - Q) < 1e-14
    assert abs(numeric - field.chi) < 1e-6


@pytest.mark.equation(2)
def test_trajectory_tends_to_the_fixed_point():
    ens = MINIMAL.replace(mu_b=3.5)
    field = rt.mean_field(ens, steps=400, Q0=0.3, C0=0.1)
    assert field.Q_t.shape == field.c_t.shape == field.C_t.shape == (401,)
    assert (field.Q_t[0], field.C_t[0]) == (0.3, 0.1)
    assert abs(field.Q_t[-1] - field.Q) < 1e-12
    assert abs(field.c_t[-1] - field.c_star) < 1e-12
    # The last stretch decays at the rate chi_star.
    rate = (field.c_t[101] - field.c_star) / (field.c_t[100] - field.c_star)
    assert abs(rate - field.chi_star) < 1e-3


def test_trajectory_restarts_where_it_stopped():
    ens = MINIMAL.replace(Sigma=0.5, mu_b=2.0)
    whole = rt.mean_field(ens, steps=15, Q0=0.4, C0=0.0)
    first = rt.mean_field(ens, steps=10, Q0=0.4, C0=0.0)
    second = rt.mean_field(ens, steps=5, Q0=first.Q_t[-1], C0=first.C_t[-1])
    np.testing.assert_allclose(np.append(first.c_t, second.c_t[1:]), whole.c_t, rtol=1e-13)
    np.testing.assert_allclose(np.append(first.Q_t, second.Q_t[1:]), whole.Q_t, rtol=1e-13)


def test_gate_lookup_and_text():
    field = rt.mean_field(rt.Ensemble("gru", 1.5, 0.5, mu_b={"r": 0.0, "u": 1.0, "c": 0.0}))
    assert set(field.q) == {"r", "u", "c"}
    assert field.q_of("c") == field.q["c"] < field.q["r"]
    assert "timescale" in repr(field)
    with pytest.raises(ValueError, match="gate"):
        field.q_of("f")


COSINE = rt.VanillaRNN(sympy.cos(sympy.Symbol("z")))


@pytest.mark.equation(5)
@pytest.mark.parametrize("Sigma", [-1.0, -0.5, 1.0])
def test_chi_star_has_the_sign_of_the_slope(Sigma):
    """E[φ'(e_a) φ'(e_b)] < 0 for cos and opposite inputs; for cos it is E[sin sin] = e^{-q} sinh(q c)."""
    ens = rt.Ensemble(COSINE, sigma_w=0.6, sigma_v=2.0, Sigma=Sigma)
    field = rt.mean_field(ens)
    exact = 0.36 * math.exp(-field.q) * math.sinh(field.q * field.c_star)
    assert field.chi_star == pytest.approx(exact, rel=1e-10)
    assert math.copysign(1.0, field.chi_star) == math.copysign(1.0, Sigma)
    assert field.timescale == pytest.approx(-1 / math.log(abs(exact)), rel=1e-10)
    start = 0.5 * field.Q * (1.0 if field.C_star < 0 else -1.0)
    C_t = rt.mean_field(ens, steps=12, Q0=field.Q, C0=start).C_t - field.C_star
    assert C_t[7] / C_t[6] == pytest.approx(exact, rel=1e-3)
    grid = rt.phase_diagram(ens, sigma_w=np.array([0.6]))
    assert grid.chi_star[0] == pytest.approx(exact, rel=1e-9)
    assert grid.timescale[0] == pytest.approx(field.timescale, rel=1e-9)


def test_chi_star_of_a_sampled_population_has_its_sign_too():
    """A second component that nothing reads, and that is not affine in the state, forces the population."""
    h, g, x, e = sympy.symbols("h g x e")
    cell = rt.Cell(
        "sampled",
        state=[h, g],
        input=x,
        gates=[rt.Gate("e", e, h)],
        update=[sympy.cos(e), sympy.tanh(h) ** 2],
    )
    ens = rt.Ensemble(cell, sigma_w=0.6, sigma_v=2.0, Sigma=-1.0)
    field = rt.mean_field(ens, sites=256)
    assert field.method == "population"
    exact = rt.mean_field(rt.Ensemble(COSINE, sigma_w=0.6, sigma_v=2.0, Sigma=-1.0)).chi_star
    assert exact < 0.0
    assert field.chi_star == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("matrix", "value"), [([[0.5]], 0.5), ([[-0.5]], -0.5), ([[-2.0, 0.0], [0.0, 1.0]], -2.0)]
)
def test_leading_eigenvalue_keeps_a_real_sign(matrix, value):
    assert leading_eigenvalue(np.array([matrix]))[0] == value


@pytest.mark.parametrize("matrix", [[[0.0, -2.0], [2.0, 0.0]], [[2.0, 0.0], [0.0, -2.0]]])
def test_leading_eigenvalue_of_pairs_is_a_modulus(matrix):
    assert leading_eigenvalue(np.array([matrix]))[0] == pytest.approx(2.0)


@pytest.mark.parametrize("Q0", [0.3, 2.0])
def test_overlap_starts_from_the_share_of_its_own_start(Q0):
    """In chaos equal replicas are an unstable state: C0 < Q0 must lead away from it, however large Q0 is."""
    ens = rt.Ensemble("vanilla", sigma_w=3.0, sigma_b=0.1, Sigma=1.0)
    field = rt.mean_field(ens, steps=200, Q0=Q0, C0=0.9 * Q0)
    assert field.c_t[-1] < 0.1
    assert field.c_star == pytest.approx(field.c_t[-1], abs=1e-9)
    assert rt.mean_field(ens, Q0=Q0, C0=Q0).c_star == 1.0


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"C0": 9.0}, 1.0),
        ({"C0": -1.5}, 1.0),
        ({"steps": 3, "C0": 9.0}, 1.0),
        ({"steps": 3, "C0": 0.5}, 0.0677755),
        ({"steps": 3, "Q0": 0.5, "C0": 0.6}, 0.5),
    ],
)
def test_overlaps_beyond_the_second_moment_are_refused(options, limit):
    ens = rt.Ensemble("vanilla", sigma_b=0.1)
    with pytest.raises(ValueError, match=rf"C0 = {options['C0']}.*must lie in \[-{limit:g}, {limit:g}\]"):
        rt.mean_field(ens, **options)
    Q = rt.mean_field(ens).Q
    assert rt.mean_field(ens, steps=3, C0=Q).c_t[0] == pytest.approx(1.0)


def test_overlaps_of_a_population_are_checked():
    ens = rt.Ensemble("lstm", sigma_b=0.5)
    with pytest.raises(ValueError, match=r"C0 = 2\.0 for"):
        rt.mean_field(ens, C0=2.0, sites=64)
    with pytest.raises(ValueError, match=r"C0 = 0\.9 for"):
        rt.mean_field(ens, steps=1, C0=0.9, sites=64)


def test_bad_arguments():
    ens = rt.Ensemble("vanilla")
    with pytest.raises(TypeError, match="ens"):
        rt.mean_field("vanilla")
    with pytest.raises(ValueError, match="steps"):
        rt.mean_field(ens, steps=-1)
    with pytest.raises(ValueError, match="Q0"):
        rt.mean_field(ens, Q0=-1.0)
    with pytest.raises(ValueError, match="C0"):
        rt.mean_field(ens, Q0=0.5, C0=0.6)
    with pytest.raises(ValueError, match="Q0"):
        rt.mean_field(ens, Q0={"c": 1.0})
