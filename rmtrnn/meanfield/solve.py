"""mean_field: stationary quantities and trajectories of one ensemble."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import layers, population, stationary_moments
from rmtrnn.meanfield.expansion import Expansion, expansion_of
from rmtrnn.meanfield.moment_map import MomentMap, Parameters
from rmtrnn.meanfield.result import MeanField, named, ratio, timescale
from rmtrnn.meanfield.tied_result import is_equal_to_untied, tied_mean_field, without_memory
from rmtrnn.stack import Stack


def mean_field(
    ens: Ensemble,
    steps: int | None = None,
    Q0: float | Mapping[str, float] | None = None,
    C0: float | Mapping[str, float] | None = None,
    *,
    sites: int = 2048,
    seed: int = 0,
    progress: bool | Report | None = None,
) -> MeanField:
    """Mean field of an ensemble: variances, correlations, their slopes, and the time scale.

    Pre-activations are Gaussian, e_k^t ~ N(μ_b, q_k^t) with q_k^t = σ_w² E[r_k²] + σ_v² R + σ_b²
    (docs/theory.md (2)), and the second moments of the state follow from the cell's update ((3), (4) for
    vanilla cells and minimalRNN), for untied weights and biases.

    With ``ens.tied`` the pre-activations of a site are a Gaussian process in time ((18),
    (19)): solved by `rmtrnn.meanfield.tied_field` on power spectra, with an ``error`` of three standard
    errors over eight groups of sites. The default is the state reached from E[h²] = 1. For vanilla cells
    both theories agree (`rmtrnn.meanfield.tied_result.is_equal_to_untied`), and the moments are used.

    Parameters
    ----------
    ens : Ensemble
    steps : int ≥ 0, optional
        Also return the trajectories ``Q_t``, ``c_t``, ``C_t``, of length steps + 1.
    Q0 : number ≥ 0, or mapping by state name, optional
        Second moment E[h²] at the start, of a centred law. It selects the fixed point where there are several
        (default 1), and starts the trajectories (default: the stationary state; tied: 1, since a stationary
        start would need the past).
    C0 : number with |C0| ≤ Q0, or mapping by state name, optional
        Overlap E[h_a h_b] of two replicas at the start, in the units of Q0 (default 1; where trajectories
        start from the stationary state, |C0| ≤ Q). Default: independent replicas.

    sites, seed : int
        Size of the population (a power of two) and its seed, for cells whose update is not affine in the
        state (LSTM, user cells), and for tied weights.
    progress : None, True, or callable (done, total, label)

    Returns a `MeanField`. Raises TypeError for an ``ens`` that is no Ensemble, ValueError for steps < 0,
    Q0 < 0 or |C0| > Q0.

    >>> mf = rt.mean_field(rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05, Sigma=1.0))
    >>> round(mf.chi, 6), round(mf.timescale, 3), mf.converged
    (0.971216, 34.239, True)
    """
    _validate.instance("ens", ens, Ensemble)
    if steps is not None:
        steps = _validate.cost("steps", _validate.integer("steps", steps, low=0), 1e-3)
    check_memory("sites", sites, 8.0 * 512 * sites)  # some spectra of 257 frequencies at every site
    names = [symbol.name for symbol in ens.cell.state]
    first = by_state("Q0", Q0, names, low=0.0)
    overlap = by_state("C0", C0, names, low=-math.inf)
    _check_overlap(np.ones(len(names)) if first is None else first, overlap, names)
    with shown(progress):
        if ens.tied and not is_equal_to_untied(ens):
            return tied_mean_field(ens, steps, first, overlap, sites, seed)
        if ens.tied:
            return without_memory(ens, _untied(ens, steps, first, overlap, sites, seed), _untied)
        return _untied(ens, steps, first, overlap, sites, seed)


def _untied(
    ens: Ensemble,
    steps: int | None,
    first: np.ndarray | None,
    overlap: np.ndarray | None,
    sites: int,
    seed: int,
) -> MeanField:
    if steps is None and layers.applies(ens):
        return layers.layered_mean_field(
            cast(Stack, ens), first, overlap, lambda one, Q0, C0: _untied(one, None, Q0, C0, sites, seed)
        )
    expansion = expansion_of(ens)
    if expansion is None:
        return _population_mean_field(ens, steps, first, overlap, sites, seed)
    return _affine_mean_field(ens, expansion, steps, first, overlap)


def parameters_of(ens: Ensemble) -> Parameters:
    """The ensemble's parameters as a batch of one point."""
    gates = [ens.gate(name) for name in ens.cell.gates]

    def column(name: str) -> np.ndarray:
        return np.array([getattr(gate, name) for gate in gates], dtype=float).reshape(-1, 1)

    return Parameters.build(
        column("sigma_w"),
        column("sigma_v"),
        column("mu_b"),
        column("sigma_b"),
        np.array([ens.R]),
        np.array([ens.Sigma]),
        np.array([ens.input_moment(1)]),
    )


