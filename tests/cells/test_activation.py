"""Activations: derivatives, tails, kinks, agreement of NumPy and mpmath, refusals."""

import json
import math
import pickle

import mpmath
import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.cells import ACTIVATIONS, logistic, normal_cdf, sech2, softplus

X = sympy.Symbol("x")
USER = {
    "leaky_tenth": sympy.Max(X, 0.1 * X),
    "own_elu": sympy.Piecewise((sympy.exp(X) - 1, X < 0), (X, True)),
    "own_softplus": sympy.log(1 + sympy.exp(X)),
    "own_mish": X * sympy.tanh(sympy.log(1 + sympy.exp(X))),
    "exp_sigmoid": 1 / (1 + sympy.exp(-X)),
    "ratio_sigmoid": sympy.exp(X) / (1 + sympy.exp(X)),
    "gelu_by_erf": X * (1 + sympy.erf(X / sympy.sqrt(2))) / 2,
    "sech": sympy.sech(X),
    "quartic_sech": 1 / sympy.cosh(X) ** 4,
    "scaled_tanh": 1.7159 * sympy.tanh(sympy.Rational(2, 3) * X),
    "sine": sympy.sin(X) + X / 2,
    "tanh_of_abs": sympy.tanh(sympy.Abs(X)),
    "clip": sympy.Min(sympy.Max(X, -sympy.sqrt(2)), sympy.pi),
    "sigmoid_slope": sympy.exp(-X) / (1 + sympy.exp(-X)) ** 2,
    "half_tanh": 0.5 + 0.5 * sympy.tanh(X),
    "constants": (sympy.pi - 4) * X - (sympy.sqrt(2) - 2) * sympy.sin((1 - sympy.sqrt(3)) * X) ** 2,
    "bent": (sympy.sqrt(X**2 + 1) - 1) / 2 + X,
}
ALL = {name: rt.Activation(name) for name in ACTIVATIONS} | {
    name: rt.Activation(expr) for name, expr in USER.items()
}
TEXTBOOK = {
    "linear": lambda z: z,
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "relu": lambda z: max(z, mpmath.mpf(0)),
    "hard_tanh": lambda z: min(max(z, mpmath.mpf(-1)), mpmath.mpf(1)),
    "sigmoid": lambda z: mpmath.exp(z) / (1 + mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "leaky_relu": lambda z: max(z, z / 100),
    "leaky_tenth": lambda z: max(z, mpmath.mpf(0.1) * z),
    "own_elu": lambda z: mpmath.expm1(z) if z < 0 else z,
    "selu": lambda z: (
        mpmath.mpf("1.0507009873554804934193349852946")
        * (z if z > 0 else mpmath.mpf("1.6732632423543772848170429916717") * mpmath.expm1(z))
    ),
    "own_softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "own_mish": lambda z: z * mpmath.tanh(mpmath.log(1 + mpmath.exp(z))),
    "elu": lambda z: mpmath.expm1(z) if z < 0 else z,
    "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "mish": lambda z: z * mpmath.tanh(mpmath.log(1 + mpmath.exp(z))),
    "exp_sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "ratio_sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "gelu_by_erf": lambda z: z * mpmath.ncdf(z),
    "sech": mpmath.sech,
    "quartic_sech": lambda z: mpmath.sech(z) ** 4,
    "scaled_tanh": lambda z: mpmath.mpf(1.7159) * mpmath.tanh(2 * z / 3),
    "sine": lambda z: mpmath.sin(z) + z / 2,
    "tanh_of_abs": lambda z: mpmath.tanh(abs(z)),
    "clip": lambda z: min(max(z, -mpmath.sqrt(2)), mpmath.pi),
    "sigmoid_slope": lambda z: mpmath.sech(z / 2) ** 2 / 4,
    "half_tanh": lambda z: 1 / (1 + mpmath.exp(-2 * z)),
    "constants": lambda z: (
        (mpmath.pi - 4) * z - (mpmath.sqrt(2) - 2) * mpmath.sin((1 - mpmath.sqrt(3)) * z) ** 2
    ),
    "bent": lambda z: (mpmath.sqrt(z**2 + 1) - 1) / 2 + z,
}
GRID = [-21.7, -8.3, -3.1, -1.4, -0.9, -0.37, -0.021, 0.013, 0.42, 0.88, 1.3, 2.9, 7.7, 20.3]
# φ'' of sqrt(1 + z²) comes from SymPy as a difference of two like terms; it loses a factor 1 + z² of digits.
CANCELS = {("bent", 2)}
SHAPES = [(), (1,), (3, 4), (0,)]


@pytest.mark.parametrize("name", ALL)
def test_value_is_the_textbook_function(name):
    activation = ALL[name]
    with mpmath.workdps(40):
        for z in map(mpmath.mpf, GRID):
            # Cancellation (1 + erf in the reference's own tail) is covered by the working precision.
            assert mpmath.almosteq(
                activation.numeric(mpmath)(z), TEXTBOOK[name](z), rel_eps=mpmath.mpf("1e-30")
            )


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", ALL)
def test_derivatives_against_differences_of_the_textbook_function(name, order):
    derivative = ALL[name].numeric(mpmath, order)
    with mpmath.workdps(30):
        for z in map(mpmath.mpf, GRID):
            expected = mpmath.diff(TEXTBOOK[name], z, order, h=mpmath.mpf("1e-12"))
            assert mpmath.almosteq(
                derivative(z), expected, rel_eps=mpmath.mpf("1e-10"), abs_eps=mpmath.mpf("1e-25")
            )


def test_the_derivative_test_can_fail():
    wrong = rt.Activation("erf").numeric(mpmath, 1)
    with mpmath.workdps(30):
        expected = mpmath.diff(mpmath.tanh, mpmath.mpf("0.42"), 1, h=mpmath.mpf("1e-12"))
        assert not mpmath.almosteq(wrong(mpmath.mpf("0.42")), expected, rel_eps=mpmath.mpf("1e-3"))


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", ALL)
def test_numpy_agrees_with_mpmath_in_relative_accuracy(name, order):
    """Within 16 ulp of the exact value, where one ulp of z moved through φ counts as well.

    The second term is what rounding a scaled argument inside the formula must cost, |z φ'(z)| ulp.
    """
    activation = ALL[name]
    z = np.concatenate([np.linspace(-40.0, 40.0, 321), np.linspace(-1.99, 1.99, 57)])
    z = z[np.all(np.abs(z[:, None] - np.array([*activation.kinks, 1e9])) > 1e-9, axis=1)]
    values = activation.numeric(np, order)(z)
    with mpmath.workdps(40):
        exact = [activation.numeric(mpmath, order)(mpmath.mpf(point)) for point in z]
        slope = activation.numeric(mpmath, order + 1)
        scale = [abs(f) + 2 * abs(x * slope(mpmath.mpf(x))) for f, x in zip(exact, z, strict=True)]
        error = [abs(mpmath.mpf(value) - f) for value, f in zip(values, exact, strict=True)]
    allowed = 16 * np.finfo(float).eps * np.array(scale, dtype=float) + 1e-300
    if (name, order) in CANCELS:
        assert np.any(np.array(error, dtype=float) > allowed), "no longer cancels: take it off the list"
    else:
        assert np.all(np.array(error, dtype=float) <= allowed)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", ALL)
def test_far_tails_are_finite_and_quiet(name, order):
    z = np.array([-800.0, -745.0, -710.0, -100.0, 100.0, 710.0, 745.0, 800.0])
    z.setflags(write=False)
    activation = ALL[name]
    with np.errstate(over="raise", divide="raise", invalid="raise", under="ignore"):
        values = activation.numeric(np, order)(z)
    exact = np.array([float(activation.numeric(mpmath, order)(mpmath.mpf(point))) for point in z])
    # Below 1e-300 doubles run out of exponents; above, every value is right.
    np.testing.assert_allclose(values, exact, rtol=1e-10, atol=1e-300)


def test_tails_keep_their_relative_digits():
    """Where 1 - tanh² is zero and 1/(1 + e^{-z}) has a nan derivative, ours are right to an ulp."""
    z = np.array([-300.0, -30.0, 30.0, 300.0])
    assert np.all(1 - np.tanh(z) ** 2 == 0)
    np.testing.assert_allclose(
        rt.Activation("tanh").numeric(np, 1)(z), 4 * np.exp(-2 * np.abs(z)), rtol=4e-16, atol=0
    )
    np.testing.assert_allclose(
        rt.Activation("sigmoid").numeric(np, 1)(z),
        np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2,
        rtol=1e-15,
    )
    left = rt.Activation(USER["gelu_by_erf"]).numeric(np, 0)(np.array([-20.0]))
    assert math.isclose(left[0], float(-20 * mpmath.ncdf(-20)), rel_tol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["linear", "relu", "hard_tanh", "tanh"])
def test_shape_and_dtype_follow_the_argument(name, shape):
    for order in (0, 1, 2):
        for dtype in (np.float32, np.float64):
            values = rt.Activation(name).numeric(np, order)(np.full(shape, 0.5, dtype=dtype))
            assert values.shape == shape and values.dtype == dtype
        assert rt.Activation(name).numeric(np, order)(np.ones(shape, dtype=int)).dtype == np.float64


@pytest.mark.parametrize("name", ALL)
def test_single_precision_stays_single(name):
    z = np.linspace(-6, 6, 25, dtype=np.float32)
    values = ALL[name].numeric(np, 1)(z)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, ALL[name].numeric(np, 1)(z.astype(float)), rtol=2e-4, atol=2e-6)


