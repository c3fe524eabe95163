# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""An activation as smooth pieces between its breakpoints, and the refusal of poles.

Between two neighbouring breakpoints |u| is u or −u, sign(u) is ±1, a Piecewise is one of its cases: φ is one
analytic branch. From the branches follow what laws of φ'(e)² need: one-sided limits of φ' at a breakpoint,
atoms (branches on which φ' is constant), and functions that continue into the complex plane.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import sympy

from rmtrnn.cells.functions import differentiate
from rmtrnn.cells.numeric import compile_expressions, is_real, values_at


@dataclass(frozen=True)
class PoleSettings:
    """Numbers of the search for poles."""

    # Poles that SymPy cannot list are looked for at |z| up to this, somewhat beyond where φ is tried out.
    far: float = 50.0
    # Digits: a pole has to be met to 1e-40 to see the slope grow on the way there.
    digits: int = 60


_POLES = PoleSettings()


@dataclass(frozen=True)
class SmoothPiece:
    """φ between two neighbouring breakpoints (±∞ at the ends), as expressions that are analytic in `symbol`.

    ``slope`` is the branch of φ'; its value at ``low`` or ``high`` is the one-sided limit of φ' there.
    """

    low: sympy.Expr
    high: sympy.Expr
    symbol: sympy.Symbol
    phi: sympy.Expr
    slope: sympy.Expr

    @property
    def is_flat(self) -> bool:
        """Whether φ' is constant on the piece: then φ'(e)² has an atom."""
        return not self.slope.has(self.symbol)

    @functools.cached_property
    def curvature(self) -> sympy.Expr:
        """The branch of φ''."""
        return differentiate(self.slope, self.symbol)

    @property
    def ends(self) -> tuple[float, float]:
        """``low`` and ``high`` as floats."""
        return float(self.low), float(self.high)

    def numeric(self, xp: Any) -> Callable[[Any], tuple[Any, Any]]:
        """Return the function z ↦ (φ'(z), φ''(z)) of this branch, for real or complex arrays of numpy."""
        return _compiled(self, xp)


@dataclass(frozen=True)
class PieceValues:
    """φ on one smooth piece as functions of real or complex arrays: a branch for laws of φ(e)."""

    piece: SmoothPiece

    analytic = True

    @property
    def low(self) -> float:
        """Left end of the piece."""
        return self.piece.ends[0]

    @property
    def high(self) -> float:
        """Right end of the piece."""
        return self.piece.ends[1]

    @functools.cached_property
    def _functions(self) -> Callable[..., Any]:
        return compile_expressions([self.piece.symbol], [self.piece.phi, self.piece.slope], np)

    def value(self, e: np.ndarray) -> np.ndarray:
        """φ(e)."""
        return np.broadcast_to(self._functions(e)[0], e.shape).copy()

    def slope(self, e: np.ndarray) -> np.ndarray:
        """φ'(e)."""
        return np.broadcast_to(self._functions(e)[1], e.shape).copy()


@functools.lru_cache(maxsize=256)
def _compiled(piece: SmoothPiece, xp: Any) -> Callable[[Any], tuple[Any, Any]]:
    function = compile_expressions([piece.symbol], [piece.slope, piece.curvature], xp)

    def evaluate(z: Any) -> tuple[Any, Any]:
        slope, curvature = function(z)
        return xp.broadcast_to(slope, z.shape), xp.broadcast_to(curvature, z.shape)

    return evaluate


def smooth_pieces(
    phi: sympy.Expr, slope: sympy.Expr, symbol: sympy.Symbol, breakpoints: Iterable[sympy.Expr]
) -> tuple[SmoothPiece, ...]:
    """Return the smooth pieces of φ from −∞ to ∞, given φ' and every breakpoint, ascending.

    Raises ValueError where no case of a Piecewise applies.
    """
    return tuple(
        SmoothPiece(
            low,
            high,
            symbol,
            branch(phi, symbol, between(low, high)),
            _constant_if_flat(branch(slope, symbol, between(low, high)), symbol),
        )
        for low, high in _intervals(breakpoints)
    )


def _intervals(breakpoints: Iterable[sympy.Expr]) -> Iterable[tuple[sympy.Expr, sympy.Expr]]:
    """From each breakpoint to the next, −∞ and ∞ at the ends."""
    return itertools.pairwise((-sympy.oo, *breakpoints, sympy.oo))


def between(low: sympy.Expr, high: sympy.Expr) -> sympy.Expr:
    """A point strictly between two breakpoints, infinite ones included."""
    if low is -sympy.oo and high is sympy.oo:
        return sympy.Rational(1, 7)
    if low is -sympy.oo:
        return high - 1
    if high is sympy.oo:
        return low + 1
    return (low + high) / 2


def branch(expr: sympy.Expr, z: sympy.Symbol, point: sympy.Expr) -> sympy.Expr:
    """Replace what is not analytic in ``expr`` by its value on the piece that holds ``point``."""

    def sign(y: sympy.Expr) -> int:
        return 1 if sympy.N(y.subs(z, point), 30) > 0 else -1

    def case(node: sympy.Piecewise) -> sympy.Expr:
        for value, condition in node.args:
            if condition.subs(z, point) == True:  # noqa: E712  SymPy's true is not Python's
                return value
        raise ValueError(f"activation = {expr}: no case of a Piecewise applies at z = {point}")

    def extreme(node: sympy.Expr, largest: bool) -> sympy.Expr:
        return (max if largest else min)(node.args, key=lambda y: sympy.N(y.subs(z, point), 30))

    expr = expr.replace(lambda node: isinstance(node, sympy.Piecewise), case)
    expr = expr.replace(lambda node: isinstance(node, sympy.Max), lambda node: extreme(node, True))
    expr = expr.replace(lambda node: isinstance(node, sympy.Min), lambda node: extreme(node, False))
    expr = expr.replace(sympy.Abs, lambda y: sign(y) * y)
    expr = expr.replace(sympy.sign, lambda y: sympy.Integer(sign(y)))
    return expr.replace(sympy.Heaviside, lambda y, *_: sympy.Integer(1 if sign(y) > 0 else 0))


def in_pieces(expr: sympy.Expr, z: sympy.Symbol, breakpoints: Sequence[sympy.Expr]) -> sympy.Expr:
    """``expr`` as a Piecewise of its branches between ``breakpoints``, ascending; the same but at these.

    Beside a breakpoint Max(−1/2, z + 1/2) ties with its neighbour where z is lost in the sum; a condition
    z < k does not.
    """
    if not breakpoints:
        return expr
    branches = [branch(expr, z, between(low, high)) for low, high in _intervals(breakpoints)]
    below = [(one, z < end) for one, end in zip(branches, breakpoints, strict=False)]
    return sympy.Piecewise(*below, (branches[-1], True))


def _constant_if_flat(slope: sympy.Expr, z: sympy.Symbol) -> sympy.Expr:
    """A slope that depends on z in writing only, such as z/z or sech²+tanh², as the number that it is."""
    if not slope.has(z):
        return slope
    evaluate = compile_expressions([z], [slope], mpmath)
    with mpmath.workdps(30):
        values = [values_at(evaluate, [probe], 1)[0] for probe in ("-2.7", "-0.61", "0.17", "1.9")]
        seen = [value for value in values if is_real(value)]
        if any(abs(value - seen[0]) > mpmath.mpf("1e-20") * (1 + abs(value)) for value in seen):
            return slope
    simple = sympy.simplify(slope)
    return slope if simple.has(z) else simple


def without_floats(expr: sympy.Expr) -> sympy.Expr:
    """``expr`` with every float as the binary fraction that it is."""
    exact = {number: sympy.Rational(*float(number).as_integer_ratio()) for number in expr.atoms(sympy.Float)}
    return expr.xreplace(exact)


# -- poles -----------------------------------------------------------------------------------------------


def require_bounded(phi: sympy.Expr, slope: sympy.Expr, z: sympy.Symbol) -> None:
    """Refuse an activation that is undefined, or has an unbounded slope, at a finite point.

    The points that can be such are zeros of denominators, of the arguments of logarithms and of fractional
    powers, ends of the domains of inverse functions, and poles of tan. ValueError names the first one.
    """
    singular = _singular_parts(phi, z)
    if not singular:
        return
    evaluate = compile_expressions([z], [phi, slope], mpmath)
    for part in singular:
        for point in _zeros(part, z):
            if not _is_bounded(evaluate, point):
                raise ValueError(
                    f"activation = {phi}: is undefined or has an unbounded slope at z = "
                    f"{float(point):.6g}; must be continuous with a bounded slope on every bounded interval"
                )


def _singular_parts(phi: sympy.Expr, z: sympy.Symbol) -> list[sympy.Expr]:
    """Expressions whose zeros are the candidates for poles and branch points of ``phi``."""
    parts: set[sympy.Expr] = set()
    for node in sympy.preorder_traversal(phi):
        if not node.has(z):
            continue
        if isinstance(node, sympy.Pow) and not (node.exp.is_Integer and node.exp.is_nonnegative):
            parts.add(node.base)
        elif isinstance(node, sympy.log):
            parts.add(node.args[0])
        elif isinstance(node, sympy.tan):
            parts.add(sympy.cos(node.args[0]))
        elif isinstance(node, sympy.asin | sympy.acos | sympy.atanh | sympy.acosh):
            parts |= {node.args[0] - 1, node.args[0] + 1}
    return sorted((part for part in parts if part.has(z) and not part.is_positive), key=str)


def _zeros(part: sympy.Expr, z: sympy.Symbol) -> list[Any]:
    """Real zeros: all of a polynomial's, of other expressions those that a scan finds."""
    inner = without_floats(part.args[0] if isinstance(part, sympy.Abs) else part)
    if inner.is_polynomial(z):
        try:
            return [_digits(root) for root in sympy.Poly(inner, z).real_roots()]
        except NotImplementedError:
            pass  # irrational coefficients
    return _scanned_zeros(inner, z)


def _digits(number: sympy.Expr) -> Any:
    with mpmath.workdps(_POLES.digits):
        return mpmath.mpf(str(sympy.N(number, _POLES.digits)))


def _scanned_zeros(part: sympy.Expr, z: sympy.Symbol) -> list[Any]:
    """Sign changes, and zeros that only touch, on a fine grid; each located to `PoleSettings.digits`."""
    function = compile_expressions([z], [part], np)
    grid = np.linspace(-_POLES.far, _POLES.far, 20001)
    with np.errstate(all="ignore"):
        values = np.broadcast_to(np.asarray(function(grid)[0], dtype=float), grid.shape)
    size = np.abs(values)
    crossing = np.flatnonzero(np.sign(values[1:]) * np.sign(values[:-1]) < 0)
    touching = 1 + np.flatnonzero((size[1:-1] < size[:-2]) & (size[1:-1] < size[2:]))
    exact = compile_expressions([z], [part], mpmath)
    found = []
    for index in sorted({*crossing.tolist(), *touching.tolist()}):
        with mpmath.workdps(_POLES.digits):
            try:
                root = mpmath.findroot(
                    lambda point: exact(point)[0], mpmath.mpf(grid[index]), tol=1e-100, maxsteps=80
                )
            except (ValueError, ZeroDivisionError):
                continue  # a minimum that does not reach 0
            if mpmath.im(root) == 0 and abs(root - grid[index]) < 0.02:
                found.append(mpmath.re(root))
    return found


def _is_bounded(evaluate: Callable[..., list[Any]], point: Any) -> bool:
    """Whether φ is defined at ``point`` and φ' stays bounded on the way there, from both sides."""
    with mpmath.workdps(120):
        if not is_real(values_at(evaluate, [point], 2)[0]):
            return False
        for side in (-1, 1):
            sizes = []
            for exponent in (10, 20, 40):
                where = point + side * mpmath.mpf(10) ** -exponent
                phi, slope = values_at(evaluate, [where], 2)
                if not (is_real(phi) and is_real(slope)):
                    return False
                sizes.append(abs(slope))
            # A logarithm doubles from one of these to the next; a bounded slope has come to rest.
            if sizes[2] > 1.2 * sizes[1] + mpmath.mpf("1e-3") and sizes[1] > 1.2 * sizes[0]:
                return False
    return True
