# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false
"""Layers of recurrent networks as one ensemble: the cell of a stack has the states of all its layers.

Layer ℓ sees x_ℓ^t = h_{ℓ−1}^t of the layer below, at the same step. Its pre-activation
e = W h_ℓ^{t−1} + V h_{ℓ−1}^t + b is the sum of two gates, each with its own matrix. The stack is then a cell
of the form (1), with one group of stages for every layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import sympy

from rmtrnn._core import validate as _validate
from rmtrnn.cells import Cell, Gate, Stage
from rmtrnn.cells.classes import require_one_class
from rmtrnn.ensemble import GATE_PARAMETERS, Ensemble, GateParameters

Symbols = Mapping[sympy.Symbol, sympy.Expr]


class Stack(Ensemble):
    """Layers of recurrent networks, each fed by the state of the layer below at the same step.

    layers : sequence of `Ensemble`, the lowest first
        ``R``, ``Sigma`` and ``input_law`` of the first layer are those of the stack's input. The others must
        have the default ones: their input moment is E[h²] of the layer below. All or none are ``tied``.

    A stack is an ensemble; every function that takes an ensemble takes it. State and gates of layer ℓ have
    the suffix _ℓ ("h_1", "e_2"). A gate "e_2" of an upper layer multiplies the layer's own state by W and has
    the biases; "e_2_in" multiplies the state below by V, with σ_w for the layer's σ_v. The Jacobian is that
    of all states (sN × sN); `rmtrnn.spectra.layer_spectrum` gives the block from one layer to another.
    The layer above reads the state "h", or the last one where no state has that name.

    Raises TypeError or ValueError for layers that do not fit each other.

    >>> stack = rt.Stack([rt.Ensemble("vanilla", sigma_v=0.5), rt.Ensemble("vanilla", sigma_v=1.0)])
    >>> stack.cell.gates
    ('e_1', 'e_2_in', 'e_2')
    """

    layers: tuple[Ensemble, ...]

    def __init__(self, layers: Sequence[Ensemble]) -> None:
        if not isinstance(layers, Sequence) or not layers:
            raise TypeError(f"layers = {layers!r}: expected a non-empty sequence of Ensemble")
        for layer in layers:
            _validate.instance("layers", layer, Ensemble)
            if isinstance(layer, Stack):
                raise TypeError("layers: a layer is a Stack; give its layers one by one")
            require_one_class(layer.cell, "layers without classes")
        first, plain = layers[0], Ensemble("vanilla")
        for number, layer in enumerate(layers[1:], 2):
            for name in ("R", "Sigma", "input_law"):
                if getattr(layer, name) != getattr(plain, name):
                    raise ValueError(
                        f"layers: {name} = {getattr(layer, name)!r} of layer {number}: only the first layer "
                        "has an input of its own"
                    )
            if layer.tied != first.tied:
                raise ValueError(f"layers: tied = {layer.tied} of layer {number}; must be that of layer 1")
        cell, laws = _stacked(layers)
        columns = {name: {gate: getattr(law, name) for gate, law in laws.items()} for name in _COLUMNS}
        for gate, law in columns["bias_law"].items():
            if not law.is_scaled:  # the law has its own mean and scale
                columns["mu_b"][gate] = columns["sigma_b"][gate] = 0.0
        super().__init__(
            cell, **columns, R=first.R, Sigma=first.Sigma, tied=first.tied, input_law=first.input_law
        )
        object.__setattr__(self, "layers", tuple(layers))

    def __repr__(self) -> str:
        return f"rt.Stack([{', '.join(map(repr, self.layers))}])"

    def __str__(self) -> str:
        return f"rt.Stack([{', '.join(map(str, self.layers))}])"

    def states(self, layer: int) -> tuple[int, ...]:
        """Positions in the state vector of the states of one layer, counted from 1."""
        layer = _validate.integer("layer", layer, low=1, high=len(self.layers))
        sizes = [len(one.cell.state) for one in self.layers]
        start = sum(sizes[: layer - 1])
        return tuple(range(start, start + sizes[layer - 1]))

    def output(self, layer: int) -> int:
        """Position in the state vector of what the layer above reads of one layer."""
        states = self.states(layer)
        return states[_output(self.layers[layer - 1].cell)]


def _named(symbol: sympy.Symbol, number: int) -> sympy.Symbol:
    return sympy.Symbol(f"{symbol.name}_{number}", real=True)


def _output(cell: Cell) -> int:
    """Position of the state that the layer above reads."""
    names = [symbol.name for symbol in cell.state]
    return names.index("h") if "h" in names else len(names) - 1


_COLUMNS = (*GATE_PARAMETERS, "weights", "bias_law")


def _stacked(layers: Sequence[Ensemble]) -> tuple[Cell, dict[str, GateParameters]]:
    """The cell of a stack, and the laws of its gates."""
    states = [[_named(symbol, number) for symbol in one.cell.state] for number, one in enumerate(layers, 1)]
    stages: list[Stage] = []
    laws: dict[str, GateParameters] = {}
    for number, layer in enumerate(layers, 1):
        before = [symbol for symbols in states[: number - 1] for symbol in symbols]
        after = [symbol for symbols in states[number:] for symbol in symbols]
        below = states[number - 2][_output(layers[number - 2].cell)] if number > 1 else layer.cell.input
        for stage in layer.cell.stages:
            gates, update = _equations(stage, layer, number, below, laws)
            inputs, outputs = (
                [*before, *(_named(symbol, number) for symbol in part), *after]
                for part in (stage.inputs, stage.outputs)
            )
            stages.append(Stage(inputs, outputs, gates, [*before, *update, *after]))
    flat = [symbol for symbols in states for symbol in symbols]
    return Cell("stack", state=flat, input=layers[0].cell.input, stages=stages), laws


def _equations(
    stage: Stage, layer: Ensemble, number: int, below: sympy.Symbol, laws: dict[str, GateParameters]
) -> tuple[list[Gate], list[sympy.Expr]]:
    """Gates and updates of one stage by the names of its layer; the laws of the gates are added to ``laws``.

    The input x becomes the state ``below``, and V x another gate that reads it.
    """
    renamed: dict[sympy.Symbol, sympy.Expr] = {
        symbol: _named(symbol, number) for symbol in (*stage.inputs, *stage.outputs)
    }
    gates, sums = [], {}
    for gate in stage.gates:
        law, name, symbol = layer.gate(gate.name), f"{gate.name}_{number}", _named(gate.symbol, number)
        source = law.bias_law.source
        if source:
            law = replace(law, bias_law=replace(law.bias_law, source=f"{source}_{number}"))
        reads, total = gate.reads.xreplace(renamed), symbol
        if number > 1 and law.sigma_v:
            if reads == 0:  # the gate's own matrix multiplies nothing: one gate is enough
                reads, law = below, replace(law, sigma_w=law.sigma_v, weights="gaussian")
            else:
                extra = sympy.Symbol(f"{symbol.name}_in", real=True)
                gates.append(Gate(f"{name}_in", extra, below))
                laws[f"{name}_in"] = GateParameters(law.sigma_v, 0.0, 0.0, 0.0, "gaussian")
                total = symbol + extra
        gates.append(Gate(name, symbol, reads))
        laws[name] = replace(law, sigma_v=law.sigma_v if number == 1 else 0.0)
        sums[gate.symbol] = total
    known: Symbols = {**renamed, **sums, layer.cell.input: below}
    return gates, [expr.xreplace(known) for expr in stage.update]
