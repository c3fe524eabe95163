# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""From one SymPy expression to functions of NumPy, CuPy or mpmath."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy.printing.numpy import NumPyPrinter
from sympy.printing.pycode import MpmathPrinter

from rmtrnn.cells.fused import elementwise_kernel


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
        argument, at_zero = (self._print(part) for part in expr.args)
        return f"where(equal({argument}, 0), {at_zero}, (1 + sign({argument}))/2)"

    def _print_And(self, expr: sympy.And) -> str:
        return self._nested("logical_and", expr.args)

    def _print_Or(self, expr: sympy.Or) -> str:
        return self._nested("logical_or", expr.args)

    def _print_erf(self, expr: sympy.Expr) -> str:
        return f"erf({self._print(expr.args[0])})"

    def _print_Abs(self, expr: sympy.Abs) -> str:
        return f"magnitude({self._print(expr.args[0])})"


class _MpmathPrinter(MpmathPrinter):
    """Numbers are computed at the precision in force when the function is called."""

    def _print_Heaviside(self, expr: sympy.Heaviside) -> str:
        argument, at_zero = (self._print(part) for part in expr.args)
        return f"((1 + sign({argument}))/2 if {argument} != 0 else {at_zero})"


def compile_expressions(
    arguments: Sequence[sympy.Symbol], expressions: Sequence[sympy.Expr], xp: Any
) -> Callable[..., list[Any]]:
    """Return ``f(*arguments) -> list`` of the values of ``expressions``; constants come as plain numbers.

    ``xp`` is the module numpy, cupy or mpmath. Common subexpressions are evaluated once.
    """
    name = module_name(xp)
    printer = _MpmathPrinter if name == "mpmath" else _ArrayPrinter
    settings = {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True}
    function = sympy.lambdify(
        list(arguments),
        list(expressions),
        modules=[_functions(xp, name), xp.__dict__],
        printer=printer(settings),
        cse=True,
    )
    if name != "numpy" or not any(expr.has(sympy.Piecewise) for expr in expressions):
        return function

    def quiet(*values: Any) -> list[Any]:
        # where() computes every case everywhere; the case that is not taken may overflow.
        with xp.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return function(*values)

    return quiet


def is_real(value: Any) -> bool:
    """Whether an mpmath result is a finite real number (None: no case of a Piecewise applies)."""
    return value is not None and bool(mpmath.isfinite(value)) and mpmath.im(value) == 0


def values_at(function: Callable[..., list[Any]], point: Sequence[Any], count: int) -> list[Any]:
    """Return the ``count`` values of a compiled mpmath function; all nan where it is not defined."""
    try:
        return function(*map(mpmath.mpf, point))
    except (ZeroDivisionError, ValueError):
        return [mpmath.nan] * count


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
            "softplus": lambda z: xp.log1p(xp.exp(z)),
            "Abs": abs,
        }
    special = importlib.import_module("scipy.special" if name == "numpy" else "cupyx.scipy.special")

    def rightward(z: Any) -> Any:
        """±z with a real part ≥ 0, for functions of a complex argument that must not overflow."""
        return xp.where(xp.real(z) < 0, -z, z)

    def sech2(z: Any) -> Any:
        decay = xp.exp(-2 * (rightward(z) if xp.iscomplexobj(z) else xp.abs(z)))
        return 4 * decay / (1 + decay) ** 2

    def logistic(z: Any) -> Any:
        if not xp.iscomplexobj(z):
            # As `scipy.special.expit`, with the exponential of the array library, which is 2.5 times as fast.
            with np.errstate(over="ignore"):
                return 1.0 / (1.0 + xp.exp(-z))
        decay = xp.exp(-rightward(z))
        return xp.where(xp.real(z) < 0, decay, 1.0) / (1 + decay)

    def softplus(z: Any) -> Any:
        if not xp.iscomplexobj(z):
            return xp.logaddexp(0, z)
        right = rightward(z)
        return xp.where(xp.real(z) < 0, 0.0, z) + xp.log(1 + xp.exp(-right))

    return {
        # For complex z the continuation of |z| from the side z is on, not the modulus.
        "magnitude": lambda z: rightward(z) if xp.iscomplexobj(z) else xp.abs(z),
        "logistic": logistic,
        "sech2": sech2,
        "normal_cdf": special.ndtr,
        "erf": special.erf,
        "softplus": softplus,
    }


