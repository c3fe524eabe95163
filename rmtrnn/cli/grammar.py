# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportCallIssue=false
"""Expressions of a cell file: text → Python's syntax tree → bounded `Node` tree → SymPy.

``ast.parse`` reads the text; `Reader` admits a handful of its node types and refuses the rest, so that no
text is ever evaluated as code. `Node` bounds size, degree and values before SymPy sees an expression, so that
a short text cannot ask for a huge number or an endless simplification. An expression is made of numbers,
names, ``+ - * /``, powers ``^`` (or ``**``) with a number as exponent, and the functions of `FUNCTIONS`.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

from rmtrnn.cells.functions import logistic, normal_cdf, softplus
from rmtrnn.cli.limits import EXPRESSION

NUMBER = r"(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?(?![0-9A-Za-z_.])"
NAME = r"[A-Za-z][A-Za-z0-9_]{0,30}(?![A-Za-z0-9_])"
_TOKEN = re.compile(rf"(?P<number>{NUMBER})|(?P<name>{NAME})|(?P<sign>\*\*|[-+*/^(),])|(?P<space>[ \t]+)")


_TOO_SHORT = "the line ends where a number, a name or a bracket should follow"
_TOO_LARGE = (
    "the expression, its definitions put in, has more than "
    f"{EXPRESSION.nodes} parts or {EXPRESSION.height} levels"
)


class CellFileError(ValueError):
    """A cell file that is not in the grammar: one line that says where and why."""


class Function(NamedTuple):
    """How a function is built, how many arguments it takes, and the largest |value| for |arguments| ≤ m."""

    build: Callable[..., sympy.Expr]
    bound: Callable[[float], float]
    arity: int | None = 1


def _exp(m: float) -> float:
    return math.exp(m) if m < 700.0 else math.inf


def _one(m: float) -> float:
    return 1.0


def _same(m: float) -> float:
    return m


def _hard_tanh(z: sympy.Expr) -> sympy.Expr:
    return sympy.Piecewise((-1, z <= -1), (z, z < 1), (1, True))


def _relu(z: sympy.Expr) -> sympy.Expr:
    return sympy.Piecewise((0, z <= 0), (z, True))


FUNCTIONS: dict[str, Function] = {
    "tanh": Function(sympy.tanh, _one),
    "sigmoid": Function(logistic, _one),
    "erf": Function(sympy.erf, _one),
    "normal_cdf": Function(normal_cdf, _one),
    "exp": Function(sympy.exp, _exp),
    "log": Function(sympy.log, lambda m: max(m, EXPRESSION.near_pole)),
    "sqrt": Function(sympy.sqrt, lambda m: max(m, 1.0)),
    "sin": Function(sympy.sin, _one),
    "cos": Function(sympy.cos, _one),
    "atan": Function(sympy.atan, lambda m: 2.0),
    "sinh": Function(sympy.sinh, _exp),
    "cosh": Function(sympy.cosh, _exp),
    "softplus": Function(softplus, lambda m: m + 1.0),
    "softsign": Function(lambda z: z / (1 + sympy.Abs(z)), _one),
    "relu": Function(_relu, _same),
    "hard_tanh": Function(_hard_tanh, _one),
    "silu": Function(lambda z: z * logistic(z), _same),
    "gelu": Function(lambda z: z * normal_cdf(z), _same),
    "abs": Function(sympy.Abs, _same),
    "sign": Function(sympy.sign, _one),
    "max": Function(sympy.Max, _same, None),
    "min": Function(sympy.Min, _same, None),
}
KINKED = ("relu", "hard_tanh", "abs", "sign", "max", "min", "softsign")
CONSTANTS: dict[str, Any] = {"pi": sympy.pi}


@dataclass(frozen=True)
class Node:
    """A bounded piece of an expression. ``head``: "number", "name", "+", "*", "^" or a function.

    ``nodes`` and ``height``: its size; ``kinks``: how many kinked functions are inside each other;
    ``degree``: as a polynomial; ``bound``: of its absolute value for names in the box.
    """

    head: str
    value: Any = None
    parts: tuple[Node, ...] = ()
    nodes: int = 1
    height: int = 1
    kinks: int = 0
    degree: int = 1
    bound: float = EXPRESSION.box


def number(value: Fraction) -> Node:
    return Node("number", value, bound=float(abs(value)))


def combine(head: str, parts: tuple[Node, ...], value: Any = None) -> Node:
    """The node of an operation or function; CellFileError if it is beyond the bounds."""
    nodes = 1 + sum(part.nodes for part in parts)
    height = 1 + max(part.height for part in parts)
    kinks = max(part.kinks for part in parts) + (head in KINKED)
    degree, bound = _degree_and_bound(head, parts, value)
    if nodes > EXPRESSION.nodes or height > EXPRESSION.height:
        raise CellFileError(_TOO_LARGE)
    if kinks > EXPRESSION.kinks:
        raise CellFileError(f"more than {EXPRESSION.kinks} functions with a kink inside each other")
    if degree > EXPRESSION.degree:
        raise CellFileError(f"the powers and products go beyond degree {EXPRESSION.degree}")
    return Node(head, value, parts, nodes, height, kinks, degree, bound)


def _degree_and_bound(head: str, parts: tuple[Node, ...], value: Any) -> tuple[int, float]:
    """Degree as a polynomial, and the largest absolute value for names in the box."""
    degree = max(part.degree for part in parts)
    if head == "+":
        return degree, sum(part.bound for part in parts)
    if head == "*":
        return sum(part.degree for part in parts), _product(part.bound for part in parts)
    if head == "^":
        return _power_bounds(parts[0], value)
    largest = max(part.bound for part in parts)
    if largest > EXPRESSION.argument:
        raise CellFileError(f"the argument of {head} can become larger than {EXPRESSION.argument:g}")
    # Polynomials inside a function count as one name; |z|^n and the like become powers of z.
    return degree if head in KINKED else 1, FUNCTIONS[head].bound(largest)


def _product(bounds: Any) -> float:
    return math.prod(max(bound, 1.0) for bound in bounds)


def _power_bounds(base: Node, exponent: Fraction) -> tuple[int, float]:
    """Degree and bound of base^exponent; a negative power may come near a pole."""
    size = abs(exponent)
    if size > EXPRESSION.degree or exponent.denominator > EXPRESSION.degree:
        raise CellFileError(
            f"an exponent must be a number between -{EXPRESSION.degree} and {EXPRESSION.degree}"
        )
    reach = EXPRESSION.near_pole if exponent < 0 else 1.0
    try:
        bound = max(base.bound, reach) ** float(size)
    except OverflowError:
        bound = math.inf
    return base.degree * max(math.ceil(size), 1), bound


def shown(text: str) -> str:
    """Foreign text in a message: on one line, in ASCII, not long."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


