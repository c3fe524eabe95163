# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""A recurrent cell as symbolic equations, its Jacobian form (theory.md (1)) and its callables.

A cell is a chain of stages. At every site (hidden unit) a stage takes a site-state of dimension s_in to one
of dimension s_out. Its pre-activations e_k = W_k r_k + V_k x + b_k mix sites through what the gate reads,
r_k = reads_k(site-state); everything else acts site by site.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mpmath
import sympy

from rmtrnn.cells import serialise
from rmtrnn.cells.classes import checked_shares
from rmtrnn.cells.functions import differentiate, stabilise
from rmtrnn.cells.numeric import (
    NumericCell,
    NumericStage,
    compile_expressions,
    is_real,
    module_name,
    values_at,
)

_PROBES = 8


@dataclass(frozen=True)
class Gate:
    """One pre-activation e = W·reads + V x + b: its name, its symbol in the update, and what W multiplies.

    >>> h, e = sympy.symbols("h e")
    >>> rt.Gate("e", e, h).reads
    h
    """

    name: str
    symbol: sympy.Symbol
    reads: sympy.Expr

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z]\w*", self.name):
            raise ValueError(f"gate name = {self.name!r}: must be a word that starts with a letter")
        object.__setattr__(self, "symbol", _symbol(f"symbol of gate {self.name!r}", self.symbol))
        object.__setattr__(self, "reads", _expression(f"reads of gate {self.name!r}", self.reads))

    @property
    def reads_state(self) -> bool:
        """Whether W multiplies something that depends on the state: those of minGRU, say, read nothing."""
        return not self.reads.is_number


@dataclass(frozen=True, init=False)
class Stage:
    """One site-wise map ``inputs -> outputs`` with the pre-activations it uses.

    Parameters
    ----------
    inputs, outputs : symbol or sequence of symbols
        Names of the components of the site-state that enters and leaves.
    gates : mapping {name or symbol: reads}, or sequence of Gate
        ``reads`` is an expression in ``inputs``; a gate given by a string has the symbol of that name.
    update : expression, sequence of expressions, or mapping {output symbol: expression}
        Expressions in ``inputs``, the gates' symbols and the cell's input.

    Symbols are known by their names; they are taken as real. Raises TypeError or ValueError if names
    clash, an expression is missing or uses a function that is not known, or a gate reads what is no input.

    >>> h, x, e = sympy.symbols("h x e")
    >>> rt.Cell("plain", state=h, input=x, gates={e: h}, update={h: sympy.tanh(e)}).stages[0].b
    Matrix([[sech2(e)]])
    """

    inputs: tuple[sympy.Symbol, ...]
    outputs: tuple[sympy.Symbol, ...]
    gates: tuple[Gate, ...]
    update: tuple[sympy.Expr, ...]

    def __init__(self, inputs: Any, outputs: Any, gates: Any, update: Any) -> None:
        inputs, outputs = _symbols("inputs", inputs), _symbols("outputs", outputs)
        gates = _gates(gates)
        symbols = [*inputs, *(gate.symbol for gate in gates)]
        _require_distinct("stage symbols", [symbol.name for symbol in symbols])
        _require_distinct("gate names", [gate.name for gate in gates])
        for gate in gates:
            _require_known(f"reads of gate {gate.name!r}", gate.reads, inputs)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "outputs", outputs)
        object.__setattr__(self, "gates", gates)
        object.__setattr__(self, "update", _updates(update, outputs))

    @functools.cached_property
    def a(self) -> sympy.Matrix:
        """a[i, j] = ∂update_i/∂input_j, shape (s_out, s_in); theory.md (1)."""
        return _jacobian(self.update, self.inputs)

    @functools.cached_property
    def b(self) -> sympy.Matrix:
        """b[k, i] = ∂update_i/∂e_k, shape (K, s_out); theory.md (1)."""
        return _jacobian(self.update, [gate.symbol for gate in self.gates]).T

    @functools.cached_property
    def c(self) -> sympy.Matrix:
        """c[k, j] = ∂reads_k/∂input_j, shape (K, s_in); theory.md (1)."""
        return _jacobian([gate.reads for gate in self.gates], self.inputs)


