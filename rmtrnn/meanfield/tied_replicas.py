"""Two replicas with the same tied weights: theory.md (19), their overlap, and χ at c*."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites
from rmtrnn.meanfield.tied_growth import Growth, Recorder, growth_rate
from rmtrnn.meanfield.tied_solver import (
    GroupMap,
    Settings,
    Spectral,
    TiedState,
    period_sites,
    spectral_fixed_point,
)

PAIR_ROUNDS = 24  # what noise leaves then is not found by more


class Replicas(NamedTuple):
    """Overlap E[h_a h_b] by state component, correlation of e by gate, group by group, and χ there."""

    overlap: np.ndarray  # (s, groups)
    second: np.ndarray  # (s, groups), E[h²] of the same sites
    correlation: np.ndarray  # (K, groups)
    growth: Growth
    cross: Spectral


def replicas(
    ens: Ensemble,
    state: TiedState,
    share: np.ndarray | None,
    sites: int,
    seed: int,
    settings: Settings,
    equal: Growth,
) -> Replicas:
    """Two replicas from states whose overlap is ``share`` of E[h²] (default none), to a fixed overlap.

    ``equal``: the growth at equal replicas, from which the search for χ at c* starts: it is no larger.
    """
    period = state.sites.period
    process = period_sites(ens, period, sites * period // settings.first_period, seed, settings, replicas=2)
    nodes, spectra = process.nodes, state.spectra.values
    read = process.readings
    start = np.zeros_like(spectra) if share is None else float(np.mean(share)) * spectra
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
    recorders = [Recorder(process) for _ in range(2)]
    states = np.empty((2, len(ens.cell.state), period, process.n))
    both = process.pre_activations(spectra[:, None], _within(cross.values, spectra)[:, None])
    for replica, (e, recorder) in enumerate(zip(both, recorders, strict=True)):
        process.run(e, replica, visit=recorder, states=states[replica])
    growth = growth_rate(process, recorders, seed, replace(settings, rounds=PAIR_ROUNDS), start=equal)
    by_group = states.reshape(*states.shape[:3], GROUPS, -1)
    variance = read.recurrent(nodes.variance(spectra)[:, None]) + (read.white + read.constant)[:, None]
    shared = read.recurrent(nodes.variance(cross.groups)) + (read.shared_white + read.constant)[:, None]
    return Replicas(
        overlap=np.mean(by_group[0] * by_group[1], axis=(1, 3)),
        second=np.mean(by_group**2, axis=(0, 2, 4)),
        correlation=np.where(variance > 0.0, shared / np.where(variance > 0.0, variance, 1.0), 1.0),
        growth=growth,
        cross=cross,
    )


def _nothing_shared(nodes: FrequencyNodes) -> Spectral:
    """The cross spectra of a cell whose gates read nothing."""
    return Spectral(np.zeros((0, nodes.weight.size)), np.zeros((0, GROUPS, nodes.weight.size)), 0.0, 0, True)


def _one_round(process: PeriodicSites, spectra: np.ndarray) -> GroupMap:
    """Cross spectra (D, nodes) to the images that the groups have."""

    def image(cross: np.ndarray) -> np.ndarray:
        both = process.pre_activations(spectra[:, None], _within(cross, spectra)[:, None])
        first, second = (process.run(e, replica) for replica, e in enumerate(both))
        return process.power(first, second)

    return image


def _within(cross: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Cross spectra are no larger than the spectra."""
    return np.clip(cross, -spectra, spectra)