def _affine_mean_field(
    ens: Ensemble,
    expansion: Expansion,
    steps: int | None,
    Q0: np.ndarray | None,
    C0: np.ndarray | None,
) -> MeanField:
    map = MomentMap(expansion, parameters_of(ens))
    s = map.components
    begin = np.ones((s, 1)) if Q0 is None else Q0[:, None]
    overlap = np.zeros((s, 1)) if C0 is None else C0[:, None]
    found = stationary_moments.stationary(map, begin, overlap)
    names = [symbol.name for symbol in ens.cell.state]
    diagonal = np.arange(1, s + 1)
    Q = found.S[diagonal, diagonal, 0]
    C = found.S_pair[diagonal, diagonal, 0]
    c = found.rho[:, 0] if len(map.expansion.functions) == 1 else ratio(C, Q)
    Q_t = c_t = C_t = None
    if steps is not None:
        stationary = (
            found.S if found.status[0] == Status.CONVERGED else stationary_moments.start(np.ones((s, 1)))
        )
        single = stationary if Q0 is None else stationary_moments.start(begin)
        _check_overlap(
            single[diagonal, diagonal, 0], C0, names, rounding=float(np.nan_to_num(found.error[0]))
        )
        pair = stationary_moments.start(single[0, 1:] ** 2 if C0 is None else overlap, single[0, 1:])
        Q_t, C_t, rho_t = _trajectory(map, single, pair, steps)
        c_t = rho_t if len(rho_t) == 1 else ratio(C_t, Q_t)
    return MeanField(
        ensemble=ens,
        Q=named(names, Q),
        q=named(ens.cell.gates, found.q[:, 0]),
        c_star=named(names, c),
        chi=float(found.chi[0]),
        chi_star=float(found.chi_star[0]),
        timescale=float(timescale(found.chi_star[0])),
        status=Status(int(found.status[0])),
        residual=float(found.residual[0]),
        error=float(found.error[0]),
        Q_t=None if Q_t is None else named(names, Q_t),
        c_t=None if c_t is None else named(names, c_t),
        C_t=None if C_t is None else named(names, C_t),
        C_star=named(names, C),
    )


