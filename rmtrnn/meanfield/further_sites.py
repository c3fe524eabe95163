"""χ of a tied mean field on further sets of sites, until its error is small enough.

A set of sites finds its own fixed point of (18) and its own growth, group by group, from those of the field
it continues; the mean over the groups of all sets has an error that falls with the root of their number.

The noise of χ is that of sites: where it was looked into (a GRU of gain 3) 60 % of its variance came from the
random numbers of the differences, a third from trajectories, the rest from the spectra of the state.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core.progress import advance
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.linearised_sites import Recorder
from rmtrnn.meanfield.periodic_process import GROUPS, PeriodicSites
from rmtrnn.meanfield.population import CONFIDENCE
from rmtrnn.meanfield.site_memory import memory_error, own_rates
from rmtrnn.meanfield.tied_field import TiedField
from rmtrnn.meanfield.tied_growth import Growth, separate_growth
from rmtrnn.meanfield.tied_solver import Separation, Settings, Spectral, one_round, separated


@dataclass(frozen=True)
class FurtherSettings:
    """How many further sets of sites there are, and how well they are solved. Empirical.

    ``first``: sets after which their number is decided; the standard error of their groups is itself known
    to 13 %. ``most``: sets. ``margin``: factor of the number that the error asks for. ``rounds``, ``share``:
    as in `Separation`; at a ``share`` of a tenth the mean over groups was off by 0.2 % of log χ, at 0.03 by
    0.05 %. tests/meanfield/test_further_sites.py moves both by three.
    """

    first: int = 4
    most: int = 32
    margin: float = 1.2
    rounds: int = 12
    share: float = 0.03


SETTINGS = FurtherSettings()


class Near(NamedTuple):
    """Where further sets of sites start: spectra and growth of the sites that were first."""

    ens: Ensemble
    period: int
    per_group: int
    second: np.ndarray
    spectra: np.ndarray
    growth: Growth
    settings: Settings
    seed: int


def further_growth(
    field: TiedField,
    growth: Growth,
    error: float,
    seed: int,
    tolerance: float,
    executor: Executor | None = None,
) -> tuple[float, float]:
    """χ and its error, by further sets of sites where ``error`` exceeds ``tolerance``.

    The error is `CONFIDENCE` standard errors of the mean over all groups, with the bias of groups, each an
    eighth of a set, and what rarer sites with a long memory might add. Where the latter exceeds the
    ``tolerance``, or the state is constant in time or known without sites, more sites do not help: both stay
    as they are.
    """
    state = field.state
    exact = field.filtered is not None or field.constant is not None
    if state is None or exact or growth.site_limited or not growth.converged or error <= tolerance:
        return growth.chi, error
    sites, settings = state.sites, state.settings
    recorder = Recorder(sites.visited(sites.pre_activations(state.spectra.positive_groups)[0]))
    memory = memory_error(own_rates(sites, recorder), growth.chi)
    if memory > tolerance:
        return growth.chi, error
    own = separate_growth(sites, recorder, seed, growth, settings)
    bias = abs(float(own.mean()) - growth.chi) * GROUPS / (GROUPS - 1)
    near = Near(
        sites.ens, sites.period, sites.per_group, field.Q.value, state.spectra.values, growth, settings, seed
    )
    several = functools.partial(_of_sets, near, map if executor is None else executor.map)
    values = several(0, SETTINGS.first)
    wanted = _wanted(values, max(tolerance - bias - memory, 0.5 * tolerance))
    values = np.append(values, several(SETTINGS.first, wanted))
    return float(values.mean()), _standard_error(values) + bias + memory


def _of_sets(near: Near, spread: Callable[..., Iterable[np.ndarray]], first: int, end: int) -> np.ndarray:
    """χ of the groups of some sets."""
    found = []
    for groups in spread(functools.partial(groups_of, near), range(first, end)):
        advance("tied mean field: further sets of sites")
        found.extend(groups)
    return np.array(found)


def _standard_error(values: np.ndarray) -> float:
    return CONFIDENCE * float(values.std(ddof=1)) / math.sqrt(values.size)


def _wanted(values: np.ndarray, tolerance: float) -> int:
    """Sets of sites that take the standard error down to ``tolerance``."""
    share = _standard_error(values) / tolerance
    return max(min(math.ceil(SETTINGS.margin * SETTINGS.first * share**2), SETTINGS.most), SETTINGS.first)


def groups_of(near: Near, index: int) -> np.ndarray:
    """χ of the groups of another set of as many sites, each on the spectra that it finds by itself."""
    own = int(_random.stream(near.seed, 58, index).integers(2**62))
    nodes, separation = near.growth.nodes, Separation(SETTINGS.rounds, 1, SETTINGS.share)
    process = PeriodicSites(near.ens, near.period, near.per_group, own, nodes, key=(58,))
    process.scale_state(near.second)
    process.run(process.pre_activations(near.spectra[:, None])[0])
    first = np.repeat(near.spectra[:, None], GROUPS, axis=1)
    start = Spectral(near.spectra, first, 0.0, 0, True)
    found = separated(one_round(process), start, nodes, near.settings, separation)
    recorder = Recorder(process.run(process.pre_activations(found.positive_groups)[0]))
    return separate_growth(process, recorder, own, near.growth, near.settings, separation)
