# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""Expressions as plain JSON: nested lists ``["Add", ["Symbol", "h"], ["Integer", 1]]``.

Only heads of a fixed list are written or read, so that reading a file can never run code
(``sympy.sympify`` of text would evaluate it). The same list says which expressions a cell may use.
"""

from __future__ import annotations

from typing import Any

import sympy

from rmtrnn.cells.functions import logistic, normal_cdf, sech2, softplus

_CONSTANTS: dict[str, Any] = {
    "pi": sympy.pi,
    "E": sympy.E,
    "EulerGamma": sympy.EulerGamma,
    "GoldenRatio": sympy.GoldenRatio,
    "true": sympy.true,
    "false": sympy.false,
}
_HEADS: dict[str, Any] = {
    head.__name__: head
    for head in (
        sympy.Add, sympy.Mul, sympy.Pow, sympy.exp, sympy.log,
        sympy.sin, sympy.cos, sympy.tan, sympy.asin, sympy.acos, sympy.atan,
        sympy.sinh, sympy.cosh, sympy.tanh, sympy.asinh, sympy.acosh, sympy.atanh,
        sympy.erf, logistic, sech2, normal_cdf, softplus,
        sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Max, sympy.Min,
        sympy.StrictLessThan, sympy.LessThan, sympy.StrictGreaterThan, sympy.GreaterThan,
        sympy.And, sympy.Or, sympy.Not,
    )
}  # fmt: skip


def to_json(expr: sympy.Basic) -> list[Any]:
    """Return ``expr`` as nested lists of plain JSON types; ValueError for a head that is not known."""
    if isinstance(expr, sympy.Symbol):
        return ["Symbol", expr.name]
    if isinstance(expr, sympy.Integer):
        return ["Integer", int(expr)]
    if isinstance(expr, sympy.Rational):
        return ["Rational", expr.p, expr.q]
    if isinstance(expr, sympy.Float):
        return ["Float", *_float_parts(expr)]
    for name, constant in _CONSTANTS.items():
        if expr is constant:
            return ["Constant", name]
    if isinstance(expr, sympy.Piecewise):
        return ["Piecewise", *([to_json(value), to_json(condition)] for value, condition in expr.args)]
    head = type(expr).__name__
    if _HEADS.get(head) is not type(expr):
        raise ValueError(
            f"expression {expr}: {head} is not a function that a cell may use; allowed are "
            f"numbers, symbols, Piecewise, {', '.join(sorted(_HEADS))}"
        )
    return [head, *(to_json(argument) for argument in expr.args)]


def from_json(tree: Any) -> Any:
    """Return the SymPy expression of `to_json`'s lists (symbols real); ValueError if malformed."""
    if not isinstance(tree, list | tuple) or not tree or not isinstance(tree[0], str):
        raise ValueError(f"expression {tree!r}: expected a list that starts with a function name")
    head, *rest = tree
    if head == "Symbol" and len(rest) == 1 and isinstance(rest[0], str) and rest[0]:
        return sympy.Symbol(rest[0], real=True)
    if head in ("Integer", "Rational", "Float"):
        return _number(tree, head, rest)
    if head == "Constant" and len(rest) == 1 and isinstance(rest[0], str) and rest[0] in _CONSTANTS:
        return _CONSTANTS[rest[0]]
    if (
        head == "Piecewise"
        and rest
        and all(isinstance(case, list | tuple) and len(case) == 2 for case in rest)
    ):
        return sympy.Piecewise(*((from_json(value), from_json(condition)) for value, condition in rest))
    if head in _HEADS and rest:
        return _HEADS[head](*(from_json(argument) for argument in rest))
    raise ValueError(
        f"expression {tree!r}: {head!r} is unknown or has the wrong number of parts; allowed are "
        f"Symbol, Integer, Rational, Float, Constant, Piecewise, {', '.join(sorted(_HEADS))}"
    )


def _float_parts(number: sympy.Float) -> list[int]:
    """Sign, mantissa, exponent and binary precision: exact at any precision."""
    sign, mantissa, exponent, _ = number._mpf_
    return [int(sign), int(mantissa), int(exponent), int(number._prec)]


def _number(tree: Any, head: str, rest: list[Any]) -> sympy.Expr:
    lengths = {"Integer": 1, "Rational": 2, "Float": 4}
    if len(rest) != lengths[head] or any(type(part) is not int for part in rest):
        raise ValueError(f"expression {tree!r}: {head} takes {lengths[head]} integers")
    if head == "Integer":
        return sympy.Integer(rest[0])
    if head == "Rational":
        if rest[1] == 0:
            raise ValueError(f"expression {tree!r}: the denominator is zero")
        return sympy.Rational(*rest)
    sign, mantissa, exponent, precision = rest
    exact = (-1) ** sign * sympy.Integer(mantissa) * sympy.Integer(2) ** exponent
    return sympy.Float(exact, precision=precision)
