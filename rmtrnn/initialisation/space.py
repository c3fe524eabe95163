"""Which parameters of an ensemble are free, between which bounds, and what is kept.

Letters: T, the number of steps; R, the second moment of the input; K gates, d free numbers; x, a point in the
unit cube of the free numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn.cells import Cell
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.networks import Points
from rmtrnn.initialisation.time_scales import BiasPattern, Copy, carrying_gates, writing_gates

PARAMETERS = ("mu_b", "sigma_w", "sigma_v", "sigma_b")
CONSTRAINTS = ("s", "spread", "fast")


@dataclass(frozen=True)
class Limits:
    """What a plan may do where the caller gives no bounds: definitions, not accuracies.

    s : band of the singular values over T steps, (least typical one, largest root mean square). A gate that
        forgets at the best rate 1/(T + 1) leaves e^−1 = 0.37 of a state after T steps; gradients do not grow.
    spread : largest standard deviation of a pre-activation. A logistic gate at one standard deviation has
        0.79 of its steepest slope, tanh 0.42.
    sigma_w : between weak weights and a gain at which tanh units are saturated.
    gain : largest σ_w in place of that for cells with a gate that sets what is carried. Orthogonal weights
        with σ_w ≤ 1 stretch nothing, and units with slopes ≤ 1 neither, however training opens the gates.
        Larger gains buy a factor of 1 to 3 of the smallest sensitivity, but such GRUs and LSTMs train slower.
    beyond : the mean of a gate that sets what is carried may exceed log T, at which it forgets 1/(T + 1) per
        step, by so much.
    mean : largest mean of every other gate; a logistic one at 1 is open to 73 %.
    fast : share of the units that are fast (`rmtrnn.initialisation.time_scales`). With a share of 1/2 the
        smallest sensitivity in closed form is that of chrono biases, e^−1 (2 T²)^(−1/2); a quarter has 1.22
        times as much. Chosen among 1/4, 1/2 and 3/4, and ``gain`` among 1 and 4, by training at T = 100 on
        seeds that the study does not use (`validation.initialisation.variants`).
    """

    s: tuple[float, float] = (0.1, 1.0)
    spread: float = 1.0
    sigma_w: tuple[float, float] = (0.01, 4.0)
    gain: float = 1.0
    beyond: float = 1.0
    mean: float = 1.0
    fast: float = 0.25


LIMITS = Limits()


@dataclass(frozen=True)
class Coordinates:
    """Numbers of the coordinates of a search.

    steepness : a of `Free`, which resolves variances down to e^−a of the largest. Empirical:
        tests/initialisation/test_search.py moves it by ×3 and ÷3.
    """

    steepness: float = 6.0


COORDINATES = Coordinates()


class Free(NamedTuple):
    """One free number: the parameter of a gate, its bounds, and its coordinate x in [0, 1].

    A mean is linear in x. A deviation σ has σ² = low² + (high² − low²)(e^(ax) − 1)/(e^a − 1), ``steepness``
    a: smooth in σ², as sensitivities are, also at 0, and about linear in log σ above, which resolves 1/T.
    """

    name: str
    gate: int
    low: float
    high: float
    steepness: float = COORDINATES.steepness

    def value(self, x: np.ndarray) -> np.ndarray:
        """The parameter at x; beyond [0, 1] the bound."""
        x = np.clip(x, 0.0, 1.0)
        if self.name == "mu_b":
            return self.low + x * (self.high - self.low)
        share = np.expm1(self.steepness * x) / np.expm1(self.steepness)
        return np.sqrt(self.low**2 + share * (self.high**2 - self.low**2))

    def coordinate(self, value: float) -> float:
        """x of a value; of the bound if it lies beyond."""
        if self.name == "mu_b":
            return float(np.clip((value - self.low) / (self.high - self.low), 0.0, 1.0))
        share = np.clip((value**2 - self.low**2) / (self.high**2 - self.low**2), 0.0, 1.0)
        return float(np.log1p(share * np.expm1(self.steepness)) / self.steepness)


@dataclass(frozen=True)
class Space:
    """The free numbers, the point of the kept ones (each (K,)), and the limits of s and of the spread.

    ``split``: gates whose bias is 0 at the share ``fast`` of the units; ``copies``: gates with the bias of
    another one. Points hold the bias of the slow units.
    """

    base: Ensemble
    free: tuple[Free, ...]
    kept: Points
    s: tuple[float, float]
    spread: float
    split: tuple[str, ...]
    copies: Mapping[str, Copy]
    fast: float

    def resolving(self, T: int) -> Space:
        """The space in coordinates that resolve variances down to 1/T² of the largest.

        A unit that keeps its state for T steps collects the inputs of T steps, and each of T steps bends what
        it keeps by the square of the state: with weights of variance σ² by T² σ² in all. A continual update
        network of T = 1000 meets the limits at σ = 0.004, and not at 0.01.
        """
        a = max(COORDINATES.steepness, 2.0 * math.log(T))
        return replace(self, free=tuple(one._replace(steepness=a) for one in self.free))

    def points(self, x: np.ndarray) -> Points:
        """Parameters at rows x (P, d)."""
        columns = {name: np.repeat(getattr(self.kept, name)[:, None], len(x), axis=1) for name in PARAMETERS}
        for place, one in enumerate(self.free):
            columns[one.name][one.gate] = one.value(x[:, place])
        gates = self.base.cell.gates
        for gate, (source, sign) in self.copies.items():
            k, own = gates.index(gate), gates.index(source)
            columns["mu_b"][k], columns["sigma_b"][k] = sign * columns["mu_b"][own], columns["sigma_b"][own]
        return Points(**columns)

    @property
    def pattern(self) -> BiasPattern:
        """How the biases of the units come from those of a point."""
        gates, source = self.base.cell.gates, np.arange(len(self.base.cell.gates))
        sign, split = np.ones(len(gates)), np.isin(gates, self.split)
        for gate, copy in self.copies.items():
            k, own = gates.index(gate), gates.index(copy.source)
            source[k], sign[k], split[k] = own, copy.sign, split[own]
        return BiasPattern(source, sign, split, self.fast)

    def place(self, ens: Ensemble) -> np.ndarray:
        """x (d,) of an ensemble, moved into the bounds; of two biases that of the slow units."""
        found = []
        for one in self.free:
            law = ens.gate(ens.cell.gates[one.gate])
            value = float(getattr(law, one.name))
            if one.name == "mu_b" and law.bias_law.kind == "discrete":
                value = max(law.bias_law.values, key=abs)
            found.append(one.coordinate(value))
        return np.array(found, dtype=float)

    def ensemble(self, x: np.ndarray) -> Ensemble:
        """The ensemble at x (d,)."""
        points, gates = self.points(x[None]), self.base.cell.gates
        values = {
            name: dict(zip(gates, map(float, getattr(points, name)[:, 0]), strict=True))
            for name in PARAMETERS
        }
        laws: dict[str, Any] = {gate: copy.law() for gate, copy in self.copies.items()}
        for gate in self.split:
            laws[gate] = ((0.0, values["mu_b"][gate]), (self.fast, 1.0 - self.fast))
        for gate in laws:
            values["mu_b"][gate] = values["sigma_b"][gate] = 0.0
        return self.base.replace(**values, bias_law=laws) if laws else self.base.replace(**values)

    def at_bound(self, x: np.ndarray) -> list[str]:
        """The free parameters that end on a bound other than a variance of 0."""
        found = []
        for share, (name, gate, low, high, _) in zip(x, self.free, strict=True):
            if share > 1.0 - 1e-3 or (share < 1e-3 and name == "mu_b"):
                found.append(f"{name}[{self.base.cell.gates[gate]!r}] = {high if share > 0.5 else low:.3g}")
        return found


def build_space(base: Ensemble, T: int, fix: Mapping[str, Any], bounds: Mapping[str, Any]) -> Space:
    """Read ``fix`` and ``bounds`` of `rmtrnn.initialize`; ValueError or TypeError naming what is wrong."""
    cell = base.cell
    fixed = _fixed(cell, fix)
    allowed = _bounds(cell, T, base.R, bounds)
    fast = _validate.real(
        "bounds['fast']", bounds.get("fast", LIMITS.fast), low=0.0, high=1.0, high_open=True
    )
    chosen = _chosen(cell, fix, bounds)
    copies = {
        gate: copy for gate, copy in (writing_gates(cell) if base.tied else {}).items() if gate not in chosen
    }
    split = carrying_gates(cell) if base.tied and fast > 0.0 else ()
    split = () if any((name, gate) in fixed for name in ("mu_b", "sigma_b") for gate in split) else split
    kept = {name: np.zeros(len(cell.gates)) for name in PARAMETERS}
    kept["sigma_w"][:] = 1.0  # where W multiplies zero, any scale will do
    free = []
    for gate, (name, reads) in enumerate(zip(cell.gates, _reads(cell), strict=True)):
        for parameter in PARAMETERS:
            if parameter in ("mu_b", "sigma_b") and name in copies:
                continue
            if parameter == "sigma_b" and name in split:
                continue
            if (parameter, name) in fixed:
                kept[parameter][gate] = fixed[parameter, name]
            elif (parameter == "sigma_w" and not reads) or (parameter == "sigma_v" and base.R == 0.0):
                continue
            else:
                low, high = allowed[parameter, name]
                if low == high:
                    kept[parameter][gate] = low
                else:
                    free.append(Free(parameter, gate, low, high, COORDINATES.steepness))
    s = bounds.get("s", LIMITS.s)
    low, high = _pair("bounds['s']", s, 0.0)
    spread = _validate.real("bounds['spread']", bounds.get("spread", LIMITS.spread), low=0.0, low_open=True)
    return Space(base, tuple(free), Points(**kept), (low, high), spread, split, copies, fast)


def _chosen(cell: Cell, fix: Mapping[str, Any], bounds: Mapping[str, Any]) -> set[str]:
    """The gates of whose biases the caller says something by name, or which all have the same fixed."""
    found: set[str] = set()
    for given in (fix, bounds):
        for name in ("mu_b", "sigma_b"):
            if name in given:
                found |= set(given[name]) if isinstance(given[name], Mapping) else set(cell.gates)
    return found


def _reads(cell: Cell) -> list[bool]:
    """For every gate, whether its weights multiply something."""
    return [gate.reads_state for stage in cell.stages for gate in stage.gates]


def _fixed(cell: Cell, fix: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    unknown = sorted(set(fix) - set(PARAMETERS))
    if unknown:
        raise ValueError(f"fix: has the unknown parameters {unknown}; known are {list(PARAMETERS)}")
    found = {}
    for parameter, value in fix.items():
        by_gate = value if isinstance(value, Mapping) else dict.fromkeys(cell.gates, value)
        _known_gates(f"fix[{parameter!r}]", by_gate, cell)
        low = -math.inf if parameter == "mu_b" else 0.0
        for gate, number in by_gate.items():
            found[parameter, gate] = _validate.real(f"fix[{parameter!r}][{gate!r}]", number, low=low)
    return found


def _bounds(
    cell: Cell, T: int, R: float, bounds: Mapping[str, Any]
) -> dict[tuple[str, str], tuple[float, float]]:
    unknown = sorted(set(bounds) - {*PARAMETERS, *CONSTRAINTS})
    if unknown:
        raise ValueError(f"bounds: has the unknown keys {unknown}; known are {[*PARAMETERS, *CONSTRAINTS]}")
    reach, spread = math.log(T) + LIMITS.beyond, bounds.get("spread", LIMITS.spread)
    spread = _validate.real("bounds['spread']", spread, low=0.0, low_open=True)
    drive = spread / math.sqrt(R) if R > 0.0 else 0.0
    gains = (LIMITS.sigma_w[0], LIMITS.gain) if carrying_gates(cell) else LIMITS.sigma_w
    usual = {"sigma_w": gains, "sigma_v": (0.0, drive), "sigma_b": (0.0, spread)}
    means = {gate: reach if gate in carrying_gates(cell) else LIMITS.mean for gate in cell.gates}
    found = {}
    for parameter in PARAMETERS:
        given = bounds.get(parameter, {})
        by_gate = given if isinstance(given, Mapping) else dict.fromkeys(cell.gates, given)
        _known_gates(f"bounds[{parameter!r}]", by_gate, cell)
        low = -math.inf if parameter == "mu_b" else 0.0
        for gate in cell.gates:
            default = (-means[gate], means[gate]) if parameter == "mu_b" else usual[parameter]
            name = f"bounds[{parameter!r}][{gate!r}]"
            found[parameter, gate] = _pair(name, by_gate.get(gate, default), low)
    return found


def _pair(name: str, value: Any, low: float) -> tuple[float, float]:
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        raise TypeError(f"{name} = {value!r}: expected a pair (low, high)")
    first = _validate.real(name, value[0], low=low)
    return first, _validate.real(name, value[1], low=first)


def _known_gates(name: str, by_gate: Mapping[str, Any], cell: Cell) -> None:
    unknown = sorted(set(by_gate) - set(cell.gates), key=str)
    if unknown:
        raise ValueError(f"{name}: has the unknown gates {unknown}; the gates are {list(cell.gates)}")