def _population_mean_field(
    ens: Ensemble,
    steps: int | None,
    Q0: np.ndarray | None,
    C0: np.ndarray | None,
    sites: int,
    seed: int,
) -> MeanField:
    names = [symbol.name for symbol in ens.cell.state]
    begin = np.ones(len(names)) if Q0 is None else Q0
    found = population.solve(ens, begin, C0, sites, seed)
    trajectories: dict[str, Any] = {}
    if steps is not None:
        restart = found if Q0 is None else None
        second = begin if restart is None else restart.Q.value
        _check_overlap(second, C0, names, rounding=0.0 if found is None else float(np.max(found.Q.error)))
        share = np.zeros(len(second)) if C0 is None else C0 / np.where(second > 0, second, 1.0)
        site = None if restart is None else restart.pair[0]
        share = np.clip(share, -1.0, 1.0)
        Q_t, C_t, rho_t, error_t = population.trajectory(ens, steps, sites, seed, second, share, site)
        c_t = rho_t if len(rho_t) == 1 else ratio(C_t, Q_t)
        trajectories = {"Q_t": named(names, Q_t), "C_t": named(names, C_t), "c_t": named(names, c_t)}
        trajectories["error_t"] = error_t
    if found is None:
        return _without_state(ens, names, trajectories)
    single_gate = len(ens.cell.gates) == 1
    return MeanField(
        ensemble=ens,
        Q=named(names, found.Q.value),
        q=named(ens.cell.gates, found.q.value),
        c_star=named(names, found.rho.value if single_gate else ratio(found.C.value, found.Q.value)),
        chi=float(found.chi.value),
        chi_star=float(found.chi_star.value),
        timescale=float(timescale(found.chi_star.value)),
        status=found.status,
        residual=found.residual,
        error=float(np.max(found.Q.error)),
        C_star=named(names, found.C.value),
        method="population",
        errors=_errors(found, single_gate),
        **trajectories,
    )


def _errors(found: population.PopulationMeanField, single_gate: bool) -> dict[str, float]:
    """The largest error of each quantity; that of a ratio C/Q holds those of both."""
    overlap = (found.C.error + found.Q.error) / np.where(found.Q.value > 0, found.Q.value, 1.0)
    c_star = found.rho.error if single_gate else overlap
    columns = {"Q": found.Q.error, "q": found.q.error, "c_star": c_star}
    columns |= {"chi": found.chi.error, "chi_star": found.chi_star.error}
    return {name: float(np.max(column)) for name, column in columns.items()}


def _without_state(ens: Ensemble, names: list[str], trajectories: dict[str, Any]) -> MeanField:
    """The result where the moments grow without bound."""
    nothing = np.full(len(names), np.nan)
    nan = float("nan")
    return MeanField(
        ensemble=ens,
        Q=named(names, nothing),
        q=named(ens.cell.gates, np.full(len(ens.cell.gates), np.nan)),
        c_star=named(names, nothing),
        chi=nan,
        chi_star=nan,
        timescale=nan,
        status=Status.DIVERGED,
        residual=math.inf,
        error=math.inf,
        C_star=named(names, nothing),
        method="population",
        **trajectories,
    )


def _trajectory(
    map: MomentMap, single: np.ndarray, pair: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q_t and C_t (s, steps + 1), and the gates' correlations (K, steps + 1), by plain iteration."""
    diagonal = np.arange(1, map.components + 1)
    rows = []
    for _ in range(steps + 1):
        following, q = map.step(single)
        rho, P = map.correlations(pair, q)
        rows.append((single[diagonal, diagonal, 0], pair[diagonal, diagonal, 0], rho[:, 0]))
        single, pair = following, map.advance_pair(pair, P)
    Q, C, correlation = (np.array(column).T for column in zip(*rows, strict=True))
    return Q, C, correlation


def by_state(name: str, value: Any, names: list[str], low: float) -> np.ndarray | None:
    """Numbers by state component (s,) from one number or a mapping by name; None stays None.

    Raises ValueError for other names, and for numbers below ``low``.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise ValueError(f"{name} = {dict(value)!r}: must have exactly the state names {names}")
        return np.array([_validate.real(f"{name}[{key!r}]", value[key], low=low) for key in names])
    return np.full(len(names), _validate.real(name, value, low=low))


def _check_overlap(Q: np.ndarray, C0: np.ndarray | None, names: list[str], rounding: float = 0.0) -> None:
    """Refuse overlaps beyond the second moments Q that the replicas start with."""
    for name, second, overlap in zip(names, Q, () if C0 is None else C0, strict=C0 is not None):
        if abs(overlap) > second * (1 + 1e-12) + rounding:
            raise ValueError(
                f"C0 = {float(overlap)!r} for {name}: the replicas start with E[{name}²] = {second:.6g}, so "
                f"that it must lie in [{-second:.6g}, {second:.6g}]; Q0 sets where they start"
            )
