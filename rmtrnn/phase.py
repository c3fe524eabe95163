"""Phase diagrams: the mean field on a grid of parameters.

Letters: Q, the second moment of the state; q, the variance of a pre-activation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core import progress as _progress
from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.result import Result, explained, optional, stored
from rmtrnn._core.status import Status
from rmtrnn._core.trials import run_trials
from rmtrnn.ensemble import GATE_PARAMETERS, Ensemble
from rmtrnn.meanfield import mean_field
from rmtrnn.meanfield.expansion import expansion_of
from rmtrnn.meanfield.grid import stationary_grid
from rmtrnn.meanfield.moment_map import Parameters
from rmtrnn.meanfield.result import MeanField, named, timescale
from rmtrnn.meanfield.tied_line import tied_line
from rmtrnn.meanfield.tied_result import is_equal_to_untied

INPUT_PARAMETERS = ("R", "Sigma")
PICTURED = ("chi", "chi_star", "timescale", "q", "Q", "c_star")  # what `plot` draws over two parameters
_QUANTITIES = ("Q", "q", "c_star", "chi", "chi_star", "timescale", "status", "residual", "error")
ERRORS = ("q", "chi", "c_star", "chi_star")  # of which `MeanField.errors` has the error, beside Q
_SINGLE = ("chi", "chi_star", "residual", "error", *(f"error of {name}" for name in ERRORS))
Axis = tuple[str, str | None]
Quantity = np.ndarray | Mapping[str, np.ndarray]


@dataclass(frozen=True)
class GridSettings:
    """How a grid is cut; only time depends on ``chunk`` and ``segment``."""

    # Points that are solved together by closed moments.
    chunk: int = 2048
    # Points of a tied network that are followed from one to the next, between two solved anew.
    segment: int = 8
    # Sites of a population for points solved one by one, untied and tied. The error of each point says what
    # fewer would cost.
    sites: int = 2048
    tied_sites: int = 256


_GRID = GridSettings()


@stored("phase diagram")
@dataclass(frozen=True, repr=False, eq=False)
class PhaseDiagram(Result):
    """The quantities of `MeanField` as arrays over a grid.

    ``axes`` maps the name of each parameter, in the order given, to its values ("mu_b", or "mu_b.f" for one
    gate); all arrays have the shape of the grid, ``[i, j]`` belonging to the i-th value of the first
    parameter and the j-th of the second. ``status`` holds `Status` codes, ``residual`` and ``error`` are per
    point, the latter of Q; ``errors`` has those of q, chi, c_star and chi_star, for networks solved point by
    point. Where there is no stationary state (DIVERGED) the quantities are nan. ``theory`` is "untied" or
    "tied".

    >>> phases = rt.phase_diagram(rt.Ensemble("vanilla", sigma_b=0.1), sigma_w=[0.5, 1.0, 1.5])
    >>> phases.chi.shape
    (3,)
    """

    remedies: ClassVar[Mapping[Status, str]] = {
        Status.MAX_ITERATIONS: "try another start Q0= or, where points are solved one by one, a larger sites="
    }

    ensemble: Ensemble
    axes: Mapping[str, np.ndarray]
    Q: Quantity
    q: Quantity
    c_star: Quantity
    chi: np.ndarray
    chi_star: np.ndarray
    timescale: np.ndarray
    status: np.ndarray  # pyright: ignore[reportIncompatibleVariableOverride]
    residual: np.ndarray
    error: np.ndarray  # pyright: ignore[reportIncompatibleVariableOverride]
    theory: str = "untied"
    errors: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return self.chi.shape

    @property
    def converged(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Boolean array: where all fixed points were found."""
        return self.status == Status.CONVERGED

    @property
    def message(self) -> str:
        """How many points ended how, and what the least common endings mean."""
        found = [status for status in Status if np.any(self.status == status)]
        counts = ", ".join(f"{np.count_nonzero(self.status == s)} {s.name.lower()}" for s in found)
        bad = [s for s in found if s is not Status.CONVERGED]
        reasons = "; ".join(f"{s.name.lower()}: {explained(s, self.remedies)}" for s in bad)
        return f"{counts} ({reasons})" if reasons else counts

    def to_pandas(self) -> Any:
        """A row for each point of the grid, a column for each parameter and quantity. Needs pandas."""
        grids = np.meshgrid(*self.axes.values(), indexing="ij")
        columns = {name: grid.ravel() for name, grid in zip(self.axes, grids, strict=True)}
        columns |= {name: values.ravel() for name, values in self._arrays().items()}
        return optional("pandas").DataFrame(columns)

    def to_xarray(self) -> Any:
        """The quantities as a Dataset over the parameters. Needs xarray."""
        arrays = {name: (tuple(self.axes), values) for name, values in self._arrays().items()}
        return optional("xarray").Dataset(
            arrays, coords=dict(self.axes), attrs={"ensemble": repr(self.ensemble)}
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        """All quantities by name, those by gate or state as "q.f"."""
        found: dict[str, np.ndarray] = {}
        for name in _QUANTITIES:
            value = getattr(self, name)
            parts = value if isinstance(value, Mapping) else {"": value}
            found |= {f"{name}.{part}" if part else name: array for part, array in parts.items()}
        return found

    def __repr__(self) -> str:
        axes = ", ".join(
            f"{name}: {values[0]:g} to {values[-1]:g} ({values.size})" for name, values in self.axes.items()
        )
        return f"PhaseDiagram of {self.ensemble}, {self.theory} weights\n  {axes}\n  {self.message}"


def phase_diagram(
    ens: Ensemble,
    *,
    Q0: float = 1.0,
    progress: bool | _progress.Report | None = None,
    executor: Executor | None = None,
    checkpoint: str | Path | None = None,
    sites: int | None = None,
    **parameters: Any,
) -> PhaseDiagram:
    """Mean field on the grid of all combinations of the given parameter values; docs/theory.md section 2.

    >>> ens = rt.Ensemble("minimal", sigma_v=1.4, R=0.46)
    >>> phases = rt.phase_diagram(ens, sigma_w=np.linspace(1, 8, 5), mu_b=np.linspace(-4, 8, 6))
    >>> phases.chi.shape
    (5, 6)

    Parameters
    ----------
    ens : Ensemble
        Supplies every parameter that is not on the grid.
    sigma_w, sigma_v, mu_b, sigma_b, R, Sigma : one-dimensional arrays, one or more of them
        For one gate only: a mapping {gate: array}; several gates are several axes.
    Q0 : number ≥ 0
        Second moment E[h²] at the start. Where there are several stable states, as for minimalRNN and GRU
        beside a jump of χ, it selects one: diagrams with Q0 = 1 and a small Q0 differ there.
    progress : None, True, or callable (done, total, label)
    executor : anything with the `concurrent.futures.Executor` interface, optional
    checkpoint : folder, optional
        Finished points are kept there and read again, for diagrams solved one by one; ValueError for others.
    sites : int, optional
        Of the population of each point, for diagrams solved one by one. Default 2048; tied 256, for errors of
        some per cent (``error`` and ``errors`` have them per point) in a tenth to half of a second for each.

    Untied cells that are affine in their state (vanilla, minimalRNN, GRU) are solved 2048 points at a time,
    all other networks one by one. States are those reached from Q = ``Q0`` with independent replicas. Tied
    networks are solved about eight neighbours along the last axis at a time: the first and the last from
    ``Q0``, those between from their neighbour, unless that leads to another state than the last has. A state
    reached from ``Q0`` in a narrower window, beside a stable one on both sides of it, is missed.

    Raises TypeError for an unknown parameter or none, ValueError for values out of range and for grids beyond
    the memory.
    """
    _validate.instance("ens", ens, Ensemble)
    Q0 = _validate.real("Q0", Q0, low=0.0)
    axes = _axes(ens, parameters)
    points = math.prod(values.size for _, values in axes)
    check_memory("number of grid points", points, 8.0 * points * _numbers_per_point(ens))
    grid = np.array(list(itertools.product(*(values for _, values in axes)))).T
    names = [axis for axis, _ in axes]
    report = _progress.reporter(progress)
    if expansion_of(ens) is not None and (not ens.tied or is_equal_to_untied(ens)):
        for name, value in (("checkpoint", checkpoint), ("sites", sites)):
            if value is not None:
                raise ValueError(f"{name} = {value!r}: for diagrams that are solved one by one only")
        return _diagram(ens, axes, _in_chunks(ens, names, grid, Q0, report, executor))
    record = {"ensemble": ens.to_dict(), "axes": names, "grid": grid.tolist(), "Q0": Q0, "sites": sites}
    options: dict[str, Any] = {"executor": executor, "checkpoint": checkpoint, "report": report}
    rows = _one_by_one(ens, record, [values.size for _, values in axes], options)
    return _diagram(ens, axes, [_unpacked(ens, row) for row in rows])


def _one_by_one(
    ens: Ensemble, record: dict[str, Any], shape: list[int], options: dict[str, Any]
) -> list[np.ndarray]:
    """Points by populations, as packed rows; of tied networks segment by segment."""
    if not ens.tied or is_equal_to_untied(ens):
        return run_trials(_point, record, math.prod(shape), label="phase diagram", **options)
    record["segments"] = segments = _segments(shape)
    parts = run_trials(_segment, record, len(segments), label="phase diagram", **options)
    return [row for part in parts for row in part.reshape(-1, _columns(ens))]


def _segments(shape: list[int]) -> list[list[int]]:
    """First and end index of neighbouring points along the last axis, about `segment` at a time."""
    length = shape[-1]
    count = max(round(length / _GRID.segment), 1)
    ends = [length * k // count for k in range(count + 1)]
    rows = range(0, math.prod(shape), length)
    return [[row + low, row + high] for row in rows for low, high in itertools.pairwise(ends)]


def _diagram(
    ens: Ensemble, axes: list[tuple[Axis, np.ndarray]], solved: list[dict[str, np.ndarray]]
) -> PhaseDiagram:
    """The solved chunks as arrays over the grid."""
    shape = tuple(values.size for _, values in axes)
    columns = {key: np.concatenate([part[key] for part in solved], axis=-1) for key in solved[0]}
    arrays = {key: value.reshape(*value.shape[:-1], *shape) for key, value in columns.items()}
    states = [symbol.name for symbol in ens.cell.state]
    single_gate = len(ens.cell.gates) == 1
    scalars = {name: arrays[name] for name in ("chi", "chi_star", "status", "residual", "error")}
    return PhaseDiagram(
        ensemble=ens,
        axes={_label(axis): values for axis, values in axes},
        Q=_named(states, arrays["Q"]),
        q=_named(ens.cell.gates, arrays["q"]),
        c_star=_named(ens.cell.gates if single_gate else states, arrays["c_star"]),
        timescale=timescale(arrays["chi_star"]),
        theory="tied" if ens.tied else "untied",
        errors={name: arrays[key] for name in ERRORS if (key := f"error of {name}") in arrays},
        **scalars,
    )


def _in_chunks(
    ens: Ensemble,
    names: list[Axis],
    grid: np.ndarray,
    Q0: float,
    report: _progress.Report,
    executor: Executor | None,
) -> list[dict[str, np.ndarray]]:
    """All points by moments, `GridSettings.chunk` at a time."""
    tasks = [
        (ens, names, grid[:, first : first + _GRID.chunk], Q0)
        for first in range(0, grid.shape[1], _GRID.chunk)
    ]
    report(0, len(tasks), "phase diagram")
    solved = []
    outcomes = map(_solve, tasks) if executor is None else executor.map(_solve, tasks)
    with _progress.ending(report):
        for done, outcome in enumerate(outcomes, start=1):
            solved.append(outcome)
            report(done, len(tasks), "phase diagram")
    return solved


def _numbers_per_point(ens: Ensemble) -> int:
    """Doubles that the grid and its results hold for each point: parameters, quantities by gate and state."""
    return len(GATE_PARAMETERS + INPUT_PARAMETERS) + len(_QUANTITIES) * (
        len(ens.cell.gates) + len(ens.cell.state)
    )


def _named(names: Any, values: np.ndarray) -> Quantity:
    return values[0] if len(values) == 1 else named(names, values)


def _label(axis: Axis) -> str:
    return axis[0] if axis[1] is None else f"{axis[0]}.{axis[1]}"


def _axes(ens: Ensemble, parameters: Mapping[str, Any]) -> list[tuple[Axis, np.ndarray]]:
    """The axes of the grid, checked by building the ensembles at their ends."""
    if not parameters:
        raise TypeError(
            f"phase_diagram: give at least one of {[*GATE_PARAMETERS, *INPUT_PARAMETERS]} as an array"
        )
    axes: list[tuple[Axis, np.ndarray]] = []
    for name, values in parameters.items():
        if name not in GATE_PARAMETERS + INPUT_PARAMETERS:
            raise TypeError(
                f"{name}: unknown parameter, must be one of {[*GATE_PARAMETERS, *INPUT_PARAMETERS]}"
            )
        if isinstance(values, Mapping):
            if name in INPUT_PARAMETERS:
                raise TypeError(f"{name} = {values!r}: expected an array; only gates have values by name")
            for gate, column in values.items():
                _validate.choice(f"gate of {name}", gate, ens.cell.gates)
                axes.append(((name, gate), _values(f"{name}.{gate}", column)))
        else:
            axes.append(((name, None), _values(name, values)))
    for axis, values in axes:
        for value in (values.min(), values.max()):  # every allowed range is an interval
            _at(ens, [axis], [float(value)])
    return axes


def _values(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} = {values!r}: must be a non-empty one-dimensional array of finite numbers")
    return array


def _at(ens: Ensemble, axes: list[Axis], point: list[float]) -> Ensemble:
    """The ensemble at one point; raises what `Ensemble` raises for values out of range."""
    changes: dict[str, Any] = {}
    for (name, gate), value in zip(axes, point, strict=True):
        if gate is None:
            changes[name] = value
        else:
            column = changes.setdefault(name, ens.column(name))
            if not isinstance(column, dict):
                column = changes[name] = dict.fromkeys(ens.cell.gates, column)
            column[gate] = value
    return ens.replace(**changes)


def _solve(task: tuple[Ensemble, list[Axis], np.ndarray, float]) -> dict[str, np.ndarray]:
    """Quantities of a chunk of points, last axis the points."""
    ens, axes, points, Q0 = task
    expansion = expansion_of(ens)
    assert expansion is not None
    found = stationary_grid(expansion, _parameters(ens, axes, points), Q0)
    diagonal = np.arange(1, len(ens.cell.state) + 1)
    Q, C = found.S[diagonal, diagonal], found.S_pair[diagonal, diagonal]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(Q == 0.0, 1.0, C / Q)
    return {
        "Q": Q,
        "q": found.q,
        "c_star": found.rho if len(ens.cell.gates) == 1 else ratio,
        "chi": found.chi,
        "chi_star": found.chi_star,
        "status": found.status,
        "residual": found.residual,
        "error": found.error,
    }


def _parameters(ens: Ensemble, axes: list[Axis], points: np.ndarray) -> Parameters:
    n = points.shape[1]
    gates = ens.cell.gates
    columns = {
        name: np.array([np.full(n, getattr(ens.gate(gate), name)) for gate in gates])
        for name in GATE_PARAMETERS
    }
    columns |= {"R": np.full(n, ens.R), "Sigma": np.full(n, ens.Sigma)}
    for (name, gate), values in zip(axes, points, strict=True):
        if gate is None:
            columns[name][...] = values
        else:
            columns[name][gates.index(gate)] = values
    return Parameters.build(**columns, input_mean=np.sqrt(columns["R"]) * ens.input_law.moment(1))


def _ensemble(parameters: dict[str, Any], index: int) -> Ensemble:
    """The ensemble of one point of a recorded grid."""
    axes = [(name, gate) for name, gate in parameters["axes"]]
    point = [column[index] for column in parameters["grid"]]
    return _at(Ensemble.from_dict(parameters["ensemble"]), axes, point)


def _point(parameters: dict[str, Any], index: int) -> np.ndarray:
    """One point as a row."""
    ens = _ensemble(parameters, index)
    return _row(mean_field(ens, Q0=parameters["Q0"], sites=parameters["sites"] or _GRID.sites))


def _segment(parameters: dict[str, Any], index: int) -> np.ndarray:
    """Neighbouring points of a tied network, one row after the other."""
    low, high = parameters["segments"][index]
    ensembles = [_ensemble(parameters, point) for point in range(low, high)]
    found = tied_line(ensembles, parameters["Q0"], parameters["sites"] or _GRID.tied_sites)
    return np.concatenate([_row(one) for one in found])


def _row(found: MeanField) -> np.ndarray:
    """Q, q, c*, then `_SINGLE`, and the status."""
    columns = [
        np.ravel(list(v.values()) if isinstance(v, Mapping) else v) for v in (found.Q, found.q, found.c_star)
    ]
    errors = [found.errors.get(name, np.nan) for name in ERRORS]
    single = [found.chi, found.chi_star, found.residual, found.error, *errors, float(found.status)]
    return np.concatenate([*columns, single]).astype(float)


def _widths(ens: Ensemble) -> list[int]:
    """Numbers that Q, q and c* take in a row."""
    states, gates = len(ens.cell.state), len(ens.cell.gates)
    return [states, gates, 1 if gates == 1 else states]


def _columns(ens: Ensemble) -> int:
    return sum(_widths(ens)) + len(_SINGLE) + 1


def _unpacked(ens: Ensemble, row: np.ndarray) -> dict[str, np.ndarray]:
    """The quantities of a row of `_point`, last axis one point."""
    Q, q, c_star, single = np.split(row[:, None], np.cumsum(_widths(ens)))
    names = _SINGLE
    rest = dict(zip(names, single, strict=False))
    return {"Q": Q, "q": q, "c_star": c_star, "status": single[-1].astype(int), **rest}