def names_in(text: str) -> list[str]:
    """The names in an expression, in order."""
    return [match.group() for match in _TOKEN.finditer(text) if match.lastgroup == "name"]


def parse(text: str, names: Mapping[str, Node]) -> Node:
    """The tree of one expression; ``names`` maps what it may use to trees. CellFileError if it is none."""
    text = text.strip(" \t")
    _check_words(text)
    source = text.replace("^", "**")
    try:
        tree = ast.parse(source, mode="eval")
    except SyntaxError as error:
        if not error.offset or error.offset > len(source):
            raise CellFileError(_TOO_SHORT) from None
        unexpected = source[error.offset - 1 : (error.end_offset or len(source) + 1) - 1]
        raise CellFileError(f"unexpected {shown(unexpected)}") from None
    except (MemoryError, RecursionError):
        raise CellFileError(_TOO_LARGE) from None
    return _Reader(source, names).read(tree.body)


def _check_words(text: str) -> None:
    """Refuse foreign characters, long words, open brackets, and more nesting than ``ast.parse`` may see."""
    position = brackets = signs = count = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise CellFileError(f"cannot read {shown(text[position:])}")
        position = match.end()
        word = match.group()
        if match.lastgroup == "space":
            continue
        if match.lastgroup == "name" and keyword.iskeyword(word):
            raise CellFileError(f"{word} is a word of Python; choose another name")
        brackets += (word == "(") - (word == ")")
        signs = signs + 1 if word in ("+", "-") else 0
        count += 1
        if brackets < 0:
            raise CellFileError("unexpected ')'")
        if brackets + signs > EXPRESSION.depth:
            raise CellFileError(f"more than {EXPRESSION.depth} brackets or signs inside each other")
        if count > EXPRESSION.words:
            raise CellFileError(_TOO_LARGE)
    if brackets:
        raise CellFileError("expected ')', found the end of the line")
    if not count:
        raise CellFileError(_TOO_SHORT)


