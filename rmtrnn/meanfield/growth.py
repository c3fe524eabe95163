"""χ alone, without two-replica quantities, for many ensembles of one cell at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import stationary_moments, transfer_operator
from rmtrnn.meanfield.expansion import expansion_of
from rmtrnn.meanfield.hermite_series import NodeMap
from rmtrnn.meanfield.moment_map import MomentMap, Parameters
from rmtrnn.meanfield.result import MeanField, named
from rmtrnn.meanfield.solve import mean_field, parameters_of
from rmtrnn.meanfield.tied_field import equal_growth, tied_field, tied_growth
from rmtrnn.meanfield.tied_result import is_equal_to_untied
from rmtrnn.meanfield.tied_solver import DEFAULT, QUICK
from rmtrnn.meanfield.zero_state import zero_state_growth


@dataclass(frozen=True)
class StateSettings:
    """Where states are looked for, and when two are one."""

    # Second moments to start from: small but not 0, which may be an unstable state; the usual one; and large.
    starts: tuple[float, ...] = (1e-6, 1.0, 100.0)
    # Sites with tied weights, in a search and at its end. The stated error of χ says what fewer cost.
    quick_sites: int = 256
    tied_sites: int = 2048
    # Relative distance of second moments below which two states are one. Derived: by moments a state is known
    # to 1e-10, and stable states are separated by an unstable one.
    same: float = 1e-6


_STATES = StateSettings()


def is_smooth(ens: Ensemble) -> bool:
    """Whether `growth_rates` is a smooth function of the parameters: by moments or by transfer operators."""
    if ens.tied and not is_equal_to_untied(ens):
        return False
    return expansion_of(ens) is not None or transfer_operator.applies(ens)


def growth_rates(
    ensembles: Sequence[Ensemble], *, quick: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """χ of ensembles that share a cell, in the state reached from Q = 1, and the states' second moments.

    The same χ as that of `mean_field`, many times faster: by moments, for cells that are not affine in their
    state by a transfer operator (`rmtrnn.meanfield.transfer_operator`; for the LSTM right to some 1e-4, and
    the same function of the parameters at every call), and by the populations of `mean_field` where that does
    not apply. ``quick``: on fewer, fixed nodes. ``seed`` names the points of what is sampled. Second moments
    have shape (s, n); both are nan where there is no converged stationary state.
    """
    if any(ens.tied and not is_equal_to_untied(ens) for ens in ensembles):
        return _by_spectra(ensembles, quick, seed)
    expansion = expansion_of(ensembles[0])
    if expansion is None and all(transfer_operator.applies(ens) for ens in ensembles):
        return _by_transfer(ensembles, quick, seed)
    if expansion is None:
        return _by_populations(ensembles, seed)
    return _by_moments(ensembles, NodeMap if quick else MomentMap, [1.0] * len(ensembles))


def stable_states(ens: Ensemble) -> list[tuple[float, float]]:
    """(E[h²], χ) of the different states reached from E[h²] = 1e-6, 1 and 100, in increasing order.

    More than one is the rule near a jump of χ: an ordered state beside a chaotic one, and which of them a
    network is in depends on where it started. For cells that are affine in one state vector; for others
    nothing is looked for, and the list is empty. Tied ensembles: h = 0, where it is stable and not
    the state reached from 1.
    """
    if ens.tied and not is_equal_to_untied(ens):
        return _tied_states(ens)
    if expansion_of(ens) is None or len(ens.cell.state) > 1:
        return []
    chi, second = _by_moments([ens] * len(_STATES.starts), MomentMap, _STATES.starts)
    found: list[tuple[float, float]] = []
    for Q, one in sorted((float(Q), float(one)) for Q, one in zip(second[0], chi, strict=True) if one == one):
        if not found or Q - found[-1][0] > _STATES.same * max(Q, 1e-12):
            found.append((Q, one))
    return found


def _tied_states(ens: Ensemble) -> list[tuple[float, float]]:
    """The zero state if it is stable and not the state reached from E[h²] = 1."""
    zero = zero_state_growth(ens)
    if zero is None or zero >= 1.0:
        return []
    reached = tied_field(ens, None, _STATES.quick_sites, 0, QUICK)
    return [(0.0, zero)] if np.any(reached.Q.value > 0.0) else []


def _by_moments(
    ensembles: Sequence[Ensemble], kind: type[MomentMap], starts: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """χ and second moments of affine cells, reached from second moments ``starts``, one per ensemble."""
    expansion = expansion_of(ensembles[0])
    assert expansion is not None
    points = [parameters_of(ens) for ens in ensembles]
    parameters = Parameters(
        *(
            np.concatenate([getattr(point, field.name) for point in points], axis=-1)
            for field in fields(Parameters)
        )
    )
    map = kind(expansion, parameters)
    S, found = stationary_moments.stationary_moments(map, np.tile(starts, (map.components, 1)))
    chi = np.full(len(ensembles), np.nan)
    good = np.flatnonzero(found.status == Status.CONVERGED)
    if good.size:
        part = map.take(good)
        _, G = part.variances(S[..., good], slopes=True)
        chi[good] = stationary_moments.spectral_radius(part.transfer(S[..., good], part.parameters.input, G))
    diagonal = np.arange(1, map.components + 1)
    return chi, np.where(np.isnan(chi), np.nan, S[diagonal, diagonal])


def stationary_variances(ens: Ensemble) -> tuple[np.ndarray, Status]:
    """q of (2) by gate with fresh weights, for cells whose moments close; neither χ nor a second replica.

    nan where the moments have no converged fixed point.
    """
    expansion = expansion_of(ens)
    if expansion is None:
        raise TypeError(f"ens: the moments of the cell {ens.cell.name!r} do not close; use mean_field(ens)")
    map = MomentMap(expansion, parameters_of(ens))
    S, found = stationary_moments.stationary_moments(map, np.ones((map.components, 1)))
    status = Status(int(found.status[0]))
    if status is not Status.CONVERGED:
        return np.full(len(ens.cell.gates), np.nan), status
    return map.variances(S, slopes=True)[0][:, 0], status


def single_replica_mean_field(ens: Ensemble, *, quick: bool = False) -> MeanField:
    """Mean field of one replica, for sites: that of `mean_field`, or by a transfer operator where it applies.

    In the latter case the overlap of two replicas is not known (nan), ``chi_star`` is ``chi``, and ``error``
    three times the difference of two point sets. ``quick``: with fewer points, for errors of some 1e-3.
    """
    if ens.tied or expansion_of(ens) is not None or not transfer_operator.applies(ens):
        return mean_field(ens)
    resolution = transfer_operator.QUICK if quick else transfer_operator.FINE
    found, other = (transfer_operator.growth(ens, resolution, seed) for seed in (0, 1))
    names = [symbol.name for symbol in ens.cell.state]
    if found is None or other is None:
        return mean_field(ens)
    nothing = named(names, np.full(len(names), np.nan))
    return MeanField(
        ensemble=ens,
        Q=named(names, found.second),
        q=named(ens.cell.gates, found.q),
        c_star=nothing,
        chi=found.chi,
        chi_star=found.chi,
        timescale=np.nan,
        status=Status.CONVERGED,
        residual=transfer_operator.SETTINGS.tol,
        error=3.0 * float(np.max(np.abs(found.second - other.second))),
        C_star=nothing,
        method="transfer operator",
    )


def _by_transfer(ensembles: Sequence[Ensemble], quick: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    resolution = transfer_operator.QUICK if quick else transfer_operator.FINE
    found = [transfer_operator.growth(ens, resolution, seed) for ens in ensembles]
    nothing = np.full(len(ensembles[0].cell.state), np.nan)
    chi = np.array([np.nan if one is None else one.chi for one in found])
    return chi, np.array([nothing if one is None else one.second for one in found]).T


def _by_spectra(ensembles: Sequence[Ensemble], quick: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """χ and second moments with tied weights."""
    sites, settings = (_STATES.quick_sites, QUICK) if quick else (_STATES.tied_sites, DEFAULT)
    chi, second = [], []
    for ens in ensembles:
        field = tied_field(ens, None, sites, seed, settings)
        if field.state is not None:
            growth = equal_growth(field, seed)
            chi.append(growth.chi if growth.converged else np.nan)
        else:
            chi.append(field.zero_growth if field.status is Status.CONVERGED else np.nan)
        second.append(field.Q.value)
    found = np.array(chi, dtype=float)
    return found, np.where(np.isnan(found), np.nan, np.array(second).T)


def tied_error(ens: Ensemble) -> float:
    """Error of the quick χ of `growth_rates` with tied weights, of the sites and of the state."""
    field = tied_field(ens, None, _STATES.quick_sites, 0, QUICK)
    return 0.0 if field.state is None else tied_growth(field, 0)[1]


def _by_populations(ensembles: Sequence[Ensemble], seed: int) -> tuple[np.ndarray, np.ndarray]:
    states = [mean_field(ens, seed=seed) for ens in ensembles]
    chi = np.array([state.chi if state.converged else np.nan for state in states])
    second = [list(state.Q.values()) if isinstance(state.Q, dict) else [state.Q] for state in states]
    return chi, np.where(np.isnan(chi), np.nan, np.array(second, dtype=float).T)
