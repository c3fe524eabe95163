"""Laws of gated and weight-tied networks from the matrix Dyson equation: theory.md (12)-(15).

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory, module_for
from rmtrnn._core.parallel import thread_map
from rmtrnn._core.status import CONFIDENCE
from rmtrnn.dyson import gate_convolution
from rmtrnn.dyson.chain_law import checked, law_of_chain
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.reduction import (
    VanishingJacobian,
    block_of_jacobian,
    onto_the_smaller_state,
    reduced,
    without_idle_gates,
)
from rmtrnn.dyson.self_energy import Parametrisation
from rmtrnn.dyson.sites.calibration import growth_weights
from rmtrnn.dyson.sites.error import GROUPS, group_seeds
from rmtrnn.dyson.sites.trajectory import untied_stages
from rmtrnn.dyson.weight_factors import haar_factors
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.meanfield import MeanField
from rmtrnn.meanfield.expansion import is_closed
from rmtrnn.meanfield.growth import single_replica_mean_field

LONG = 40  # steps, from which on the self-energies are splines of the step: fewer have no fewer unknowns


@dataclass(frozen=True)
class PopulationSettings:
    """Sizes of the populations of untied laws."""

    # Sites by default. Empirical: the error of the population is then below 1e-3 for most networks.
    default: int = 65536
    # Times that, at most, where the error asks for it; sites times steps times state², at most: a few
    # gigabytes.
    largest_factor: int = 16
    most_entries: int = 2**25


_POPULATION = PopulationSettings()


def dyson_law(ens: Ensemble, T: int, **accuracy: Any) -> TabulatedLaw:
    """Law of the singular values of J_T for any cell; ``ens.tied`` decides between (12)-(14) and (15).

    The keywords are those of `untied_law` or `rmtrnn.dyson.tied.law.tied_law`. Also at T = 1
    the two differ: the state at which the step is taken was made by the same weights. Without
    keywords, cells whose gates read the input only (minGRU, minLSTM) take `gate_convolution`.
    """
    T = _validate.integer("T", T, low=1)
    if gate_convolution.applies(ens) and not accuracy:
        return gate_convolution.convolved_law(ens, T)
    if ens.tied:
        from rmtrnn.dyson.tied.law import tied_law

        law = tied_law(ens, T, **accuracy)
        return law if law.known is None else checked(law, law.known.log_m1, CONFIDENCE * law.known.error[0])
    return untied_law(ens, T, **accuracy)


def untied_law(
    ens: Ensemble,
    T: int,
    *,
    population: int | None = None,
    seed: int = 0,
    tol: float = 1e-4,
    max_points: int = 400,
    device: str = "cpu",
    block: tuple[int, int] | None = None,
    Q0: np.ndarray | None = None,
) -> TabulatedLaw:
    """Solve (12)-(14) for the law of the singular values of J_T with untied weights.

    Parameters
    ----------
    population : power of two, at least 512
        Sites that stand for the one-site law, in eight independent groups. The error of the cdf falls a
        little faster than 1/sqrt(population). F is averaged over all sites; the self-energies, in which it is
        stationary, solve the equations on 4096 of them, and then take a Newton step on all. By default 65536,
        and up to sixteen times more where the ``error`` would exceed 1e-3 and memory allows.
    seed : integer that names the population; the same seed gives the same law
    tol : number in (0, 0.1]
        Error of the cdf from the finite number of points in s, and mass allowed in the unresolved lower tail.
    max_points : integer of at least 32
        Where the number of points in s stops growing.
    device : "cpu", "cuda" or "auto"
        Where the equations are evaluated, on the same sites. "auto" is CUDA if CuPy sees a device.
    block : pair of positions (into, from) of states
        The law of the block ∂h_into^T/∂h_from^0, an N × N matrix. None: the whole Jacobian.
    Q0 : array (s,)
        Second moments of the centred Gaussian state that the T steps start from. None: the stationary state.

    The cost is linear in ``population`` and in T: from T = 40 on the self-energies are splines of the step
    (`rmtrnn.dyson.self_energy`). ``error`` adds up the estimated errors of the population, of the points, of
    the tails and of the solver, the splines among it. Status MAX_ITERATIONS: not found (error inf), an error
    above 10 %, or above 1 % (or the mass of the fewest sites that are resolved) without the population's.
    Raises `ConvergenceError` without a stationary state (``Q0`` None), RuntimeError without the device.
    """
    T = _validate.cost("T", _validate.integer("T", T, low=1), 0.1)
    xp = module_for(device)
    sites = _POPULATION.default if population is None else population
    sites = _validate.power_of_two("population", sites, low=64 * GROUPS)
    tol = _validate.real("tol", tol, low=0.0, high=0.1, low_open=True)
    max_points = _validate.cost("max_points", _validate.integer("max_points", max_points, low=32), 1e-2)
    entries = float(sites) * T * ens.cell.components**2
    check_memory(*(("T", T) if population is None else ("population", population)), 4 * 8.0 * entries)
    field = single_replica_mean_field(ens) if Q0 is None else None
    try:
        chain = grouped_chain(ens, T, sites // GROUPS, seed, field=field, xp=xp, block=block, Q0=Q0)
    except VanishingJacobian:
        return TabulatedLaw([], atoms=[(-math.inf, 1.0)])

    def larger(factor: int) -> Chain:
        most = 2 ** max(0, int(math.log2(_POPULATION.most_entries / entries)))
        n = min(factor, most, _POPULATION.largest_factor) * sites // GROUPS
        return grouped_chain(ens, T, n, seed + 1, field=field, like=chain, xp=xp, block=block, Q0=Q0)

    states, grown = 1 if block else ens.cell.components, None if population else larger
    return law_of_chain(chain, states, GROUPS, tol=tol, max_points=max_points, larger=grown)


def grouped_chain(
    ens: Ensemble,
    T: int,
    n: int,
    seed: int,
    *,
    field: MeanField | None,
    like: Chain | None = None,
    xp: Any = np,
    block: tuple[int, int] | None = None,
    Q0: np.ndarray | None = None,
) -> Chain:
    """The untied chain over `GROUPS` independent populations of ``n`` sites each, one after the other.

    ``like`` is another population of the same chain, to be scaled like that; ``xp`` the array module of the
    device where the chain shall live. Dead dimensions are left out (`reduced`). ``block`` (into, from): the
    positions of two states, for the block ∂h_into/∂h_from of the Jacobian. ``field`` is None with a start
    ``Q0``. Raises `VanishingJacobian`.
    """
    seeds = group_seeds(seed)
    # Compile what a cell compiles once, before the threads start.
    untied_stages(ens, 1, 2, field=field, Q0=Q0)
    groups = thread_map(lambda one: untied_stages(ens, T, n, one, field=field, Q0=Q0), seeds)
    stages = [_side_by_side(parts) for parts in zip(*groups, strict=True)]
    stages = haar_factors(stages, seed, groups=GROUPS)
    weights = None
    if field is not None and is_closed(ens) and block is None and any(s.sigma2 for s in stages):
        weights = growth_weights(stages, T, field.chi) if field.chi > 0.0 else None
    stages = onto_the_smaller_state(reduced(stages if block is None else block_of_jacobian(stages, *block)))
    if xp is not np:
        stages = [stage.on(xp) for stage in stages]
    gates = sum(len(stage.sigma2) for stage in stages)
    splines = Parametrisation.splines(gates, T, 1) if gates and T >= LONG else None
    return Chain(stages, weights, whole=like, parametrisation=splines)


def _side_by_side(parts: tuple[Stage, ...]) -> Stage:
    """One stage over the sites of all parts, without weight matrices that add nothing to it."""
    a, b, c = (np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in ("a", "b", "c"))
    return without_idle_gates(replace(parts[0], a=a, b=b, c=c))
