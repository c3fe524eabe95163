# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false
"""A cell that is affine in its state, as a sum of products of one-gate functions.

With the stages substituted into each other, every state update and every gate input of an affine cell is

    Σ_t  coefficient_t · (1 or s_j) · (1 or x) · Π_k f_{t,k}(e_k).

The pre-activations e_k of one site are independent Gaussians, independent of the site's state and input,
so all second moments are sums of products of E[s_i s_j], E[x^p] and one-dimensional Gaussian expectations
(theory.md (3)–(5), for any such cell). Vanilla, minimalRNN and GRU are of this kind; LSTM is not. Gates that
occur only in their sum are one Gaussian, whose mean and variance are the sums of theirs: so for classes of
units and for layers, with one gate for each class or layer that is read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy

from rmtrnn.cells import Activation, Cell, VanillaRNN
from rmtrnn.cells.functions import differentiate
from rmtrnn.cells.numeric import compile_expressions
from rmtrnn.cells.pieces import in_pieces
from rmtrnn.ensemble import Ensemble

_KINKED = (sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Max, sympy.Min, sympy.Piecewise)


@dataclass(frozen=True)
class Term:
    """coefficient · (1 if state = 0 else s_{state−1}) · x^power · Π_k functions[k][factors[k]](e_k)."""

    coefficient: float
    state: int
    power: int
    factors: tuple[int, ...]


@dataclass(frozen=True)
class GateFunctions:
    """The functions of one pre-activation that occur in a cell; number 0 is the constant 1.

    ``values`` of them come first; the rest are derivatives: ``derivative[m]`` is the number of the derivative
    of function m, or −1 where it vanishes.
    """

    evaluate: Callable[[np.ndarray], np.ndarray]
    values: int
    total: int
    derivative: tuple[int, ...]
    kinks: tuple[float, ...]


@dataclass(frozen=True)
class Expansion:
    """The updates of the state components and the inputs of the gates as sums of terms.

    ``summed[k]``: gates whose sum the functions of gate k take, k the last of them; its own number alone for
    most, and none where the gate occurs in the sum of a later one.
    """

    cell: Cell
    functions: tuple[GateFunctions, ...]
    update: tuple[tuple[Term, ...], ...]
    inputs: tuple[tuple[Term, ...], ...]
    summed: tuple[tuple[int, ...], ...]

    def by_state(self, terms: Sequence[Term], component: int) -> tuple[Term, ...]:
        """∂/∂s_component of a sum of terms (component counts from 0)."""
        return tuple(replace(term, state=0) for term in terms if term.state == component + 1)

    def by_gate(self, terms: Sequence[Term], gate: int) -> tuple[Term, ...]:
        """∂/∂e_gate of a sum of terms."""
        slopes = []
        for term in terms:
            slope = self.functions[gate].derivative[term.factors[gate]]
            if slope >= 0:
                factors = (*term.factors[:gate], slope, *term.factors[gate + 1 :])
                slopes.append(replace(term, factors=factors))
        return tuple(slopes)


@functools.lru_cache(maxsize=64)
def expand(cell: Cell) -> Expansion | None:
    """Return the expansion of a cell, or None if it is not affine in the state and the input, or if a
    coefficient does not split into functions of single pre-activations."""
    symbols = gate_symbols(cell)
    updates, inputs = composed(cell)
    summed = [[k] for k in range(len(symbols))]
    split, tables = _all_split([*updates, *inputs], cell, symbols)
    if split is None and len(cell.state) > 1:
        together, summed = _with_sums([*updates, *inputs], symbols)
        split, tables = _all_split(together, cell, symbols)
    if split is None:
        return None
    functions = tuple(_functions(cell, symbol, table) for symbol, table in zip(symbols, tables, strict=True))
    parts = tuple(split[: len(updates)]), tuple(split[len(updates) :])
    return Expansion(cell, functions, *parts, tuple(tuple(one) for one in summed))


def _all_split(
    exprs: Sequence[sympy.Expr], cell: Cell, symbols: tuple[sympy.Symbol, ...]
) -> tuple[list[tuple[Term, ...]] | None, list[list[sympy.Expr]]]:
    """The terms of all expressions (None if one has none), and the functions of each gate."""
    tables: list[list[sympy.Expr]] = [[sympy.Integer(1)] for _ in symbols]
    found = []
    for expr in exprs:
        terms = _split(expr, cell, symbols, tables)
        if terms is None:
            return None, tables
        found.append(terms)
    return found, tables


def _with_sums(
    exprs: Sequence[sympy.Expr], symbols: tuple[sympy.Symbol, ...]
) -> tuple[list[sympy.Expr], list[list[int]]]:
    """The expressions with the last gate in place of the sum of gates, where only that occurs."""
    found, summed = list(exprs), [[k] for k in range(len(symbols))]
    for k, symbol in enumerate(symbols):
        for last in range(k + 1, len(symbols)):
            changed = [expr.xreplace({symbols[last]: symbols[last] - symbol}) for expr in found]
            used = any(symbol in expr.free_symbols for expr in found)
            if used and not any(symbol in expr.free_symbols for expr in changed):
                found, summed[last], summed[k] = changed, [*summed[k], *summed[last]], []
                break
    return found, summed


def expansion_of(ens: Ensemble) -> Expansion | None:
    """Return the `expand`sion of the ensemble's cell; None if some pre-activations are not Gaussian."""
    return expand(ens.cell) if ens.has_normal_biases else None