def test_mpmath_uses_the_precision_in_force():
    derivative = rt.Activation("gelu").numeric(mpmath, 1)
    for digits in (15, 50, 120):
        with mpmath.workdps(digits):
            z = mpmath.mpf(1) / 3
            expected = mpmath.ncdf(z) + z * mpmath.npdf(z)
            assert abs(derivative(z) - expected) < mpmath.mpf(10) ** (2 - digits)


def test_mpmath_takes_complex_arguments():
    with mpmath.workdps(30):
        z = mpmath.mpc("0.3", "0.7")
        for name, derivative in {
            "tanh": lambda z: mpmath.sech(z) ** 2,
            "erf": lambda z: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-(z**2)),
            "sigmoid": lambda z: mpmath.exp(-z) / (1 + mpmath.exp(-z)) ** 2,
            "gelu": lambda z: (1 + mpmath.erf(z / mpmath.sqrt(2))) / 2 + z * mpmath.npdf(z),
        }.items():
            assert abs(rt.Activation(name).numeric(mpmath, 1)(z) - derivative(z)) < mpmath.mpf("1e-28")


def test_kinks():
    expected = {
        "relu": (0.0,),
        "hard_tanh": (-1.0, 1.0),
        "softsign": (0.0,),
        "leaky_relu": (0.0,),
        "leaky_tenth": (0.0,),
        "elu": (0.0,),
        "own_elu": (0.0,),
        "selu": (0.0,),
        "tanh_of_abs": (0.0,),
        "clip": (-math.sqrt(2), math.pi),
    }
    for name, activation in ALL.items():
        found = set(activation.kinks) & set(expected.get(name, ()))
        assert found == set(expected.get(name, ())), name
        assert activation.is_smooth == (name not in expected)
    assert rt.Activation(sympy.Max(X, 0, X**3 - 2)).breakpoints[-1] == sympy.CRootOf(X**3 - X - 2, 0)


