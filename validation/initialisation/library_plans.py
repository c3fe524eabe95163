"""Plans of every library cell: their time, their profile against sampled networks, and against other recipes.

``python -m validation.initialisation.library_plans FOLDER [CELL …]`` computes a row for each cell and T = 10,
100, 1000 that the FOLDER lacks. A row has

- the processor time of `initialize`, its status, and whether a second call gives the same plan (T = 10);
- for T ≤ 100 the mean squares of ∂h^T/∂x^{T−k} and of the k-step Jacobian over 16 networks of 512 units
  with tied weights, drawn independently of the search, beside ``plan.profile`` and its errors;
- the smallest sensitivity of the plan and of the recipes below on four other networks of `WIDTH` units, the
  same for all, and which recipes meet the plan's limits there within the tolerance of the search. The plan
  has slow and fast units and ties the biases of writing gates; the recipes have one class of units. So they
  are compared with the "free" plan, under ``fast`` = 0 and with writing gates of their own mean.

Recipes: chrono biases, log T for the gates that carry and the opposite for those that write (Tallec and
Ollivier 2018), also with the law log U, U uniform on [1, T − 1], of either sign, with orthogonal weights of
gain ½ and 1 and σ_v of 0.3 and 0.7, and the same without the opposite bias; and χ = 1, for the same σ_v
and for biases of 0, ±1 and ± log T of the gates that carry: the gain at which m_1(T) of the networks of the
search is 1. About half an hour of one core.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn import cells
from rmtrnn.initialisation.networks import NetworkBatch, Observed, Points, Size
from rmtrnn.initialisation.search import EFFORT, field_of, terms_of
from rmtrnn.initialisation.sensitivity import error_of_mean, spaced_lags
from rmtrnn.initialisation.space import LIMITS, Space, build_space
from rmtrnn.initialisation.time_scales import BiasPattern, carrying_gates, writing_gates
from validation.core.rows import read_rows, write_rows

STEPS = (10, 100, 1000)
SAMPLED, NETWORKS, LONGEST = 512, 16, 100  # units, networks, and steps of the comparison with the profile
JUDGES = 4  # networks on which recipes are compared
WIDTH = {10: 256, 100: 128, 1000: 64}  # units of the networks on which recipes are compared
FIRST_SEED = 100  # the search uses seed 0, the profile 0 to 15
GAINS, DRIVES, LAGS = (0.5, 1.0), (0.3, 0.7), 9
SCAN = np.geomspace(0.05, 4.0, 40)  # gains between which χ = 1 is looked for


def row(cell: str, T: int) -> dict[str, Any]:
    """All numbers of one plan."""
    start = time.process_time()
    plan = rt.initialize(cell, T)
    found: dict[str, Any] = {
        "cell": cell,
        "T": T,
        "seconds": round(time.process_time() - start, 2),
        "status": plan.status.name,
        "smallest": _short(plan.profile.smallest),
        "finite": bool(np.isfinite(plan.profile.input.mean_square).all()),
        "limits": list(plan.limits),
    }
    if STEPS[0] == T:
        found["same again"] = rt.initialize(cell, T) == plan
    if T <= LONGEST:
        found["sampled"] = sampled(plan)
    return found | {"recipes": compared(plan, cell)}


# --- the profile ---------------------------------------------


def sampled(plan: Any) -> dict[str, Any]:
    """Mean squares of networks of `SAMPLED` units, what the profile says, and both errors, at a few lags."""
    lags = spaced_lags(plan.T, LAGS)
    size = Size(units=SAMPLED, looks=0)
    runs = []
    for seed in range(FIRST_SEED, FIRST_SEED + NETWORKS):
        seen = NetworkBatch(plan.ensemble, plan.T, seed, size).observe(Points.of(plan.ensemble), lags)
        runs.append(np.exp([seen.log_input[:, 0], seen.log_state[:, 0]]))
    squares = np.stack(runs, axis=-1)
    means, errors = squares.mean(axis=-1), error_of_mean(squares)
    found: dict[str, Any] = {"lags": lags.tolist(), "method": plan.profile.method}
    for name, side, mean, error in zip(
        ("input", "state"), (plan.profile.input, plan.profile.state), means, errors, strict=True
    ):
        found[name] = {
            "profile": _list(side.mean_square[lags]),
            "error": _list(side.error[lags]),
            "networks": _list(mean),
            "error of networks": _list(error),
        }
    return found


def score(side: Mapping[str, list[float]]) -> float:
    """Largest distance between profile and networks, in units of both errors."""
    parts = ("profile", "networks", "error", "error of networks")
    value, mean, error, own = (np.array(side[name], dtype=float) for name in parts)
    allowed = np.maximum(np.hypot(np.nan_to_num(error), own), 1e-9 * np.abs(value))
    return float(np.max(np.abs(mean - value) / allowed))


# --- other recipes ---------------------------------------------


def recipes(cell: str, T: int, space: Space) -> Iterator[tuple[str, rt.Ensemble]]:
    """Names and ensembles."""
    base, carrying = space.base, carrying_gates(space.base.cell)
    fed = {"gru_reset_after": [gate for gate in base.cell.gates if gate != "c"]}.get(cell, base.cell.gates)
    signs, writing = (1.0, -1.0) if carrying else (1.0,), writing_gates(space.base.cell)
    for sign, drive in itertools.product(signs, DRIVES):
        sigma_v = dict.fromkeys(fed, drive)
        for gain in GAINS:
            name = f"{sign:+.0f}, gain {gain:g}, drive {drive:g}"
            mean = {gate: sign * np.log(T) * (gate in carrying) for gate in base.cell.gates}
            if writing:
                yield f"chrono, writing 0, {name}", base.replace(mu_b=mean, sigma_w=gain, sigma_v=sigma_v)
            mean |= {gate: copy.sign * mean[copy.source] for gate, copy in writing.items()}
            yield f"chrono {name}", base.replace(mu_b=mean, sigma_w=gain, sigma_v=sigma_v)
            if carrying and sign > 0.0:
                law: dict[str, Any] = {gate: ("log_uniform", 1.0, float(max(T - 1, 2))) for gate in carrying}
                law |= {gate: copy.law() for gate, copy in writing.items()}
                spread = base.replace(sigma_w=gain, sigma_v=sigma_v, bias_law=law)
                yield f"chrono law {name}", spread
        for size in (0.0, 1.0, float(np.log(T))) if sign > 0.0 else (1.0, float(np.log(T))):
            mean = {gate: sign * size * (gate in carrying) for gate in base.cell.gates}
            critical = critical_gain(space, T, base.replace(mu_b=mean, sigma_v=sigma_v))
            if critical is not None:
                yield f"χ = 1, bias {sign * size:.2g}, drive {drive:g}", critical


def critical_gain(space: Space, T: int, ens: rt.Ensemble) -> rt.Ensemble | None:
    """The gain up to which m_1(T) of the networks of the search is at most 1; None if there is none."""
    low, gains = 0.0, SCAN
    for _ in range(2):
        points = _together([ens.replace(sigma_w=float(gain)) for gain in gains])
        grown = field_of(space, T, None).observe(points, np.array([0, T])).log_state[-1]
        above = np.flatnonzero(~(grown < 0.0))
        if above.size == 0 or above[0] == 0:
            return None
        low = float(gains[above[0] - 1])
        gains = np.linspace(low, gains[above[0]], 12)
    return ens.replace(sigma_w=low)


def compared(plan: Any, cell: str) -> list[dict[str, Any]]:
    """Smallest sensitivity and limits of the plan, of the free plan, and of every recipe, in this order."""
    T, seen = plan.T, []
    base = rt.Ensemble(cell, weights="orthogonal", tied=True)
    writing = dict.fromkeys(writing_gates(base.cell), (-LIMITS.mean, LIMITS.mean))
    free: dict[str, Any] = {"fast": 0.0} | ({"mu_b": writing} if writing else {})
    for name, bounds in (("plan", {}), ("free plan", free)):
        space = build_space(base, T, {}, bounds)
        found = plan if not bounds or not carrying_gates(base.cell) else rt.initialize(cell, T, bounds=bounds)
        own = space.points(space.place(found.ensemble)[None])
        seen += _judged(space, T, space.base, own, [name], space.pattern)
    space = build_space(base, T, {}, {})
    named = list(recipes(cell, T, space))
    usual = [(one, ens) for one, ens in named if ens.has_normal_biases]
    seen += _judged(space, T, space.base, _together([ens for _, ens in usual]), [one for one, _ in usual])
    for one, ens in named:
        if not ens.has_normal_biases:
            seen += _judged(space, T, ens, Points.of(ens), [one])
    allowed = dict(named)
    return [
        one | {"within bounds": one["name"] not in allowed or within(space, allowed[one["name"]])}
        for one in seen
    ]


def within(space: Space, ens: rt.Ensemble) -> bool:
    """Whether the gains of a recipe lie between the plan's bounds."""
    gates = ens.cell.gates
    return all(ens.gate(gates[one.gate]).sigma_w <= one.high for one in space.free if one.name == "sigma_w")


