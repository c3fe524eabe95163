"""Stages (1) of a network with untied weights over a population of sites, stationary or from a start."""

from __future__ import annotations

import numpy as np

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.sites.classes import units_of_classes
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import MeanField, site_trajectory


def untied_stages(
    ens: Ensemble,
    T: int,
    n: int,
    seed: int = 0,
    *,
    field: MeanField | None = None,
    Q0: np.ndarray | None = None,
) -> list[Stage]:
    """Draw all stages (1) of T steps of the stationary network, weights untied, over ``n`` = 2^m sites.

    Different seeds are independent populations; ``field`` is the mean field if it is known already. ``Q0``
    (s,): T steps from a centred Gaussian state with these second moments, not from the stationary one. Raises
    `ConvergenceError` if there is no stationary state and no ``Q0``.
    """
    gates = [[ens.gate(gate.name) for gate in stage.gates] for stage in ens.cell.stages]
    stages = site_trajectory(ens, T, n, seed, field=field, Q0=Q0).stages
    found = [
        Stage(
            a,
            b,
            c,
            tuple(g.sigma_w**2 for g in laws),
            tuple(g.weights == "orthogonal" for g in laws),
            tuple(g.singular_values for g in laws),
        )
        for (a, b, c), laws in zip(stages, gates * T, strict=True)
    ]
    return units_of_classes(found, ens.cell, seed)
