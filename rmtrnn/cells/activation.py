# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""One function of one real variable: an activation φ, its derivatives and its kinks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy.core.relational import Relational

from rmtrnn._core import validate as _validate
from rmtrnn.cells import serialise
from rmtrnn.cells.functions import differentiate, logistic, normal_cdf, softplus, stabilise, textbook
from rmtrnn.cells.numeric import compile_expressions, is_real, module_name, values_at
from rmtrnn.cells.pieces import PieceValues, SmoothPiece, require_bounded, smooth_pieces, without_floats

Z = sympy.Symbol("z", real=True)

# Klambauer et al. 2017, equation (14): the fixed point of mean 0 and variance 1, as PyTorch has it.
_SELU_ALPHA = sympy.Float("1.6732632423543772848170429916717")
_SELU_SCALE = sympy.Float("1.0507009873554804934193349852946")

_LIBRARY: dict[str, sympy.Expr] = {
    "linear": Z,
    "tanh": sympy.tanh(Z),
    "erf": sympy.erf(Z),
    "relu": sympy.Piecewise((0, Z <= 0), (Z, True)),
    "hard_tanh": sympy.Piecewise((-1, Z <= -1), (Z, Z < 1), (1, True)),
    "sigmoid": logistic(Z),
    "softsign": Z / (1 + sympy.Abs(Z)),
    "silu": Z * logistic(Z),
    "gelu": Z * normal_cdf(Z),
    "elu": sympy.Piecewise((sympy.exp(Z) - 1, Z < 0), (Z, True)),
    "selu": _SELU_SCALE * sympy.Piecewise((_SELU_ALPHA * (sympy.exp(Z) - 1), Z < 0), (Z, True)),
    "leaky_relu": sympy.Piecewise((Z / 100, Z < 0), (Z, True)),
    "softplus": softplus(Z),
    "mish": Z * sympy.tanh(softplus(Z)),
}
ACTIVATIONS = tuple(_LIBRARY)
_A = sympy.Symbol("a", real=True)
# Name and range (low, high) of the parameter, and φ as it enters.
_PARAMETERS: dict[str, tuple[str, float, sympy.Expr]] = {
    "elu": ("alpha", 0.0, sympy.Piecewise((_A * (sympy.exp(Z) - 1), Z < 0), (Z, True))),
    "leaky_relu": ("slope", -math.inf, sympy.Piecewise((_A * Z, Z < 0), (Z, True))),
    "softplus": ("beta", 0.0, softplus(_A * Z) / _A),
    "silu": ("beta", 0.0, Z * logistic(_A * Z)),
}

# Where an expression is tried out, to refuse what is not real: both signs, both tails, no special values.
_PROBES = ("-41.3", "-2.7", "-0.61", "-0.13", "0.17", "0.58", "2.3", "37.9")


