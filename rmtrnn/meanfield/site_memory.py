"""What single sites of a tied network forget per step, and what rare ones with a long memory may do to χ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rmtrnn.meanfield.linearised_sites import Recorder
from rmtrnn.meanfield.periodic_process import GROUPS, PeriodicSites
from rmtrnn.meanfield.population import CONFIDENCE
from rmtrnn.meanfield.state_recursion import blocks, linear_recursion


@dataclass(frozen=True)
class MemorySettings:
    """Numbers of the error of χ by rare sites; moved by three in tests/meanfield/test_tied_errors.py."""

    # Share of χ from which the decay per step of a single site may rule χ. Empirical.
    ruling: float = 0.8


_MEMORY = MemorySettings()


def memory_error(rates: np.ndarray, chi: float) -> float:
    """How far beyond χ the longest memory of more sites may lie, where that of these sites comes near χ.

    A site forgets a difference by λ = ``rates`` (sites,) per step in the mean square; χ is no less than the
    largest λ. A maximum grows with the logarithm of the number of sites: what 16 times as many add is
    log 16/log 8 times what all add to the maximum of an eighth of them. Three times that is allowed.
    """
    rates = rates.reshape(GROUPS, -1)
    largest = float(rates.max())
    if largest < _MEMORY.ruling * chi:
        return 0.0
    more = np.log(16.0) / np.log(GROUPS) * (largest - float(rates.max(axis=1).mean()))
    return max(largest + CONFIDENCE * more - chi, 0.0)


def own_rates(process: PeriodicSites, recorder: Recorder) -> np.ndarray:
    """Mean squared decay per step of a difference at every site by itself, over a period."""
    step = recorder.step()
    shape = (len(process.ens.cell.state), process.n)
    kappa, logs = np.ones(shape), np.zeros(process.n)
    for here in blocks(process.period, process.n):
        none = [np.zeros((here.stop - here.start, 1)) for _ in range(shape[0])]
        kappa = linear_recursion(kappa, [(i, j, values[here]) for i, j, values in step], none)[:, -1]
        size = np.maximum(np.sqrt(np.mean(kappa**2, axis=0)), 1e-300)
        logs += np.log(size)
        kappa = kappa / size
    return np.exp(2.0 * logs / process.period)
