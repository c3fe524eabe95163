"""χ alone, without two-replica quantities, for many ensembles of one cell at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from rmtrnn._result import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import moments
from rmtrnn.meanfield.affine import MomentMap, Parameters
from rmtrnn.meanfield.expansion import expand
from rmtrnn.meanfield.series import NodeMap
from rmtrnn.meanfield.solve import mean_field, parameters_of


def growth_rates(
    ensembles: Sequence[Ensemble], *, quick: bool = False, sites: int = 2048
) -> tuple[np.ndarray, np.ndarray]:
    """χ of ensembles that share a cell, in the state reached from Q = 1, and the states' second moments.

    The same χ as that of `mean_field`, many times faster. ``quick``: on fixed quadrature nodes instead of
    adaptive ones. ``sites``: of the population for a cell that is not affine in its state. Second moments
    have shape (s, n); both are nan where there is no converged stationary state.
    """
    expansion = expand(ensembles[0].cell)
    if expansion is None:
        return _by_populations(ensembles, sites)
    points = [parameters_of(ens) for ens in ensembles]
    parameters = Parameters(
        *(
            np.concatenate([getattr(point, field.name) for point in points], axis=-1)
            for field in fields(Parameters)
        )
    )
    map = (NodeMap if quick else MomentMap)(expansion, parameters)
    S, found = moments.stationary_moments(map, np.ones((map.components, len(ensembles))))
    chi = np.full(len(ensembles), np.nan)
    good = np.flatnonzero(found.status == Status.CONVERGED)
    if good.size:
        part = map.take(good)
        _, G = part.variances(S[..., good], slopes=True)
        chi[good] = moments.spectral_radius(part.transfer(S[..., good], part.parameters.input, G))
    diagonal = np.arange(1, map.components + 1)
    return chi, np.where(np.isnan(chi), np.nan, S[diagonal, diagonal])


def _by_populations(ensembles: Sequence[Ensemble], sites: int) -> tuple[np.ndarray, np.ndarray]:
    states = [mean_field(ens, sites=sites) for ens in ensembles]
    chi = np.array([state.chi if state.converged else np.nan for state in states])
    second = [list(state.Q.values()) if isinstance(state.Q, dict) else [state.Q] for state in states]
    return chi, np.where(np.isnan(chi), np.nan, np.array(second, dtype=float).T)
