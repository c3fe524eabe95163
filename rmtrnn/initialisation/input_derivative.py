"""Where the input of a cell acts without weights: ∂F/∂x of theory.md (1), site by site."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy

from rmtrnn.cells import Cell
from rmtrnn.cells.functions import differentiate
from rmtrnn.cells.numeric import compile_expressions

Derivative = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@functools.lru_cache(maxsize=64)
def input_derivatives(cell: Cell) -> tuple[Derivative | None, ...]:
    """∂F/∂x of every stage as a function of (site (s_in, …), x (…), e (K, …)), with values (s_out, …).

    None for a stage that meets the input through its weights V only: all library cells but the minimalRNN.
    """
    return tuple(_derivative(cell, position) for position in range(len(cell.stages)))


def _derivative(cell: Cell, position: int) -> Derivative | None:
    stage = cell.stages[position]
    expressions = [differentiate(update, cell.input) for update in stage.update]
    if all(expression == 0 for expression in expressions):
        return None
    symbols: list[sympy.Symbol] = [*stage.inputs, cell.input, *(gate.symbol for gate in stage.gates)]
    compiled = compile_expressions(symbols, expressions, np)

    def evaluate(site: Any, x: Any, e: Any) -> np.ndarray:
        shape = np.broadcast_shapes(site.shape[1:], np.shape(x), e.shape[1:])
        return np.array([np.broadcast_to(value, shape) for value in compiled(*site, x, *e)], dtype=float)

    return evaluate
