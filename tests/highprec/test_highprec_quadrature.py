"""Gaussian expectations next to the cut, at any precision, on the deformed path and on the real line."""

import mpmath
import pytest
from mpmath import mp

from rmtrnn.cells import Activation
from rmtrnn.highprec import numbers
from rmtrnn.highprec.formulas import log_lambda, log_terms, slope, slope_derivative
from rmtrnn.highprec.quadrature import GaussianTransform

W_NEAR_THE_CUT = ("0.5", "0.001")


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(70):
        yield


def _near():
    return mp.mpc(*W_NEAR_THE_CUT)


def test_next_to_the_cut_where_quad_is_wrong():
    """w = 0.5 + 0.001i, tanh, q = 1: against Arb's certified integral, which `mpmath.quad` misses by far."""
    flint = pytest.importorskip("flint")
    found = GaussianTransform(Activation("tanh"), 1, 0, 50).transform(_near())
    with flint.ctx.workprec(260):
        w = flint.acb(flint.arb("0.5"), flint.arb("0.001"))

        def f(z, _):
            X = z.sech() ** 4
            return X / (w - X) * (-z * z / 2).exp()

        exact = flint.acb.integral(f, -20, 20) / (2 * flint.arb.pi()).sqrt()
        assert exact.rad() < 1e-60  # the tails beyond 20 weigh less than 1e-85
        value = numbers.mpc(exact)
    assert abs(found.m - value) < mp.mpf(10) ** -50 * abs(value)

    with mp.workdps(50):
        w = _near()
        naive = mp.quad(
            lambda z: mp.sech(z) ** 4 / (w - mp.sech(z) ** 4) * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi),
            [-mp.inf, mp.inf],
        )
    assert abs(naive - value) > 1e-3  # negative control: this is what the path is for


@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid", "softsign", "silu", "gelu"])
def test_path_and_line_agree_far_from_the_cut(name):
    w, phi = mp.mpc("0.7", "0.4"), Activation(name)
    path, line = (GaussianTransform(phi, "0.8", "0.1", 30, deform=d).transform(w, 2) for d in (True, False))
    for a, b in zip(path, line, strict=True):
        assert abs(a - b) < mp.mpf(10) ** -30 * abs(b)
    assert abs(path.m + 1 - path.one_plus_m) < mp.mpf(10) ** -30


@pytest.mark.parametrize("name", ["tanh", "softsign", "gelu"])
def test_path_really_leaves_the_values_of_x(name):
    """All nodes of the deformed path carry X into the closed lower half plane."""
    table = GaussianTransform(Activation(name), 1, 0, 20)
    assert all(path.epsilon > 0 for path in table.pieces)
    nodes = [numbers.mpc(X) for index in range(5) for X in table.level(index).X]
    assert max(mp.im(X) for X in nodes) <= mp.mpf(10) ** -15
    assert min(mp.im(X) for X in nodes) < -0.01


def test_without_flint_the_numbers_are_the_same(monkeypatch):
    fast = GaussianTransform(Activation("tanh"), "0.5", 0, 30).transform(_near())
    monkeypatch.setattr(numbers, "flint", None)
    slow = GaussianTransform(Activation("tanh"), "0.5", 0, 30).transform(_near())
    assert isinstance(slow.m, mpmath.mpc)
    assert abs(fast.m - slow.m) < mp.mpf(10) ** -30 * abs(fast.m)


@pytest.mark.parametrize("order", [0, 1])
def test_derivatives_by_differences(order):
    """m' and m'' of the transform, F' and F'' of the map, against central differences."""
    table = GaussianTransform(Activation("erf"), "0.6", 0, 50)
    w, h, T, n = mp.mpc("0.6", "0.2"), mp.mpf(10) ** -12, 5, 5
    low, f, high = (table.transform(point, 2) for point in (w - h, w, w + h))
    if order == 0:
        assert abs((high.m - low.m) / (2 * h) - f.d1) < 1e-20
        values = [log_lambda(log_terms(p, t, mp.log), T, n, 0) for p, t in ((w - h, low), (w + h, high))]
        assert abs(w * (values[1] - values[0]) / (2 * h) - slope(w, f, T, n)) < 1e-20
    else:
        assert abs((high.d1 - low.d1) / (2 * h) - f.d2) < 1e-20
        difference = (slope(w + h, high, T, n) - slope(w - h, low, T, n)) / (2 * h)
        assert abs(difference - slope_derivative(w, f, T, n)) < 1e-20