def test_declared_kinks_join_those_found():
    activation = rt.Activation(sympy.Max(X, 0), kinks=[0, 0.1, sympy.sqrt(2)])
    assert activation.kinks == (0.0, 0.1, math.sqrt(2))
    assert activation != rt.Activation(sympy.Max(X, 0))


def test_values_at_kinks():
    assert rt.Activation("relu").numeric(np, 1)(np.array([0.0, -0.0])).tolist() == [0.0, 0.0]
    assert rt.Activation("hard_tanh").numeric(np, 1)(np.array([-1.0, 1.0])).tolist() == [0.0, 0.0]
    assert rt.Activation("softsign").numeric(np, 1)(np.array(0.0)) == 1.0
    for name in ("relu", "hard_tanh", "softsign", "leaky_relu", "elu", "clip"):
        for order in (0, 1, 2):
            assert np.all(np.isfinite(ALL[name].numeric(np, order)(np.array(ALL[name].kinks))))


def test_pieces_are_the_discrete_law_of_the_derivative():
    oo = sympy.oo
    assert rt.Activation("linear").pieces == ((-oo, oo, 1),)
    assert rt.Activation("relu").pieces == ((-oo, 0, 0), (0, oo, 1))
    assert rt.Activation("hard_tanh").pieces == ((-oo, -1, 0), (-1, 1, 1), (1, oo, 0))
    low, high, slope = ALL["leaky_tenth"].pieces[0]
    assert (low, high, float(slope)) == (-oo, 0, 0.1)
    assert [slope for *_, slope in ALL["clip"].pieces] == [0, 1, 0]
    linear = {name for name, activation in ALL.items() if activation.is_piecewise_linear}
    assert linear == {"linear", "relu", "hard_tanh", "leaky_relu", "leaky_tenth", "clip"}
    with pytest.raises(ValueError, match="'tanh' is not piecewise linear"):
        _ = rt.Activation("tanh").pieces


@pytest.mark.parametrize("name", ALL)
def test_round_trips(name):
    activation = ALL[name]
    record = json.loads(json.dumps(activation.to_dict()))
    copies = rt.Activation.from_dict(record), pickle.loads(pickle.dumps(activation)), eval(repr(activation))
    for copy in copies:
        assert copy == activation and hash(copy) == hash(activation)
        assert copy.name == activation.name and copy.kinks == activation.kinks
    assert activation.name in str(activation)


