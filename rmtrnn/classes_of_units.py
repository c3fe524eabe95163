# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Populations of units as one ensemble: classes with their own cells and parameters, and a variance profile.

A unit i of class a has e_i = Σ_b Σ_{j in b} W_ij r_j + (V x)_i + b_i with

    E[W_ij²] = (σ_w,a s_ab)²/N,    q_a = Σ_b p_b (σ_w,a s_ab)² E_b[r²] + σ_v,a² R + σ_b,a²,               (27)

p_b the share of class b in the N units. The cell has the components of all classes, and a gate for each pair
of classes (`rmtrnn.cells.Cell`, ``shares``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import sympy

from rmtrnn._core import validate as _validate
from rmtrnn.cells import Cell, Gate, Stage
from rmtrnn.cells.classes import require_one_class
from rmtrnn.ensemble import GATE_PARAMETERS, Ensemble, GateParameters

_SHARED = ("R", "Sigma", "input_law", "tied")


def populations(classes: Sequence[Ensemble], shares: Sequence[float], profile: Any = 1.0) -> Ensemble:
    """Return the ensemble of networks of several classes of units, docs/theory.md (27).

    Parameters
    ----------
    classes : sequence of `Ensemble`
        Cell and parameters of the units of each class. The cells have the same gates and stages of the same
        sizes (leaky cells of different delta, say). R, Sigma, input_law and tied are those of all.
    shares : positive numbers that sum to 1
        Share of each class in the N units.
    profile : number ≥ 0, or one row for each class
        s_ab: weights from a unit of class b into one of class a have the variance (σ_w s_ab)²/N, with σ_w of
        class a. 1: the plain network, whatever the classes.

    States and gates have the suffix of their class, counted from 1: "h_1"; "e_1_2" is driven by class 2. V
    and biases go with "e_1_1". The Jacobian is that of all units, s N × s N. Mean field, phase diagrams,
    spectra, eigenvalues and samples know classes, tied or not. Weights must be Gaussian: a block of an
    orthogonal matrix is not orthogonal. For weights with a sign (Dale's law) see `rmtrnn.outliers`.

    Raises TypeError or ValueError for classes that do not fit each other.

    >>> fast, slow = (rt.Ensemble(rt.Leaky(delta), sigma_b=0.3, tied=True) for delta in (1.0, 0.2))
    >>> both = rt.populations([fast, slow], [0.8, 0.2], [[1.0, 2.0], [1.5, 0.0]])
    >>> both.cell.gates
    ('e_1_1', 'e_1_2', 'e_2_1', 'e_2_2')
    """
    if not isinstance(classes, Sequence) or not classes:
        raise TypeError(f"classes = {classes!r}: expected a non-empty sequence of Ensemble")
    for one in classes:
        _validate.instance("classes", one, Ensemble)
        require_one_class(one.cell, "its classes one by one")
        for name in _SHARED:
            if getattr(one, name) != getattr(classes[0], name):
                raise ValueError(f"classes: {name} = {getattr(one, name)!r}; must be the same in all classes")
    if len(shares) != len(classes):
        raise ValueError(f"shares: has {len(shares)} numbers for {len(classes)} classes")
    factors = _profile(profile, len(classes))
    _require_same_form([one.cell for one in classes])
    stages, laws = [], {}
    for parts in zip(*(one.cell.stages for one in classes), strict=True):
        stages.append(_joined(parts, classes, np.asarray(shares, dtype=float), factors, laws))
    cell = Cell(
        "populations",
        state=[_named(symbol, a) for a, one in enumerate(classes, 1) for symbol in one.cell.state],
        input=classes[0].cell.input,
        stages=stages,
        shares=shares,
    )
    columns = {name: {gate: getattr(law, name) for gate, law in laws.items()} for name in _COLUMNS}
    for gate, law in columns["bias_law"].items():
        if not law.is_scaled:  # the law has its own mean and scale
            columns["mu_b"][gate] = columns["sigma_b"][gate] = 0.0
    return Ensemble(cell, **columns, **{name: getattr(classes[0], name) for name in _SHARED})


_COLUMNS = (*GATE_PARAMETERS, "weights", "bias_law")


def _profile(profile: Any, count: int) -> np.ndarray:
    """The factors s_ab, (classes, classes)."""
    rows = np.asarray(profile, dtype=float)
    if rows.ndim not in (0, 2) or (rows.ndim == 2 and rows.shape != (count, count)):
        raise ValueError(f"profile: has the shape {rows.shape}; must be a number or {(count, count)}")
    if not np.all(np.isfinite(rows)) or np.any(rows < 0.0):
        raise ValueError(f"profile = {profile!r}: must hold finite numbers ≥ 0")
    return np.broadcast_to(rows, (count, count))


def _require_same_form(cells: Sequence[Cell]) -> None:
    """Refuse cells whose stages differ in sizes or in the names of their gates."""
    forms = [
        [(len(s.inputs), len(s.outputs), [g.name for g in s.gates]) for s in cell.stages] for cell in cells
    ]
    for cell, form in zip(cells, forms, strict=True):
        if form != forms[0] or cell.input != cells[0].input:
            raise ValueError(
                f"classes: the cells {cells[0].name!r} and {cell.name!r} must have the same input symbol, "
                "the same gates, and stages of the same sizes"
            )


def _named(symbol: sympy.Symbol, number: int) -> sympy.Symbol:
    return sympy.Symbol(f"{symbol.name}_{number}", real=True)


def _joined(
    parts: Sequence[Stage],
    classes: Sequence[Ensemble],
    shares: np.ndarray,
    factors: np.ndarray,
    laws: dict[str, GateParameters],
) -> Stage:
    """One stage of all classes; the laws of its gates are added to ``laws``."""
    renamed = [
        {symbol: _named(symbol, a) for symbol in (*part.inputs, *part.outputs)}
        for a, part in enumerate(parts, 1)
    ]
    gates: list[Gate] = []
    update: list[sympy.Expr] = []
    for a, (part, one) in enumerate(zip(parts, classes, strict=True)):
        sums: dict[sympy.Symbol, Any] = {}
        for k, gate in enumerate(part.gates):
            law = one.gate(gate.name)
            terms = []
            for b, other in enumerate(parts):
                if b != a and not (gate.reads_state and law.sigma_w * factors[a, b]):
                    continue
                label = f"{gate.name}_{a + 1}_{b + 1}"
                symbol = sympy.Symbol(f"{gate.symbol.name}_{a + 1}_{b + 1}", real=True)
                gates.append(Gate(label, symbol, other.gates[k].reads.xreplace(renamed[b])))
                laws[label] = _gate_law(law, a, b, factors[a, b] * np.sqrt(shares[b]))
                terms.append(symbol)
            sums[gate.symbol] = sympy.Add(*terms)
        update += [cast(sympy.Expr, expr.xreplace({**renamed[a], **sums})) for expr in part.update]
    inputs, outputs = (
        [_named(symbol, a) for a, part in enumerate(parts, 1) for symbol in getattr(part, side)]
        for side in ("inputs", "outputs")
    )
    return Stage(inputs, outputs, gates, update)


def _gate_law(law: GateParameters, a: int, b: int, factor: float) -> GateParameters:
    """The law of the gate into class a from class b; V and biases go with a = b."""
    sigma_w = float(law.sigma_w * factor)
    if a != b:
        return GateParameters(sigma_w, 0.0, 0.0, 0.0, law.weights)
    source = law.bias_law.source
    bias_law = replace(law.bias_law, source=f"{source}_{a + 1}_{a + 1}") if source else law.bias_law
    return replace(law, sigma_w=sigma_w, bias_law=bias_law)