def _judged(
    space: Space,
    T: int,
    base: rt.Ensemble,
    points: Points,
    names: list[str],
    pattern: BiasPattern | None = None,
) -> list[dict[str, Any]]:
    """Means over the networks, and the standard error of the smallest sensitivity."""
    lags = spaced_lags(T, EFFORT.lags)
    seeds = range(FIRST_SEED + 50, FIRST_SEED + 50 + JUDGES)
    runs = [_field(space, base, T, seed, pattern).observe(points, lags) for seed in seeds]
    log_input = np.array([one.log_input for one in runs])
    mean = Observed(
        np.log(np.mean(np.exp(log_input), axis=0)),
        np.log(np.mean(np.exp([one.log_state for one in runs]), axis=0)),
        np.mean([one.log_typical for one in runs], axis=0),
        np.mean([one.q for one in runs], axis=0),
    )
    terms = terms_of(space, T, mean)
    values = np.exp(0.5 * terms.log_input.min(axis=0))
    scatter = np.std(np.exp(0.5 * log_input.min(axis=1)), axis=0, ddof=1) / np.sqrt(JUDGES)
    return [
        {"name": name, "smallest": _short(value), "error": _short(error), "slack": _short(slack)}
        for name, value, error, slack in zip(names, values, scatter, terms.slack.min(axis=0), strict=True)
    ]


