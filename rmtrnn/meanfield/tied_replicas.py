"""Two replicas with the same tied weights: theory.md (19), their overlap, and χ at c*."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.linearised_sites import Recorder
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites
from rmtrnn.meanfield.tied_growth import Growth, growth_rate
from rmtrnn.meanfield.tied_solver import (
    GroupMap,
    Settings,
    Spectral,
    TiedState,
    spectral_fixed_point,
)

PAIR_ROUNDS = 0.4  # share of the rounds that settings allow: what noise leaves then is not found by more


class Replicas(NamedTuple):
    """Overlap E[h_a h_b] by state component, correlation of e by gate, group by group, and χ there."""

    overlap: np.ndarray  # (s, groups)
    second: np.ndarray  # (s, groups), E[h²] of the same sites
    correlation: np.ndarray  # (K, groups)
    growth: Growth
    cross: Spectral
    process: PeriodicSites


def replicas(
    ens: Ensemble,
    state: TiedState,
    share: np.ndarray | None,
    sites: int,
    seed: int,
    settings: Settings,
    equal: Growth,
    near: Replicas | None = None,
) -> Replicas:
    """Two replicas from states whose overlap is ``share`` of E[h²] (default none), to a fixed overlap.

    ``equal``: the growth at equal replicas, from which the search for χ at c* starts: it is no larger.
    ``near``: replicas at parameters nearby, from whose cross spectra this search starts.
    """
    period, nodes, spectra = state.sites.period, state.sites.nodes, state.spectra.values
    if near is not None and near.process.period == period:
        process = near.process.moved(ens)
    else:
        count = min(sites, state.sites.n) // GROUPS
        process = PeriodicSites(ens, period, count, seed, nodes, replicas=2)
    read = process.readings
    start = np.zeros_like(spectra) if share is None else float(np.mean(share)) * spectra
    if near is not None:
        start = _within(near.process.nodes.carried(near.cross.values, nodes), spectra)
    cross = (
        _nothing_shared(nodes)
        if read.count == 0
        else spectral_fixed_point(
            _one_round(process, spectra),
            start,
            nodes,
            settings,
            settings.tolerance,
            least_scale=float(nodes.variance(spectra).sum()),
            positive=False,
        )
    )
    both = process.pre_activations(spectra[:, None], _within(cross.values, spectra)[:, None])
    runs = [process.run(e, replica) for replica, e in enumerate(both)]
    recorders, states = [Recorder(run) for run in runs], np.array([run.states for run in runs])
    known = equal
    if near is not None and near.growth.converged and not near.growth.site_limited:
        known = near.growth
    fewer = replace(settings, rounds=int(PAIR_ROUNDS * settings.rounds))
    growth = growth_rate(process, recorders, seed, fewer, start=known, highest=equal.chi)
    by_group = states.reshape(*states.shape[:3], GROUPS, -1)
    variance = read.recurrent(nodes.variance(spectra)[:, None]) + (read.white + read.constant)[:, None]
    shared = read.recurrent(nodes.variance(cross.groups)) + (read.shared_white + read.constant)[:, None]
    return Replicas(
        overlap=np.mean(by_group[0] * by_group[1], axis=(1, 3)),
        second=np.mean(by_group**2, axis=(0, 2, 4)),
        correlation=np.where(variance > 0.0, shared / np.where(variance > 0.0, variance, 1.0), 1.0),
        growth=growth,
        cross=cross,
        process=process,
    )


def _nothing_shared(nodes: FrequencyNodes) -> Spectral:
    """The cross spectra of a cell whose gates read nothing."""
    return Spectral(np.zeros((0, nodes.weight.size)), np.zeros((0, GROUPS, nodes.weight.size)), 0.0, 0, True)


def _one_round(process: PeriodicSites, spectra: np.ndarray) -> GroupMap:
    """Cross spectra (D, nodes) to the images that the groups have."""

    def image(cross: np.ndarray) -> np.ndarray:
        found = []
        for _, part in process.parts():
            both = part.pre_activations(spectra[:, None], _within(cross, spectra)[:, None])
            first, second = (part.run(e, replica).reads() for replica, e in enumerate(both))
            found.append(part.power(first, second))
        return np.concatenate(found, axis=1)

    return image


def _within(cross: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Cross spectra are no larger than the spectra."""
    return np.clip(cross, -spectra, spectra)