class _Reader:
    """Python's syntax tree to a `Node` tree. What is not admitted here is refused."""

    def __init__(self, source: str, names: Mapping[str, Node]) -> None:
        self._source = source
        self._names = names
        self._height = 0

    def read(self, tree: ast.expr) -> Node:
        """The node of a tree of bounded height."""
        self._height += 1
        if self._height > EXPRESSION.height:
            raise CellFileError(_TOO_LARGE)
        try:
            match tree:
                case ast.Constant():
                    return number(self._number(tree))
                case ast.Name(id=name):
                    return self._name(name)
                case ast.UnaryOp(op=ast.UAdd()):
                    return self.read(tree.operand)
                case ast.UnaryOp(op=ast.USub()):
                    return _negative(self.read(tree.operand))
                case ast.BinOp(op=ast.Pow()):
                    return combine("^", (self.read(tree.left),), self._exponent(tree.right))
                case ast.BinOp(op=ast.Add() | ast.Sub()):
                    return self._chain("+", tree, ast.Add, ast.Sub, _negative)
                case ast.BinOp(op=ast.Mult() | ast.Div()):
                    return self._chain("*", tree, ast.Mult, ast.Div, _reciprocal)
                case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                    return self._call(name, arguments)
        finally:
            self._height -= 1
        raise CellFileError(f"unexpected {shown(self._text(tree))}")

    def _chain(
        self, head: str, tree: ast.expr, same: type, inverse: type, invert: Callable[[Node], Node]
    ) -> Node:
        """a ± b ± c … (or a */ b */ c …) as one node, without recursion along the chain."""
        parts: list[Node] = []
        while isinstance(tree, ast.BinOp) and isinstance(tree.op, same | inverse):
            part = self.read(tree.right)
            parts.append(invert(part) if isinstance(tree.op, inverse) else part)
            tree = tree.left
        return combine(head, (self.read(tree), *reversed(parts)))

    def _text(self, tree: ast.expr) -> str:
        return self._source[tree.col_offset : tree.end_col_offset]

    def _number(self, tree: ast.expr) -> Fraction:
        """The exact value of a number as it was written: 0.1 is 1/10."""
        text = self._text(tree)
        value = Fraction(text)
        if value and not 1e-30 <= abs(value) <= 1e30:
            raise CellFileError(f"the number {text} is not between 1e-30 and 1e30")
        return value

    def _exponent(self, tree: ast.expr) -> Fraction:
        """The value of 2, -1, (1/2) or (-1/2)."""
        match tree:
            case ast.Constant():
                return self._number(tree)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.BinOp(op=ast.Div())):
                return -self._exponent(tree.operand)
            case ast.BinOp(
                op=ast.Div(),
                left=ast.Constant() | ast.UnaryOp(op=ast.USub(), operand=ast.Constant()),
                right=ast.Constant(),
            ):
                divisor = self._number(tree.right)
                if divisor == 0:
                    raise CellFileError("division by zero in an exponent")
                return self._exponent(tree.left) / divisor
            case ast.BinOp(op=ast.Pow()):
                raise CellFileError("a power of a power needs brackets")
        raise CellFileError("an exponent must be a number, such as 2, -1 or (1/2)")

    def _call(self, name: str, arguments: list[ast.expr]) -> Node:
        if name not in FUNCTIONS:
            raise CellFileError(f"unknown function {name!r}{suggestion(name, FUNCTIONS)}")
        arity = FUNCTIONS[name].arity
        if arity is None and not 1 <= len(arguments) <= EXPRESSION.arguments:
            raise CellFileError(f"{name} takes 1 to {EXPRESSION.arguments} arguments, not {len(arguments)}")
        if arity is not None and len(arguments) != arity:
            raise CellFileError(f"{name} takes {arity} argument, not {len(arguments)}")
        return combine(name, tuple(self.read(argument) for argument in arguments))

    def _name(self, name: str) -> Node:
        if name in CONSTANTS:
            return Node("name", name)
        if name not in self._names:
            hint = " (a function needs brackets)" if name in FUNCTIONS else suggestion(name, self._names)
            raise CellFileError(f"unknown name {name!r}{hint}")
        return self._names[name]


def _negative(tree: Node) -> Node:
    return combine("*", (number(Fraction(-1)), tree))


def _reciprocal(tree: Node) -> Node:
    return combine("^", (tree,), Fraction(-1))


def suggestion(name: str, known: Any) -> str:
    """' (did you mean ...?)' where a known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def to_sympy(tree: Node) -> sympy.Expr:
    """The SymPy expression of a tree, its names as real symbols."""
    if tree.head == "number":
        return sympy.Rational(tree.value.numerator, tree.value.denominator)
    if tree.head == "name":
        return CONSTANTS.get(tree.value) or sympy.Symbol(tree.value, real=True)
    parts = [to_sympy(part) for part in tree.parts]
    if tree.head == "+":
        return sympy.Add(*parts)
    if tree.head == "*":
        return sympy.Mul(*parts)
    if tree.head == "^":
        return sympy.Pow(parts[0], sympy.Rational(tree.value.numerator, tree.value.denominator))
    return FUNCTIONS[tree.head].build(*parts)
