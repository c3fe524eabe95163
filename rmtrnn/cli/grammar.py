# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportCallIssue=false
"""Expressions of a cell file: text to tokens to a tree to SymPy, by a parser of our own.

No text is ever evaluated as code. A tree is bounded before SymPy sees it, so that a short text cannot ask
for a huge number or an endless simplification:

    sum     := term (("+" | "-") term)*
    term    := factor (("*" | "/") factor)*
    factor  := ("+" | "-") factor | power
    power   := atom (("^" | "**") exponent)?        exponent: ["-"] number, or one in brackets
    atom    := number | name | function "(" sum ("," sum)* ")" | "(" sum ")"
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

from rmtrnn.cells.functions import logistic, normal_cdf, softplus

MAX_DEPTH = 40  # brackets and signs inside each other
MAX_NODES = 2000  # of an expression after its definitions were put in
MAX_HEIGHT = 100  # of a tree after its definitions were put in
MAX_KINKS = 3  # functions with a kink (KINKED) inside each other
MAX_ARGUMENTS = 8  # of max and min
MAX_DEGREE = 64  # of an expression as a polynomial in its names, functions and numbers
MAX_ARGUMENT = 1e9  # of a function, for names in (-BOX, BOX)
BOX = 4.0  # where a cell is tried out; see rmtrnn.cells.cell
_NEAR_POLE = 1e6  # what |1/y| is taken to be at most where y may vanish

_TOKEN = re.compile(
    r"(?P<space>[ \t]+)"
    r"|(?P<number>(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?(?![0-9A-Za-z_.]))"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]{0,30}(?![A-Za-z0-9_]))"
    r"|(?P<sign>\*\*|[-+*/^(),=])"
)


class CellFileError(ValueError):
    """A cell file that is not in the grammar: one line that says where and why."""


class Token(NamedTuple):
    kind: str
    text: str


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
    "log": Function(sympy.log, lambda m: max(m, _NEAR_POLE)),
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
    bound: float = BOX


def number(value: Fraction) -> Node:
    return Node("number", value, bound=float(abs(value)))


def combine(head: str, parts: tuple[Node, ...], value: Any = None) -> Node:
    """The node of an operation or function; CellFileError if it is beyond the bounds."""
    nodes = 1 + sum(part.nodes for part in parts)
    height = 1 + max(part.height for part in parts)
    kinks = max(part.kinks for part in parts) + (head in KINKED)
    degree = max(part.degree for part in parts)
    if head == "+":
        bound = sum(part.bound for part in parts)
    elif head == "*":
        degree = sum(part.degree for part in parts)
        bound = _product(part.bound for part in parts)
    elif head == "^":
        degree, bound = _power_bounds(parts[0], value)
    else:
        largest = max(part.bound for part in parts)
        if largest > MAX_ARGUMENT:
            raise CellFileError(f"the argument of {head} can become larger than {MAX_ARGUMENT:g}")
        bound = FUNCTIONS[head].bound(largest)
        degree = degree if head in KINKED else 1  # |z|^n and the like become powers of z
    if nodes > MAX_NODES or height > MAX_HEIGHT:
        raise CellFileError(
            f"the expression, its definitions put in, has more than {MAX_NODES} parts or {MAX_HEIGHT} levels"
        )
    if kinks > MAX_KINKS:
        raise CellFileError(f"more than {MAX_KINKS} functions with a kink inside each other")
    if degree > MAX_DEGREE:
        raise CellFileError(f"the powers and products go beyond degree {MAX_DEGREE}")
    return Node(head, value, parts, nodes, height, kinks, degree, bound)


def _product(bounds: Any) -> float:
    return math.prod(max(bound, 1.0) for bound in bounds)


def _power_bounds(base: Node, exponent: Fraction) -> tuple[int, float]:
    """Degree and bound of base^exponent; a negative power may come near a pole."""
    size = abs(exponent)
    if size > MAX_DEGREE or exponent.denominator > MAX_DEGREE:
        raise CellFileError(f"an exponent must be a number between -{MAX_DEGREE} and {MAX_DEGREE}")
    reach = _NEAR_POLE if exponent < 0 else 1.0
    try:
        bound = max(base.bound, reach) ** float(size)
    except OverflowError:
        bound = math.inf
    return base.degree * max(math.ceil(size), 1), bound


def tokens(text: str) -> list[Token]:
    """Split one line; a comment begins with "#"."""
    found: list[Token] = []
    text = text.split("#", 1)[0].rstrip()
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise CellFileError(f"cannot read {shown(text[position:])}")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group()))
        position = match.end()
    return found


def shown(text: str) -> str:
    """Foreign text in a message: on one line, in ASCII, not long."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


