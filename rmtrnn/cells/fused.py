"""SymPy expressions as one CUDA kernel: all values of a site in one pass, straight into given arrays.

CuPy runs a compiled function of arrays as one kernel, with one temporary array, per operation. Here the same
expressions are printed as C++ for `cupy.ElementwiseKernel`, so that a step of a network is one kernel per
stage. Every operation is done in the type T of the arrays: numbers are written T(0.5), never 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean
from sympy.printing.c import C99CodePrinter

# What expressions may call beyond C's functions; nan goes through all of them.
PREAMBLE = """
template<typename R> __device__ R logistic(R z) { return R(1) / (R(1) + exp(-z)); }
template<typename R> __device__ R sech2(R z) {
    const R decay = exp(R(-2) * fabs(z));
    return R(4) * decay / ((R(1) + decay) * (R(1) + decay));
}
template<typename R> __device__ R normal_cdf(R z) { return R(0.5) * erfc(R(-0.70710678118654752440) * z); }
template<typename R> __device__ R softplus(R z) { return log1p(exp(-fabs(z))) + (z < R(0) ? R(0) : z); }
template<typename R> __device__ R larger(R a, R b) { return a > b || a != a ? a : b; }
template<typename R> __device__ R smaller(R a, R b) { return a < b || a != a ? a : b; }
template<typename R> __device__ R sign_of(R z) { return z > R(0) ? R(1) : z < R(0) ? R(-1) : z; }
template<typename R> __device__ R step_at(R z, R at_zero) {
    return z > R(0) ? R(1) : z < R(0) ? R(0) : z == R(0) ? at_zero : z;
}
"""
# Integer powers up to this are products.
PRODUCTS = 4


class _KernelPrinter(C99CodePrinter):
    """C++ in which all numbers have the type T."""

    def _print(self, expr: Any, **kwargs: Any) -> str:
        if isinstance(expr, sympy.Expr) and expr.is_number:
            return _number(float(expr.evalf(25)))
        return super()._print(expr, **kwargs)

    def _print_Pow(self, expr: sympy.Pow) -> str:
        base, exponent = expr.args
        inner, size = self._print(base), abs(exponent)
        if size == sympy.Rational(1, 2):
            text = f"sqrt({inner})"
        elif size.is_Integer and size <= PRODUCTS:
            text = "(" + "*".join([f"({inner})"] * int(size)) + ")"
        else:
            return f"pow({inner}, {self._print(exponent)})"
        return f"(T(1)/{text})" if exponent.is_negative else text

    def _print_Piecewise(self, expr: sympy.Piecewise) -> str:
        text = _number(math.nan)
        for value, condition in reversed(expr.args):  # pyright: ignore[reportGeneralTypeIssues]
            text = f"({self._print(condition)} ? {self._print(value)} : {text})"
        return text

    def _print_Max(self, expr: sympy.Max) -> str:
        return self._nested("larger", expr.args)

    def _print_Min(self, expr: sympy.Min) -> str:
        return self._nested("smaller", expr.args)

    def _nested(self, name: str, arguments: Sequence[Any]) -> str:
        text = self._print(arguments[-1])
        for argument in reversed(arguments[:-1]):
            text = f"{name}<T>({self._print(argument)}, {text})"
        return text

    def _print_Heaviside(self, expr: sympy.Heaviside) -> str:
        argument, at_zero = (self._print(part) for part in expr.args)
        return f"step_at<T>({argument}, {at_zero})"

    def _print_sign(self, expr: sympy.Expr) -> str:
        return f"sign_of<T>({self._print(expr.args[0])})"


def _number(value: float) -> str:
    if math.isnan(value):
        return "(T(0)/T(0))"
    if math.isinf(value):
        return "(T(1)/T(0))" if value > 0 else "(T(-1)/T(0))"
    return f"T({value!r})"


def kernel_body(arguments: Sequence[sympy.Symbol], expressions: Sequence[sympy.Expr]) -> str:
    """C++ statements that set out0, out1, … to the expressions at arguments in0, in1, …"""
    printer = _KernelPrinter({"allow_unknown_functions": True})
    names = {symbol: sympy.Symbol(f"in{k}", **symbol.assumptions0) for k, symbol in enumerate(arguments)}
    renamed = [sympy.sympify(expression).xreplace(names) for expression in expressions]
    shared, values = sympy.cse(renamed, sympy.numbered_symbols("t"), list=False)
    lines = []
    for symbol, value in shared:
        kind = "bool" if isinstance(value, Boolean | Relational) else "T"
        lines.append(f"const {kind} {symbol} = {printer.doprint(value)};")
    lines += [f"out{k} = {printer.doprint(value)};" for k, value in enumerate(values)]
    return "\n".join(lines)


def elementwise_kernel(
    arguments: Sequence[sympy.Symbol], expressions: Sequence[sympy.Expr], cupy: Any, name: str
) -> Callable[..., Any]:
    """A kernel(*arguments, *out) for CuPy arrays of one dtype, which broadcast; every ``out`` is written."""
    return cupy.ElementwiseKernel(
        ", ".join(f"T in{k}" for k in range(len(arguments))),
        ", ".join(f"T out{k}" for k in range(len(expressions))),
        kernel_body(arguments, expressions),
        name,
        preamble=PREAMBLE,
    )
