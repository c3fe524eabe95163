"""Expressions as plain JSON: exact, whitelisted, and never evaluated."""

import json

import pytest
import sympy

from rmtrnn.cells import logistic, normal_cdf, sech2, serialise, softplus

X = sympy.Symbol("x", real=True)
EXPRESSIONS = [
    X,
    sympy.Integer(10) ** 40 + X,
    sympy.Rational(-3, 7) * X,
    sympy.Float(0.1) * X,
    sympy.Float("0.1", 60) + X,
    -sympy.Float(2.5e-300) * X,
    sympy.pi * X + sympy.E + sympy.EulerGamma,
    sympy.sqrt(2) * sympy.sin(X) ** 3 / sympy.exp(X),
    logistic(X) + sech2(X) * normal_cdf(X) - softplus(X),
    sympy.Piecewise((0, X <= 0), (X**2, sympy.Rational(1, 2) > X), (X, True)),
    sympy.Piecewise((1, (X > -1) & (X < 1) | (X >= 3)), (0, True)),
    sympy.Max(X, 0, -X) + sympy.Min(X, 1) + sympy.Abs(X) + sympy.sign(X) + sympy.Heaviside(X),
]


@pytest.mark.parametrize("expr", EXPRESSIONS, ids=str)
def test_round_trip_through_text_is_exact(expr):
    copy = serialise.from_json(json.loads(json.dumps(serialise.to_json(expr))))
    assert copy == expr
    assert {n._prec for n in copy.atoms(sympy.Float)} == {n._prec for n in expr.atoms(sympy.Float)}


@pytest.mark.parametrize("expr", [sympy.gamma(X), sympy.Function("f")(X), sympy.I, sympy.oo, sympy.floor(X)])
def test_unknown_heads_are_not_written(expr):
    with pytest.raises(ValueError, match="is not a function that a cell may use; allowed are"):
        serialise.to_json(expr)


@pytest.mark.parametrize(
    "tree",
    [
        "x + 1",
        [],
        [3],
        ["eval", ["Symbol", "x"]],
        ["__import__", "os"],
        ["Symbol", ""],
        ["Symbol"],
        ["Symbol", 3],
        ["Constant", "I"],
        ["Integer", "3"],
        ["Integer", True],
        ["Integer", 1, 2],
        ["Rational", 1, 0],
        ["Float", 0, 1],
        ["Piecewise", ["Symbol", "x"]],
        ["Add"],
        ["sin", "x"],
        None,
    ],
)
def test_malformed_trees_are_refused(tree):
    with pytest.raises(ValueError, match="expression"):
        serialise.from_json(tree)
