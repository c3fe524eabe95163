"""Stationary moments of very many points of an affine cell, each checked and with its own status."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.meanfield import stationary_moments
from rmtrnn.meanfield.expansion import Expansion
from rmtrnn.meanfield.hermite_series import NodeMap, SeriesMap
from rmtrnn.meanfield.moment_map import MomentMap, Parameters
from rmtrnn.meanfield.stationary_moments import Stationary


@dataclass(frozen=True)
class SeriesSettings:
    """Numbers of the Hermite series."""

    # Terms, tried in turn; what is not exact then is integrated in two dimensions. Only time depends on them.
    lengths: tuple[int, ...] = (128, 512, 2048)
    # Largest share of a second moment that a series may leave out, and largest relative residual against the
    # adaptive rule. Derived: the rounding of sums of 2048 terms.
    rounding: float = 1e-12


_SERIES = SeriesSettings()


def stationary_grid(expansion: Expansion, parameters: Parameters, Q0: float = 1.0) -> Stationary:
    """The same as `moments.stationary` from second moments Q0, independent replicas; fast for many points.

    Iterates on fixed nodes and recomputes the residual with the adaptive rule. Overlaps come from Hermite
    series; where those do not converge, from two-dimensional integrals.
    """
    n = parameters.size
    first, zeros = np.full((len(expansion.update), n), Q0), np.zeros((len(expansion.update), n))
    exact = MomentMap(expansion, parameters)
    if len(expansion.update) > 1:
        return stationary_moments.stationary(exact, first, zeros)
    rough, _ = stationary_moments.stationary_moments(NodeMap(expansion, parameters, halvings=1), first)
    begin = np.where(np.isfinite(rough[1:, 1]), rough[1:, 1], Q0)
    S, one = stationary_moments.stationary_moments(NodeMap(expansion, parameters), begin)
    status = one.status.copy()
    good = np.flatnonzero(status == Status.CONVERGED)
    S[..., status != Status.CONVERGED] = np.nan
    gates = len(expansion.functions)
    found = Stationary(
        S=S,
        q=np.full((gates, n), np.nan),
        S_pair=np.full(S.shape, np.nan),
        rho=np.full((gates, n), np.nan),
        chi=np.full(n, np.nan),
        chi_star=np.full(n, np.nan),
        status=status,
        residual=np.full(n, np.inf),
        error=one.error,
    )
    if good.size:
        _fill_one_replica(found, exact.take(good), good)
        _fill_two_replicas(found, exact.take(good), good)
    return found


def _fill_one_replica(found: Stationary, exact: MomentMap, good: np.ndarray) -> None:
    """Residual by the adaptive rule, q, and chi."""
    S = found.S[..., good]
    following, found.q[:, good] = exact.step(S)
    Q = S[1, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.where(Q > 0, np.abs(following[1, 1] - Q) / Q, np.abs(following[1, 1]))
    found.residual[good] = residual
    found.error[good] += residual * Q * (found.error[good] / np.maximum(stationary_moments.NOISE * Q, 1e-300))
    found.status[good[residual > _SERIES.rounding]] = int(Status.MAX_ITERATIONS)
    nodes = NodeMap(exact.expansion, exact.parameters)
    _, G = nodes.variances(S, slopes=True)
    found.chi[good] = stationary_moments.spectral_radius(nodes.transfer(S, nodes.parameters.input, G))


def _fill_two_replicas(found: Stationary, exact: MomentMap, good: np.ndarray) -> None:
    """Overlaps, their correlations and slopes.

    The map of the overlap is a power series with coefficients ≥ 0 for overlaps ≥ 0, so it is convex there: if
    equal replicas stay equal and the slope there is at most 1, independent replicas end up equal.
    """
    merged = stationary_moments.stays_equal(exact) & (found.chi[good] <= 1.0)
    equal = good[merged]
    found.S_pair[..., equal] = found.S[..., equal]
    found.rho[:, equal], found.chi_star[equal] = 1.0, found.chi[equal]
    rest = np.flatnonzero(~merged)
    for length in _SERIES.lengths:
        if rest.size:
            series = SeriesMap.build(exact.take(rest), found.q[:, good[rest]], length)
            missing = _fill_overlap(found, series, good[rest])
            rest = rest[missing > _SERIES.rounding]
    if rest.size:
        _fill_overlap(found, exact.take(rest), good[rest])


def _fill_overlap(found: Stationary, map: MomentMap, index: np.ndarray) -> np.ndarray:
    """Solve for the overlaps of the chosen points; returns what a series may have left out (0 if none)."""
    S, q = found.S[..., index], found.q[:, index]
    pair, two = stationary_moments.stationary_overlap(map, S, q, np.zeros((1, index.size)))
    rho, P = map.correlations(pair, q, slopes=True)
    missing = np.zeros(index.size)
    if isinstance(map, SeriesMap):
        _, G = NodeMap(map.expansion, map.parameters).variances(S, slopes=True)
        missing = map.remainder(G, rho)
    found.S_pair[..., index], found.rho[:, index] = pair, rho
    found.chi_star[index] = stationary_moments.leading_eigenvalue(
        map.transfer(pair, map.parameters.shared_input, P)
    )
    found.residual[index] = np.maximum(found.residual[index], two.residual)
    found.status[index] = np.maximum(found.status[index], two.status)
    return missing
