# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false
"""A cell from a small text file, read line by line from top to bottom:

    # minimalRNN with a leak
    name leaky
    state h                     # one or more names, separated by commas
    input x
    gate e reads h              # a pre-activation, e = W h + V x + b
    u = sigmoid(e)              # a name for an expression
    h = 0.9*u*h + (1 - u)*x     # the new state; on the right, h is the old one

A gate reads an expression in the state. It may also use gates of lines above: ``gate c reads sigmoid(r)*h``
begins a new stage, in which W_c multiplies what the first stage made.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sympy

from rmtrnn.cells import Cell, Gate, Stage
from rmtrnn.cli.grammar import (
    CONSTANTS,
    FUNCTIONS,
    NAME,
    CellFileError,
    Node,
    names_in,
    parse,
    shown,
    suggestion,
    to_sympy,
)
from rmtrnn.cli.limits import FILES

_WORDS = ("name", "state", "input", "gate", "reads")
_HEAD = re.compile(rf"[ \t]*(?P<word>{NAME})[ \t]*(?P<equals>=)?[ \t]*(?P<rest>.*)", re.DOTALL)
_GATE = re.compile(rf"(?P<name>{NAME})[ \t]+reads(?![A-Za-z0-9_])[ \t]*(?P<reads>.+)", re.DOTALL)


@dataclass
class _Program:
    """What the lines said so far. ``names``: what a right-hand side may use, as trees."""

    name: str
    states: list[str] = field(default_factory=list)
    input: str = ""
    gates: dict[str, Node] = field(default_factory=dict)
    updates: dict[str, Node] = field(default_factory=dict)
    names: dict[str, Node] = field(default_factory=dict)


def read_cell(path: str | Path) -> Cell:
    """Return the cell of a text file. CellFileError for anything that is not in the grammar; OSError."""
    path = Path(path)
    with path.open("rb") as stream:
        content = stream.read(FILES.cell_bytes + 1)
    if len(content) > FILES.cell_bytes:
        raise CellFileError(f"{shown(str(path))}: a cell file has at most {FILES.cell_bytes} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise CellFileError(f"{shown(str(path))}: is not text in UTF-8") from None
    try:
        return parse_cell(text, name=path.stem)
    except CellFileError as error:
        raise CellFileError(f"{shown(str(path))}, {error}") from None


def parse_cell(text: str, name: str = "cell") -> Cell:
    """Return the cell that ``text`` describes; CellFileError with the line's number if it describes none."""
    lines = text.split("\n")
    if len(text) > FILES.cell_bytes or len(lines) > FILES.cell_lines:
        raise CellFileError(
            f"a cell file has at most {FILES.cell_bytes} characters and {FILES.cell_lines} lines"
        )
    program = _Program(name)
    for count, line in enumerate(lines, start=1):
        try:
            text = line.split("#", 1)[0].strip(" \t\r")
            if text:
                _read_line(program, text)
        except CellFileError as error:
            raise CellFileError(f"line {count}: {error}") from None
    return _build(program)


def _read_line(program: _Program, line: str) -> None:
    head = _HEAD.fullmatch(line)
    if head is None:
        raise CellFileError(f"cannot read {shown(line)}{_FORMS}")
    word, rest = head["word"], head["rest"]
    if head["equals"]:
        _define(program, word, rest)
    elif word == "name":
        program.name = _single(rest, "name")
    elif word == "state":
        _read_states(program, rest)
    elif word == "input":
        if program.input:
            raise CellFileError("input is given twice")
        program.input = _single(rest, "input")
        _add(program, program.input, Node("name", program.input))
    elif word == "gate":
        _read_gate(program, rest)
    else:
        raise CellFileError(f"begins with {shown(word)}{suggestion(word, _WORDS[:-1])}{_FORMS}")


_FORMS = "; a line is 'name', 'state', 'input', 'gate ... reads ...' or 'a = ...'"


def _single(text: str, what: str) -> str:
    if not re.fullmatch(NAME, text):
        raise CellFileError(f"{what!r} takes one word")
    return text


def _read_states(program: _Program, text: str) -> None:
    names = [name.strip(" \t") for name in text.split(",")]
    if not all(re.fullmatch(NAME, name) for name in names):
        raise CellFileError("'state' takes names separated by commas")
    if len(program.states) + len(names) > FILES.states:
        raise CellFileError(f"a cell has at most {FILES.states} states")
    for name in names:
        _add(program, name, Node("name", name))
        program.states.append(name)


def _read_gate(program: _Program, text: str) -> None:
    gate = _GATE.fullmatch(text)
    if gate is None:
        raise CellFileError("a gate is written 'gate NAME reads EXPRESSION'")
    if len(program.gates) == FILES.gates:
        raise CellFileError(f"a cell has at most {FILES.gates} gates")
    name = gate["name"]
    reads = _expression(program, gate["reads"])
    _add(program, name, Node("name", name))
    program.gates[name] = reads


def _define(program: _Program, name: str, text: str) -> None:
    tree = _expression(program, text)
    if name not in program.states:
        _add(program, name, tree)
    elif name in program.updates:
        raise CellFileError(f"the new {name} is given twice")
    else:
        program.updates[name] = tree


def _expression(program: _Program, text: str) -> Node:
    # After "h = ...", a reader would take h on a later line for the new value; it would be the old one.
    for name in names_in(text):
        if name in program.updates:
            raise CellFileError(
                f"uses {name} below its new value; give that value a name of its own, and use the name"
            )
    return parse(text, program.names)


