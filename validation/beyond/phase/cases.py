"""The diagrams: the mean field on a grid, isometry, the boundary χ = 1, and its check by networks.

χ is that of equal inputs (growth of the mean squared singular value per step, untied weights). At five
places of the boundary a point is taken on each side, and networks are run there with a small perturbation.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import contourpy
import numpy as np

import rmtrnn as rt
from rmtrnn.meanfield.growth import growth_rates, single_replica_mean_field
from rmtrnn.spectra import second_moment
from rmtrnn.spectra.minimal_rnn import minimal_moments
from validation import core
from validation.beyond.phase.networks import log_growth

PLACES = 5
OFFSET = 0.05  # wanted |χ - 1| at the points beside the boundary, to first order
# Distance of these points from it, in shares of the axes. Where χ jumps it is next to nothing by first order,
# and finite networks linger in either state: at 0.3 % of a GRU's axes six of N = 1000 were divided.
NEAR, FAR = 0.02, 0.08
# Points on a side by cell: moments of one gate are fast, those of two stages slow; the LSTM is sampled.
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"points": {"gru": 8, "lstm": 12}, "one gate": 60, "N": 500, "trials": 4, "steps": 100},
    "standard": {"points": {"gru": 61, "lstm": 49}, "one gate": 200, "N": 1000, "trials": 6, "steps": 150},
}
LONGEST = {"quick": 300, "standard": 2500}  # burn-in of the networks
SMALL, DIFFERENT = 1e-6, 1e-4  # second moment to start from; relative difference of χ that tells two states
SPREAD_SITES = 512  # of the recursion that gives the spread of GRU and LSTM over one step,
SPREAD_STRIDE = 2  # at every second point of the grid


@dataclass(frozen=True)
class Axis:
    """A parameter that varies: ``gate`` for one gate of several."""

    name: str
    low: float
    high: float
    gate: str | None = None

    @property
    def label(self) -> str:
        """As in `PhaseDiagram.axes`."""
        return self.name if self.gate is None else f"{self.name}.{self.gate}"

    def put(self, ens: rt.Ensemble, value: float) -> rt.Ensemble:
        """The ensemble with this parameter."""
        if self.gate is None:
            return ens.replace(**{self.name: value})
        column = {gate: getattr(ens.gate(gate), self.name) for gate in ens.cell.gates}
        return ens.replace(**{self.name: column | {self.gate: value}})


DIAGRAMS: dict[str, tuple[rt.Ensemble, Axis, Axis]] = {
    "vanilla-sigma_b": (
        rt.Ensemble("vanilla", Sigma=1.0, weights="orthogonal"),
        Axis("sigma_w", 0.6, 3.0),
        Axis("sigma_b", 0.0, 1.0),
    ),
    "vanilla-sigma_v": (
        rt.Ensemble("vanilla", R=0.46, Sigma=1.0, weights="orthogonal"),
        Axis("sigma_w", 0.6, 3.0),
        Axis("sigma_v", 0.0, 1.5),
    ),
    "minimal-mu_b": (
        rt.Ensemble("minimal", sigma_v=1.39, R=0.46, Sigma=1.0, weights="orthogonal"),
        Axis("sigma_w", 2.0, 10.0),
        Axis("mu_b", -4.0, 8.0),
    ),
    "gru-mu_u": (
        rt.Ensemble("gru", sigma_v=0.5, Sigma=1.0),
        Axis("sigma_w", 0.5, 6.0),
        Axis("mu_b", -3.0, 4.0, "u"),
    ),
    "lstm-mu_f": (
        rt.Ensemble("lstm", sigma_v=0.5, Sigma=1.0),
        Axis("sigma_w", 0.5, 8.0),
        Axis("mu_b", -2.0, 4.0, "f"),
    ),
}


def list_cases(size: str) -> list[core.Case]:
    """One case for each diagram."""
    sizes = SIZES[size]
    cases = []
    for k, (key, (ens, x, y)) in enumerate(DIAGRAMS.items()):
        points = sizes["points"].get(ens.cell.name, sizes["one gate"])
        settings = {"ensemble": ens.to_dict(), "axes": [x.label, y.label], "points": points, "seed": 8000 + k}
        settings |= {name: sizes[name] for name in ("N", "trials", "steps")}
        cases.append(core.Case(key, settings | {"longest burn-in": LONGEST[size]}))
    return cases


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """The grid, the places on the boundary, and what networks do on its two sides."""
    ens, x, y = DIAGRAMS[case.key]
    points = case.settings["points"]
    xs, ys = (np.linspace(axis.low, axis.high, points) for axis in (x, y))
    start = time.process_time()
    arrays = {"x": xs, "y": ys, **_grid(ens, x, y, xs, ys)}
    used = time.process_time() - start
    at: Callable[[float, float], rt.Ensemble] = lambda a, b: y.put(x.put(ens, a), b)  # noqa: E731
    beside = _beside_boundary(arrays, functools.partial(_chi, at))
    meta: dict[str, Any] = {"checks": [], "cpu seconds of the grid": round(used, 2)}
    for number, (side, a, b, chi) in enumerate(beside):
        rates = log_growth(
            at(a, b),
            case.settings["N"],
            case.settings["steps"],
            case.settings["trials"],
            (case.settings["seed"], number),
            burn_in(at(a, b), case.settings["longest burn-in"]),
        )
        mean, error = float(rates.mean()), float(rates.std(ddof=1) / math.sqrt(rates.size))
        meta["checks"].append(
            {"side": side, x.label: a, y.label: b, "log chi": math.log(chi), "measured": mean, "error": error}
        )
    meta["right side"] = sum(right_side(check) for check in meta["checks"])
    return meta, arrays


def burn_in(ens: rt.Ensemble, longest: int) -> int:
    """150 steps, and where the mean field tells the time scale also five of those, up to ``longest`` steps.

    A gate that is nearly shut forgets its initial state as slowly as it forgets anything.
    """
    if ens.cell.name == "lstm":
        return 150
    slow = 5.0 * rt.mean_field(ens).timescale
    return int(min(max(slow, 150.0), longest))


def right_side(check: dict[str, float]) -> bool:
    """Whether the networks decay or grow as χ says, by more than three standard errors."""
    sign = math.copysign(1.0, check["log chi"])
    return sign * check["measured"] > 3.0 * check["error"]


def _grid(ens: rt.Ensemble, x: Axis, y: Axis, xs: np.ndarray, ys: np.ndarray) -> dict[str, np.ndarray]:
    """χ, the time scale and the spread over one step on the grid, nan where there is no stationary state."""
    if ens.cell.name == "lstm":
        points = [y.put(x.put(ens, float(a)), float(b)) for a in xs for b in ys]
        chi = growth_rates(points, quick=True)[0].reshape(xs.size, ys.size)
        # Equal replicas stay equal where χ < 1, and c* = 1 there; the other side would need two replicas.
        ordered = np.where(chi < 1.0, chi, np.nan)
        return {"chi": chi, "timescale": -1.0 / np.log(ordered), **_sampled_spread(ens, x, y, xs, ys)}
    values: dict[str, Any] = {
        axis.name: ({axis.gate: v} if axis.gate else v) for axis, v in ((x, xs), (y, ys))
    }
    phases = rt.phase_diagram(ens, **values)
    good = phases.converged
    arrays = {
        "chi": np.where(good, phases.chi, np.nan),
        "timescale": np.where(good, phases.timescale, np.nan),
    }
    # Where a network that starts from a small state is in another one: χ there.
    small = rt.phase_diagram(ens, Q0=SMALL, **values)
    other = good & small.converged & (np.abs(small.chi - phases.chi) > DIFFERENT * phases.chi)
    arrays["chi of the other state"] = np.where(other, small.chi, np.nan)
    spread = _spread(ens, phases, xs)
    if spread is None:
        return arrays | _sampled_spread(ens, x, y, xs, ys)
    return arrays | {"spread": np.where(good, spread, np.nan), "spread x": xs, "spread y": ys}


def _sampled_spread(
    ens: rt.Ensemble, x: Axis, y: Axis, xs: np.ndarray, ys: np.ndarray
) -> dict[str, np.ndarray]:
    """Variance of s² over one step over m_1², by the recursion over sampled sites: good to a few per cent."""
    few_x, few_y = xs[::SPREAD_STRIDE], ys[::SPREAD_STRIDE]
    spread = np.full((few_x.size, few_y.size), np.nan)
    for i, a in enumerate(few_x):
        for j, b in enumerate(few_y):
            point = y.put(x.put(ens, float(a)), float(b))
            field = single_replica_mean_field(point, quick=True)
            if field.converged:
                found = second_moment(point, 1, sites=SPREAD_SITES, replicates=2, field=field)
                spread[i, j] = found.ratio - 1.0
    return {"spread": spread, "spread x": few_x, "spread y": few_y}


def _spread(ens: rt.Ensemble, phases: rt.PhaseDiagram, sigma_w: np.ndarray) -> np.ndarray | None:
    """Variance of s² over one step over m_1², orthogonal weights: theory.md (11) and the minimalRNN's."""
    q = np.asarray(phases.q) if not isinstance(phases.q, dict) else None
    if ens.cell.name == "vanilla" and q is not None:
        from rmtrnn.numerics.gaussian_quadrature import batched_nodes

        spread = np.empty(q.size)
        for start in range(0, q.size, 2048):
            part = slice(start, start + 2048)
            e, weight = batched_nodes(q.ravel()[part], np.zeros(q.ravel()[part].size), halvings=2)
            slope2 = np.cosh(np.minimum(np.abs(e), 300.0)) ** -4.0
            spread[part] = np.sum(weight * slope2**2, -1) / np.sum(weight * slope2, -1) ** 2 - 1.0
        return spread.reshape(q.shape)
    if ens.cell.name == "minimal" and q is not None:
        inputs = tuple(float(ens.input_moment(k)) for k in range(5))
        mu_b = np.broadcast_to(phases.axes["mu_b"], q.shape)
        w2 = np.broadcast_to(sigma_w[:, None] ** 2, q.shape)
        m_1, m_2 = minimal_moments(q, mu_b, w2, inputs, 1, True)
        return m_2[0] / m_1[0] ** 2 - 1.0
    return None


