"""Critical points of any cell: χ = 1 along one free parameter, least spread along the others.

Letters: T, the number of steps.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import advance
from rmtrnn.ensemble import GATE_PARAMETERS, Ensemble
from rmtrnn.meanfield.expansion import expansion_of
from rmtrnn.meanfield.growth import growth_rates, is_smooth, single_replica_mean_field, tied_error
from rmtrnn.meanfield.tied_result import is_equal_to_untied
from rmtrnn.spectra import second_moment
from rmtrnn.spectra.vanilla_moments import has_free_factors

TOLERANCE = 1e-8
"""Of χ = 1: a change of m_1 by 1e-4 over 10⁴ steps."""


@dataclass(frozen=True)
class Search:
    """How the box is searched. Empirical where nothing else is said: test_criticality_settings.py."""

    points: int = 65
    """Along the parameter that is solved for. Two roots closer than the spacing are missed."""
    sampled_points: int = 17
    """The same where χ is sampled, at a hundred times the cost."""
    manifold: tuple[int, int, int] = (1, 17, 6)
    """Along each of the other parameters, by their number."""
    refinement: float = 0.05
    """Width to which the others are found, as a share of their grid's spacing."""
    sites: int = 2**9
    """Of the populations that compare spreads of neighbouring points; the result is measured anew."""
    reseeds: tuple[int, ...] = (1, 2, 3)
    """Further point sets that tell how well a sampled χ is known."""
    noisy_step: float = 1e-3
    """Width to which a root is found where χ is sampled with noise, as a share of its bracket."""
    correction: tuple[float, ...] = (1e-3, 1e-2, 0.1)
    """Of the range, around the root on few points: where that on all points is looked for, in turn."""
    nowhere: float = 1e9
    """The spread where there is no critical point: a finite number, which the minimiser can interpolate."""


SEARCH = Search()


class NoCriticalPointError(ValueError):
    """No point with χ = 1 in the given bounds.

    ``side``: "ordered" (χ < 1 everywhere), "chaotic" (χ > 1 everywhere), "jump" (both occur, but χ jumps
    across 1 where the stationary state changes or ceases to exist), "none" (no stationary state anywhere),
    "infeasible" (closed forms: χ = 1 would take σ_v² < 0, or a state that no network is in). ``chi``:
    smallest and largest χ found, nan where there is none.
    """

    def __init__(self, message: str, side: str, chi: tuple[float, float]) -> None:
        super().__init__(message)
        self.side = side
        self.chi = chi


class Parameter(NamedTuple):
    """A free parameter of one gate (or of all, gate None) with its bounds."""

    name: str
    gate: str | None
    low: float
    high: float

    @property
    def label(self) -> str:
        return self.name if self.gate is None else f"{self.name}.{self.gate}"


def free_parameters(ens: Ensemble, free: Any) -> list[Parameter]:
    """Read ``{"sigma_w": (0.5, 3)}`` or ``{"mu_b": {"u": (-2, 2)}}``; the first is the one solved for."""
    if not isinstance(free, Mapping) or not free:
        raise TypeError(f"free = {free!r}: expected a mapping {{parameter: (low, high)}} with one or more")
    found = []
    for name, bounds in free.items():
        _validate.choice("free parameter", name, GATE_PARAMETERS)
        if isinstance(bounds, Mapping):
            for gate, pair in bounds.items():
                _validate.choice(f"gate of {name}", gate, ens.cell.gates)
                found.append(Parameter(name, gate, *_bounds(f"free[{name!r}][{gate!r}]", name, pair)))
        else:
            found.append(Parameter(name, None, *_bounds(f"free[{name!r}]", name, bounds)))
    if len(found) > 3:
        raise ValueError(f"free: has {len(found)} parameters; at most 3 are supported")
    return found


def _bounds(label: str, name: str, pair: Any) -> tuple[float, float]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"{label} = {pair!r}: expected a pair (low, high)")
    least = -math.inf if name == "mu_b" else 0.0
    low, high = (_validate.real(label, value, low=least) for value in pair)
    if not low < high:
        raise ValueError(f"{label} = {pair!r}: must have low < high")
    return low, high


def place(ens: Ensemble, parameters: list[Parameter], values: Any) -> Ensemble:
    """The ensemble with the parameters at the given values."""
    changes: dict[str, Any] = {}
    for parameter, value in zip(parameters, values, strict=True):
        if parameter.gate is None:
            changes[parameter.name] = float(value)
            continue
        name = parameter.name
        column = changes.get(name)
        if not isinstance(column, dict):
            column = ens.column(name) if column is None else dict.fromkeys(ens.cell.gates, column)
        changes[name] = column | {parameter.gate: float(value)}
    return ens.replace(**changes)