class Parser:
    """Recursive descent over the tokens of one line. ``names`` maps what may be used to its tree."""

    def __init__(self, line: list[Token], names: Mapping[str, Node]) -> None:
        self._line = line
        self._position = 0
        self._names = names
        self._depth = 0

    def expression(self) -> Node:
        """The whole rest of the line as one expression."""
        tree = self._sum()
        if self._position < len(self._line):
            raise CellFileError(f"unexpected {shown(self._line[self._position].text)}")
        return tree

    def _peek(self) -> str:
        return self._line[self._position].text if self._position < len(self._line) else ""

    def _take(self, *texts: str) -> str:
        """The next token if it is one of ``texts``, else nothing."""
        text = self._peek()
        if text not in texts:
            return ""
        self._position += 1
        return text

    def _expect(self, text: str) -> None:
        if not self._take(text):
            found = shown(self._peek()) if self._peek() else "the end of the line"
            raise CellFileError(f"expected {text!r}, found {found}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CellFileError(f"more than {MAX_DEPTH} brackets or signs inside each other")

    def _sum(self) -> Node:
        self._deeper()
        parts = [self._term()]
        while sign := self._take("+", "-"):
            term = self._term()
            parts.append(term if sign == "+" else _negative(term))
        self._depth -= 1
        return parts[0] if len(parts) == 1 else combine("+", tuple(parts))

    def _term(self) -> Node:
        parts = [self._factor()]
        while sign := self._take("*", "/"):
            factor = self._factor()
            parts.append(factor if sign == "*" else combine("^", (factor,), Fraction(-1)))
        return parts[0] if len(parts) == 1 else combine("*", tuple(parts))

    def _factor(self) -> Node:
        sign = self._take("+", "-")
        if not sign:
            return self._power()
        self._deeper()
        factor = self._factor()
        self._depth -= 1
        return factor if sign == "+" else _negative(factor)

    def _power(self) -> Node:
        base = self._atom()
        if not self._take("^", "**"):
            return base
        exponent = self._exponent()
        if self._peek() in ("^", "**"):
            raise CellFileError("a power of a power needs brackets")
        return combine("^", (base,), exponent)

    def _exponent(self) -> Fraction:
        bracket = self._take("(")
        sign = -1 if self._take("-") else 1
        if self._position >= len(self._line) or self._line[self._position].kind != "number":
            raise CellFileError("an exponent must be a number, such as 2, -1 or (1/2)")
        value = self._number()
        if bracket:
            if self._take("/"):
                if self._position >= len(self._line) or self._line[self._position].kind != "number":
                    raise CellFileError("an exponent must be a number, such as 2, -1 or (1/2)")
                divisor = self._number()
                if divisor == 0:
                    raise CellFileError("division by zero in an exponent")
                value /= divisor
            self._expect(")")
        return sign * value

    def _number(self) -> Fraction:
        text = self._line[self._position].text
        self._position += 1
        value = Fraction(text)
        if value and not 1e-30 <= abs(value) <= 1e30:
            raise CellFileError(f"the number {text} is not between 1e-30 and 1e30")
        return value

    def _atom(self) -> Node:
        if self._position >= len(self._line):
            raise CellFileError("the line ends where a number, a name or a bracket should follow")
        token = self._line[self._position]
        if token.kind == "number":
            return number(self._number())
        if self._take("("):
            tree = self._sum()
            self._expect(")")
            return tree
        if token.kind != "name":
            raise CellFileError(f"unexpected {shown(token.text)}")
        self._position += 1
        return self._call(token.text) if self._peek() == "(" else self._name(token.text)

    def _call(self, name: str) -> Node:
        if name not in FUNCTIONS:
            raise CellFileError(f"unknown function {name!r}{suggestion(name, FUNCTIONS)}")
        self._expect("(")
        arguments = [self._sum()]
        while self._take(","):
            arguments.append(self._sum())
        self._expect(")")
        arity = FUNCTIONS[name].arity
        if arity is None and len(arguments) > MAX_ARGUMENTS:
            raise CellFileError(f"{name} takes at most {MAX_ARGUMENTS} arguments, not {len(arguments)}")
        if arity is not None and len(arguments) != arity:
            raise CellFileError(f"{name} takes {arity} argument, not {len(arguments)}")
        return combine(name, tuple(arguments))

    def _name(self, name: str) -> Node:
        if name in CONSTANTS:
            return Node("name", name)
        if name not in self._names:
            hint = " (a function needs brackets)" if name in FUNCTIONS else suggestion(name, self._names)
            raise CellFileError(f"unknown name {name!r}{hint}")
        return self._names[name]


def _negative(tree: Node) -> Node:
    return combine("*", (number(Fraction(-1)), tree))


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