def _chi(at: Callable[[float, float], rt.Ensemble], a: float, b: float) -> float:
    return float(growth_rates([at(a, b)])[0][0])


def _beside_boundary(
    arrays: dict[str, np.ndarray], chi: Callable[[float, float], float]
) -> list[tuple[str, float, float, float]]:
    """(side, x, y, χ) at `PLACES` places of the longest line χ = 1, evenly spaced inside its ends."""
    xs, ys, grid = arrays["x"], arrays["y"], arrays["chi"]
    lines = contourpy.contour_generator(xs, ys, np.ma.masked_invalid(grid.T)).lines(1.0)
    if not lines:
        return []
    unit = np.array([xs[-1] - xs[0], ys[-1] - ys[0]])
    line: np.ndarray = max(
        map(np.asarray, lines), key=lambda points: np.sum(np.hypot(*np.diff(points / unit, axis=0).T))
    )
    length = np.append(0.0, np.cumsum(np.hypot(*np.diff(line / unit, axis=0).T)))
    slope = np.array(np.gradient(grid, xs / unit[0], ys / unit[1]))
    found = []
    for share in (np.arange(PLACES) + 0.5) / PLACES:
        place = np.array([np.interp(share * length[-1], length, line[:, k]) for k in (0, 1)])
        i, j = np.abs(xs - place[0]).argmin(), np.abs(ys - place[1]).argmin()
        normal = slope[:, i, j]
        distance = min(max(OFFSET / np.hypot(*normal), NEAR), FAR)
        step = distance * normal / np.hypot(*normal) * unit
        for side, sign in (("order", -1.0), ("chaos", 1.0)):
            for stretch in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0):  # farther out where χ bends, or jumps
                a, b = np.clip(place + sign * stretch * step, (xs[0], ys[0]), (xs[-1], ys[-1]))
                value = chi(float(a), float(b))
                if sign * (value - 1.0) > 0.3 * OFFSET:
                    break
            found.append((side, float(a), float(b), value))
    return found
