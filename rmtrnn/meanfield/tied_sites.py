"""Trajectories of sites with tied weights, for the matrix Dyson equation: theory.md (15), (18)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites
from rmtrnn.meanfield.tied_field import TiedField, tied_field
from rmtrnn.meanfield.tied_solver import DEFAULT
from rmtrnn.meanfield.window_nets import WindowNets

Linearised = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...], tuple[bool, ...]]


@dataclass(frozen=True)
class BatchSettings:
    """How sites with trajectories are drawn. No result depends on ``numbers``."""

    # Fourier coefficients of one batch of sites: 256 MiB.
    numbers: int = 2**24
    # Sites of a group and batch, at least: Sobol points in pairs, of two or more.
    least: int = 4
    # Windows of T steps that one trajectory gives, at most: the more, the less independent. Empirical.
    windows: int = 8


_BATCH = BatchSettings()


def tied_trajectories(
    ens: Ensemble, T: int, n: int, seed: int = 0, *, field: TiedField | None = None, sites: int = 2048
) -> list[Linearised]:
    """Linearise all stages over ``T`` stationary steps at ``n`` sites with tied weights.

    Returns, in the order of time and of stages, (a, b, c) of theory.md (1) with sites last, and per gate σ_w²
    and whether the weights are orthogonal. The sites come in `GROUPS` independent groups of n/GROUPS, one
    after the other; each group has the spectra that it would have found by itself (to first order), so that
    the spread of the groups holds the error of the mean field too. A trajectory gives several sites: windows
    of T steps in one period. Those of one window come one after the other, as a net (`window_nets`). Smooth
    covariances (networks without input noise) are as good as any, and the dead state h = 0 has its constant
    linearisation.

    ens : Ensemble; T : steps ≥ 1; n : power of two, at least 32; ``field``: the result of
    `tied_field` (else solved, on ``sites`` sites). Raises `ConvergenceError` if there is no stationary state,
    ValueError for other n.
    """
    T = _validate.integer("T", T, low=1)
    per_group = _validate.power_of_two("n", n, low=_BATCH.least * GROUPS, times=GROUPS) // GROUPS
    field = tied_field(ens, None, sites, seed) if field is None else field
    if field.status is Status.DIVERGED:
        raise ConvergenceError(f"{ens!r}: {Status.DIVERGED.message}")
    period = max(power_of_two_above(2 * T), 64 if field.state is None else field.state.sites.period)
    windows = min(power_of_two_above(period // T + 1) // 2, _BATCH.windows, per_group // _BATCH.least)
    per_group //= windows
    nets = WindowNets.draw(len(ens.cell.gates), T, windows, per_group, seed)
    batch = per_group
    while batch > _BATCH.least and batch * GROUPS * period // 2 * len(ens.cell.gates) > _BATCH.numbers:
        batch //= 2
    batches = [_linearised(field, ens, T, period, nets, batch, seed, i) for i in range(per_group // batch)]
    parts = [part for window in zip(*batches, strict=True) for part in window]
    return [_joined([part[place] for part in parts]) for place in range(len(parts[0]))]


def _linearised(
    field: TiedField,
    ens: Ensemble,
    T: int,
    period: int,
    nets: WindowNets,
    per_group: int,
    seed: int,
    batch: int,
) -> list[list[Linearised]]:
    """T steps in each of the windows of one period, with its ``nets``."""
    laws = [[ens.gate(gate.name) for gate in stage.gates] for stage in ens.cell.stages]
    found: list[list[Linearised]] = [[] for _ in range(nets.count)]
    apart = period // nets.count

    def collect(t: int, position: int, stage: Any, site: Any, x: Any, here: Any) -> None:
        window, step = divmod(t, apart)
        if step < T:
            gates = laws[position]
            law = tuple(g.sigma_w**2 for g in gates), tuple(g.weights == "orthogonal" for g in gates)
            found[window].append((*stage.linearize(site, x, here), *law))

    steps = (nets.count - 1) * apart + T
    visit_sites(
        field, ens, steps, collect, period=period, per_group=per_group, seed=seed, batch=batch, nets=nets
    )
    return found


def visit_sites(
    field: TiedField,
    ens: Ensemble,
    T: int,
    visit: Callable[[int, int, Any, np.ndarray, np.ndarray, np.ndarray], None],
    *,
    period: int | None = None,
    per_group: int,
    seed: int,
    batch: int = 0,
    nets: WindowNets | None = None,
) -> None:
    """Call ``visit(t, stage index, stage, site, x, e)`` before every stage of T stationary steps.

    The sites, `GROUPS` · ``per_group`` of them, have run around one period before, to forget their start.
    ``nets``: what stands behind the sites of some windows.
    """
    shortest = 64 if field.state is None else field.state.sites.period
    period = max(power_of_two_above(2 * T), shortest) if period is None else period
    nodes = FrequencyNodes.build(period, DEFAULT.node_distance)
    process = PeriodicSites(ens, period, per_group, seed, nodes, key=(54, batch))
    process.scale_state(field.Q.value)
    if field.state is None:
        values = np.zeros((process.readings.count, 1, nodes.weight.size))
    else:
        values = field.state.sites.nodes.carried(field.state.spectra.positive_groups, nodes)
    e = process.pre_activations(values)[0]
    if nets is not None:
        nets.impose(process, e, values, batch)
    process.run(e)
    run = process.run(e, steps=T)
    for t in range(T):
        for place, stage in enumerate(process.stages):
            visit(t, place, stage, run.taken[place][:, t], run.x[t], e[process.gates_of[place], t])


def _joined(parts: list[Linearised]) -> Linearised:
    """Batches of the same groups as one: groups stay one after the other."""
    arrays = []
    for place in range(3):
        pieces = [np.asarray(part[place]) for part in parts]
        pieces = [piece.reshape(*piece.shape[:-1], GROUPS, -1) for piece in pieces]
        whole = np.concatenate(pieces, axis=-1)
        arrays.append(whole.reshape(*whole.shape[:-2], -1))
    return arrays[0], arrays[1], arrays[2], parts[0][3], parts[0][4]


def power_of_two_above(least: int) -> int:
    """Smallest power of two that is not below ``least``."""
    return 1 << (least - 1).bit_length()