def _add(program: _Program, name: str, tree: Node) -> None:
    if name in program.names:
        raise CellFileError(f"{name} is already in use")
    if name in FUNCTIONS or name in CONSTANTS or name in _WORDS or keyword.iskeyword(name):
        raise CellFileError(f"{name} is a word of the language; choose another name")
    program.names[name] = tree


def _build(program: _Program) -> Cell:
    for what, present in (("state", program.states), ("input", program.input), ("gate", program.gates)):
        if not present:
            raise CellFileError(f"no line says what the {what} is, such as {_EXAMPLES[what]!r}")
    missing = [state for state in program.states if state not in program.updates]
    if missing:
        raise CellFileError(f"no line gives the new value of {', '.join(missing)}")
    try:
        return _Stages(program).cell()
    except CellFileError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        # SymPy and Cell refuse in many words what is not real, or not finite.
        raise CellFileError(f"not a cell: {_first_line(str(error))}") from error


_EXAMPLES = {"state": "state h", "input": "input x", "gate": "gate e reads h"}


def _first_line(text: str) -> str:
    line = text.splitlines()[0] if text else "the expressions cannot be built"
    return line if len(line) <= 240 else line[:237] + "..."


class _Stages:
    """Orders the gates into stages and finds what each stage hands to the next."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._states = [sympy.Symbol(name, real=True) for name in program.states]
        self._input = sympy.Symbol(program.input, real=True)
        self._reads = {name: _finite(f"gate {name}", tree) for name, tree in program.gates.items()}
        self._updates = [_finite(f"new {name}", program.updates[name]) for name in program.states]
        self._level: dict[str, int] = {}
        for name, reads in self._reads.items():
            levels = [self._level[symbol.name] for symbol in reads.free_symbols if symbol.name in self._level]
            self._level[name] = 1 + max(levels, default=0 if self._input in reads.free_symbols else -1)
        self._last = max(self._level.values())
        if 0 not in self._level.values():
            raise CellFileError("every gate reads the input; at least one must read the state alone")

    def cell(self) -> Cell:
        """The cell, stage by stage, from the last: what a stage takes, the one before must make."""
        program, stages = self._program, []
        outputs, update = self._states, list(self._updates)
        for level in range(self._last, -1, -1):
            names = [name for name in self._reads if self._level[name] == level]
            reads = {name: self._reads[name] for name in names}
            carried: dict[sympy.Expr, sympy.Symbol] = {}
            if level > 0:
                # What a gate reads is one component, whatever it is made of; W must multiply it as a whole.
                for name in names:
                    self._carry(reads[name], carried)
                reads = {name: carried.get(expr, expr) for name, expr in reads.items()}
                update = [self._carried_parts(expr, level, carried) for expr in update]
            inputs = list(carried.values()) if level > 0 else self._states
            gates = [Gate(name, sympy.Symbol(name), reads[name]) for name in names]
            stages.insert(0, Stage(inputs, outputs, gates, update))
            outputs, update = inputs, list(carried)
        return Cell(program.name, state=self._states, input=self._input, stages=stages)

    def _carry(self, expr: sympy.Expr, carried: dict[sympy.Expr, sympy.Symbol]) -> sympy.Symbol:
        """The component that brings ``expr`` from the stage before; a state keeps its name."""
        if expr not in carried:
            taken = {*self._program.names, *(symbol.name for symbol in carried.values())}
            free = (f"carried_{count}" for count in range(1, len(taken) + 2))
            name = next(label for label in free if label not in taken)
            carried[expr] = expr if expr in self._states else sympy.Symbol(name, real=True)
        return carried[expr]

    def _carried_parts(
        self, expr: sympy.Expr, level: int, carried: dict[sympy.Expr, sympy.Symbol]
    ) -> sympy.Expr:
        """``expr`` with what only the stages before can know replaced by components.

        Sums, products and powers stay, so that a new state that is affine in what is carried stays so.
        """
        early = {symbol for symbol in expr.free_symbols if self._is_before(symbol, level)}
        if not early:
            return expr
        is_structure = isinstance(expr, sympy.Add | sympy.Mul) or (
            isinstance(expr, sympy.Pow) and expr.exp.is_Integer and expr.exp.is_positive
        )
        knows_only_early = all(symbol in early or symbol == self._input for symbol in expr.free_symbols)
        if isinstance(expr, sympy.Symbol) or (knows_only_early and not is_structure):
            return self._carry(expr, carried)
        if isinstance(expr, sympy.Piecewise):  # its conditions are no numbers: carry what they are made of
            return expr.xreplace({symbol: self._carry(symbol, carried) for symbol in sorted(early, key=str)})
        return expr.func(*(self._carried_parts(part, level, carried) for part in expr.args))

    def _is_before(self, symbol: sympy.Symbol, level: int) -> bool:
        return symbol in self._states or self._level.get(symbol.name, level) < level


def _finite(what: str, tree: Node) -> Any:
    expr = _converted(lambda: to_sympy(tree), what)
    if expr.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
        raise CellFileError(f"{what}: is not real and finite")
    return expr


def _converted(make: Callable[[], sympy.Expr], what: str) -> sympy.Expr:
    try:
        return make()
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CellFileError(f"{what}: {_first_line(str(error))}") from error