def test_equality_is_of_functions_not_of_symbols():
    y = sympy.Symbol("y")
    assert rt.Activation(sympy.tanh(y)) == rt.Activation(sympy.tanh(X)) == rt.Activation("tanh")
    assert rt.Activation(sympy.tanh(y)).name == "tanh"
    assert rt.Activation(1 / (1 + sympy.exp(-y))) == rt.Activation("sigmoid")
    assert rt.Activation(y * (1 + sympy.erf(y / sympy.sqrt(2))) / 2) == rt.Activation("gelu")
    assert rt.Activation("tanh") != rt.Activation("erf") and rt.Activation("tanh") != "tanh"
    assert rt.Activation(rt.Activation("relu")) == rt.Activation("relu")


@pytest.mark.parametrize("function", [logistic, sech2, normal_cdf, softplus])
def test_own_functions_evaluate_and_differentiate(function):
    z = sympy.Symbol("z", real=True)
    for point in (sympy.Rational(-7, 3), sympy.Rational(5, 4)):
        exact = function(point).rewrite(sympy.erf if function is normal_cdf else sympy.exp)
        assert abs(function(point).evalf(40) - exact.evalf(40)) < sympy.Float("1e-38", 40)
        slope = function(z).diff(z).subs(z, point).evalf(30)
        step = sympy.Rational(1, 10**10)
        difference = (function(point + step) - function(point - step)).evalf(50) / (2 * step)
        assert abs(slope - difference) < 1e-18
    assert function(z).is_positive
    assert sympy.latex(function(z))
    with pytest.raises(sympy.core.function.ArgumentIndexError):
        function(z).fdiff(2)


def test_own_functions_at_special_points():
    assert [logistic(p) for p in (0, sympy.oo, -sympy.oo)] == [sympy.Rational(1, 2), 1, 0]
    assert [normal_cdf(p) for p in (0, sympy.oo, -sympy.oo)] == [sympy.Rational(1, 2), 1, 0]
    assert [sech2(p) for p in (0, sympy.oo, -sympy.oo)] == [1, 0, 0]
    assert sech2(-X) == sech2(X)
    assert sech2(X).rewrite(sympy.tanh) == 1 - sympy.tanh(X) ** 2


def test_activation_is_frozen():
    activation = rt.Activation("tanh")
    with pytest.raises(AttributeError, match="frozen"):
        activation.name = "other"
    with pytest.raises(AttributeError, match="frozen"):
        del activation.expr


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"activation": "tan_h"}, ValueError, r"activation = 'tan_h': must be one of \['elu', 'erf'"),
        ({"activation": 3}, TypeError, "activation = 3: expected a name"),
        ({"activation": np.tanh}, TypeError, "expected a name, a SymPy expression or an Activation"),
        ({"activation": sympy.Integer(2)}, ValueError, "exactly one symbol, has \\[\\]"),
        ({"activation": X * sympy.Symbol("y")}, ValueError, "exactly one symbol, has \\['x', 'y'\\]"),
        ({"activation": sympy.sqrt(X)}, ValueError, "must be real and finite"),
        ({"activation": sympy.log(X)}, ValueError, "must be real and finite"),
        ({"activation": sympy.I * X}, ValueError, "ImaginaryUnit is not a function that a cell may use"),
        ({"activation": sympy.gamma(X)}, ValueError, "gamma is not a function"),
        ({"activation": sympy.sign(X)}, ValueError, "must be continuous, but jumps at z = 0"),
        ({"activation": sympy.Piecewise((0, X < 1), (X, True))}, ValueError, "jumps at z = 1"),
        ({"activation": sympy.Piecewise((X, X < 1))}, ValueError, "must be real and finite"),
        ({"activation": sympy.Abs(sympy.cos(X) - X)}, ValueError, "give kinks="),
        ({"activation": "tanh", "kinks": [math.inf]}, ValueError, "kinks = inf"),
        ({"activation": "tanh", "kinks": ["a"]}, TypeError, "kinks = 'a'"),
        ({"activation": "tanh", "kinks": [sympy.I]}, ValueError, "not a finite real number"),
        ({"activation": "tanh", "name": 3}, TypeError, "name = 3"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        rt.Activation(**arguments)


def test_numeric_refusals():
    with pytest.raises(TypeError, match="expected the module numpy, cupy or mpmath"):
        rt.Activation("tanh").numeric(math)
    with pytest.raises(ValueError, match="order = -1"):
        rt.Activation("tanh").numeric(np, -1)
    with pytest.raises(ValueError, match="activation record"):
        rt.Activation.from_dict({})
