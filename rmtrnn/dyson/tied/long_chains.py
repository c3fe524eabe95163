"""The law with tied weights of a long chain of one state and one weight matrix, at a cost linear in T.

The self-energies of theory.md (15) take the form (31), and every site is the recursion (32). F is stationary
in the self-energies, so that what the form misses enters it squared: by how much, dense equations say for the
first steps of the chain, where it misses most. F is averaged over all sites, at every point.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn._core.arrays import check_memory
from rmtrnn._core.progress import announce
from rmtrnn.dyson.inversion.assembly import assemble, no_law
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.anchors import SharedNode
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.law_points import as_solution, some_of
from rmtrnn.dyson.tied.memory_chain import MemoryChain
from rmtrnn.dyson.tied.memory_path import (
    STRETCH,
    MemoryPath,
    as_node,
    lengthened,
    short_point,
    solved_from,
)
from rmtrnn.dyson.tied.memory_sites import MemorySites, Solved
from rmtrnn.dyson.tied.node import Node
from rmtrnn.dyson.tied.path import LawSettings, PathFollower
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.sites import stationary_stages
from rmtrnn.dyson.tied.way_back import on_the_real_axis
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.meanfield.periodic_process import GROUPS


@dataclass(frozen=True)
class LongSettings:
    """Numbers of long chains."""

    # Steps from which the dense equations cost more, and up to which all points are found: of 200 steps
    # those above F = 0.98 are not, of 1000 those above 0.89. Steps of the dense chain that it begins with.
    steps: int = 129
    most: int = 160
    short: int = 32
    # Sites that F is averaged over, and that (15) is solved on: with 512 of 100 steps it may not converge.
    population: int = 16384
    path: int = 1024
    # Points that are solved again on other sites.
    checked: int = 3
    # Seconds of one core for each step, with these numbers. Empirical: only what is announced depends on it.
    seconds: float = 2.5


LONG = LongSettings()


def is_long(ens: Ensemble, T: int) -> bool:
    """Whether the law of T steps is found here: one state, one stage, and one weight matrix."""
    one = len(ens.cell.state) == 1 and len(ens.cell.stages) == 1
    recurrent = [gate for stage in ens.cell.stages for gate in stage.gates if ens.is_recurrent(gate)]
    few = one and len(recurrent) == 1 and ens.gate(recurrent[0].name).weights in ("gaussian", "orthogonal")
    return few and LONG.steps <= T <= LONG.most


def long_law(
    ens: Ensemble, T: int, population: int | None, seed: int, settings: LawSettings
) -> TabulatedLaw | None:
    """The law of u = log s of T steps; None where all sites are alike, which dense equations solve."""
    if population is None:
        population = LONG.population
    check_memory("T", T, 8.0 * 12.0 * (population * T + T**2), "cpu")
    pilot = prepared_stages(ens, T, 8 * GROUPS, seed)
    if not any(np.ptp(one) > 0.0 for stage in pilot for one in (stage.a, stage.b, stage.c)):
        return None
    announce("Dyson equation, tied weights", LONG.seconds * T)
    sites = as_sites(prepared_stages(ens, T, population, seed))
    some = min(LONG.path, population // 2)
    path, check = (sites.at(_of_every_group(population, some, i)) for i in range(2))
    points, error = solved_points(path, settings)
    if not points:
        return no_law()[0]
    nodes = [as_node(one, sites) for one in points]
    on_axis, left = on_the_real_axis(nodes)
    error += left + error_of_sites(check, points, sites, settings)
    equal = np.full(GROUPS, 1.0 / GROUPS)
    groups = [np.imag(node.site_value).reshape(GROUPS, -1).mean(axis=1) for node in nodes]
    shared = [SharedNode(*both) for both in zip(on_axis, groups, strict=True)]
    solution = as_solution(shared, error)
    light = 1.0 / population
    return assemble(equal, solution, GROUPS, one=(light, light))[0]


def prepared_stages(ens: Ensemble, T: int, n: int, seed: int) -> list[Stage]:
    """``n`` sites in eight groups, each with a two-time mean field of its own."""
    return stationary_stages(ens, T, seed)(n, seed)


def as_sites(stages: list[Stage]) -> MemorySites:
    """Sites that all count the same."""
    n = stages[0].a.shape[2]
    return MemorySites(
        MemoryChain.of(stages), np.full(n, 1.0 / n), stages[0].sigma2[0], stages[0].orthogonal[0]
    )


def _of_every_group(population: int, some: int, part: int) -> np.ndarray:
    """``some`` of the sites, as many of every group: those of the first part, or of the second."""
    size, few = population // GROUPS, some // GROUPS
    return (size * np.arange(GROUPS)[:, None] + part * few + np.arange(few)).ravel()


def dense_sites(sites: MemorySites) -> SiteMatrices:
    """The sites of a short chain for the dense equations."""
    stages = [
        Stage(a[None, None], b[None, None], c[None, None], (sites.sigma2,), (sites.orthogonal,))
        for a, b, c in zip(*sites.chain, strict=True)
    ]
    return SiteMatrices.of(stages, sites.steps, sites.weights)


def solved_points(sites: MemorySites, settings: LawSettings) -> tuple[list[Solved], float]:
    """Points from below to above, and the error of F from the form (31); none where one is not solved."""
    tol = STRETCH.solver * settings.tol
    short = sites.first(LONG.short)
    dense = dense_sites(short)
    follower = PathFollower(dense, large_lambda(dense), settings, 1.0 / dense.n)
    follower.angle = min(STRETCH.angle * sites.steps, STRETCH.largest_angle)
    nodes = follower.march()
    if not nodes:
        return [], math.inf
    error = error_of_form(short, dense, some_of(nodes), tol)
    middle = min(nodes, key=lambda node: abs(node.cdf - 0.5))
    energies, log_lambda = short_point(middle, dense.log_growth)
    try:
        longest = lengthened(sites, energies, log_lambda, tol)
    except np.linalg.LinAlgError:  # self-energies that have over- or underflown: no point, no law
        return [], math.inf
    return MemoryPath(sites, longest, settings.tol).points(), error


def error_of_form(short: MemorySites, dense: SiteMatrices, nodes: list[Node], tol: float) -> float:
    """By how much F of the form (31) is off from that of the dense equations, on the same sites."""
    errors = []
    for node in nodes:
        found = solved_from(short, *short_point(node, dense.log_growth), tol)
        if found.point.is_solved(ERRORS.fall):
            errors.append(abs(found.cdf - node.cdf))
    return max(errors, default=math.inf)


def error_of_sites(
    check: MemorySites, points: list[Solved], sites: MemorySites, settings: LawSettings
) -> float:
    """By how much self-energies of other sites change F over all ``sites``, at some points."""
    changes = []
    for one in some_of(points, LONG.checked):
        energy = one.point.energy, one.log_units, one.energies, one.point.log_lambda
        other = check.solve(*energy, STRETCH.solver * settings.tol)
        if other.point.is_solved(ERRORS.fall):
            changes.append(abs(as_node(other, sites).cdf - as_node(one, sites).cdf))
    return max(changes, default=math.inf)