def _field(space: Space, base: rt.Ensemble, T: int, seed: int, pattern: BiasPattern | None) -> Any:
    if isinstance(base.cell, rt.VanillaRNN):
        return field_of(space, T, None)
    return NetworkBatch(base, T, seed, Size(units=WIDTH[T], memories=1), pattern)


def _together(ensembles: list[rt.Ensemble]) -> Points:
    columns = zip(*(Points.of(ens) for ens in ensembles), strict=True)
    return Points(*(np.concatenate(column, axis=1) for column in columns))


def best_recipe(recipes: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The best of those that meet the limits; None if none does."""
    meets = [
        one for one in recipes[2:] if one["slack"] >= -EFFORT.tolerance and one.get("within bounds", True)
    ]
    return max(meets, key=lambda one: one["smallest"], default=None)


# --- the table ---------------------------------------------


def summary(rows: list[dict[str, Any]]) -> str:
    """A line for each plan, and counts."""
    header = f"{'cell':16}{'T':>5}{'CPU s':>7}  {'status':15}{'smallest':>10}{'score':>7}{'plan':>10}"
    lines = [f"{header}{'free plan':>11}{'best recipe':>12}"]
    for one in rows:
        (own, free, *_), best = one["recipes"], best_recipe(one["recipes"])
        scored = max(score(one["sampled"][side]) for side in ("input", "state")) if "sampled" in one else None
        lines.append(
            f"{one['cell']:16}{one['T']:5}{one['seconds']:7.1f}  {one['status']:15}{one['smallest']:10.3g}"
            f"{'' if scored is None else format(scored, '.2f'):>7}{own['smallest']:10.3g}"
            f"{free['smallest']:11.3g}"
            f"{'none' if best is None else format(best['smallest'], '.3g'):>12}"
            f"{'' if best is None else '  ' + best['name']}"
        )
    return "\n".join(lines)


def _list(values: np.ndarray) -> list[float | None]:
    return [_short(value) if np.isfinite(value) else None for value in values]


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def main(folder: Path, chosen: list[str]) -> None:
    """Compute what is missing in the folder, and print the table."""
    path = folder / "library_plans.json"
    rows = read_rows(path)
    for T, cell in itertools.product(STEPS, chosen or list(cells.LIBRARY)):
        if not any((one["cell"], one["T"]) == (cell, T) for one in rows):
            rows.append(row(cell, T))
            write_rows(path, rows)
            print(summary(rows[-1:]), flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
