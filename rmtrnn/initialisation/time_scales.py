"""Time scales of a plan: which gates keep, which ones write, and how their biases differ between the units.

A gate that sets the share of its state that a unit keeps fixes the unit's time scale. If all units have the
scale T, a network remembers and hardly answers: ∂h^T/∂x^T is of order 1/T. A plan therefore has two classes
of units in one network: slow ones, with a bias of such gates that is searched, and a share of fast ones,
where it is 0. A gate that writes what another one keeps has the opposite bias at every unit, b_i = −b_f, so
that a unit that forgets a share δ per step takes up about δ of what comes in: its state is a mean, not a sum,
and does not grow with T (Tallec and Ollivier 2018, arXiv:1804.11188).

Letters: K gates, N units.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import sympy

from rmtrnn.cells import Cell
from rmtrnn.cells.functions import differentiate
from rmtrnn.cells.numeric import compile_expressions
from rmtrnn.meanfield.expansion import composed, gate_symbols
from rmtrnn.meanfield.site_process import memory


class Copy(NamedTuple):
    """A gate whose bias is ``sign`` times that of the gate ``source``."""

    source: str
    sign: float

    def law(self) -> str:
        """As `Ensemble` takes it in ``bias_law``."""
        return f"{'-' if self.sign < 0.0 else ''}{self.source}"


@functools.lru_cache(maxsize=64)
def carrying_gates(cell: Cell) -> tuple[str, ...]:
    """The gates that set which share of a carried component is kept: ∂²h'/∂h∂e ≠ 0."""
    kept = [share for _, share, _ in _carried(cell)]
    named = zip(cell.gates, gate_symbols(cell), strict=True)
    return tuple(gate for gate, symbol in named if any(share.has(symbol) for share in kept))


@functools.lru_cache(maxsize=64)
def writing_gates(cell: Cell) -> dict[str, Copy]:
    """The gates that scale what a carried component takes up, each with the gate that keeps this component.

    Of h' = share · h + rest such a gate gives the rest a positive factor that depends on it alone. The sign
    is that with which the share kept and the share written change in opposite ways.
    """
    symbols = dict(zip(cell.gates, gate_symbols(cell), strict=True))
    keeping, found = carrying_gates(cell), {}
    for state, share, update in _carried(cell):
        own = [gate for gate in keeping if share.has(symbols[gate])]
        if len(own) != 1:
            continue
        rest = sympy.factor_terms(update.subs(state, 0))
        for factor in sympy.Mul.make_args(rest):
            gates = [gate for gate, symbol in symbols.items() if factor.has(symbol)]
            if len(gates) != 1 or gates[0] in keeping or factor.free_symbols != {symbols[gates[0]]}:
                continue
            values = _on_a_grid(factor, symbols[gates[0]])
            if np.all(values > 0.0):
                rises = _on_a_grid(share.subs(state, 0), symbols[own[0]])
                same = (values[-1] - values[0]) * (rises[-1] - rises[0]) > 0.0
                found[gates[0]] = Copy(own[0], -1.0 if same else 1.0)
    return found


def _carried(cell: Cell) -> list[tuple[sympy.Symbol, sympy.Expr, sympy.Expr]]:
    """The components that are carried: symbol, derivative by itself, update."""
    updates, _ = composed(cell)
    return [(cell.state[i], differentiate(updates[i], cell.state[i]), updates[i]) for i in memory(cell)]


def _on_a_grid(expr: sympy.Expr, symbol: sympy.Symbol) -> np.ndarray:
    """The expression, with 1 for all other symbols, from −3 to 3."""
    plain = expr.subs(dict.fromkeys(expr.free_symbols - {symbol}, 1))
    function, grid = compile_expressions([symbol], [plain], np), np.linspace(-3.0, 3.0, 7)
    return np.asarray(function(grid)[0], dtype=float) * np.ones(len(grid))


class BiasPattern(NamedTuple):
    """Biases of N units from the numbers of the gates: b_k = μ_k m_k + σ_k sign_k ξ_source(k).

    ``source``, ``sign`` (K,): the gate whose numbers ξ a gate takes, itself if it copies none. ``split``
    (K,): m = 0 at the fast units, the first ``fast`` N; else m = 1.
    """

    source: np.ndarray
    sign: np.ndarray
    split: np.ndarray
    fast: float

    def slow(self, N: int) -> np.ndarray:
        """The slow units."""
        return np.arange(round(self.fast * N) if self.split.any() else 0, N)

    def means(self, N: int) -> np.ndarray:
        """m_k of all units, (K, N)."""
        found = np.ones((len(self.split), N))
        found[self.split, : N - len(self.slow(N))] = 0.0
        return found

    def deviations(self, own: np.ndarray) -> np.ndarray:
        """Numbers (K, …) with those of the sources in place of a gate's own, and the sign."""
        return own[self.source] * self.sign.reshape(-1, *[1] * (own.ndim - 1))