def is_closed(ens: Ensemble) -> bool:
    """Whether m_1 = χ^T exactly with fresh weights: one state component, closed in its moments."""
    return len(ens.cell.state) == 1 and expansion_of(ens) is not None


def gate_symbols(cell: Cell) -> tuple[sympy.Symbol, ...]:
    """Symbols of the pre-activations, in the order of stages and gates."""
    return tuple(sympy.Symbol(f"e_{k}_", real=True) for k in range(len(cell.gates)))


def composed(cell: Cell) -> tuple[list[sympy.Expr], list[sympy.Expr]]:
    """Updates of the state and inputs of the gates, in the state that enters the first stage."""
    symbols = gate_symbols(cell)
    known: dict[Any, Any] = {}
    inputs: list[sympy.Expr] = []
    gate_count = 0
    outputs: list[sympy.Expr] = list(cell.state)
    for stage in cell.stages:
        known = dict(zip(stage.inputs, outputs, strict=True))
        inputs += [gate.reads.xreplace(known) for gate in stage.gates]
        fresh = symbols[gate_count : gate_count + len(stage.gates)]
        known |= {gate.symbol: symbol for gate, symbol in zip(stage.gates, fresh, strict=True)}
        gate_count += len(stage.gates)
        outputs = [expr.xreplace(known) for expr in stage.update]
    return outputs, inputs


def _split(
    expr: sympy.Expr, cell: Cell, symbols: tuple[sympy.Symbol, ...], tables: list[list[sympy.Expr]]
) -> tuple[Term, ...] | None:
    """The terms of one expression; functions that are new are added to the tables."""
    terms = []
    by_state = _affine_parts(expr, cell.state)
    for state, part in enumerate(by_state or ()):
        by_power = _affine_parts(part, (cell.input,))
        if by_power is None:
            return None
        for power, coefficient in enumerate(by_power):
            products = _products(coefficient, symbols)
            if products is None:
                return None
            for number, factors in products:
                indices = tuple(_number(table, f) for table, f in zip(tables, factors, strict=True))
                terms.append(Term(number, state, power, indices))
    return None if by_state is None else tuple(terms)


def _affine_parts(expr: sympy.Expr, variables: Sequence[sympy.Symbol]) -> list[sympy.Expr] | None:
    """[constant, coefficient of each variable], or None if ``expr`` is not affine in the variables."""
    parts = [expr.xreplace(dict.fromkeys(variables, sympy.Integer(0)))]
    for variable in variables:
        slope = sympy.diff(expr, variable)
        if slope.free_symbols & set(variables):
            slope = sympy.expand(slope)
        if slope.free_symbols & set(variables):
            return None
        parts.append(slope)
    return parts


def _products(
    expr: sympy.Expr, symbols: tuple[sympy.Symbol, ...]
) -> list[tuple[float, list[sympy.Expr]]] | None:
    """``expr`` as a sum of number · Π_k f_k(e_k), expanding only where a factor mixes pre-activations."""
    if expr.is_zero:
        return []
    product = _factors(expr, symbols)
    if product is not None:
        return [product]
    products = [_factors(part, symbols) for part in sympy.Add.make_args(sympy.expand(expr))]
    return None if any(product is None for product in products) else products


def _factors(expr: sympy.Expr, symbols: tuple[sympy.Symbol, ...]) -> tuple[float, list[sympy.Expr]] | None:
    number = sympy.Integer(1)
    functions: list[sympy.Expr] = [sympy.Integer(1)] * len(symbols)
    for factor in sympy.Mul.make_args(expr):
        present = [k for k, symbol in enumerate(symbols) if symbol in factor.free_symbols]
        if len(present) > 1:
            return None
        if present:
            functions[present[0]] *= factor
        else:
            number *= factor
    return float(number), functions


def _number(table: list[sympy.Expr], function: sympy.Expr) -> int:
    if function not in table:
        table.append(function)
    return table.index(function)


def _functions(cell: Cell, symbol: sympy.Symbol, table: list[sympy.Expr]) -> GateFunctions:
    values = len(table)
    derivative = []
    for function in table[:values]:
        slope = differentiate(function, symbol)
        derivative.append(-1 if slope.is_zero else _number(table, slope))
    if isinstance(cell, VanillaRNN):
        breakpoints = cell.activation.breakpoints
    else:
        kinked = [function for function in table[:values] if function.has(*_KINKED)]
        found = {point for function in kinked for point in Activation(function).breakpoints}
        breakpoints = tuple(sorted(found, key=float))
    compiled = compile_expressions(
        [symbol], [in_pieces(function, symbol, breakpoints) for function in table], np
    )

    def evaluate(e: np.ndarray) -> np.ndarray:
        with np.errstate(
            divide="ignore", invalid="ignore"
        ):  # a slope without a limit: nan, seen by the caller
            return np.stack([np.broadcast_to(value, e.shape) for value in compiled(e)])

    kinks = tuple(float(point) for point in breakpoints)
    return GateFunctions(evaluate, values, len(table), tuple(derivative), kinks)