def solve(ens: Ensemble, parameters: list[Parameter], T: int) -> tuple[Ensemble, float, float]:
    """The critical point in the box with the smallest variance of s² at T: (ensemble, χ, error of χ).

    Raises `NoCriticalPointError` where the box has none.
    """
    first, others = parameters[0], parameters[1:]
    count = SEARCH.manifold[len(others)]
    axes = [np.linspace(p.low, p.high, count) for p in others]
    points = SEARCH.sampled_points if _is_sampled(ens) else SEARCH.points
    line = np.linspace(_open(ens, first), first.high, points)
    chi = _scan(ens, [*others, first], [*axes, line])
    manifold: list[tuple[tuple[float, ...], float]] = []
    for index in itertools.product(*(range(len(axis)) for axis in axes)):
        rest = tuple(float(axis[i]) for axis, i in zip(axes, index, strict=True))
        manifold += [(rest, root) for root in _roots(_Line(ens, parameters, rest), line, chi[index])]
    if not manifold:
        raise _nothing(ens, parameters, chi)
    rest, root = _least_spread(ens, parameters, manifold, T, axes)
    chosen = place(ens, parameters, (_corrected(_Line(ens, parameters, rest), root), *rest))
    value = float(growth_rates([chosen], quick=_is_tied(ens))[0][0])
    return chosen, value, _chi_error(chosen, value)


def _is_sampled(ens: Ensemble) -> bool:
    """Whether χ comes from sampled sites: cells that are not affine in their state, and tied weights."""
    return expansion_of(ens) is None or _is_tied(ens)


def _is_tied(ens: Ensemble) -> bool:
    """Whether χ is that of tied weights, found on few sites: its error is that of the groups."""
    return ens.tied and not is_equal_to_untied(ens)


def _open(ens: Ensemble, parameter: Parameter) -> float:
    """The lower bound, moved off σ_w = 0 where the weights are orthogonal."""
    gates = ens.cell.gates if parameter.gate is None else (parameter.gate,)
    haar = any(ens.gate(gate).weights != "gaussian" for gate in gates)
    if parameter.name == "sigma_w" and parameter.low == 0.0 and haar:
        return parameter.high * 1e-6
    return parameter.low


def _scan(ens: Ensemble, parameters: list[Parameter], axes: list[np.ndarray]) -> np.ndarray:
    """χ on the grid; nan where there is no converged stationary state."""
    points = [place(ens, parameters, values) for values in itertools.product(*axes)]
    chi, _ = growth_rates(points, quick=True)
    return chi.reshape([axis.size for axis in axes])


class _Line:
    """χ − 1 along the first parameter, the others fixed; from few sites where χ comes from sampled ones."""

    def __init__(self, ens: Ensemble, parameters: list[Parameter], rest: tuple[float, ...]) -> None:
        self.ens, self.parameters, self.rest = ens, parameters, rest
        self.sampled = _is_sampled(ens)
        self.smooth = is_smooth(ens)

    def at(self, value: float) -> Ensemble:
        return place(self.ens, self.parameters, (value, *self.rest))

    def excess(self, value: float, *, quick: bool | None = None) -> float:
        quick = self.sampled if quick is None else quick
        advance("critical point: values of chi")
        return float(growth_rates([self.at(value)], quick=quick)[0][0]) - 1.0


def _roots(line: _Line, points: np.ndarray, chi: np.ndarray) -> list[float]:
    """All χ = 1 that a scan brackets; a sign change that is a jump is left out."""
    found = [float(x) for x, value in zip(points, chi, strict=True) if value == 1.0]
    for k in range(len(points) - 1):
        if (chi[k] - 1.0) * (chi[k + 1] - 1.0) < 0.0:
            root = _root(line, float(points[k]), float(points[k + 1]))
            if root is not None:
                found.append(root)
    return found


def _root(line: _Line, low: float, high: float, *, quick: bool | None = None) -> float | None:
    """χ = 1 between two points, to TOLERANCE (with noise: to its error); None at a jump."""

    @functools.cache
    def excess(value: float) -> float:
        found = line.excess(value, quick=quick)
        # A sampled function takes a second for each value, and is not known better than TOLERANCE.
        return 0.0 if line.sampled and abs(found) <= TOLERANCE else found

    left, right = excess(low), excess(high)
    if not left * right < 0.0:
        return None
    step = 1e-14 * (1.0 + abs(high)) if line.smooth else SEARCH.noisy_step * (high - low)
    try:
        root = cast(float, brentq(excess, low, high, xtol=step))
    except ValueError:  # a point without a stationary state inside the bracket: χ is not continuous there
        return None
    miss = abs(excess(root))
    if miss <= TOLERANCE:
        return root
    return root if not line.smooth and miss <= _chi_error(line.at(root), 1.0 + excess(root)) else None


def _corrected(line: _Line, root: float) -> float:
    """The root of χ on all points, from that on few; as it is where the two are the same function."""
    if not (line.sampled and line.smooth):
        return root
    first = line.parameters[0]
    for share in SEARCH.correction:
        width = share * (first.high - first.low)
        ends = max(root - width, _open(line.ens, first)), min(root + width, first.high)
        found = _root(line, *ends, quick=False)
        if found is not None:
            return found
    return root


