# pyright: reportMissingImports=false, reportOptionalMemberAccess=false, reportAttributeAccessIssue=false
"""The two kinds of numbers of this room: mpmath's, and Arb's where python-flint is installed (faster).

`number`, `exponential`, `middle` and `evaluator` hide which of them is at work. Arb numbers used as plain
numbers carry a radius that nobody reads; `middle` drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import sympy
from mpmath import mp
from mpmath.libmp import from_man_exp

from rmtrnn.highprec.expressions import UnsupportedExpression, arb_function, mpmath_function

try:  # python-flint only makes it faster
    import flint
except ImportError:
    flint = None


class flint_precision:
    """Sets the working precision of python-flint for a block (does nothing without it)."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def __enter__(self) -> None:
        if flint is not None:
            self._old, flint.ctx.prec = flint.ctx.prec, self._bits

    def __exit__(self, *_: Any) -> None:
        if flint is not None:
            flint.ctx.prec = self._old


def acb(value: Any) -> Any:
    """An mpmath number as an Arb ball of radius 0."""
    assert flint is not None
    value = mp.mpmathify(value)
    return flint.acb(flint.arb(value.real), flint.arb(value.imag))


def mpf(ball: Any) -> Any:
    """The midpoint of a real ball, exactly: no rounding to the precision in force."""
    mantissa, exponent = ball.mid().man_exp()
    return mp.make_mpf(from_man_exp(int(mantissa), int(exponent)))


def mpc(value: Any) -> Any:
    """The midpoint of a complex ball as an mpmath number; mpmath numbers as they are."""
    if isinstance(value, mpmath.mpf | mpmath.mpc):
        return value
    return mp.mpc(mpf(value.real), mpf(value.imag))


def number(value: Any) -> Any:
    """An mpmath number as the number to compute with."""
    return value if flint is None else acb(value)


def exponential(value: Any) -> Any:
    """e^value for such a number."""
    return mp.exp(value) if flint is None else value.exp()


def middle(value: Any) -> Any:
    """The number without its radius."""
    return value if flint is None else value.mid()


def evaluator(z: sympy.Symbol, expressions: Sequence[sympy.Expr]) -> Callable[[Any], list[Any]]:
    """The expressions as one function of such a number."""
    slow = mpmath_function(z, list(expressions))
    if flint is None:
        return slow
    try:
        balls = [arb_function(z, expr) for expr in expressions]
    except UnsupportedExpression:
        return lambda x: [acb(value) for value in slow(mpc(x))]
    return lambda x: [ball(x, False) for ball in balls]
