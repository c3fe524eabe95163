"""Mean field of a stack layer by layer: the input moment of a layer is E[h²] of the layer below.

Exact where weights are drawn anew at every step and the input of an upper layer enters through its matrices V
only: V h is then Gaussian and independent in time. Elsewhere the stack is solved as one cell.

Letters: R, the second moment of a layer's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.result import MeanField, named, timescale
from rmtrnn.stack import Stack


def applies(ens: Ensemble) -> bool:
    """Whether ``ens`` is a stack whose layers can be solved one after the other."""
    return isinstance(ens, Stack) and not ens.tied and not any(map(_reads_input, ens.layers[1:]))


def _reads_input(layer: Ensemble) -> bool:
    """Whether a site's input enters its update beside the pre-activations."""
    stages = layer.cell.stages
    return any(layer.cell.input in expr.free_symbols for stage in stages for expr in stage.update)


def layered_mean_field(
    stack: Stack,
    first: np.ndarray | None,
    overlap: np.ndarray | None,
    solve: Callable[[Ensemble, np.ndarray | None, np.ndarray | None], MeanField],
) -> MeanField:
    """Solve every layer with R = E[h²] and Σ = E[h_a h_b]/E[h²] of the layer below, theory.md (2).

    ``first``, ``overlap``: moments at the start by state of the stack; ``solve`` the mean field of one layer.
    χ and its slopes are those of the layer where they are largest: the Jacobian is block triangular.
    """
    fields: list[MeanField] = []
    q: dict[str, float] = {}
    error = 0.0
    R, Sigma = stack.R, stack.Sigma
    for number, layer in enumerate(stack.layers, 1):
        own = list(stack.states(number))
        fed = layer.replace(R=R, Sigma=Sigma) if number > 1 else layer
        begin, start = (None if values is None else values[own] for values in (first, overlap))
        field = solve(fed, begin, start)
        fields.append(field)
        gain = max((layer.gate(gate).sigma_v ** 2 for gate in layer.cell.gates), default=0.0)
        error = field.error + (gain * error / max(1.0 - field.chi, field.error) if error else 0.0)
        q |= _by_gate(stack, number, field, R)
        second, shared = (_entry(values, stack.output(number) - own[0]) for values in (field.Q, field.C_star))
        R = second
        Sigma = float(np.clip(shared / second, -1.0, 1.0)) if second > 0.0 else 0.0
        if not np.isfinite(R):
            break
    return _joined(stack, fields, q, error)


def _joined(stack: Stack, fields: list[MeanField], q: Mapping[str, float], error: float) -> MeanField:
    """One result for all layers, nan above one without a stationary state; q: variances of the gates."""
    missing = len(stack.cell.state) - sum(len(field.ensemble.cell.state) for field in fields)
    nothing = [np.nan] * missing
    names = [symbol.name for symbol in stack.cell.state]

    def by_state(name: str) -> Any:
        return named(names, np.array([v for f in fields for v in _numbers(getattr(f, name))] + nothing))

    is_whole = len(fields) == len(stack.layers)
    slope = max((field.chi_star for field in fields), key=abs) if is_whole else np.nan
    return MeanField(
        ensemble=stack,
        Q=by_state("Q"),
        q=named(stack.cell.gates, np.array([q.get(gate, np.nan) for gate in stack.cell.gates])),
        c_star=by_state("c_star"),
        chi=max(field.chi for field in fields) if is_whole else np.nan,
        chi_star=float(slope),
        timescale=float(timescale(slope)),
        status=max((field.status for field in fields), key=lambda one: one is not Status.CONVERGED),
        residual=max(field.residual for field in fields),
        error=error,
        C_star=by_state("C_star"),
        method="moments" if all(field.method == "moments" for field in fields) else "population",
    )


def _by_gate(stack: Stack, number: int, field: MeanField, R: float) -> dict[str, float]:
    """Variances of a layer's pre-activations, its own part and the part from below by their own names."""
    found = {}
    for gate in field.ensemble.cell.gates:
        name, total = f"{gate}_{number}", field.q_of(gate)
        if f"{name}_in" in stack.cell.gates:
            found[f"{name}_in"] = stack.gate(f"{name}_in").sigma_w ** 2 * R
            total -= found[f"{name}_in"]
        found[name] = total
    return found


def _numbers(values: Any) -> list[float]:
    return list(values.values()) if isinstance(values, Mapping) else [values]


def _entry(values: Any, position: int) -> float:
    return float(_numbers(values)[position])
