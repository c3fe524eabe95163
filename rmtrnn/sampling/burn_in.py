"""Steps that a network runs before its Jacobian starts, so that its state is stationary by then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import mean_field
from rmtrnn.meanfield.expansion import expansion_of
from rmtrnn.sampling.network import Networks


@dataclass(frozen=True)
class BurnInSettings:
    """Numbers of the burn-in. Empirical, all of them: tests/sampling/test_burn_in.py moves each by ×3 and ÷3.

    first_test : steps. Stationarity is tested after first_test · 2^k steps.
    run_on : factor. A network found stationary at t runs on to run_on · t: a deviation that decays as
        e^(−t/τ) and is lost in noise of some per cent at t is gone by then.
    longest : steps. No burn-in is longer.
    standard_errors, relative, absolute : means over successive quarters may differ by so many standard
        errors, plus a share of the mean, plus a number of the state's unit squared.
    batches : successive means of so many parts of a quarter give its standard error.
    time_scales : the burn-in is at least so many time scales of the mean field; e^-8 = 3e-4.
    without_time_scale : steps where the time scale is infinite and nothing is stationary.
    """

    first_test: int = 125
    run_on: int = 4
    longest: int = 16_000
    standard_errors: float = 3.0
    relative: float = 1e-3
    absolute: float = 1e-6
    batches: int = 5
    time_scales: float = 8.0
    without_time_scale: int = 500


DEFAULT = BurnInSettings()


class BurnIn(NamedTuple):
    """Steps run, and whether the state was stationary after them (None: not asked)."""

    steps: int
    stationary: bool | None


def plan(ens: Ensemble, settings: BurnInSettings = DEFAULT) -> dict[str, Any]:
    """Return {"steps", "stationary"} for a burn-in of fixed length, or {"least"} steps for `equilibrate`."""
    if not any(m.free_symbols for stage in ens.cell.stages for m in (stage.a, stage.b, stage.c)):
        return {"steps": 0, "stationary": True}  # the Jacobian does not depend on the state
    least = settings.time_scales * _time_scale(ens)
    if not least < math.inf:
        return {"steps": settings.without_time_scale, "stationary": False}
    if least > settings.longest:
        return {"steps": settings.longest, "stationary": False}
    return {"least": math.ceil(least)}


def run(networks: Networks, planned: dict[str, Any]) -> list[BurnIn]:
    """Run the networks as `plan` says; return the burn-in of each."""
    if "least" in planned:
        return equilibrate(networks, planned["least"])
    networks.run(planned["steps"])
    return [BurnIn(planned["steps"], planned["stationary"])] * len(networks.trials)


def equilibrate(networks: Networks, least: int = 0, settings: BurnInSettings = DEFAULT) -> list[BurnIn]:
    """Run each network until its state is stationary; return the burn-in of each.

    After t = 125, 250, 500, … steps the mean of h² over the sites (for every state vector) in the last
    quarter of the steps is compared with that in the quarter before. A network whose means agree at some
    t ≥ ``least``/4 ends at 4t. A network that reaches ``settings.longest`` ends there, not stationary.
    """
    xp = networks.xp
    found: dict[int, BurnIn] = {}
    states: dict[int, Any] = {}
    running, t, test = networks, 0, settings.first_test
    squares = xp.empty((settings.longest // settings.run_on, *networks.state.shape[:2]), networks.dtype)
    while running.trials:
        ends = [found[trial].steps for trial in running.trials if trial in found]
        undecided = len(ends) < len(running.trials)
        stop = min([test, *ends] if undecided else ends)
        _run_and_record(running, squares, t, stop)
        t = stop
        if undecided and t == test:
            if settings.run_on * t >= least:
                found = _found_stationary(running.trials, squares, t, settings) | found
            test *= 2
            if settings.run_on * test > settings.longest:
                found = dict.fromkeys(running.trials, BurnIn(settings.longest, False)) | found
        ended = [trial in found and found[trial].steps == t for trial in running.trials]
        if any(ended):
            for column in np.flatnonzero(ended):
                states[running.trials[column]] = running.state[:, column].copy()
            rest = np.flatnonzero(~np.array(ended))
            running, squares = running.select(rest.tolist()), squares[:, :, xp.asarray(rest)]
    networks.state = xp.stack([states[trial] for trial in networks.trials], axis=1)
    return [found[trial] for trial in networks.trials]


def _run_and_record(networks: Networks, squares: Any, start: int, stop: int) -> None:
    """Run from step ``start`` to ``stop``; row t of ``squares`` receives the mean of h² after step t + 1."""
    for t in range(start, stop):
        networks.run(1)
        if t < len(squares):
            squares[t] = networks.xp.mean(networks.state * networks.state, axis=2)


def _found_stationary(trials: list[int], squares: Any, t: int, settings: BurnInSettings) -> dict[int, BurnIn]:
    """The burn-in of the networks whose means over the last two quarters of t steps agree."""
    rows = _arrays.to_host(squares[t // 2 : t]).astype(float)
    return {
        trial: BurnIn(settings.run_on * t, True)
        for column, trial in enumerate(trials)
        if halves_agree(rows[:, :, column], settings)
    }


def halves_agree(rows: np.ndarray, settings: BurnInSettings = DEFAULT) -> bool:
    """Whether the two halves of a time series, shape (steps, columns), have the same means."""
    half, count = len(rows) // 2, settings.batches
    batches = [
        np.array([batch.mean(axis=0) for batch in np.array_split(part, count)])
        for part in (rows[:half], rows[half:])
    ]
    means = [batch.mean(axis=0) for batch in batches]
    error = np.sqrt(sum(batch.var(axis=0, ddof=1) / count for batch in batches))
    allowed = settings.standard_errors * error + settings.relative * np.abs(means[1]) + settings.absolute
    return bool(np.all(np.abs(means[1] - means[0]) <= allowed))


@lru_cache(maxsize=32)
def _time_scale(ens: Ensemble) -> float:
    """Steps: −1/log χ_{c*} of the mean field (6) of a cell affine in its state; 0 for other cells."""
    if expansion_of(ens) is None:
        return 0.0
    field = mean_field(ens.replace(tied=False))  # a first guess; `equilibrate` looks further
    return field.timescale if field.converged else math.inf
