"""From the spectra of a tied network to a `MeanField`: theory.md (18)–(19)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import filtered_state
from rmtrnn.meanfield.forward_process import march
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.population import Estimate
from rmtrnn.meanfield.result import MeanField, Number, named, ratio, timescale
from rmtrnn.meanfield.site_process import memory
from rmtrnn.meanfield.tied_field import TiedField, standard_error, tied_field, tied_growth
from rmtrnn.meanfield.tied_growth import Growth
from rmtrnn.meanfield.tied_replicas import Replicas, replicas
from rmtrnn.meanfield.tied_solver import DEFAULT, Settings

NOISE = 0.01  # change of log χ at c* in the last rounds that counts as noise, and goes into the error
LAGS = 64  # of the autocovariance of a cell without memory, which is the same at all lags ≥ 1


def is_equal_to_untied(ens: Ensemble) -> bool:
    """Whether Q, q, χ and the two-replica quantities are those of untied weights.

    So it is where the state is a function of one pre-activation and the input of the same step: the law of
    h^t depends on q^t alone, and that of (h_a^t, h_b^t) on the covariance of (e_a^t, e_b^t), which both close
    at equal times whatever E[h^t h^s] is.
    """
    return not memory(ens.cell) and len(ens.cell.gates) == 1


def without_memory(ens: Ensemble, found: MeanField, untied: Callable[..., MeanField]) -> MeanField:
    """The tied result of a cell without memory: the untied one, and the autocovariance.

    E[h^t h^s] for t ≠ s obeys the recursion of two replicas with the bias in common and fresh inputs,
    E[x_a x_b] = E[x]², from E[h_a h_b] = 0.
    """
    covariances: dict[str, np.ndarray] = {}
    if found.converged:
        shared = 0.0 if ens.R == 0.0 else ens.input_moment(1) ** 2 / ens.R
        apart = untied(ens.replace(Sigma=shared), None, None, None, 2048, 0)
        names = [symbol.name for symbol in ens.cell.state]
        for name, Q, C in zip(names, _values(found.Q), _values(apart.C_star), strict=True):
            covariances[name] = _constant(Q, C)
        (gate,) = ens.cell.gates
        q = found.q_of(gate)
        covariances[gate] = _constant(q, q * _values(apart.c_star)[0])
    return replace(found, theory="tied", covariances=covariances)


def tied_mean_field(
    ens: Ensemble,
    steps: int | None,
    Q0: np.ndarray | None,
    C0: np.ndarray | None,
    sites: int,
    seed: int,
    settings: Settings = DEFAULT,
) -> MeanField:
    """The mean field of a network with tied weights, as `rmtrnn.mean_field` returns it.

    ``settings``: `QUICK` for errors of some per cent in about a quarter of a second.
    """
    field = tied_field(ens, None if Q0 is None else tuple(Q0), sites, seed, settings)
    pair = tied_overlaps(field, ens, Q0, C0, sites, seed, settings)
    more = {} if steps is None else _trajectories(ens, steps, Q0, C0, sites, seed)
    return assembled(ens, field, pair, covariances=_covariances(ens, field), **more)


def assembled(ens: Ensemble, field: TiedField, pair: Overlaps, **more: Any) -> MeanField:
    """The result from its parts."""
    names = [symbol.name for symbol in ens.cell.state]
    single_gate = len(ens.cell.gates) == 1
    status = field.status
    if field.status is Status.CONVERGED and not pair.converged:
        status = Status.MAX_ITERATIONS
    return MeanField(
        ensemble=ens,
        Q=named(names, field.Q.value),
        q=named(ens.cell.gates, field.q.value),
        c_star=named(names, pair.rho.value if single_gate else pair.c.value),
        chi=pair.chi,
        chi_star=pair.chi_star,
        timescale=float(timescale(pair.chi_star)),
        status=status,
        residual=max(field.residual, pair.residual),
        error=float(np.max(field.Q.error)),
        C_star=named(names, pair.c.value * field.Q.value),
        method="spectra",
        theory="tied",
        errors={
            "Q": float(np.max(field.Q.error)),
            "q": float(np.max(field.q.error)),
            "chi": pair.chi_error,
            "c_star": float(np.max((pair.rho if single_gate else pair.c).error)),
            "chi_star": pair.chi_star_error,
        },
        note="; ".join(part for part in (field.note, pair.note) if part),
        **more,
    )


class Overlaps(NamedTuple):
    """χ, the overlap of two replicas, and χ there, each with its error; what they were found from."""

    c: Estimate
    rho: Estimate
    chi: float
    chi_error: float
    chi_star: float
    chi_star_error: float
    converged: bool = True
    residual: float = 0.0
    note: str = ""
    growth: Growth | None = None
    replicas: Replicas | None = None


def tied_overlaps(
    field: TiedField,
    ens: Ensemble,
    Q0: np.ndarray | None,
    C0: np.ndarray | None,
    sites: int,
    seed: int,
    settings: Settings,
    near: Overlaps | None = None,
) -> Overlaps:
    """χ, and two replicas from the overlap C0; ``near``, of a state nearby, is where quick searches start."""
    s, K = len(ens.cell.state), len(ens.cell.gates)
    if field.state is None:
        same = np.nan if field.status is Status.DIVERGED else 1.0
        chi = np.nan if field.zero_growth is None or np.isnan(same) else field.zero_growth
        return _equal(same * np.ones(s), same * np.ones(K), chi, 0.0)
    growth, error = tied_growth(field, seed, None if near is None else near.growth)
    note = "" if not growth.site_limited else "χ is what the sites with the longest memory forget per step"
    found = _equal(np.ones(s), np.ones(K), growth.chi, error)
    found = found._replace(converged=growth.converged, residual=growth.residual, note=note, growth=growth)
    if ens.Sigma == 1.0 and growth.chi <= 1.0 and C0 is None:
        return found
    first = np.ones(s) if Q0 is None else np.maximum(Q0, 1e-300)
    share = None if C0 is None else np.clip(C0 / first, -1.0, 1.0)
    if field.filtered is not None:
        return _filtered_overlaps(found, field.filtered, 0.0 if share is None else float(share[0]))
    before = None if near is None else near.replicas
    two = replicas(ens, field.state, share, sites // 2, seed, settings, growth, before)
    # What the last rounds moved χ is noise of the sites too.
    spread = float(standard_error(two.growth.groups)) + two.growth.chi * min(two.growth.residual, 1.0)
    chi_star, resolved = min(two.growth.chi, growth.chi), True
    if two.growth.site_limited or spread > chi_star or two.growth.chi > growth.chi + error + spread:
        # χ at c* is no larger than χ (Cauchy–Schwarz), and noise hides how much smaller it is.
        note, spread, resolved = "χ at c* is an upper bound: what is below is lost in noise", chi_star, False
    c = np.minimum(ratio(two.overlap, two.second), 1.0)
    rho = np.minimum(two.correlation, 1.0)
    return found._replace(
        c=Estimate(c.mean(axis=1), standard_error(c)),
        rho=Estimate(rho.mean(axis=1), standard_error(rho)),
        chi_star=chi_star,
        chi_star_error=spread,
        converged=growth.converged
        and two.cross.converged
        and (two.growth.converged or not resolved or two.growth.residual < NOISE),
        residual=max(growth.residual, two.cross.residual, two.growth.residual if resolved else 0.0),
        note=note,
        replicas=two,
    )


def _filtered_overlaps(found: Overlaps, state: filtered_state.FilteredState, share: float) -> Overlaps:
    """Two replicas of a leaky cell, without sites."""
    two = filtered_state.pair(state, share)
    c = ratio(np.array([two.overlap]), state.state[:1])
    rho, error = np.array([two.correlation]), np.array([two.error])
    chi_star = min(two.growth.chi, found.chi)
    return found._replace(
        c=Estimate(np.minimum(c, 1.0), error),
        rho=Estimate(rho, error),
        chi_star=chi_star,
        chi_star_error=two.growth.error + chi_star * two.error,
        converged=two.converged,
        residual=max(found.residual, two.residual),
    )


def _equal(c: np.ndarray, rho: np.ndarray, chi: float, error: float) -> Overlaps:
    """Equal replicas."""
    return Overlaps(Estimate(c, 0.0 * c), Estimate(rho, 0.0 * rho), chi, error, chi, error)


def _covariances(ens: Ensemble, field: TiedField) -> dict[str, np.ndarray]:
    """Autocovariances over lags up to half the period: of the states, then of the gates."""
    if field.state is None:
        return {}
    if field.filtered is not None:
        (state,), (gate,) = ens.cell.state, ens.cell.gates
        return {state.name: field.filtered.state, gate: field.filtered.gate}
    process, values = field.state.sites, field.state.spectra.values
    read, nodes = process.readings, process.nodes
    states = process.visited(process.pre_activations(values[:, None])[0]).states
    found = {}
    for symbol, series in zip(ens.cell.state, states, strict=True):
        power = np.mean(np.abs(np.fft.rfft(series, axis=0)) ** 2, axis=1) / process.period
        found[symbol.name] = np.fft.irfft(power, process.period)[: process.period // 2 + 1]
    gates = nodes.covariance(read.recurrent(values)) + read.constant[:, None]
    gates[:, 0] += read.white
    return found | {name: row for name, row in zip(ens.cell.gates, gates, strict=True) if name not in found}


def _trajectories(
    ens: Ensemble, steps: int, Q0: np.ndarray | None, C0: np.ndarray | None, sites: int, seed: int
) -> dict[str, Any]:
    """Q_t, C_t, c_t of the forward process: means over `GROUPS` independent ones, and their error."""
    names = [symbol.name for symbol in ens.cell.state]
    second = np.ones(len(names)) if Q0 is None else Q0
    share = np.zeros(len(names)) if C0 is None else C0 / np.where(second > 0.0, second, 1.0)
    runs = [
        march(ens, steps + 1, max(sites // 2, 256), seed * GROUPS + group, second, np.clip(share, -1.0, 1.0))
        for group in range(GROUPS)
    ]
    Q, C = (np.array([getattr(run, name) for run in runs])[..., :-1] for name in ("second", "overlap"))
    c = ratio(C.mean(axis=0), Q.mean(axis=0))
    if len(ens.cell.gates) == 1:
        c = np.mean([run.gate_correlation() for run in runs], axis=0)
    error = max(float(np.max(standard_error(np.moveaxis(rows, 0, -1)))) for rows in (Q, C))
    return {
        "Q_t": named(names, Q.mean(axis=0)),
        "C_t": named(names, C.mean(axis=0)),
        "c_t": named(names if len(ens.cell.gates) > 1 else ["e"], c),
        "error_t": error,
    }


def _constant(first: float, rest: float) -> np.ndarray:
    return np.concatenate([[first], np.full(LAGS - 1, rest)])


def _values(value: Number) -> list[float]:
    return [float(one) for one in (value.values() if isinstance(value, Mapping) else [value])]
