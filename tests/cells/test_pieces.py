"""Smooth pieces of activations: branches, one-sided slopes, flat parts; poles are refused by name."""

import itertools
import time

import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.cells import ACTIVATIONS

Z = sympy.Symbol("z")
PIECES = {
    "abs_tanh": (sympy.Abs(sympy.tanh(Z)), (0.0,), (False, False)),
    "tanh_relu": (sympy.tanh(sympy.Max(Z, 0)), (0.0,), (True, False)),
    "squared_relu": (sympy.Max(Z, 0) ** 2, (0.0,), (True, False)),
    "elu": (sympy.Piecewise((sympy.exp(Z) - 1, Z < 0), (Z, True)), (0.0,), (False, True)),
    "nested": (sympy.Min(sympy.Max(Z, 0), 2 + sympy.Abs(Z) / 2), (0.0, 4.0), (True, True, True)),
    "heaviside": (Z * sympy.Heaviside(Z - 1) + sympy.Heaviside(1 - Z), (1.0,), (True, True)),
    "sign": (Z * sympy.sign(Z) + sympy.sin(Z), (0.0,), (False, False)),
    "capped_exp": (sympy.Min(sympy.exp(Z), 2), (float(sympy.log(2)),), (False, True)),
    "power": (sympy.Abs(Z) ** sympy.Rational(3, 2), (0.0,), (False, False)),
    "cubic_border": (sympy.Max(Z**3 - 2, Z), None, None),
}


@pytest.mark.parametrize("name", PIECES)
def test_branches_continue_the_slope_to_their_ends(name):
    expr, kinks, flat = PIECES[name]
    activation = rt.Activation(expr)
    pieces = activation.smooth_pieces
    assert kinks is None or set(kinks) <= set(activation.kinks)
    assert flat is None or tuple(piece.is_flat for piece in pieces) == flat
    assert [piece.high for piece in pieces[:-1]] == [piece.low for piece in pieces[1:]]
    slope = activation.numeric(np, 1)
    for piece in pieces:
        low, high = np.clip(piece.ends, -6.0, 6.0)
        inside = low + (high - low) * np.array([1e-9, 0.3, 0.7, 1 - 1e-9])
        values, curvature = piece.numeric(np)(inside)
        np.testing.assert_allclose(values, slope(inside), rtol=1e-12, atol=1e-14)
        step = 1e-6 * (high - low)
        difference = (slope(inside[1:3] + step) - slope(inside[1:3] - step)) / (2 * step)
        np.testing.assert_allclose(curvature[1:3], difference, rtol=1e-6, atol=1e-6)


def test_one_sided_slopes_differ_where_the_slope_jumps():
    left, right = rt.Activation(sympy.Abs(sympy.tanh(Z))).smooth_pieces
    at_kink = np.array([0.0])
    assert (left.numeric(np)(at_kink)[0][0], right.numeric(np)(at_kink)[0][0]) == (-1.0, 1.0)
    # The expression's own case at the kink is neither: sign(0) = 0.
    assert rt.Activation(sympy.Abs(sympy.tanh(Z))).numeric(np, 1)(at_kink)[0] == 0.0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_branches_continue_into_the_complex_plane(name):
    """Cauchy–Riemann by differences: i ∂slope/∂x = ∂slope/∂y."""
    for piece in rt.Activation(name).smooth_pieces:
        low, high = np.clip(piece.ends, -4.0, 4.0)
        point = np.array([0.5 * (low + high) - 0.2j])
        along, upwards = (
            piece.numeric(np)(point + step)[0] - piece.numeric(np)(point - step)[0] for step in (1e-6, 1e-6j)
        )
        np.testing.assert_allclose(1j * along, upwards, atol=1e-9)


POLES = {
    "1/z": (1 / Z, "z = 0"),
    "tan": (sympy.tan(Z), "z = -"),
    "log_abs": (sympy.log(sympy.Abs(Z)), "z = 0"),
    "sqrt_abs": (sympy.sqrt(sympy.Abs(Z)), "z = 0"),
    "z_log": (Z * sympy.log(sympy.Abs(Z)), "z = 0"),
    "far": (1 / (Z - 100), "z = 100"),
    "irrational": (Z / (Z**2 - 2), "z = -1.41421"),
    "domain": (sympy.asin(Z / 60), "z = -60"),
    "cosecant": (1 / sympy.sin(Z), "z = -"),
    "transcendental": (1 / (sympy.exp(Z) - 2), "z = 0.693147"),
    "removable": (sympy.sin(Z) / Z, "z = 0"),
    "cube_root": (sympy.Abs(Z) ** sympy.Rational(1, 3), "z = 0"),
    "square_root_end": (sympy.sqrt(60 - Z), "z = 60"),
}


@pytest.mark.parametrize("name", POLES)
def test_poles_are_refused_with_their_place(name):
    expr, place = POLES[name]
    start = time.perf_counter()
    with pytest.raises(ValueError, match="unbounded slope at " + place):
        rt.Activation(expr)
    assert time.perf_counter() - start < 20.0


@pytest.mark.parametrize(
    "expr",
    [
        Z / (1 + sympy.Abs(Z)),
        sympy.sqrt(Z**2 + 1),
        1 / (Z**2 + 0.5),
        1 / (1 + sympy.exp(sympy.sin(Z))),
        sympy.log(1 + Z**2),
        sympy.Piecewise((1 / Z, Z < -1), (Z, True)),  # the pole of a case that does not apply there
    ],
    ids=str,
)
def test_denominators_without_zeros_are_accepted(expr):
    assert rt.Activation(expr).smooth_pieces


def test_parameters_of_named_activations():
    assert rt.Activation("leaky_relu", slope=0.25).pieces == (
        (-sympy.oo, 0, sympy.Rational(1, 4)),
        (0, sympy.oo, 1),
    )
    assert float(rt.Activation("elu", alpha=0.5).numeric(np, 1)(np.array(-1e-9))) == pytest.approx(0.5)
    assert float(rt.Activation("softplus", beta=2.0).numeric(np, 0)(np.array(0.0))) == pytest.approx(
        np.log(2) / 2
    )
    assert rt.Activation("elu", alpha=1.0) == rt.Activation("elu")
    copy = rt.Activation.from_dict(rt.Activation("elu", alpha=0.5).to_dict())
    assert copy == rt.Activation("elu", alpha=0.5)
    with pytest.raises(TypeError, match="takes the parameters none"):
        rt.Activation("tanh", alpha=1.0)
    with pytest.raises(ValueError, match="alpha = -1"):
        rt.Activation("elu", alpha=-1.0)
    with pytest.raises(TypeError, match="belong to activations given by name"):
        rt.Activation(sympy.tanh(Z), alpha=1.0)


def test_names_are_distinct_functions():
    values = {name: rt.Activation(name).numeric(np, 0)(np.array([-1.3, 0.4, 2.0])) for name in ACTIVATIONS}
    for one, other in itertools.combinations(values, 2):
        assert np.max(np.abs(values[one] - values[other])) > 1e-3
