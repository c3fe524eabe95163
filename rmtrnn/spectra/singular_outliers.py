"""Singular values of the Jacobian above the bulk: weights with a part of low rank, theory.md (28).

W_k + Σ_i θ_i u_i v_iᵀ with orthonormal u_i, orthonormal v_i that are independent of all else. In the pencil
(12) the part is a perturbation of rank 2 r T between the ports b u_i and c v_i of the gate at the T steps. It
leaves the bulk. Above the bulk the resolvent is real, and s is a singular value where

    det(1 − θ̂ M(s)) = 0,    M = [[1 ⊗ g^yy, Oᵀ ⊗ g^yx], [O ⊗ g^xy, 1 ⊗ g^xx]],   O_ij = v_i · u_j,        (*)

with θ̂ the exchange of both halves times θ, and g the averages over sites of the resolvent between all ports
of the gate, g^yy = E[bᵀ G b] and so on; they are (20) where the ports are those of the weights. M falls with
s, so each eigenvalue of θ̂ M passes 1 at most once. A linear step has 1 = θ² (E[s/(s² − X²)])² with X the
singular values of W: the theorem of Benaych-Georges and Nadakuditi.

Source: Benaych-Georges and Nadakuditi (2012, J. Multivariate Anal. 111, 120).

Letters: T, the number of steps; x, the self-energies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from scipy.optimize import brentq

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import CONFIDENCE, ConvergenceError, Status
from rmtrnn.cells.classes import require_one_class
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.sites.error import group_seeds
from rmtrnn.dyson.sites.trajectory import untied_stages
from rmtrnn.dyson.tied.iteration import Point, solve
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.site_matrices import SiteMatrices, gate_owners
from rmtrnn.dyson.tied.sites import side_by_side, stationary_stages
from rmtrnn.dyson.weight_factors import haar_factors
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.growth import single_replica_mean_field
from rmtrnn.meanfield.periodic_process import GROUPS


@dataclass(frozen=True)
class SingularOutlierSettings:
    """Numbers of the search; moved by three both ways in tests/spectra/test_singular_outliers.py."""

    # Variance of the weights of a gate that stands for the low-rank part alone. Derived: far below rounding.
    probe: float = 1e-30
    # First step downwards in log s, and the one that ends the search for the edge: the relative error of
    # ``edge``, which sites of a finite population spread by more.
    step: float = 0.2
    last_step: float = 1e-3
    # |Im m| that counts as inside the bulk: above the square root of rounding, near an edge far below 1.
    inside: float = 1e-6
    # Error of F that ends the iteration of (15), of second order in that of the self-energies; their relative
    # change that ends it, which that of the outliers is proportional to; and how often it is taken up again.
    tol: float = 1e-14
    relative: float = 1e-7
    again: int = 5
    # log s above √m_1 where the search begins, and the most that it moves up to find all outliers below.
    above: float = 1.0
    highest: float = 60.0
    # Step in log s of the slope of a gain; only the error takes it.
    difference: float = 1e-3


SETTINGS = SingularOutlierSettings()


@stored("singular outliers")
@dataclass(frozen=True, eq=False)
class SingularOutliers(Result):
    """Singular values ``values`` of the T-step Jacobian above the bulk (array, largest first).

    ``edge``: largest singular value of the bulk, of the sites that stand for the network. ``ensemble``: the
    network without the low-rank part, whose law `rmtrnn.spectrum` is that of the given one. ``errors``:
    estimated relative error of each value, from the spread of eight groups of sites; ``error``, the largest.
    Made by `rmtrnn.singular_outliers`.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.5, weights="orthogonal")
    >>> rt.singular_outliers(linear, low_rank=0.75, sites=512).values.round(6).tolist()
    [1.0]
    """

    remedies: ClassVar[Mapping[Status, str]] = {Status.MAX_ITERATIONS: "try more sites="}

    ensemble: Ensemble
    T: int
    values: np.ndarray
    errors: np.ndarray
    edge: float
    status: Status

    @property
    def error(self) -> float:
        """Largest of ``errors``, 0 without outliers."""
        return float(np.max(self.errors, initial=0.0))

    def __repr__(self) -> str:
        values = ", ".join(f"{value:.6g}" for value in self.values) or "none"
        return (
            f"<SingularOutliers of {self.ensemble!r}, T={self.T}: {values}; bulk to {self.edge:.6g}, "
            f"{self.message}>"
        )


def singular_outliers(
    ens: Ensemble,
    T: int = 1,
    *,
    low_rank: float | Sequence[float] | Mapping[str, Any],
    overlap: Any = 0.0,
    sites: int = 2**12,
    seed: int = 0,
    progress: bool | Report | None = None,
) -> SingularOutliers:
    """Predict the singular values of the T-step Jacobian above the bulk, N → ∞, theory.md (28).

    Parameters
    ----------
    ens : `Ensemble` in its stationary state: laws of W without the low-rank part
    T : int ≥ 1; the low-rank part is the same at all steps, also where W is drawn anew
    low_rank : number or numbers ≥ 0, or mapping by gate
        Singular values θ_i of a part Σ θ_i u_i v_iᵀ that is added to W_k. The vectors are independent of all
        else, and sum to zero over the units; so the state is that of ``ens``.
    overlap : number in [-1, 1], or matrix O_ij = v_i · u_j, or mapping by gate
        A number stands for that multiple of the unit matrix. It has no effect on one step of a vanilla cell.
    sites : power of two, at least 512, of the averages over sites; ``seed`` names them
    progress : None, True, or a callable ``report(done, total, label)``

    Singular values below the bulk, or in a gap of it, are not looked for.

    Raises TypeError or ValueError for bad arguments, `ConvergenceError` if there is no stationary state. A
    nonzero mean of the weights sees the state, which this function does not know: see `rmtrnn.outliers` for
    its eigenvalues.

    >>> found = rt.singular_outliers(rt.Ensemble("vanilla", sigma_w=0.6, sigma_v=0.5), low_rank=1.5)
    >>> round(found.edge, 2), found.values.round(2).tolist()
    (1.04, [1.45])
    """
    _validate.instance("ens", ens, Ensemble)
    require_one_class(ens.cell, "rt.spectrum for the bulk, rt.sample for networks")
    T = _validate.cost("T", _validate.integer("T", T, low=1), 1.0)
    parts = _parts_of(low_rank, overlap, ens.cell.gates)
    sites = _validate.power_of_two("sites", sites, low=64 * GROUPS)
    rows = 2 * T * len(ens.cell.gates) + ens.cell.components
    check_memory("sites", sites, 8 * 8.0 * sites * rows**2)
    with shown(progress):
        return _found(ens, T, parts, _Sites.drawn(ens, T, sites, seed))


class _Part(NamedTuple):
    """A low-rank part: its singular values (r,) and O (r, r)."""

    values: np.ndarray
    overlap: np.ndarray


def _parts_of(low_rank: Any, overlap: Any, gates: Sequence[str]) -> dict[str, _Part]:
    given: dict[str, Any]
    cosines: dict[str, Any]
    given, cosines = (
        dict(value) if isinstance(value, Mapping) else dict.fromkeys(gates, value)
        for value in (low_rank, overlap)
    )
    for name, mapping in (("low_rank", given), ("overlap", cosines)):
        for gate in mapping:
            _validate.choice(f"gate of {name}", gate, gates)
    found = {}
    for gate, value in given.items():
        values = np.array([_validate.real(f"low_rank[{gate!r}]", one, low=0.0) for one in np.ravel(value)])
        matrix = np.asarray(cosines.get(gate, 0.0), dtype=float)
        matrix = matrix * np.eye(values.size) if matrix.ndim == 0 else matrix
        if matrix.shape != (values.size,) * 2 or not np.linalg.norm(matrix, 2) <= 1.0 + REAL_AXIS:
            raise ValueError(
                f"overlap[{gate!r}] = {cosines.get(gate)!r}: must be a number in [-1, 1], or a matrix "
                f"{(values.size,) * 2} of norm ≤ 1, the products v_i · u_j of unit vectors"
            )
        if np.any(values > 0.0):
            found[gate] = _Part(values, matrix)
    return found


class _Averages(NamedTuple):
    """Averages of the resolvent between the ports b (``yy``), c (``xx``) and c and b (``xy``); m of (14)."""

    yy: np.ndarray
    xy: np.ndarray
    xx: np.ndarray
    m: complex


@dataclass(frozen=True)
class _Sites:
    """Sites with a gate of no variance, a probe, beside every gate: ``ports`` of the probe of each gate."""

    matrices: SiteMatrices
    ports: Mapping[str, list[int]]

    @classmethod
    def drawn(cls, ens: Ensemble, T: int, n: int, seed: int) -> _Sites:
        """Over ``n`` stationary sites in `GROUPS` groups. Untied weights: T steps are one long one, in which
        every weight matrix is used once."""
        per_step = len(ens.cell.stages)
        if ens.tied:
            raw, steps = stationary_stages(ens, T, seed)(n, seed), T
        else:
            field = single_replica_mean_field(ens)
            groups = [untied_stages(ens, T, n // GROUPS, one, field=field) for one in group_seeds(seed)]
            raw, steps = [side_by_side(list(parts)) for parts in zip(*groups, strict=True)], 1
        stages = [_with_probes(stage) for stage in raw]
        names = [[gate.name for gate in stage.gates] for stage in ens.cell.stages] * T
        levels = np.cumsum([1 + any(stage.singular) for stage in stages]) - 1
        stages = haar_factors(stages, seed, groups=GROUPS, per_step=per_step if ens.tied else None)
        owners = gate_owners(stages, steps)
        ports: dict[str, list[int]] = {gate: [] for gate in ens.cell.gates}
        for level, own in zip(levels, names, strict=True):
            step, place = divmod(int(level), len(stages) // steps)
            for j, name in enumerate(own, len(own)):
                ports[name].append(owners.index((place, j)) * steps + step)
        return cls(SiteMatrices.of(stages, steps), ports)

    def at(self, sites: Any) -> _Sites:
        """Some of the sites."""
        return replace(self, matrices=self.matrices.at(sites))

    def averages(self, point: Point) -> _Averages:
        """(20) between all ports."""
        sites, ports = self.matrices, self.matrices.ports
        P, Q = sites.with_ends(point.energy, point.log_lambda)

        def part(some: slice, weights: np.ndarray) -> tuple[np.ndarray, ...]:
            gamma = sites.gamma[some]
            turned = np.swapaxes(gamma, 1, 2)
            h = gamma @ P @ turned
            right = np.linalg.inv(np.eye(len(Q)) - h @ Q) * weights[:, None, None]
            across = right @ gamma
            return (turned @ Q @ across).sum(axis=0), across.sum(axis=0), (right @ h).sum(axis=0)

        parts = sites.over_sites(len(P), part)
        yy, xy, xx = (np.sum([one[i] for one in parts], axis=0) for i in range(3))
        m = np.trace(xx[ports:, ports:]) * np.exp(sites.log_mean - point.log_lambda) / sites.s_out
        return _Averages(yy[:ports, :ports], xy[:ports, :ports], xx[:ports, :ports], complex(m))

    def gains(self, parts: Mapping[str, _Part], found: _Averages) -> np.ndarray:
        """Eigenvalues of θ̂ M of (*), for all gates, the largest of each first."""
        gains = []
        for gate, (values, overlap) in parts.items():
            own, one = np.ix_(self.ports[gate], self.ports[gate]), np.eye(values.size)
            across = np.kron(overlap, np.real(found.xy[own]))
            M = np.block(
                [
                    [np.kron(one, np.real(found.yy[own])), across.T],
                    [across, np.kron(one, np.real(found.xx[own]))],
                ]
            )
            exchange = np.kron([[0.0, 1.0], [1.0, 0.0]], np.kron(np.diag(values), np.eye(len(own[0]))))
            gains.append(np.sort(np.linalg.eigvals(exchange @ M).real)[::-1])
        return np.concatenate(gains)


def _with_probes(stage: Stage) -> Stage:
    """The stage with a second gate for each one, of the same b and c; no variance is exactly 0."""
    count, probe = len(stage.sigma2), SETTINGS.probe
    return Stage(
        stage.a,
        np.concatenate([stage.b, stage.b]),
        np.concatenate([stage.c, stage.c]),
        (*(max(value, probe) for value in stage.sigma2), *[probe] * count),
        (*stage.orthogonal, *[False] * count),
        (*stage.singular, *[None] * count),
    )


def _solved(sites: SiteMatrices, energy: np.ndarray, log_lambda: complex) -> Point:
    """Self-energies to a relative change of `SingularOutlierSettings.relative`, if they are found."""
    point = solve(sites, energy, log_lambda, SETTINGS.tol)
    for _ in range(SETTINGS.again):
        if not point.is_settled(SETTINGS.tol) or point.relative < SETTINGS.relative:
            break
        point = solve(sites, point.energy, log_lambda, 0.0, point.differences)
    return point


class _Search:
    """Points above the bulk, from the top downwards, and the gains of (*) there."""

    def __init__(self, sites: _Sites, parts: Mapping[str, _Part]) -> None:
        self.sites, self.parts = sites, parts
        self.far = large_lambda(sites.matrices)
        self.known: dict[float, tuple[Point, np.ndarray, float]] = {}

    def solved(self, u: float) -> tuple[Point, np.ndarray, float] | None:
        """Self-energies, gains and m at u = log s; None inside the bulk, or beyond it."""
        log_lambda = complex(2.0 * u, REAL_AXIS)
        if self.known:
            near = min(self.known, key=lambda other: abs(other - u))
            energy = self.known[near][0].energy
        else:
            energy = self.far.energy(self.sites.matrices, log_lambda)
        point = _solved(self.sites.matrices, energy, log_lambda)
        if not point.relative < SETTINGS.relative:
            return None
        found = self.sites.averages(point)
        m, above = found.m.real, [known[2] for other, known in self.known.items() if other > u]
        if not (np.isfinite(m) and abs(found.m.imag) < SETTINGS.inside and m > max(above, default=0.0)):
            return None
        self.known[u] = point, self.sites.gains(self.parts, found), m
        return self.known[u]

    def top(self) -> float:
        """A u = log s above all outliers."""
        start = u = 0.5 * self.far.log_m1 + SETTINGS.above
        while u < start + SETTINGS.highest:
            self.known.clear()
            here = self.solved(u)
            if here is not None and here[1].max() < 1.0:
                return u
            u += SETTINGS.above
        raise ConvergenceError(
            f"low_rank: no self-energies up to log s = {u:.6g}; {Status.MAX_ITERATIONS.message}"
        )

    def edge(self, u: float) -> float:
        """The lowest u = log s above the bulk, from one that is."""
        step = SETTINGS.step
        while step > SETTINGS.last_step:
            if self.solved(u - step) is None:
                step *= 0.5
            else:
                u -= step
        return u

    def roots(self, low: float, high: float) -> list[tuple[int, float]]:
        """Where a gain is 1: its place and u = log s."""

        def excess(u: float, place: int) -> float:
            here = self.known.get(u) or self.solved(u)
            return -1.0 if here is None else float(here[1][place]) - 1.0

        places = np.flatnonzero(self.known[low][1] > 1.0)
        found = [brentq(excess, low, high, args=(int(i),), xtol=1e-9) for i in places]
        return [(int(i), float(u)) for i, u in zip(places, cast(list[float], found), strict=True)]


def _found(ens: Ensemble, T: int, parts: Mapping[str, _Part], sites: _Sites) -> SingularOutliers:
    search = _Search(sites, parts)
    high = search.top()
    low = search.edge(high)
    values, errors, status = [], [], Status.CONVERGED
    for place, u in search.roots(low, high):
        here = search.known.get(u) or search.solved(u)
        beside = search.solved(u + SETTINGS.difference)
        if here is None or beside is None:
            status = Status.MAX_ITERATIONS
            continue
        slope = (here[1][place] - beside[1][place]) / SETTINGS.difference
        values.append(math.exp(u))
        errors.append(_error(sites, parts, here[0], place) / slope)
    order = np.argsort(values)[::-1]
    values, errors = np.array(values)[order], np.array(errors)[order]
    return SingularOutliers(ens, T, values, errors, math.exp(low), status)


def _error(sites: _Sites, parts: Mapping[str, _Part], point: Point, place: int) -> float:
    """Error of a gain from the spread of the groups of sites, each with self-energies of its own."""
    n, gains = sites.matrices.n // GROUPS, []
    for group in range(GROUPS):
        some = sites.at(slice(group * n, (group + 1) * n))
        own = _solved(some.matrices, point.energy, point.log_lambda)
        gains.append(some.gains(parts, some.averages(own))[place])
    return CONFIDENCE * float(np.std(gains, ddof=1)) / math.sqrt(GROUPS)