def _least_spread(
    ens: Ensemble,
    parameters: list[Parameter],
    manifold: list[tuple[tuple[float, ...], float]],
    T: int,
    axes: list[np.ndarray],
) -> tuple[tuple[float, ...], float]:
    """The point of the manifold with the smallest variance of s², refined along each further parameter."""
    if len(manifold) == 1 and not axes:
        return manifold[0]
    spreads = [spread(place(ens, parameters, (root, *rest)), T) for rest, root in manifold]
    best, least = manifold[int(np.argmin(spreads))], math.log(min(spreads))
    for i, axis in enumerate(axes):
        step = float(axis[1] - axis[0])
        low, high = max(best[0][i] - step, axis[0]), min(best[0][i] + step, axis[-1])
        along = _Along(ens, parameters, T, best, i)
        result: Any = minimize_scalar(
            along.log_spread,
            bounds=(low, high),
            method="bounded",
            options={"xatol": SEARCH.refinement * step, "maxiter": 12},
        )
        if result.fun < least and result.x in along.found:
            best, least = along.found[result.x], float(result.fun)
    return best


class _Along:
    """The manifold χ = 1 near one of its points, as a curve over one of the further parameters."""

    def __init__(
        self,
        ens: Ensemble,
        parameters: list[Parameter],
        T: int,
        origin: tuple[tuple[float, ...], float],
        index: int,
    ) -> None:
        self.ens, self.parameters, self.T, self.origin, self.index = ens, parameters, T, origin, index
        self.found: dict[float, tuple[tuple[float, ...], float]] = {}

    def log_spread(self, value: float) -> float:
        """Logarithm of the spread where χ = 1 at ``value``, looked for near the origin's root."""
        rest, root = self.origin
        rest = (*rest[: self.index], value, *rest[self.index + 1 :])
        first, line = self.parameters[0], _Line(self.ens, self.parameters, rest)
        reach = (first.high - first.low) / (SEARCH.sampled_points - 1)
        for width in (0.25 * reach, reach):
            ends = max(root - width, _open(self.ens, first)), min(root + width, first.high)
            here = _root(line, *ends)
            if here is not None:
                self.found[value] = (rest, here)
                return math.log(spread(place(self.ens, self.parameters, (here, *rest)), self.T))
        return math.log(SEARCH.nowhere)


def spread(ens: Ensemble, T: int) -> float:
    """m_2/m_1² of s² over T steps, 1 + its variance where χ = 1; with untied weights for gated cells.

    Where only sampled sites can tell, few and always the same: enough to compare neighbouring points. The
    result of the search is measured anew.
    """
    advance("critical point: spreads")
    ens = ens.replace(tied=False)
    if has_free_factors(ens):
        return second_moment(ens, T).ratio
    field = single_replica_mean_field(ens, quick=True)
    return second_moment(ens, T, sites=SEARCH.sites, replicates=2, field=field).ratio


def _chi_error(ens: Ensemble, chi: float) -> float:
    """How far χ may be off: rounding for moments, five standard deviations over independent point sets.

    Not three: where rare sites carry χ the spread of few point sets is itself too small.
    """
    if not _is_sampled(ens):
        return abs(chi - 1.0) + 1e-14
    if _is_tied(ens):
        return tied_error(ens)
    values = [chi, *(float(growth_rates([ens], seed=seed)[0][0]) for seed in SEARCH.reseeds)]
    return 5.0 * float(np.std(values, ddof=1))


def _nothing(ens: Ensemble, parameters: list[Parameter], chi: np.ndarray) -> NoCriticalPointError:
    box = ", ".join(f"{p.label} in [{p.low:g}, {p.high:g}]" for p in parameters)
    where = f"no critical point of {ens.cell.name!r} with {box}"
    known = chi[np.isfinite(chi)]
    if not known.size:
        text = f"{where}: the network has no stationary state anywhere in these bounds"
        return NoCriticalPointError(text, "none", (math.nan, math.nan))
    low, high = float(known.min()), float(known.max())
    if high < 1.0:
        side, why = "ordered", f"it is on the ordered side, χ from {low:.6g} to {high:.6g} < 1"
        if known.size < chi.size:
            why += ", up to where the stationary state ceases to exist"
    elif low > 1.0:
        side, why = "chaotic", f"it is on the chaotic side, χ from {low:.6g} > 1 to {high:.6g}"
    else:
        side, why = "jump", f"χ takes values from {low:.6g} to {high:.6g}, but jumps across 1"
    driven = ens.R > 0.0 and any(ens.gate(gate).sigma_v > 0.0 for gate in ens.cell.gates)
    remedy = (
        "try other bounds" if driven else "without input χ often jumps: give sigma_v > 0, or other bounds"
    )
    text = f"{where}: in the state reached from E[h²] = 1 {why}; {remedy}"
    return NoCriticalPointError(f"{text}; rmtrnn.initialize does without χ = 1", side, (low, high))
