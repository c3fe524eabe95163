"""Random fixed parameters: does `initialize` answer, and does a scan of 1000 points find anything better?

``python -m validation.initialisation.random_fixed FOLDER [SECONDS] [SEED]`` plans 200 random problems (any
library cell, weights tied or not, every parameter of every gate fixed with probability ½ anywhere in `WIDE`,
or with probability 0.3 in `NARROW`, where the limits can often be met), and looks at 1000 random points of
each problem: the same networks and limits that the search saw. What FOLDER holds is not computed
again. Problems and points follow from the numbers 0 … 199 and SEED alone. Those of seed 19 were looked at
when the search was mended, those of seed 29 were not. The points are spread evenly in the means and in the
variances, which are not the coordinates of the search.

A point of the scan is better if its smallest sensitivity is larger and it meets the limits within the
tolerance of the search. Where the plan does not meet them (NO_SOLUTION), the objective with its penalties is
compared, a negative number: by how much it is nearer to 0. About 15 minutes of one core.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn import cells
from rmtrnn.initialisation.search import EFFORT, Problem
from rmtrnn.initialisation.space import Space, build_space
from validation.core.rows import read_rows, write_rows

CELLS = tuple(cells.LIBRARY)
COUNT, SCANNED = 200, 1000
SEED = 19  # of the problems; the points have the next one
STEPS = (5, 10, 20, 40)
WIDE = {"mu_b": (-4.0, 4.0), "sigma_w": (0.05, 4.0), "sigma_v": (0.0, 2.0), "sigma_b": (0.0, 2.0)}
NARROW = {"mu_b": (-1.0, 1.0), "sigma_w": (0.05, 1.2), "sigma_v": (0.0, 0.7), "sigma_b": (0.0, 0.5)}
ALLOWED = 1.05  # the scan may be so much better


def problem(index: int, seed: int = SEED) -> tuple[str, int, dict[str, Any], dict[str, Any]]:
    """Cell, T, the keywords of the weights, and ``fix``."""
    rng = np.random.default_rng([seed, index])
    cell, T = CELLS[index % len(CELLS)], STEPS[index % len(STEPS)]
    ranges, share = (WIDE, 0.5) if rng.random() < 0.5 else (NARROW, 0.3)
    gates = rt.Ensemble(cell).cell.gates
    fix: dict[str, Any] = {
        name: {gate: float(rng.uniform(*ends)) for gate in gates if rng.random() < share}
        for name, ends in ranges.items()
    }
    if cell == "gru_reset_after":
        fix["sigma_v"].pop("c", None)  # `initialize` keeps it at 0: the input part is gate "i"
    weights = "orthogonal" if rng.random() < 0.75 else "gaussian"
    return cell, T, {"weights": weights, "tied": bool(rng.random() < 0.75)}, fix


def row(index: int, seed: int = SEED) -> dict[str, Any]:
    """The plan of one problem, and what the scan found; an exception is kept with its text."""
    cell, T, kinds, fix = problem(index, seed)
    start = time.process_time()
    try:
        plan = rt.initialize(cell, T, fix=fix, **kinds)
    except Exception as error:  # what must not happen is what this study counts
        return {"index": index, "cell": cell, "T": T, "exception": f"{type(error).__name__}: {error}"}
    found = {
        "index": index,
        "cell": cell,
        "T": T,
        **kinds,
        "status": plan.status.name,
        "smallest": _short(plan.smallest),
        "seconds": round(time.process_time() - start, 2),
    }
    return found | scan(index, plan, seed)


def scan(index: int, plan: rt.initialisation.plan.Plan, seed: int = SEED) -> dict[str, Any]:
    """Ratios of the best random points to the plan: of those that meet the limits, and of the objective."""
    cell, T, kinds, fix = problem(index, seed)
    if cell == "gru_reset_after":
        fix["sigma_v"]["c"] = 0.0
    space = build_space(rt.Ensemble(cell, R=1.0, **kinds), T, fix, {})
    own = Problem(space, T, EFFORT)
    points = spread_in_variances(space, np.random.default_rng([seed + 1, index]))
    terms = own.terms(np.vstack([space.place(plan.ensemble)[None], points]))
    values, meets = terms.log_input.min(axis=0), terms.meets(EFFORT.tolerance)
    merits = terms.merit(EFFORT.penalty)
    scanned = np.where(meets[1:], values[1:], -np.inf).max()
    return {
        "free": len(space.free),
        "meets": bool(meets[0]),
        "scan meets": int(meets[1:].sum()),
        "better": _short(math.exp(min(0.5 * (scanned - values[0]), 700.0))),
        "objective": _short(merits[0]),
        "objective of the scan": _short(merits[1:].max()),
    }


def spread_in_variances(space: Space, rng: np.random.Generator) -> np.ndarray:
    """Random points even in means and variances, as rows of coordinates of the search."""
    points = rng.random((SCANNED, len(space.free)))
    for place, one in enumerate(space.free):
        if one.name != "mu_b":
            values = np.sqrt(one.low**2 + points[:, place] * (one.high**2 - one.low**2))
            points[:, place] = [one.coordinate(value) for value in values]
    return points


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def decisive(one: Mapping[str, Any]) -> float:
    """How much better the scan is: ratio of sensitivities; of objectives where the plan breaks a limit."""
    if one["meets"]:
        return one["better"]
    return math.inf if one["scan meets"] else one["objective"] / one["objective of the scan"]


def summary(rows: list[dict[str, Any]]) -> str:
    """Counts of statuses, and of problems where the scan is better by more than 5 %."""
    answered = [one for one in rows if "exception" not in one]
    statuses = sorted({one["status"] for one in answered})
    counts = ", ".join(f"{sum(one['status'] == name for one in answered)} {name}" for name in statuses)
    worse = [one for one in answered if decisive(one) > ALLOWED]
    names = ", ".join(
        f"{one['index']} ({one['cell']}, T = {one['T']}, {one['status']}, {decisive(one):.3g})"
        for one in worse
    )
    return "\n".join(
        [
            f"{len(rows)} problems, {len(rows) - len(answered)} exceptions; {counts}",
            f"the scan is better in {sum(decisive(one) > 1.0 for one in answered)}, by more than 5 % in "
            f"{len(worse)}: {names or 'none'}",
        ]
    )


def main(folder: Path, seconds: float = math.inf, seed: int = SEED) -> None:
    """Compute what is missing in the folder, and print the summary."""
    path, end = folder / f"random_fixed_{seed}.json", time.monotonic() + seconds
    rows = {one["index"]: one for one in read_rows(path)}
    for index in range(COUNT):
        if index not in rows and time.monotonic() < end:
            rows[index] = row(index, seed)
            write_rows(path, list(rows.values()))
    print(summary(list(rows.values())))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]), float(given[1]) if given[1:] else math.inf, int(given[2]) if given[2:] else SEED)
