"""Sites of a network with tied weights, and where each of them counts.

The sites come in eight groups, each with a two-time mean field of its own, so that the spread of the groups
holds the error of the covariance of the pre-activations as well as that of the sites. Several times as many
are drawn as are used: `rmtrnn.dyson.sites.subsampling` picks those where single sites matter and calibrates
the weights of all on cheap features of the site.

Letters: T, the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.reduction import block_of_jacobian
from rmtrnn.dyson.sites.classes import units_of_classes
from rmtrnn.dyson.sites.error import group_seeds
from rmtrnn.dyson.sites.subsampling import calibrated_weights, leading_subsample
from rmtrnn.dyson.tied.large_lambda import LargeLambda, large_lambda, site_features
from rmtrnn.dyson.tied.site_matrices import SiteMatrices, gate_owners
from rmtrnn.dyson.weight_factors import haar_factors
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.forward_process import march_stages
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.tied_field import TiedField, tied_field
from rmtrnn.meanfield.tied_sites import tied_trajectories


@dataclass(frozen=True)
class DrawSettings:
    """Numbers of the draw. Empirical: more sites lower the error of a law, which the groups measure."""

    # Sites drawn in all, and for each that is used: at most and at least.
    reserve: int = 2**18
    most: int = 16
    least: int = 4
    # Share of the sites that are the outermost on each side.
    outer: float = 0.0625
    # Sites that the two-time mean field is solved on.
    field: int = 8192
    # Sites of each group whose self-energies at large λ say how much the others count for.
    pilot: int = 64
    # Spread of all features below which one site is like the other: far above rounding, far below a draw's.
    equal: float = 1e-9


_DRAW = DrawSettings()


@dataclass(frozen=True)
class Population:
    """Sites in `GROUPS` equal groups, one after the other, each with a two-time mean field of its own.

    ``low`` and ``high`` rank the sites: the size of the product of their gates, and their share of m_1. Sites
    that are all equal are one, in one group: then it is exact.
    """

    stages: list[Stage]
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray
    groups: int = GROUPS


def draw_population(
    ens: Ensemble,
    T: int,
    n: int,
    seed: int,
    Q0: np.ndarray | None = None,
    block: tuple[int, int] | None = None,
) -> Population:
    """``n`` sites for each group out of several times as many: see `rmtrnn.dyson.sites.subsampling`.

    ``Q0`` (s,): T steps from a centred Gaussian state with these second moments, not from the stationary one.
    ``block`` (into, from): the stages of this block of the Jacobian.
    """
    whole = stationary_stages(ens, T, seed) if Q0 is None else _stages_from(ens, T, Q0)

    def draw(n: int, seed: int) -> list[Stage]:
        stages = whole(n, seed)
        return stages if block is None else block_of_jacobian(stages, *block)

    pilot = prepared(draw(GROUPS * _DRAW.pilot, seed + 1), ens, T, seed + 1)
    if not any(stage.sigma2 for stage in pilot):
        stages = prepared(draw(GROUPS * n, seed), ens, T, seed)
        none = np.zeros(GROUPS * n)
        return Population(stages, np.full(none.size, 1.0 / none.size), none, none)
    small = SiteMatrices.of(pilot, T)
    far = large_lambda(small)
    if np.ptp(site_features(pilot, small, far)[1], axis=1).max() < _DRAW.equal:  # the dead state
        return Population(at_sites(pilot, slice(1)), *np.ones((3, 1)), groups=1)
    reserve = min(max(_DRAW.reserve // (GROUPS * n), _DRAW.least), _DRAW.most)
    drawn = prepared(draw(GROUPS * reserve * n, seed), ens, T, seed)
    groups = [
        _picked(at_sites(drawn, slice(i * reserve * n, (i + 1) * reserve * n)), n, small, far)
        for i in range(GROUPS)
    ]
    stages = [side_by_side(list(parts)) for parts in zip(*(group.stages for group in groups), strict=True)]
    weights, low, high = (
        np.concatenate([getattr(group, name) for group in groups]) for name in ("weights", "low", "high")
    )
    return Population(stages, weights / GROUPS, low, high)


def windows(population: Population, T: int, steps: int, block: tuple[int, int] | None = None) -> Population:
    """The first and the last ``steps`` of the T of a stationary population, as sites of their own.

    ``block`` (into, from): of these steps this block of the Jacobian.
    """
    per_step, size = len(population.stages) // T, population.weights.size // population.groups
    starts = sorted({0, T - steps})
    parts = [
        at_sites(
            population.stages[start * per_step : (start + steps) * per_step], slice(i * size, (i + 1) * size)
        )
        for i in range(population.groups)
        for start in starts
    ]
    stages = [side_by_side(list(part)) for part in zip(*parts, strict=True)]
    if block is not None:
        stages = block_of_jacobian(stages, *block)
        stages = _with_matrices(stages, _that_pass(stages, steps))

    def repeated(values: np.ndarray) -> np.ndarray:
        by_group = values.reshape(population.groups, 1, size)
        return np.repeat(by_group, len(starts), axis=1).ravel()

    weights, low, high = map(repeated, (population.weights, population.low, population.high))
    return Population(stages, weights / len(starts), low, high, population.groups)


def stationary_field(ens: Ensemble, seed: int) -> TiedField:
    """The two-time mean field whose sites are drawn."""
    return tied_field(ens, None, _DRAW.field, seed)


def stationary_stages(ens: Ensemble, T: int, seed: int) -> Callable[[int, int], list[Stage]]:
    """How to draw the stages of T stationary steps over (sites, seed), in `GROUPS` groups."""
    field = stationary_field(ens, seed)
    laws = [law[2] for law in _weight_laws(ens)] * T

    def draw(n: int, seed: int) -> list[Stage]:
        raw = tied_trajectories(ens, T, n, seed, field=field)
        stages = [Stage(*one, singular) for one, singular in zip(raw, laws, strict=True)]
        return units_of_classes(stages, ens.cell, seed, groups=GROUPS)

    return draw


def _stages_from(ens: Ensemble, T: int, Q0: np.ndarray) -> Callable[[int, int], list[Stage]]:
    """How to draw the stages of T steps from the start ``Q0`` over (sites, seed), each group by itself."""
    laws = _weight_laws(ens) * T

    def draw(n: int, seed: int) -> list[Stage]:
        groups = [march_stages(ens, T, n // GROUPS, one, Q0) for one in group_seeds(seed)]
        stages = [
            side_by_side([Stage(*arrays, *law) for arrays in parts])
            for *parts, law in zip(*groups, laws, strict=True)
        ]
        return units_of_classes(stages, ens.cell, seed, groups=GROUPS)

    return draw


def _weight_laws(ens: Ensemble) -> list[tuple[tuple, tuple, tuple]]:
    """σ_w², whether orthogonal, and the law of singular values, by gate, of each stage of a step."""
    gates = [[ens.gate(gate.name) for gate in stage.gates] for stage in ens.cell.stages]
    return [
        (
            tuple(g.sigma_w**2 for g in one),
            tuple(g.weights == "orthogonal" for g in one),
            tuple(g.singular_values for g in one),
        )
        for one in gates
    ]


def prepared(stages: list[Stage], ens: Ensemble, T: int, seed: int) -> list[Stage]:
    """The stages with `haar_factors`, without weight matrices that nothing goes through at any step."""
    stages = haar_factors(stages, seed, groups=GROUPS, per_step=len(ens.cell.stages))
    per_step = len(stages) // T
    used = [[k for k, variance in enumerate(stage.sigma2) if variance > 0] for stage in stages[:per_step]]
    stages = _with_matrices(stages, used)
    if not any(used):
        return stages
    return _with_matrices(stages, _that_pass(at_sites(stages, slice(GROUPS * _DRAW.pilot)), T))


def _that_pass(stages: list[Stage], T: int) -> list[list[int]]:
    """Weight matrices, by stage of the step, that something goes into and out of at some step."""
    far = large_lambda(SiteMatrices.of(stages, T))
    largest = [np.abs(np.diagonal(one)).reshape(-1, T).max(axis=1) for one in (far.y, far.x)]
    kept: list[list[int]] = [[] for _ in range(len(stages) // T)]
    for (level, j), passes in zip(gate_owners(stages, T), np.minimum(*largest) > 0.0, strict=True):
        if passes:
            kept[level].append(j)
    return kept


def _with_matrices(stages: list[Stage], kept: list[list[int]]) -> list[Stage]:
    """The stages with some of the weight matrices of each level of a step."""
    found = []
    for position, stage in enumerate(stages):
        some = kept[position % len(kept)]
        sigma2, orthogonal = tuple(stage.sigma2[k] for k in some), tuple(stage.orthogonal[k] for k in some)
        found.append(Stage(stage.a, stage.b[some], stage.c[some], sigma2, orthogonal))
    return found


def at_sites(stages: list[Stage], sites: Any) -> list[Stage]:
    """The stages on some of the sites."""
    return [replace(s, a=s.a[..., sites], b=s.b[..., sites], c=s.c[..., sites]) for s in stages]


def _picked(stages: list[Stage], n: int, pilot: SiteMatrices, far: LargeLambda) -> Population:
    """``n`` of the sites with their weights, by what `site_features` finds of each."""
    own, logs = site_features(stages, pilot, far)
    equal = np.full(own.size, 1.0 / own.size)
    sites, weights = leading_subsample(equal, n, logs[2], own, int(_DRAW.outer * n))
    weights = calibrated_weights(logs[:, sites], weights, logs, [(own[sites], float(own.mean()))])
    return Population(at_sites(stages, sites), weights, logs[2][sites], own[sites])


def side_by_side(parts: list[Stage]) -> Stage:
    """One stage over the sites of all parts."""
    a, b, c = (np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in "abc")
    return replace(parts[0], a=a, b=b, c=c)
