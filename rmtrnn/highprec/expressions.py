# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""An activation as analytic pieces between its kinks, and their evaluation at complex points.

The expressions are those of `rmtrnn.cells.Activation`; on a piece |u| is u or −u, sign(u) is ±1, and so on,
so that each piece continues into the complex plane. Evaluators exist for mpmath and for Arb balls
(python-flint).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import sympy

from rmtrnn.cells import Activation, logistic, normal_cdf, sech2
from rmtrnn.cells.functions import softplus
from rmtrnn.cells.numeric import compile_expressions
from rmtrnn.cells.pieces import SmoothPiece

AnalyticPiece = SmoothPiece


def analytic_pieces(activation: Activation) -> tuple[SmoothPiece, ...]:
    """The analytic pieces of φ and φ' from −∞ to ∞."""
    return activation.smooth_pieces


def mpmath_function(z: sympy.Symbol, expressions: Sequence[sympy.Expr]) -> Callable[[Any], list[Any]]:
    """The expressions as one function of an mpmath number, real or complex."""
    return compile_expressions([z], list(expressions), mpmath)


class UnsupportedExpression(ValueError):
    """An expression that Arb balls cannot evaluate here."""


def arb_function(z: sympy.Symbol, expr: sympy.Expr) -> Callable[[Any, bool], Any]:
    """``expr`` as a function ``f(x, analytic)`` of an acb ball, for `acb.integral`.

    Where ``analytic`` is true the result is not finite unless the function is analytic on the whole ball.
    Constants are enclosed at the precision in force when the function is called; Floats are refused, see
    `rmtrnn.highprec.parameters.exact_activation`.
    Raises UnsupportedExpression for a function that has no enclosure here.
    """
    if not expr.has(z):
        return lambda x, analytic: _constant(expr)
    if expr == z:
        return lambda x, analytic: x
    return _node(expr, [arb_function(z, part) for part in expr.args])


def _node(expr: sympy.Expr, parts: list[Callable[..., Any]]) -> Callable[[Any, bool], Any]:
    """The function of one node of an expression, given the functions of its arguments."""
    if isinstance(expr, sympy.Add | sympy.Mul):
        return functools.partial(_fold, parts, isinstance(expr, sympy.Mul))
    if isinstance(expr, sympy.Pow):
        return _power(expr, parts)
    head = type(expr)
    if head in _ENTIRE_OR_MEROMORPHIC:
        ball = _ENTIRE_OR_MEROMORPHIC[head]
        return lambda x, analytic: ball(parts[0](x, analytic))
    if head is softplus:
        return lambda x, analytic: (1 + parts[0](x, analytic).exp()).log(analytic=analytic)
    if head is sympy.log:
        return lambda x, analytic: parts[0](x, analytic).log(analytic=analytic)
    raise UnsupportedExpression(f"{head.__name__} has no certified evaluation; expression: {expr}")


def _fold(parts: list[Callable[..., Any]], product: bool, x: Any, analytic: bool) -> Any:
    value = parts[0](x, analytic)
    for part in parts[1:]:
        value = value * part(x, analytic) if product else value + part(x, analytic)
    return value


def _power(expr: sympy.Pow, parts: list[Callable[..., Any]]) -> Callable[[Any, bool], Any]:
    base, exponent = parts[0], expr.exp
    if expr.base is sympy.E:
        return lambda x, analytic: parts[1](x, analytic).exp()
    if exponent.is_Integer:
        return lambda x, analytic: base(x, analytic) ** int(exponent)
    if exponent.is_Rational and exponent.q == 2:
        return lambda x, analytic: base(x, analytic).sqrt(analytic=analytic) ** int(exponent.p)
    if not exponent.is_number:
        raise UnsupportedExpression(f"a power with a variable exponent has no certified evaluation: {expr}")
    return lambda x, analytic: (base(x, analytic).log(analytic=analytic) * _constant(exponent)).exp()


def _constant(expr: sympy.Expr) -> Any:
    """An enclosure of a real constant expression built from rationals, π, e and the functions above."""
    from flint import acb, arb, fmpq

    if expr.is_Rational:
        return acb(arb(fmpq(int(expr.p), int(expr.q))))
    if expr is sympy.pi:
        return acb(arb.pi())
    if expr is sympy.E:
        return acb(arb(1).exp())
    if not expr.args:
        raise UnsupportedExpression(f"the constant {expr} has no certified evaluation")
    return _node(expr, [functools.partial(_fixed, part) for part in expr.args])(acb(0), False)


def _fixed(expr: sympy.Expr, x: Any, analytic: bool) -> Any:
    return _constant(expr)


def _logistic(y: Any) -> Any:
    return 1 / (1 + (-y).exp())


def _normal_cdf(y: Any) -> Any:
    from flint import acb

    return (-y / acb(2).sqrt()).erfc() / 2


_ENTIRE_OR_MEROMORPHIC: dict[Any, Callable[[Any], Any]] = {
    sympy.exp: lambda y: y.exp(),
    sympy.tanh: lambda y: y.tanh(),
    sympy.sinh: lambda y: y.sinh(),
    sympy.cosh: lambda y: y.cosh(),
    sympy.sech: lambda y: y.sech(),
    sympy.sin: lambda y: y.sin(),
    sympy.cos: lambda y: y.cos(),
    sympy.erf: lambda y: y.erf(),
    sympy.erfc: lambda y: y.erfc(),
    logistic: _logistic,
    sech2: lambda y: y.sech() ** 2,
    normal_cdf: _normal_cdf,
}