class Cell:
    """A recurrent cell: site-wise update equations in (state, input, pre-activations).

    Parameters
    ----------
    name : str
    state : symbol or sequence of symbols
    input : symbol
    gates, update
        As in `Stage`, for a cell of one stage.
    stages : sequence of Stage
        Instead of ``gates`` and ``update``, where a pre-activation reads a transformed state. The first
        stage takes ``state``, each takes what the one before gives, the last gives ``state``.
    shares : sequence of positive numbers, optional
        Classes of units: the components of every stage are then as many equal groups, one after the other,
        and a unit has those of one group only. A class has this share of the units. A gate reads one class
        and drives one class; σ_w² is E[W_ij²] times the number of units that it reads. See
        `rmtrnn.populations`.

    >>> h, x, e = sympy.symbols("h x e")
    >>> leaky = rt.Cell("leaky", state=h, input=x, gates={e: h}, update={h: 0.75 * h + 0.25 * sympy.tanh(e)})

    Cells are frozen, and equal if their equations and symbols are (the name takes no part).
    Parameters must be numbers. Symbols are known by their names and taken as real.
    Raises TypeError or ValueError for a symbol that is none of the above, stages that do not fit
    together, and an update that is not real and finite.
    """

    name: str
    state: tuple[sympy.Symbol, ...]
    input: sympy.Symbol
    stages: tuple[Stage, ...]
    shares: tuple[float, ...] = ()

    def __init__(
        self,
        name: str,
        *,
        state: Any,
        input: Any,
        gates: Any = None,
        update: Any = None,
        stages: Sequence[Stage] | None = None,
        shares: Sequence[float] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"name = {name!r}: expected a non-empty string")
        states, input = _symbols("state", state), _symbol("input", input)
        if stages is None:
            if gates is None or update is None:
                raise TypeError("Cell: give gates= and update=, or stages=")
            stages = (Stage(states, states, gates, update),)
        elif gates is not None or update is not None:
            raise TypeError("Cell: give either gates= and update=, or stages=, not both")
        self.__dict__.update(name=name, state=states, input=input, stages=tuple(stages))
        self._require_chain()
        if shares is not None:
            self.__dict__["shares"] = checked_shares(shares, self.stages)
        _require_real(self)

    def _require_chain(self) -> None:
        if not self.stages or not all(isinstance(stage, Stage) for stage in self.stages):
            raise TypeError(f"stages = {self.stages!r}: expected a non-empty sequence of Stage")
        _require_distinct("gate names", list(self.gates))
        carried = self.state
        for index, stage in enumerate(self.stages):
            if stage.inputs != carried:
                raise ValueError(
                    f"stages[{index}].inputs = {stage.inputs}: must be {carried}, what the stage before gives"
                )
            known = [*stage.inputs, self.input, *(gate.symbol for gate in stage.gates)]
            _require_distinct(f"symbols of stages[{index}]", [symbol.name for symbol in known])
            for output, expr in zip(stage.outputs, stage.update, strict=True):
                _require_known(f"update of {output} in cell {self.name!r}", expr, known)
            carried = stage.outputs
        if carried != self.state:
            raise ValueError(f"outputs of the last stage = {carried}: must be the state {self.state}")

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of all pre-activations, in stage order."""
        return tuple(gate.name for stage in self.stages for gate in stage.gates)

    @property
    def components(self) -> int:
        """Number of state components of one unit: all of ``state``, or those of one class."""
        return len(self.state) // max(1, len(self.shares))

    def numeric(self, xp: Any) -> NumericCell:
        """Return the equations as functions for ``xp`` (the module numpy, cupy or mpmath); cached."""
        module_name(xp)
        return _numeric_cell(self, xp)

    def to_dict(self) -> dict[str, Any]:
        """Return the equations as plain JSON types."""
        record = {
            "name": self.name,
            "state": [symbol.name for symbol in self.state],
            "input": self.input.name,
            "stages": [_stage_to_dict(stage) for stage in self.stages],
        }
        return record | {"shares": list(self.shares)} if self.shares else record

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Cell:
        """Return the cell of `to_dict`'s record; ValueError if it is malformed."""
        from rmtrnn.cells.library import library_cell

        if not isinstance(record, Mapping):
            raise ValueError(f"cell record = {record!r}: expected a mapping")
        if "library" in record:
            return library_cell(record)
        _require_keys("cell record", record, ("name", "state", "input", "stages"))
        return Cell(
            record["name"],
            state=[_from_name(name) for name in record["state"]],
            input=_from_name(record["input"]),
            stages=[_stage_from_dict(stage) for stage in record["stages"]],
            shares=record.get("shares"),
        )

    def _key(self) -> tuple[Any, ...]:
        return self.state, self.input, self.stages, self.shares

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Cell) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __setattr__(self, attribute: str, value: Any) -> None:
        raise AttributeError(f"Cell is frozen: cannot set {attribute!r}")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(f"Cell is frozen: cannot delete {attribute!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Cell.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        return f"rt.Cell.from_dict({self.to_dict()!r})"

    def __str__(self) -> str:
        lines = [f"cell {self.name!r}: state {', '.join(map(str, self.state))}; input {self.input}"]
        for stage in self.stages:
            for gate in stage.gates:
                k = gate.name
                lines.append(f"  {gate.symbol} = W_{k}·({gate.reads}) + V_{k} {self.input} + b_{k}")
            lines += [
                f"  {output} ← {expr}" for output, expr in zip(stage.outputs, stage.update, strict=True)
            ]
        if self.shares:
            lines.append(f"  classes of units, shares {', '.join(f'{share:g}' for share in self.shares)}")
        return "\n".join(lines)


@functools.lru_cache(maxsize=64)
def _numeric_cell(cell: Cell, xp: Any) -> NumericCell:
    return NumericCell(tuple(_numeric_stage(stage, cell.input, xp) for stage in cell.stages))


def _numeric_stage(stage: Stage, input: sympy.Symbol, xp: Any) -> NumericStage:
    return NumericStage(
        xp,
        inputs=stage.inputs,
        x=input,
        gates=[gate.symbol for gate in stage.gates],
        reads=[gate.reads for gate in stage.gates],
        update=stage.update,
        jacobian=[*stage.a, *stage.b, *stage.c],
    )


def _jacobian(rows: Iterable[sympy.Expr], columns: Sequence[sympy.Symbol]) -> sympy.Matrix:
    entries = [[differentiate(expr, symbol) for symbol in columns] for expr in rows]
    return sympy.ImmutableMatrix(len(entries), len(columns), [entry for row in entries for entry in row])


def _require_real(cell: Cell) -> None:
    """Refuse an update or a reading that is not real and finite at a few points of both signs."""
    for stage in cell.stages:
        symbols = [*stage.inputs, cell.input, *(gate.symbol for gate in stage.gates)]
        named = {f"update of {out}": expr for out, expr in zip(stage.outputs, stage.update, strict=True)}
        named |= {f"reads of gate {gate.name!r}": gate.reads for gate in stage.gates}
        evaluate = compile_expressions(symbols, list(named.values()), mpmath)
        for probe in range(_PROBES):
            # Golden-ratio steps: spread over (-4, 4), the same in every run, never on a special value.
            point = [
                8 * (0.618033988749895 * (probe * len(symbols) + k + 1) % 1.0) - 4
                for k in range(len(symbols))
            ]
            values = values_at(evaluate, point, len(named))
            for (what, expr), value in zip(named.items(), values, strict=True):
                if not is_real(value):
                    raise ValueError(
                        f"{what} in cell {cell.name!r} = {expr}: must be real and finite, but is {value} at "
                        f"{dict(zip(map(str, symbols), point, strict=True))}"
                    )


def _symbol(name: str, value: Any) -> sympy.Symbol:
    if not isinstance(value, sympy.Symbol):
        raise TypeError(f"{name} = {value!r}: expected a SymPy symbol, got {type(value).__name__}")
    return sympy.Symbol(value.name, real=True)


def _symbols(name: str, values: Any) -> tuple[sympy.Symbol, ...]:
    sequence = [values] if isinstance(values, sympy.Symbol) else values
    if isinstance(sequence, str) or not isinstance(sequence, Sequence) or not sequence:
        raise TypeError(f"{name} = {values!r}: expected a SymPy symbol or a non-empty sequence of them")
    symbols = tuple(_symbol(name, value) for value in sequence)
    _require_distinct(name, [symbol.name for symbol in symbols])
    return symbols


def _from_name(name: Any) -> sympy.Symbol:
    if not isinstance(name, str) or not name:
        raise ValueError(f"cell record: {name!r} is not the name of a symbol")
    return sympy.Symbol(name, real=True)


def _expression(name: str, value: Any) -> sympy.Expr:
    """A checked expression over real symbols, with overflowing forms rewritten."""
    if isinstance(value, bool) or not isinstance(value, int | float | sympy.Expr):
        raise TypeError(f"{name} = {value!r}: expected a SymPy expression, got {type(value).__name__}")
    expr = cast(sympy.Expr, sympy.sympify(value))
    real = {symbol: sympy.Symbol(symbol.name, real=True) for symbol in expr.atoms(sympy.Symbol)}
    expr = stabilise(expr.xreplace(real).doit())
    serialise.to_json(expr)
    return expr


def _gates(gates: Any) -> tuple[Gate, ...]:
    if isinstance(gates, Mapping):
        pairs = []
        for key, reads in gates.items():
            if not isinstance(key, str | sympy.Symbol):
                raise TypeError(f"gates: {key!r} is neither a name nor a symbol")
            name = key if isinstance(key, str) else key.name
            pairs.append(Gate(name, sympy.Symbol(name), reads))
        return tuple(pairs)
    if not isinstance(gates, Sequence) or not all(isinstance(gate, Gate) for gate in gates):
        raise TypeError(f"gates = {gates!r}: expected a mapping {{name: expression}} or a sequence of Gate")
    return tuple(gates)


def _updates(update: Any, outputs: tuple[sympy.Symbol, ...]) -> tuple[sympy.Expr, ...]:
    if isinstance(update, Mapping):
        by_name = {_symbol("update", symbol).name: expr for symbol, expr in update.items()}
        names = [symbol.name for symbol in outputs]
        if set(by_name) != set(names):
            raise ValueError(
                f"update: has expressions for {sorted(by_name)}, must have them for {sorted(names)}"
            )
        update = [by_name[name] for name in names]
    elif isinstance(update, sympy.Expr):
        update = [update]
    if isinstance(update, str) or not isinstance(update, Sequence) or len(update) != len(outputs):
        raise ValueError(f"update = {update!r}: must hold one expression for each of {outputs}")
    return tuple(
        _expression(f"update of {symbol}", expr) for symbol, expr in zip(outputs, update, strict=True)
    )


def _require_distinct(name: str, names: list[str]) -> None:
    repeated = sorted({item for item in names if names.count(item) > 1})
    if repeated:
        raise ValueError(f"{name}: {repeated} appear more than once")


def _require_known(name: str, expr: sympy.Expr, known: Sequence[sympy.Symbol]) -> None:
    unknown = sorted(symbol.name for symbol in expr.free_symbols - set(known))
    if unknown:
        raise ValueError(
            f"{name} = {expr}: has the unknown symbols {unknown}; allowed are "
            f"{[symbol.name for symbol in known]} (parameters must be numbers)"
        )


def _require_keys(name: str, record: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(record, Mapping) or not set(keys) <= set(record):
        raise ValueError(f"{name} = {record!r}: must be a mapping with the keys {list(keys)}")


def _stage_to_dict(stage: Stage) -> dict[str, Any]:
    return {
        "inputs": [symbol.name for symbol in stage.inputs],
        "outputs": [symbol.name for symbol in stage.outputs],
        "gates": [
            {"name": gate.name, "symbol": gate.symbol.name, "reads": serialise.to_json(gate.reads)}
            for gate in stage.gates
        ],
        "update": [serialise.to_json(expr) for expr in stage.update],
    }


def _stage_from_dict(record: Any) -> Stage:
    _require_keys("stage record", record, ("inputs", "outputs", "gates", "update"))
    return Stage(
        [_from_name(name) for name in record["inputs"]],
        [_from_name(name) for name in record["outputs"]],
        [_gate_from_dict(gate) for gate in record["gates"]],
        [serialise.from_json(expr) for expr in record["update"]],
    )


def _gate_from_dict(record: Any) -> Gate:
    _require_keys("gate record", record, ("name", "symbol", "reads"))
    return Gate(record["name"], _from_name(record["symbol"]), serialise.from_json(record["reads"]))
