# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""From one SymPy expression to functions of NumPy, CuPy or mpmath."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy.printing.numpy import NumPyPrinter
from sympy.printing.pycode import MpmathPrinter


class _ArrayPrinter(NumPyPrinter):
    """Prints what NumPy and CuPy both evaluate, and numbers as Python literals.

    A Python number never changes the dtype of an array, ``numpy.sqrt(2)`` turns float32 into float64.
    """

    def _print(self, expr: Any, **kwargs: Any) -> str:
        if isinstance(expr, sympy.Expr) and expr.is_number and not expr.is_Integer:
            return repr(float(expr.evalf(25)))
        return super()._print(expr, **kwargs)

    def _print_Piecewise(self, expr: sympy.Piecewise) -> str:
        text = "nan"
        for value, condition in reversed(expr.args):
            if condition == True:  # noqa: E712  SymPy's true is not Python's
                text = f"({self._print(value)})"
            else:
                text = f"where({self._print(condition)}, {self._print(value)}, {text})"
        return text

    def _print_Max(self, expr: sympy.Max) -> str:
        return self._nested("maximum", expr.args)

    def _print_Min(self, expr: sympy.Min) -> str:
        return self._nested("minimum", expr.args)

    def _nested(self, name: str, arguments: Sequence[Any]) -> str:
        text = self._print(arguments[-1])
        for argument in reversed(arguments[:-1]):
            text = f"{name}({self._print(argument)}, {text})"
        return text

    def _print_Heaviside(self, expr: sympy.Heaviside) -> str:
        return f"heaviside({self._print(expr.args[0])}, {self._print(expr.args[1])})"

    def _print_erf(self, expr: sympy.Expr) -> str:
        return f"erf({self._print(expr.args[0])})"

    def _print_erfc(self, expr: sympy.Expr) -> str:
        return f"erfc({self._print(expr.args[0])})"

    def _print_logistic(self, expr: sympy.Expr) -> str:
        return f"logistic({self._print(expr.args[0])})"

    def _print_sech2(self, expr: sympy.Expr) -> str:
        return f"sech2({self._print(expr.args[0])})"

    def _print_normal_cdf(self, expr: sympy.Expr) -> str:
        return f"normal_cdf({self._print(expr.args[0])})"


class _MpmathPrinter(MpmathPrinter):
    """Numbers are computed at the precision in force when the function is called."""

    def _print_Heaviside(self, expr: sympy.Heaviside) -> str:
        argument, at_zero = (self._print(part) for part in expr.args)
        return f"((1 + sign({argument}))/2 if {argument} != 0 else {at_zero})"

    def _print_logistic(self, expr: sympy.Expr) -> str:
        return f"logistic({self._print(expr.args[0])})"

    def _print_sech2(self, expr: sympy.Expr) -> str:
        return f"sech2({self._print(expr.args[0])})"

    def _print_normal_cdf(self, expr: sympy.Expr) -> str:
        return f"normal_cdf({self._print(expr.args[0])})"


def compile_expressions(
    arguments: Sequence[sympy.Symbol], expressions: Sequence[sympy.Expr], xp: Any
) -> Callable[..., list[Any]]:
    """Return ``f(*arguments) -> list`` of the values of ``expressions``; constants come as plain numbers.

    ``xp`` is the module numpy, cupy or mpmath. Common subexpressions are evaluated once.
    """
    name = module_name(xp)
    printer = _MpmathPrinter if name == "mpmath" else _ArrayPrinter
    settings = {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": False}
    return sympy.lambdify(
        list(arguments),
        list(expressions),
        modules=[_functions(xp, name), xp.__dict__],
        printer=printer(settings),
        cse=True,
    )


def module_name(xp: Any) -> str:
    """Return "numpy", "cupy" or "mpmath"; TypeError for anything else."""
    name = getattr(xp, "__name__", None)
    if name not in ("numpy", "cupy", "mpmath"):
        raise TypeError(f"xp = {xp!r}: expected the module numpy, cupy or mpmath")
    return name


def _functions(xp: Any, name: str) -> dict[str, Any]:
    if name == "mpmath":
        return {
            "logistic": lambda z: 1 / (1 + xp.exp(-z)),
            "sech2": lambda z: xp.sech(z) ** 2,
            "normal_cdf": lambda z: xp.erfc(-z / xp.sqrt(2)) / 2,
            "Abs": abs,
        }
    special = importlib.import_module("scipy.special" if name == "numpy" else "cupyx.scipy.special")

    def sech2(z: Any) -> Any:
        decay = xp.exp(-2 * xp.abs(z))
        return 4 * decay / (1 + decay) ** 2

    return {
        "logistic": special.expit,
        "sech2": sech2,
        "normal_cdf": special.ndtr,
        "erf": special.erf,
        "erfc": special.erfc,
    }