class NumericStage:
    """The callables of one stage. Components first, sites last: a site-state has shape (s_in, ...).

    On CuPy each is one kernel (`rmtrnn.cells.fused`). ``out``: an array of the result's shape to write into,
    which must not share memory with an argument.
    """

    def __init__(
        self,
        xp: Any,
        *,
        inputs: Sequence[sympy.Symbol],
        x: sympy.Symbol,
        gates: Sequence[sympy.Symbol],
        reads: Sequence[sympy.Expr],
        update: Sequence[sympy.Expr],
        jacobian: Sequence[sympy.Expr],
    ) -> None:
        self._xp = xp
        self._is_array = module_name(xp) != "mpmath"
        self._s_in, self._s_out, self._gates = len(inputs), len(update), len(gates)
        symbols = [*inputs, x, *gates]
        self._read = self._compiled("read", inputs, reads)
        self._update = self._compiled("update", symbols, update)
        self._linearize = self._compiled("linearize", symbols, jacobian)
        self._advance = self._compiled("advance", symbols, [*update, *jacobian])

    def read(self, site: Any, out: Any = None) -> Any:
        """Return what each W_k multiplies, shape (K, ...)."""
        site = self._components("site", site, self._s_in)
        return self._evaluated(self._read, site, ((self._gates,),), out)[0]

    def update(self, site: Any, x: Any, e: Any, out: Any = None) -> Any:
        """Return the next site-state, shape (s_out, ...), from site (s_in, ...), x (...), e (K, ...)."""
        return self._evaluated(self._update, self._arguments(site, x, e), ((self._s_out,),), out)[0]

    def assign(self, out: Iterable[Any], site: Iterable[Any], x: Any, e: Iterable[Any]) -> None:
        """Write `update` into the arrays ``out``, one for each component; for loops over many steps.

        The arguments hold NumPy arrays, one for each component or gate. They are not checked.
        """
        for target, value in zip(out, self._update(*site, x, *e), strict=True):
            target[...] = value

    def assign_reads(self, out: Iterable[Any], site: Iterable[Any]) -> None:
        """Write `read` into the arrays ``out``, one for each gate; not checked, as in `assign`."""
        for target, value in zip(out, self._read(*site), strict=True):
            target[...] = value

    def linearize(self, site: Any, x: Any, e: Any) -> tuple[Any, Any, Any]:
        """Return a (s_out, s_in, ...), b (K, s_out, ...), c (K, s_in, ...) of theory.md (1)."""
        a, b, c = self._evaluated(self._linearize, self._arguments(site, x, e), self._jacobian_shapes())
        return a, b, c

    def advance(self, site: Any, x: Any, e: Any) -> tuple[Any, Any, Any, Any]:
        """Return the update and a, b, c of `linearize` together: what they share is computed once."""
        shapes = ((self._s_out,), *self._jacobian_shapes())
        update, a, b, c = self._evaluated(self._advance, self._arguments(site, x, e), shapes)
        return update, a, b, c

    def parts(self, site: Iterable[Any], x: Any, e: Iterable[Any]) -> list[Any]:
        """The entries of `advance` one after another, update, a, b, c, row by row; constants are numbers.

        For loops over many steps; not checked, as in `assign`.
        """
        return list(self._advance(*site, x, *e))

    def _jacobian_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self._s_out, self._s_in), (self._gates, self._s_out), (self._gates, self._s_in)

    def _compiled(
        self, name: str, arguments: Sequence[sympy.Symbol], expressions: Sequence[sympy.Expr]
    ) -> Callable[..., Any]:
        """A function of the arguments, on CuPy also of arrays to write into; compiled at the first call."""

        @lru_cache(maxsize=1)
        def function() -> Callable[..., Any]:
            if module_name(self._xp) == "cupy":
                return elementwise_kernel(arguments, expressions, self._xp, f"rmtrnn_{name}")
            return compile_expressions(arguments, expressions, self._xp)

        return lambda *values: function()(*values)

    def _arguments(self, site: Any, x: Any, e: Any) -> list[Any]:
        return [
            *self._components("site", site, self._s_in),
            *self._components("x", [x] if not self._is_array else self._xp.asarray(x)[None], 1),
            *self._components("e", e, self._gates),
        ]

    def _components(self, name: str, value: Any, count: int) -> list[Any]:
        if self._is_array:
            array = self._xp.asarray(value)
            array = array if array.dtype.kind == "f" else array.astype("float64")
            if array.ndim == 0:
                raise ValueError(f"{name} = {value!r}: must have {count} components along its first axis")
            components = list(array)
        else:
            components = [self._xp.mpmathify(component) for component in value]
        if len(components) != count:
            raise ValueError(f"{name}: must have {count} components first, has {len(components)}")
        return components

    def _evaluated(
        self,
        function: Callable[..., Any],
        arguments: list[Any],
        shapes: tuple[tuple[int, ...], ...],
        out: Any = None,
    ) -> list[Any]:
        """The values, constants among them, as arrays of ``shapes`` and sites; nested lists for mpmath."""
        counts, starts = _places(shapes)
        if not self._is_array:
            numbers = [self._xp.mpmathify(value) for value in function(*arguments)]
            return [
                _nested(numbers[start : start + count], shape)
                for start, count, shape in zip(starts, counts, shapes, strict=True)
            ]
        # Sets: most arguments have one shape and one type, which then costs nothing to find.
        sites = np.broadcast_shapes(*{argument.shape for argument in arguments})
        dtype = np.result_type(*{argument.dtype for argument in arguments})
        if out is None:
            out = self._xp.empty((sum(counts), *sites), dtype=dtype)
        if module_name(self._xp) == "cupy":
            function(*(argument.astype(dtype, copy=False) for argument in arguments), *out)
        else:
            for index, value in enumerate(function(*arguments)):
                out[index] = value
        return [
            out[start : start + count].reshape((*shape, *sites))
            for start, count, shape in zip(starts, counts, shapes, strict=True)
        ]


@lru_cache(maxsize=256)
def _places(shapes: tuple[tuple[int, ...], ...]) -> tuple[list[int], list[int]]:
    """Of arrays that stand one after another: how many entries each has, and where it starts."""
    counts = [math.prod(shape) for shape in shapes]
    return counts, [sum(counts[:k]) for k in range(len(counts))]


def _nested(numbers: list[Any], shape: tuple[int, ...]) -> list[Any]:
    if len(shape) == 1:
        return numbers
    return [numbers[row * shape[1] : (row + 1) * shape[1]] for row in range(shape[0])]


@dataclass(frozen=True)
class NumericCell:
    """``stages[l]`` holds the callables of ``cell.stages[l]``."""

    stages: tuple[NumericStage, ...]