class Activation:
    """An activation φ(z), symbolic, with derivatives by differentiation and its kinks.

    Parameters
    ----------
    activation : str, SymPy expression in one symbol, or Activation
        A name: linear, tanh, erf, relu, hard_tanh, sigmoid, softsign, silu, gelu, elu, selu, leaky_relu,
        softplus, mish; or any real continuous expression whose slope is bounded on bounded intervals.
        ``1/(1 + exp(-x))`` is read as the logistic function; write `rmtrnn.cells.normal_cdf` for Φ where
        the left tail matters.
    kinks : iterable of numbers, optional
        Points where φ or its derivatives jump, added to those that are found from Abs, sign, Heaviside,
        Max, Min and Piecewise. Needed only where finding them fails.
    name : str, optional
        How the activation is called in print; takes no part in equality.
    **parameters : float
        Of an activation given by name: ``alpha`` of elu (default 1), ``slope`` of leaky_relu (0.01),
        ``beta`` of softplus and silu (1).

    At a kink a derivative takes the value of the expression's own case: φ'(0) = 0 for relu, φ'(±1) = 0
    for hard_tanh. Dirac deltas of higher derivatives are left out.

    Raises ValueError for an unknown name, an expression that is constant, not real everywhere,
    discontinuous, with a pole (1/z, tan, log|z|) or an unbounded slope (√|z|) at a finite point, or in more
    than one symbol; TypeError for anything else.

    >>> rt.Activation("hard_tanh").kinks
    (-1.0, 1.0)
    """

    __slots__ = ("_derivatives", "breakpoints", "expr", "name")

    name: str
    """The library name, or the expression as text."""
    expr: sympy.Expr
    """φ as an expression in `symbol`."""
    breakpoints: tuple[sympy.Expr, ...]
    """The kinks as exact numbers, ascending."""

    def __init__(
        self,
        activation: str | sympy.Expr | Activation,
        *,
        kinks: Iterable[Any] | None = None,
        name: str | None = None,
        **parameters: float,
    ) -> None:
        if parameters and not isinstance(activation, str):
            raise TypeError(f"{sorted(parameters)}: parameters belong to activations given by name")
        if isinstance(activation, Activation):
            found, label = activation.expr, activation.name
            kinks = activation.breakpoints if kinks is None else kinks
        elif isinstance(activation, str):
            label = _validate.choice("activation", activation, ACTIVATIONS)
            found = _LIBRARY[label]
            if parameters:
                found, label = _with_parameters(label, parameters)
        elif isinstance(activation, sympy.Expr):
            found = _canonical(activation)
            label = next((known for known, expr in _LIBRARY.items() if expr == found), str(found))
        else:
            raise TypeError(
                f"activation = {activation!r}: expected a name, a SymPy expression or an Activation, "
                f"got {type(activation).__name__}"
            )
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name = {name!r}: expected a string, got {type(name).__name__}")
        points = _all_kinks(found, kinks)
        slope = differentiate(found, Z)
        _require_real_and_continuous(found, points)
        require_bounded(found, slope, Z)
        for attribute, value in {
            "name": name or label,
            "expr": found,
            "breakpoints": points,
            "_derivatives": {0: found, 1: slope},
        }.items():
            object.__setattr__(self, attribute, value)

    @property
    def symbol(self) -> sympy.Symbol:
        """The variable of `expr` (the same real symbol z for every activation)."""
        return Z

    @property
    def kinks(self) -> tuple[float, ...]:
        """Points where φ or one of its derivatives jumps, ascending."""
        return tuple(float(point) for point in self.breakpoints)

    @property
    def is_smooth(self) -> bool:
        """Whether there are no kinks."""
        return not self.breakpoints

    @property
    def is_piecewise_linear(self) -> bool:
        """Whether φ'' = 0 away from the kinks: then φ' takes finitely many values."""
        return all(piece.is_flat for piece in self.smooth_pieces)

    @property
    def smooth_pieces(self) -> tuple[SmoothPiece, ...]:
        """The analytic branches of φ and φ' between the kinks, from -∞ to ∞."""
        return _smooth_pieces(self)

    @property
    def branches(self) -> tuple[PieceValues, ...]:
        """The smooth pieces as functions of arrays: what `rmtrnn.free.Pushforward` takes."""
        return tuple(PieceValues(piece) for piece in self.smooth_pieces)

    @property
    def pieces(self) -> tuple[tuple[sympy.Expr, sympy.Expr, sympy.Expr], ...]:
        """(low, high, slope) of every linear piece, from -∞ to ∞; ValueError unless piecewise linear.

        With these, D = φ'(e) is a discrete law: P(D = slope) is the Gaussian mass of [low, high].
        """
        if not self.is_piecewise_linear:
            raise ValueError(f"activation {self.name!r} is not piecewise linear")
        return tuple((piece.low, piece.high, piece.slope) for piece in self.smooth_pieces)

    @property
    def is_named(self) -> bool:
        """Whether this is the library's activation of that name."""
        return self.name in _LIBRARY and self == Activation(self.name)

    def derivative(self, order: int = 1) -> sympy.Expr:
        """Return the ``order``-th derivative as an expression in `symbol` (order 0 is φ itself)."""
        order = _validate.integer("order", order, low=0)
        for n in range(1, order + 1):
            if n not in self._derivatives:
                self._derivatives[n] = differentiate(self._derivatives[n - 1], Z)
        return self._derivatives[order]

    def numeric(self, xp: Any, order: int = 0) -> Callable[[Any], Any]:
        """Return the ``order``-th derivative as a function of arrays (numpy, cupy) or mpmath scalars.

        The result has the argument's shape, and its dtype if that is floating or complex (else float64).
        Complex arguments give the analytic continuation, with |z| continued from the side z is on.
        The library's activations and their derivatives are accurate to a few ulp, relative, out to the
        far tails (where rounding of z²/2 costs erf and gelu z² ulp), and quiet at ±800. One's own
        expression is as accurate as the form that SymPy gives its derivative.
        """
        return _numeric(self, xp, _validate.integer("order", order, low=0))

    def to_dict(self) -> dict[str, Any]:
        """Return the activation as plain JSON types."""
        if self.is_named:
            return {"name": self.name}
        return {
            "name": self.name,
            "expr": serialise.to_json(self.expr),
            "kinks": [serialise.to_json(point) for point in self.breakpoints],
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Activation:
        """Return the activation of `to_dict`'s record; ValueError if it is malformed."""
        if not isinstance(record, dict) or "name" not in record:
            raise ValueError(f"activation record {record!r}: expected a mapping with the key 'name'")
        if "expr" not in record:
            return cls(record["name"])
        kinks = [serialise.from_json(point) for point in record.get("kinks", [])]
        return cls(serialise.from_json(record["expr"]), kinks=kinks, name=record["name"])

    def __setattr__(self, attribute: str, value: Any) -> None:
        raise AttributeError(f"Activation is frozen: cannot set {attribute!r}")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(f"Activation is frozen: cannot delete {attribute!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        return (self.expr, self.breakpoints) == (other.expr, other.breakpoints)

    def __hash__(self) -> int:
        return hash((self.expr, self.breakpoints))

    def __reduce__(self) -> tuple[Any, ...]:
        return Activation.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        if self.is_named:
            return f"rt.Activation({self.name!r})"
        return f"rt.Activation.from_dict({self.to_dict()!r})"

    def __str__(self) -> str:
        return f"{self.name}: φ(z) = {self.expr}"


@functools.lru_cache(maxsize=256)
def _smooth_pieces(activation: Activation) -> tuple[SmoothPiece, ...]:
    return smooth_pieces(activation.expr, activation.derivative(1), Z, activation.breakpoints)


@functools.lru_cache(maxsize=256)
def _numeric(activation: Activation, xp: Any, order: int) -> Callable[[Any], Any]:
    function = compile_expressions([Z], [activation.derivative(order)], xp)
    if module_name(xp) == "mpmath":
        return lambda z: +xp.mpmathify(function(xp.mpmathify(z))[0])

    def evaluate(z: Any) -> Any:
        z = xp.asarray(z)
        dtype = z.dtype if z.dtype.kind in "fc" else np.dtype("float64")
        values = xp.empty(z.shape, dtype=dtype)
        values[...] = function(z.astype(dtype, copy=False))[0]
        return values

    return evaluate


def _with_parameters(name: str, parameters: dict[str, float]) -> tuple[sympy.Expr, str]:
    """The named activation with its parameter set, and its name in print."""
    known = _PARAMETERS[name][0] if name in _PARAMETERS else None
    if set(parameters) != {known}:
        takes = "none" if known is None else known
        raise TypeError(f"activation = {name!r}: takes the parameters {takes}, got {sorted(parameters)}")
    _, low, expr = _PARAMETERS[name]
    value = _validate.real(str(known), parameters[str(known)], low=low, low_open=math.isfinite(low))
    exact = without_floats(sympy.Float(value, 17))
    return expr.xreplace({_A: exact}), f"{name}({known}={value!r})"


def _canonical(expr: sympy.Expr) -> sympy.Expr:
    """The expression in the common symbol z, with overflowing forms rewritten and heads checked."""
    if len(expr.free_symbols) != 1:
        names = sorted(str(symbol) for symbol in expr.free_symbols)
        raise ValueError(f"activation = {expr}: must be an expression in exactly one symbol, has {names}")
    (symbol,) = expr.free_symbols
    canonical = stabilise(expr.xreplace({symbol: Z}).doit())
    serialise.to_json(canonical)
    if not canonical.free_symbols:
        raise ValueError(f"activation = {expr}: is the constant {canonical}")
    return canonical


def _all_kinks(expr: sympy.Expr, declared: Iterable[Any] | None) -> tuple[sympy.Expr, ...]:
    """Declared kinks together with those that can be found; ascending, no two with the same float."""
    given = [] if declared is None else [_exact(kink) for kink in declared]
    points = {float(point): point for point in given}
    for border in _borders(expr):
        zeros = _real_zeros(border)
        if zeros is None and declared is None:
            raise ValueError(f"activation = {expr}: cannot solve {border} = 0 for its kinks; give kinks=")
        points |= {float(point): point for point in zeros or []}
    return tuple(points[key] for key in sorted(points))


def _exact(kink: Any) -> sympy.Expr:
    """A declared kink as an exact number (a float is the binary fraction it is)."""
    if not isinstance(kink, sympy.Expr):
        return sympy.Rational(*_validate.real("kinks", kink).as_integer_ratio())
    if not (kink.is_number and kink.is_real and kink.is_finite):
        raise ValueError(f"kinks: {kink} is not a finite real number")
    return without_floats(kink)


def _borders(expr: sympy.Expr) -> list[sympy.Expr]:
    """Where the cases of ``expr`` meet: zeros of these are the candidates for kinks."""
    borders = {node.args[0] for node in expr.atoms(sympy.Abs, sympy.sign, sympy.Heaviside)}
    for node in expr.atoms(sympy.Max, sympy.Min):
        borders |= {left - right for left, right in itertools.combinations(node.args, 2)}
    borders |= {relation.lhs - relation.rhs for relation in expr.atoms(Relational)}
    return sorted(map(without_floats, borders), key=str)


def _real_zeros(border: sympy.Expr) -> list[sympy.Expr] | None:
    """Real zeros of ``border``, or None where SymPy cannot list them."""
    if border.is_positive or border.is_negative or not border.has(Z):
        return []
    if border.is_polynomial(Z) and not border.atoms(sympy.Symbol) - {Z}:
        try:
            return list(sympy.Poly(border, Z).real_roots())
        except NotImplementedError:
            pass  # irrational coefficients; solveset may know
    try:
        zeros = sympy.solveset(textbook(border), Z, sympy.Reals)
    except NotImplementedError:  # a case of a periodic function, as in Max(sin(z), 1/2) − 1/4
        return None
    if zeros is sympy.S.EmptySet:
        return []
    return list(zeros) if isinstance(zeros, sympy.FiniteSet) else None


def _require_real_and_continuous(expr: sympy.Expr, kinks: tuple[sympy.Expr, ...]) -> None:
    evaluate = compile_expressions([Z], [expr], mpmath)
    with mpmath.workdps(30):
        for probe in _PROBES:
            (value,) = values_at(evaluate, [probe], 1)
            if not is_real(value):
                raise ValueError(
                    f"activation = {expr}: must be real and finite, but is {value} at z = {probe}"
                )
        for kink in kinks:
            point, step = mpmath.mpf(str(sympy.N(kink, 30))), mpmath.mpf("1e-20")
            (left,), (right,) = values_at(evaluate, [point - step], 1), values_at(evaluate, [point + step], 1)
            if not (is_real(left) and is_real(right) and abs(right - left) < mpmath.mpf("1e-9")):
                raise ValueError(f"activation = {expr}: must be continuous, but jumps at z = {kink}")
