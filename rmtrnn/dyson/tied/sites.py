"""Sites of a network with tied weights, and where each of them counts.

The sites come in eight groups, each with a two-time mean field of its own, so that the spread of the groups
holds the error of the covariance of the pre-activations as well as that of the sites. Several times as many
are drawn as are used: `rmtrnn.dyson.sites.subsampling` picks those where single sites matter and calibrates
the weights of all on cheap features of the site.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.sites.subsampling import calibrated_weights, stratified_subsample
from rmtrnn.dyson.tied.chain import TiedChain
from rmtrnn.dyson.tied.continuation import AtInfinity, at_infinity, untied_diagonals
from rmtrnn.dyson.tied.time_basis import SelfEnergy, TimeBasis
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.tied_field import TiedField, tied_field
from rmtrnn.meanfield.tied_sites import tied_trajectories

_RESERVE = 2**17  # sites drawn in all
_MOST_RESERVE = 16  # sites drawn for each that is used
_LEAST_RESERVE = 4
_FIELD_SITES = 2048  # sites that the two-time mean field is solved on
_PILOT = 64  # sites of each group whose self-energies at large lambda say how much the others count for
_EQUAL = 1e-9  # spread of all features: one site is like the other
_NOTHING = -600.0  # log of a self-energy: nothing goes through
_FLOOR = 1e-300


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


def draw_population(ens: Ensemble, T: int, n: int, seed: int, modes: int = 6) -> Population:
    """``n`` sites for each group out of several times as many: see `rmtrnn.dyson.sites.subsampling`."""
    field = tied_field(ens, None, _FIELD_SITES, seed)
    pilot = grouped_stages(ens, T, GROUPS * _PILOT, seed + 1, field)
    if not any(stage.sigma2 for stage in pilot):
        stages = grouped_stages(ens, T, GROUPS * n, seed, field)
        none = np.zeros(GROUPS * n)
        return Population(stages, np.full(none.size, 1.0 / none.size), none, none)
    far = at_infinity(TiedChain(pilot, T), TimeBasis.legendre(T, modes), 1e-3)
    if np.ptp(site_features(TiedChain(pilot, T), far)[1], axis=1).max() < _EQUAL:  # the dead state
        return Population(at_sites(pilot, slice(1)), *np.ones((3, 1)), groups=1)
    reserve = min(max(_RESERVE // (GROUPS * n), _LEAST_RESERVE), _MOST_RESERVE)
    stages = grouped_stages(ens, T, GROUPS * reserve * n, seed, field)
    groups = [
        _picked(at_sites(stages, slice(i * reserve * n, (i + 1) * reserve * n)), T, n, far)
        for i in range(GROUPS)
    ]
    stages = [side_by_side(list(parts)) for parts in zip(*(group.stages for group in groups), strict=True)]
    weights, low, high = (
        np.concatenate([getattr(group, name) for group in groups]) for name in ("weights", "low", "high")
    )
    return Population(stages, weights / GROUPS, low, high)


def grouped_stages(ens: Ensemble, T: int, n: int, seed: int, field: TiedField | None = None) -> list[Stage]:
    """Stages over ``n`` sites in `GROUPS` groups, without weight matrices that nothing goes through."""
    field = tied_field(ens, None, _FIELD_SITES, seed) if field is None else field
    raw = tied_trajectories(ens, T, n, seed, field=field)
    stages = [Stage(*one) for one in raw]
    per_step = len(stages) // T
    everything = [list(range(len(stage.sigma2))) for stage in stages[:per_step]]
    used = [[k for k in every if stages[level].sigma2[k] > 0] for level, every in enumerate(everything)]
    stages = _with_matrices(stages, used)
    if not any(used):
        return stages
    chain = TiedChain(stages, T)
    log_p, log_q, _ = untied_diagonals(chain)
    passed = np.minimum(log_p.max(axis=1), log_q.max(axis=1)) > _NOTHING
    kept = [
        [j for (at, j), good in zip(chain.owner, passed, strict=True) if at == level and good]
        for level in range(per_step)
    ]
    return _with_matrices(stages, kept)


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


def _picked(stages: list[Stage], T: int, n: int, far: AtInfinity) -> Population:
    """``n`` of the sites with their weights, by what `site_features` finds of each."""
    own, logs = site_features(TiedChain(stages, T), far)
    equal = np.full(own.size, 1.0 / own.size)
    sites, weights = stratified_subsample(equal, n, logs[2], own, n // 8)
    weights = calibrated_weights(logs[:, sites], weights, logs, [(own[sites], float(own.mean()))])
    return Population(at_sites(stages, sites), weights, logs[2][sites], own[sites])


def side_by_side(parts: list[Stage]) -> Stage:
    """One stage over the sites of all parts."""
    a, b, c = (np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in "abc")
    return replace(parts[0], a=a, b=b, c=c)


def site_features(chain: TiedChain, far: AtInfinity) -> tuple[np.ndarray, np.ndarray]:
    """What decides where a site counts: its share of m_1 (n,), and logarithms (features, n).

    The logarithms are those of the shares of m_1 that leave and enter the Jacobian at the site, and of the
    size (and determinant, where it is a matrix) of the product of its gates. All are relative to the mean,
    with the self-energies of ``far``.
    """
    energy, log_lambda = far.point.energy, far.point.log_lambda.real
    share = 0.5 * far.log_m1 / len(chain.stages)
    scale, K, n = math.exp(-share), chain.matrices, chain.n
    left = np.zeros((K, chain.steps, chain.s_out, n))  # rows x_L of the propagator
    right = np.zeros((K, chain.steps, chain.s_in, n))  # columns y_0
    through = np.repeat(np.eye(chain.s_out)[:, :, None], n, axis=2)
    for position in reversed(range(len(chain.stages))):
        step, level = divmod(position, chain.per_step)
        stage = chain.stages[position]
        for k, (at, j) in enumerate(chain.owner):
            if at == level:
                left[k, step] = np.einsum("oin,in->on", through, stage.b[j]) * scale
        through = np.einsum("oin,ijn->ojn", through, stage.a) * scale
    carried = np.repeat(np.eye(chain.s_in)[:, :, None], n, axis=2)
    for position, stage in enumerate(chain.stages):
        step, level = divmod(position, chain.per_step)
        for k, (at, j) in enumerate(chain.owner):
            if at == level:
                right[k, step] = np.einsum("in,ijn->jn", stage.c[j], carried)
        carried = np.einsum("oin,ijn->ojn", stage.a, carried) * scale
    position = np.array(
        [[t * chain.per_step + level for t in range(chain.steps)] for level, _ in chain.owner]
    )
    gauge = energy.gauge.copy()
    gauge[:K] -= share * position
    gauge[K:] += 0.5 * log_lambda - share * (len(chain.stages) - position)
    own = (through**2).sum(axis=(0, 1)) + _form(energy, gauge, left, 0)
    entering = (through**2).sum(axis=(0, 1)) + _form(energy, gauge, right, K)
    logs = [np.log(own + _FLOOR), np.log(entering + _FLOOR), np.log((through**2).sum(axis=(0, 1)) + _FLOOR)]
    if chain.s_in == chain.s_out > 1:
        logs.append(np.log(np.abs(np.linalg.det(np.moveaxis(through, 2, 0))) + _FLOOR))
    return own / own.mean(), np.array(logs)


def _form(energy: SelfEnergy, gauge: np.ndarray, vectors: np.ndarray, first: int) -> np.ndarray:
    """sum_i v_i^T Sigma v_i per site over the self-energies from ``first`` on, for vectors (K, T, i, n)."""
    total = np.zeros(vectors.shape[-1])
    for k, one in enumerate(vectors):
        scaled = np.exp(gauge[first + k])[:, None, None] * one
        smooth = np.einsum("tr,tin->rin", energy.basis.smooth, scaled)
        total += np.einsum("t,tin->n", energy.local[first + k].real, scaled**2)
        total += np.einsum("rs,rin,sin->n", energy.S[first + k].real, smooth, smooth, optimize=True)
    return np.maximum(total, 0.0)
