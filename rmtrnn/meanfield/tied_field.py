"""The tied mean field of one ensemble, put together: which state, its moments, growth and two replicas.

Letters: Q, the second moment of the state; q, the variance of a pre-activation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import filtered_state
from rmtrnn.meanfield.constant_growth import ConstantStage, constant_growth, constant_stages
from rmtrnn.meanfield.filtered_cell import covariance, filtered
from rmtrnn.meanfield.filtered_state import FilteredState
from rmtrnn.meanfield.forward_process import Forward, march
from rmtrnn.meanfield.linearised_sites import Recorder
from rmtrnn.meanfield.one_step import OneStep
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites
from rmtrnn.meanfield.population import CONFIDENCE, Estimate
from rmtrnn.meanfield.result import UNBOUNDED
from rmtrnn.meanfield.site_memory import memory_error, own_rates
from rmtrnn.meanfield.tied_growth import (
    Growth,
    differences_grow,
    growth_rate,
    separate_growth,
)
from rmtrnn.meanfield.tied_solver import (
    DEFAULT,
    Settings,
    Spectral,
    TiedState,
    followed_state,
    period_sites,
    stationary_state,
)
from rmtrnn.meanfield.zero_state import zero_state_growth


@dataclass(frozen=True)
class StartSettings:
    """Where the solver starts.

    Empirical: a start is not the answer; tests/meanfield/test_tied_errors.py moves every entry by three.
    """

    # Steps and sites of the process that says which state is reached.
    steps: int = 256
    sites: int = 1024
    # Share and decay, in steps, of fluctuations that every start has: a spectrum without any would keep none.
    broad: float = 0.1
    broad_decay: float = 16.0


_START = StartSettings()


class TiedField(NamedTuple):
    """Stationary moments with tied weights; by state component (s,), gate (K,).

    ``state`` is None for the dead state h = 0 and where there is no stationary state. ``filtered``: where the
    state is known as a function of the lag (`filtered_state`); ``state`` then has sites on its spectra.
    ``constant``: χ and its error where the state is constant in time.
    """

    Q: Estimate
    q: Estimate
    status: Status
    residual: float
    state: TiedState | None
    zero_growth: float | None
    note: str = ""
    filtered: FilteredState | None = None
    constant: tuple[Growth, float] | None = None


@functools.lru_cache(maxsize=32)
def tied_field(
    ens: Ensemble, Q0: tuple[float, ...] | None, sites: int, seed: int, settings: Settings = DEFAULT
) -> TiedField:
    """The state that a network reaches from centred Gaussian states with E[h²] = Q0 (default 1)."""
    second = np.ones(len(ens.cell.state)) if Q0 is None else np.array(Q0)
    zero = zero_state_growth(ens)
    if zero is not None and not second.any():
        return _dead(ens, zero)
    shorter = DEFAULT.first_period // settings.first_period
    forward = march(ens, _START.steps // shorter, _START.sites // shorter, seed, second)
    last = forward.second[:, -1]
    if not np.all(np.isfinite(last)) or np.max(last) > UNBOUNDED:
        return _diverged(ens, zero)
    unstable = zero is not None and zero >= 1.0
    if zero is not None and not unstable and np.all(last <= settings.dead * second.max()):
        return _dead(ens, zero)
    if filtered(ens) is not None:
        nodes = FrequencyNodes.build(filtered_state.SETTINGS.first_period, settings.node_distance)
        first = nodes.covariance(_start(forward, unstable)(nodes))[0]
        found = filtered_state.stationary(ens, first, dies=zero is not None and not unstable)
        return _filtered(found, zero, sites, seed, settings)
    state = stationary_state(ens, _start(forward, unstable), np.maximum(last, 1e-3), sites, seed, settings)
    constant = _constant(state)
    while constant is None and _is_unstable_and_static(state, seed):
        longer = replace(state.settings, first_period=4 * state.sites.period)
        fewer = max(sites * settings.first_period // longer.first_period, settings.least_sites)
        state = stationary_state(ens, _start(forward, unstable), np.maximum(last, 1e-3), fewer, seed, longer)
        constant = _constant(state)
    if not np.isfinite(state.spectra.residual):
        return _diverged(ens, zero)
    if state.dead:
        return _dead(ens, 0.0 if zero is None else zero)
    return _alive(ens, state, zero, constant)


def followed_field(ens: Ensemble, near: TiedField, sites: int, seed: int) -> TiedField | None:
    """The state near that of an ensemble of the same cell with other parameters; None if it is lost there.

    It is the state that continues ``near``, which need not be the one reached from a given start. Where h = 0
    is stable too, which of both is reached is left to the start.
    """
    zero = zero_state_growth(ens)
    if near.state is None or not near.state.sites.readings.count or (zero is not None and zero < 1.0):
        return None
    if near.filtered is not None:
        half = max(near.filtered.period // 2, filtered_state.SETTINGS.first_period)
        first = covariance(near.filtered.spectrum, near.filtered.period)
        shorter = replace(filtered_state.SETTINGS, first_period=half)
        found = filtered_state.stationary(ens, first, shorter)
        return None if found.dead else _filtered(found, zero, sites, seed, near.state.settings)
    state = followed_state(ens, near.state, sites, seed)
    if state.dead or not state.spectra.converged:
        return None
    constant = _constant(state)
    if constant is None and _is_unstable_and_static(state, seed):
        return None
    return _alive(ens, state, zero, constant)


def _is_unstable_and_static(state: TiedState, seed: int) -> bool:
    """Whether a state that is static on its period, and not constant, has differences that grow.

    It varies on a longer period then.
    """
    if not np.isfinite(state.spectra.residual) or state.dead or not state.is_static:
        return False
    if 4 * state.sites.period > state.settings.last_period:
        return False
    recorder = _recorded(state.sites, state.spectra.values[:, None])
    return differences_grow(state.sites, recorder, seed, state.settings)


def _start(forward: Forward, unstable: bool) -> Callable[[FrequencyNodes], np.ndarray]:
    """First spectra: the autocovariance of the last half of the forward process, and some broad fluctuations.

    The latter let the solver leave a state that is static for the forward process, and the zero state where
    it is unstable.
    """

    def start(nodes: FrequencyNodes) -> np.ndarray:
        reads = forward.reads[:, 0, 0]
        half = reads.shape[-1] // 2
        late = reads[:, half:, half:]
        lags = np.array([[np.mean(np.diagonal(one, lag)) for lag in range(half // 2)] for one in late])
        rest = lags[..., -half // 8 :].mean(axis=-1)
        count = nodes.period // 2 + 1
        covariance = np.repeat(rest[:, None], count, axis=1)
        covariance[:, : lags.shape[1]] = lags[:, :count]
        circle = np.concatenate([covariance, covariance[:, count - 2 : 0 : -1]], axis=1)
        found = nodes.project(np.maximum(np.fft.rfft(circle, axis=1).real, 0.0))
        variance = np.maximum(nodes.variance(found), 1e-2 if unstable else 0.0)
        broad = nodes.lorentzian(1.0, _START.broad_decay)
        return nodes.loosened((1.0 - _START.broad) * found + _START.broad * variance[:, None] * broad)

    return start


def _filtered(
    found: FilteredState, zero: float | None, sites: int, seed: int, settings: Settings
) -> TiedField:
    """The field of a leaky cell, and sites that carry its spectra, on no longer a period than others have."""
    ens = found.ens
    if not np.isfinite(found.residual):
        return _diverged(ens, zero)
    if found.dead:
        return _dead(ens, 0.0 if zero is None else zero)
    process = period_sites(ens, min(found.period, settings.last_period), sites, seed, settings)
    values = on_nodes(found.spectrum, process.nodes)
    groups = np.repeat(values[:, None], GROUPS, axis=1)
    spectra = Spectral(values, groups, found.residual, found.rounds, found.converged)
    second, q = found.state[:1], found.gate[:1]
    return TiedField(
        Estimate(second, found.error * second),
        Estimate(q, found.error * q),
        Status.CONVERGED if found.converged else Status.MAX_ITERATIONS,
        found.residual,
        TiedState(process, spectra, found.converged, False, settings),
        zero,
        "" if found.converged else f"memory longer than {found.period // 4} steps is not resolved",
        found,
    )


def on_nodes(spectrum: np.ndarray, nodes: FrequencyNodes) -> np.ndarray:
    """Values (1, nodes) of a spectrum at all frequencies of its own period."""
    own = FrequencyNodes.build(2 * (len(spectrum) - 1), DEFAULT.node_distance)
    values = own.project(spectrum)[None]
    return values if own.period == nodes.period else own.carried(values, nodes)


def _filtered_growth(found: FilteredState, nodes: FrequencyNodes) -> tuple[Growth, float]:
    one = filtered_state.growth(found)
    groups = np.full(GROUPS, one.chi)
    shape = on_nodes(one.spectrum, nodes)
    return Growth(one.chi, groups, shape, nodes, 0.0, 1, True, one.limited), one.error


def _alive(
    ens: Ensemble, state: TiedState, zero: float | None, constant: tuple[Growth, float] | None = None
) -> TiedField:
    process, spectra = state.sites, state.spectra
    second = _second_moments(process, spectra.values[:, None])
    by_group = _second_moments(process, spectra.positive_groups)
    read = process.readings
    variance = process.nodes.variance(spectra.groups)
    drive = (read.white + read.constant)[:, None]
    q_groups = read.recurrent(variance) + drive
    q = read.recurrent(process.nodes.variance(spectra.values)[:, None]) + drive
    status = Status.CONVERGED if state.converged else Status.MAX_ITERATIONS
    return TiedField(
        Estimate(second.mean(axis=1), group_error(by_group, second.mean(axis=1))),
        Estimate(q[:, 0], group_error(q_groups, q[:, 0])),
        status,
        spectra.residual,
        state,
        zero,
        "" if state.decayed else f"memory longer than {process.period // 4} steps is not resolved",
        constant=constant,
    )


def standard_error(groups: np.ndarray) -> np.ndarray:
    """CONFIDENCE standard errors of the mean over the groups (last axis)."""
    return CONFIDENCE * np.std(groups, axis=-1, ddof=1) / np.sqrt(GROUPS)


def _second_moments(process: PeriodicSites, values: np.ndarray) -> np.ndarray:
    """E[h²] (s, groups) at spectra (D, groups or 1, nodes)."""
    states = process.visited(process.pre_activations(values)[0]).states
    return np.mean((states**2).reshape(len(states), process.period, GROUPS, -1), axis=(1, 3))


def _dead(ens: Ensemble, zero: float) -> TiedField:
    nothing = np.zeros(len(ens.cell.state))
    laws = [ens.gate(name) for name in ens.cell.gates]
    q = np.array([law.sigma_v**2 * ens.R + law.sigma_b**2 for law in laws])
    return TiedField(Estimate(nothing, nothing), Estimate(q, 0.0 * q), Status.CONVERGED, 0.0, None, zero)


def _diverged(ens: Ensemble, zero: float | None) -> TiedField:
    nothing = np.full(len(ens.cell.state), np.nan)
    gates = np.full(len(ens.cell.gates), np.nan)
    return TiedField(Estimate(nothing, nothing), Estimate(gates, gates), Status.DIVERGED, np.inf, None, zero)


def tied_growth(field: TiedField, seed: int, start: Growth | None = None) -> tuple[Growth, float]:
    """χ at equal replicas and its error; with quick settings from a ``start`` nearby.

    The error is the spread of χ of the groups of sites, each on the spectra that it has found by itself: it
    holds the errors of the sites and of the state, which come from the same draws. To it the effect of the
    number of sites is added, of which a group has an eighth, the last change of the iteration, and where few
    sites with a long memory rule χ how much more sites would add.
    """
    state = field.state
    assert state is not None
    if field.filtered is not None:
        return _filtered_growth(field.filtered, state.sites.nodes)
    if field.constant is not None:
        return field.constant
    apart = _recorded(state.sites, state.spectra.positive_groups)
    if state.settings is DEFAULT:
        growth = equal_growth(field, seed)
    else:
        growth = growth_rate(state.sites, [apart], seed, state.settings, start)
    groups = separate_growth(state.sites, apart, seed, growth, state.settings)
    error = float(group_error(groups, growth.chi))
    last = growth.chi * min(growth.residual, 1.0)
    return growth, error + last + memory_error(own_rates(state.sites, apart), growth.chi)


def _constant(state: TiedState) -> tuple[Growth, float] | None:
    """χ and its error where the state is constant in time: without inputs, and stable. Else None."""
    process = state.sites
    if not np.isfinite(state.spectra.residual) or state.dead or not state.is_static or process.is_driven:
        return None
    spectra = state.spectra.values[:, None], state.spectra.positive_groups
    common, apart = constant_stages(process.ens, spectra, process.period, process.per_group, process.seed)
    step = OneStep(common)
    found = constant_growth(step)
    if found.chi > 1.0:  # the state varies, at frequencies that the period does not hold
        return None
    groups = np.array([constant_growth(OneStep(_group(apart, group))).chi for group in range(GROUPS)])
    nodes = process.nodes
    shape = np.zeros_like(state.spectra.values)
    place = int(np.argmin(np.abs(nodes.position - found.angle / (2.0 * np.pi) * nodes.period)))
    shape[:, place] = nodes.period / (nodes.weight[place] * len(shape))
    growth = Growth(found.chi, groups, shape, nodes, 0.0, 1, True)
    rates = np.max(np.abs(step.bare), axis=0) ** 2
    return growth, float(group_error(groups, found.chi)) + memory_error(rates, found.chi)


def _group(stages: list[ConstantStage], group: int) -> list[ConstantStage]:
    per_group = stages[0].a.shape[-1] // GROUPS
    return [stage.at(slice(group * per_group, (group + 1) * per_group)) for stage in stages]


def equal_growth(field: TiedField, seed: int) -> Growth:
    """χ at equal replicas, on the spectra that all groups have in common."""
    assert field.state is not None
    process = field.state.sites
    if field.filtered is not None:
        return _filtered_growth(field.filtered, process.nodes)[0]
    if field.constant is not None:
        return field.constant[0]
    recorder = _recorded(process, field.state.spectra.values[:, None])
    return growth_rate(process, [recorder], seed, field.state.settings)


def group_error(groups: np.ndarray, joint: np.ndarray | float) -> np.ndarray:
    """The standard error of groups (..., groups), and the bias of the joint value (...).

    Of a bias that falls as one over the number of sites, joint and mean of the groups differ by GROUPS − 1
    times that of the joint one.
    """
    return standard_error(groups) + np.abs(groups.mean(axis=-1) - joint) / (GROUPS - 1)


def _recorded(process: PeriodicSites, values: np.ndarray) -> Recorder:
    return Recorder(process.visited(process.pre_activations(values)[0]))
